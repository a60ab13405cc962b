"""The contract of a loop, and what every loop shares: counters, episodes, observers."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gym_loop.agents.base_agent import with_defaults


@dataclass(slots=True)
class Episode:
    """One episode: what it is before `reset`, and what came of it once it has ended.

    `steps` is the run's count of training steps, at the episode's start and then at its end.
    `index` counts the evaluation episodes of a run; for training episodes it is the `number`.
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


class BaseLoop:
    """Drives one agent in one environment. A subclass writes `train` and `evaluate`.

    Args:
        agent, env: what is driven.
        make_eval_env: returns the environment of evaluation; `env` itself when None.
        observers: by name; each may have the methods of `gym_loop.observers.Observer`.
        seed: fixes every episode's reset seed.
        directory: the run's own; directories among the parameters are relative to it.
        parameters: checked against `get_default_parameters()`.
    """

    def __init__(
        self,
        agent: Any,
        env: Any,
        *,
        make_eval_env: Callable[[], Any] | None = None,
        observers: Mapping[str, Any] | None = None,
        seed: int = 0,
        directory: str | Path = ".",
        **parameters: Any,
    ) -> None:
        self.agent, self.env, self.seed = agent, env, seed
        self.make_eval_env = make_eval_env
        self.observers = dict(observers or {})
        self.directory = Path(directory)
        self.parameters = with_defaults(type(self), parameters)
        self.episodes = 0  # training episodes that have ended
        self.steps = 0  # training steps in them
        self.evaluated = 0  # evaluation episodes that have ended
        self.result: float | None = None  # mean return of the final evaluation
        self.stop: str | None = None  # why training should end at the next episode boundary
        self.exit_code = 0  # of the process that was told to stop
        self.step_hooks: list[Callable[[], None]] = []  # called after reset and after every step
        self._eval_env: Any = None
        self._started = time.perf_counter()

    @staticmethod
    def get_default_parameters() -> dict[str, Any]:
        """Return the tweakable parameters with their defaults; they become config keys."""
        return {}

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        """Raise ValueError, in one line, for a value out of range. Called before anything runs."""

    @classmethod
    def make_env(cls, factory: Callable[..., Any], parameters: dict[str, Any], mode: str) -> Any:
        """Return the environment for `mode`, "train" or "eval", made by `factory`."""
        watch = ("record", "render") if mode == "train" else ("eval_record", "eval_render")
        frames = any(parameters.get(name) for name in watch)
        return factory(render_mode="rgb_array") if frames else factory()

    @staticmethod
    def spaces(env: Any) -> tuple[Any, Any]:
        """Return the observation and the action space that the agent sees."""
        return env.observation_space, env.action_space

    @property
    def eval_env(self) -> Any:
        """The environment of evaluation, made when it is first needed."""
        if self._eval_env is None:
            self._eval_env = self.make_eval_env() if self.make_eval_env else self.env
        return self._eval_env

    @property
    def seconds(self) -> float:
        """The run's clock, which goes on where a resumed run's had stopped."""
        return time.perf_counter() - self._started

    def train(self) -> None:
        """Play training episodes until the run's end, or until `stop` is set."""
        raise NotImplementedError(f"{type(self).__name__} has no train()")

    def evaluate(self) -> list[Episode]:
        """Play evaluation episodes, which change nothing in training, and return them."""
        raise NotImplementedError(f"{type(self).__name__} has no evaluate()")

    def begin(self) -> None:
        """Tell the observers that the loop is whole; a checkpoint, if any, is restored here."""
        self.notify("begin", self)

    def notify(self, event: str, *args: Any) -> None:
        """Call the method `event` of every observer, in the order of the config."""
        for observer in self.observers.values():
            getattr(observer, event)(*args)

    def state_dict(self) -> dict[str, Any]:
        """Return the counters and each observer's own state, as JSON can hold it."""
        counters = {name: getattr(self, name) for name in ("episodes", "steps", "evaluated")}
        watched = {name: observer.state_dict() for name, observer in self.observers.items()}
        return counters | {"seconds": self.seconds, "observers": watched}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.episodes, self.steps = state["episodes"], state["steps"]
        self.evaluated = state["evaluated"]
        self._started = time.perf_counter() - state["seconds"]
        for name, observer in self.observers.items():
            observer.load_state_dict(state["observers"].get(name, {}))

    def close(self) -> None:
        """Close the environments."""
        for env in {id(e): e for e in (self.env, self._eval_env) if e is not None}.values():
            env.close()
