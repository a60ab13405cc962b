"""Ends training early, where `loop.stop_at` says so; keeps that it has ended."""

import logging
from typing import Any

from gym_loop.loops import BaseLoop, Episode
from gym_loop.loops.table import EVALUATION_METRICS
from gym_loop.observers import Observer, infos
from gym_loop.sums import total

LIMITS = ("max_episodes", "max_steps", "stop_at")  # with others a run that has ended goes on

log = logging.getLogger(__name__)


class Ending(Observer):
    """Ends the run, by `loop.finish`, when as many evaluations as `loop.stop_at` asks were good.

    They follow each other without another between them. A checkpoint keeps that training has
    ended, whoever has ended it, so that a run that is killed in its final evaluation trains no
    further. When a limit has been changed since, training goes on, and they are counted anew.

    An evaluation is not good if an episode's info lacks the key that is looked at.
    """

    def __init__(self) -> None:
        self.loop: Any = None
        self.state: dict[str, Any] = {}
        self.count = 0  # of good evaluations in a row
        self.trains = True

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember what has ended an earlier launch, under which limits."""
        self.state = state

    def begin(self, loop: BaseLoop) -> None:
        """End training again if it had ended under the same limits."""
        self.loop, ended = loop, self.state.get("ended")
        if ended and self.state["limits"] == self._limits():
            loop.finish(ended)
        elif not ended:
            self.count = self.state.get("count", 0)

    def end_evaluation(self, loop: BaseLoop, episodes: list[Episode]) -> None:
        rule = loop.parameters.get("stop_at")
        if not (rule and self.trains and episodes):
            return
        metric = rule.get("metric", EVALUATION_METRICS[0])
        values = [_value(metric, episode) for episode in episodes]
        is_good = total(values) / len(values) >= rule["at_least"]
        self.count = self.count + 1 if is_good else 0
        if self.count >= rule.get("evaluations", 1):
            log.info("%s was at least %s: training has ended", metric, rule["at_least"])
            loop.finish("stop_at")

    def end_training(self, loop: BaseLoop) -> None:
        """Leave the final evaluation alone."""
        self.trains = False

    def state_dict(self) -> dict[str, Any]:
        """Return what has ended training, if it has, and the count of good evaluations."""
        return {"count": self.count, "ended": self.loop.ended, "limits": self._limits()}

    def _limits(self) -> dict[str, Any]:
        return {name: self.loop.parameters.get(name) for name in LIMITS}


def _value(metric: str, episode: Episode) -> float:
    """Return an episode's number for a metric of evaluation; NaN if its info has none."""
    if metric in EVALUATION_METRICS:
        return episode.ret if metric == "eval/return" else episode.length
    return infos.values([metric.removeprefix("eval/")], episode.info)[0]
