"""The contract of a loop, and what every loop shares: counters, episodes, observers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gym_loop.agents import base_agent, environment
from gym_loop.closing import closed


@dataclass(slots=True)
class Episode:
    """One episode. The fields from `actions` on are filled in when it has ended.

    Attributes:
        number: from 0; of training episodes through the run, of others within their evaluation.
        seed: of its `reset`, in [0, 2**31); -1 where a vector environment seeds itself.
        env: in which it is played. An observer may wrap it before the `reset`, to see every step;
            in the training of `loop=vector` it is all environments, and a wrapper is ignored.
        training: False in evaluation.
        steps: the run's count of training steps when the episode begins, then when it has ended.
        index: `number`; for evaluation, from 0 through all evaluations of the run.
        actions: one for each step, as a copy of what the environment was given.
        rewards: one for each step, as the agent was given them.
        ret: the return, the undiscounted sum of the environment's own rewards. They are `rewards`,
            unless there are wrappers: then those of `env.bare_game`, below the wrappers.
        terminated: the environment ended the episode.
        truncated: a time limit did, the environment's or `max_episode_len`.
        seconds: on the run's clock when the episode had ended; see `BaseLoop.seconds`.
        info: what the last step returned as info, a dict; None where it is not known.
        metrics: what the agent's `metrics` returned; empty in evaluation.
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
    info: Any = None

    @property
    def length(self) -> int:
        """Steps played."""
        return len(self.rewards)


class BaseLoop(base_agent.Parametric):
    """Drives one agent in one environment. A subclass writes `train` and `evaluate`.

    Each episode is an `Episode`: the loop calls `notify("begin_episode", self, episode)`, plays it
    in `episode.env`, fills it in, counts it and calls `notify("end_episode", self, episode)`. After
    a training episode it calls `notify("end_cycle", self)`, where checkpoints are written; after an
    evaluation `notify("end_evaluation", self, episodes)`; after the last training episode
    `notify("end_training", self)`. `gym_loop.testing.check_loop` tests all that.

    Attributes:
        agent: a `gym_loop.agents.BaseAgent`.
        env: to train in: `reset(seed=...)` returns (observation, info), `step(action)` returns
            (observation, reward, terminated, truncated, info).
        parameters: `get_default_parameters()` updated with what the config gives.
        seed: of the run, set by the launcher; it fixes every episode's reset seed.
        directory: the run's own; directories among the parameters are relative to it.
        observers: by their names in the config; each is a `gym_loop.observers.Observer`.
        make_eval_env, make_env_again: return a new environment to evaluate, to train in.
        eval_env: to evaluate in; None until the first evaluation.
        episodes, steps: training episodes that have ended, and the steps in them.
        evaluated: evaluation episodes that have ended.
        result: mean return of the final evaluation; None before.
        stop: None, or in a word why to end training at the next episode boundary.
        ended: None, or why training is over before a limit is reached; see `finish`.
        exit_code: of the process when it was told to stop, else 0.

    Raises:
        TypeError: a parameter that the class does not have.
        ValueError: a value that `check_parameters` refuses.
    """

    make_env_again: Callable[[], Any]
    train: Callable[[], None]  # plays until a limit is reached, or `stop` or `ended` is set
    evaluate: Callable[[], list[Episode]]  # plays and returns episodes that leave training as it is

    seed, directory, eval_env, result = 0, Path(), cast(Any, None), cast(float | None, None)
    episodes = steps = evaluated = exit_code = 0
    stop = ended = cast(str | None, None)

    def __init__(self, agent: Any, env: Any, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.agent, self.env, self.observers = environment.show(self, agent), env, dict[str, Any]()
        self.make_eval_env: Callable[[], Any] = lambda: env
        self.began, self.listeners = time.perf_counter(), dict[str, list[Callable[..., None]]]()

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
        """Seconds that the run has taken; a resumed run goes on counting where it had stopped."""
        return time.perf_counter() - self.began

    def notify(self, event: str, *args: Any) -> None:
        """Call the method named `event` of every observer that listens to it, in their order.

        Observers are asked once, at the event's first call: most of them listen to few events.
        """
        if event not in self.listeners:
            listening = [each for each in self.observers.values() if each.listens(event)]
            self.listeners[event] = [getattr(observer, event) for observer in listening]
        for listener in self.listeners[event]:
            listener(*args)

    def finish(self, reason: str) -> None:
        """End training for good at the next boundary of episodes: the run counts as finished."""
        self.ended = self.ended or reason

    def close(self) -> None:
        """Close the environments, the second one also where the first one's `close` raises."""
        with closed(self.eval_env or self.env):
            self.env.close()
