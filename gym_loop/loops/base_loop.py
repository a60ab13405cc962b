"""The contract of a loop, and what every loop shares: counters, episodes, observers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gym_loop.agents.base_agent import Parametric


@dataclass(slots=True)
class Episode:
    """One episode: what it is before `reset`, and what came of it once it has ended.

    `steps` is the run's count of training steps, at the episode's start and then at its end.
    `actions` are copies of what the environment was given.
    `index` counts the evaluation episodes of a run; for training episodes it is the `number`.
    An observer may wrap `env` when it hears of the episode's beginning, to see every step; in the
    training of `loop=vector`, where many episodes share one environment, it sees none.
    """

    number: int
    seed: int
    env: Any
    training: bool
    steps: int
    index: int
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    ret: float = 0.0
    terminated: bool = False
    truncated: bool = False
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Steps played."""
        return len(self.rewards)


class BaseLoop(Parametric):
    """Drives one agent in one environment. A subclass writes `train` and `evaluate`.

    An episode is played in `episode.env`, once observers have been told of its beginning.

    The launcher sets `seed` (which fixes every episode's reset seed), `directory` (the run's own,
    to which directories among the parameters are relative), `observers` (by name; each has the
    methods of `gym_loop.observers.Observer`), `make_eval_env` and `make_env_again`.

    Attributes:
        episodes, steps: training episodes that have ended, and the steps in them.
        evaluated: evaluation episodes that have ended.
        result: mean return of the final evaluation.
        stop: why training should end at the next episode boundary, if it should.
        exit_code: of the process, if it was told to stop.
    """

    train: Callable[[], None]  # plays training episodes until the run's end, or `stop` is set
    evaluate: Callable[[], list[Episode]]  # plays others, which change nothing in training

    seed, directory, eval_env = 0, Path(), cast(Any, None)
    episodes = steps = evaluated = exit_code = 0
    result, stop = cast(float | None, None), cast(str | None, None)

    def __init__(self, agent: Any, env: Any, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.agent, self.env, self.observers = agent, env, dict[str, Any]()
        self.make_eval_env: Callable[[], Any] = lambda: env
        self.listeners: dict[str, list[Callable[..., None]]] = {}  # by event
        self.began = time.perf_counter()

    @classmethod
    def make_env(cls, factory: Callable[..., Any], parameters: dict[str, Any], mode: str) -> Any:
        """Return the environment for `mode`, "train" or "eval", made by `factory`."""
        names = ("eval_record", "eval_render") if mode == "eval" else ("record", "render")
        return factory(render_mode="rgb_array") if any(map(parameters.get, names)) else factory()

    @staticmethod
    def spaces(env: Any) -> tuple[Any, Any]:
        """Return the observation and the action space that the agent sees."""
        return env.observation_space, env.action_space

    @property
    def seconds(self) -> float:
        """The run's clock, which goes on where a resumed run's had stopped."""
        return time.perf_counter() - self.began

    def notify(self, event: str, *args: Any) -> None:
        """Call the method `event` of every observer that listens, in the order of the config.

        Who does is asked once, the first time: most of them do nothing at most events.
        """
        if event not in self.listeners:
            listening = [each for each in self.observers.values() if each.listens(event)]
            self.listeners[event] = [getattr(observer, event) for observer in listening]
        for listener in self.listeners[event]:
            listener(*args)

    def close(self) -> None:
        """Close the environments."""
        for env in (self.env, self.eval_env or self.env):
            env.close()
