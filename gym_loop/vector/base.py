"""The one interface that `loop=vector` drives: many environments that are stepped at once.

What a step of many environments returns for one whose episode has just ended is a convention, and
each library has its own: gym 0.26 resets it within the step and hides its last observation in the
infos, Gymnasium resets it instead of the next step, or within it, or not at all. Here an
observation after a step always belongs to the step's own episode; see `VectorEnv`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from gym_loop.envs.make import EnvError
from gym_loop.vector.batches import Array, array_type, in_type, row_of

# What a step gives: the observations after it, and of shape (num_envs,) each, rewards, terminated,
# truncated.
Step = tuple[Any, Array, Array, Array]


class VectorEnv:
    """`num_envs` environments, stepped at once. Rows of a batch are environments, in fixed order.

    What batches are, `gym_loop.vector.batches` says. Each call returns new arrays.

    Attributes:
        observation_space, action_space: of one environment.
        delayed: an ended environment is reset by the next `step`, which ignores its action: its
            row in that step is no transition, but the first observation of its next episode, and
            neither terminated nor truncated.
            Otherwise `restart` is called for it before the next `step`.
        cuts: whether `restart` may be called for an environment whose episode has not ended.
        seeded: which episodes begin with a seed of their own: all, those begun by `start`, none.
        wrapped: each environment is in wrappers: see `games` and `play_on`.
        wrapped_envs: these environments, where they are in this process.
    """

    num_envs: int
    observation_space: Any
    action_space: Any
    delayed: bool = False
    cuts: bool = False
    seeded: Literal["all", "start", "none"] = "none"
    wrapped: bool = False
    wrapped_envs: Sequence[Any] = ()
    metadata: Mapping[str, Any] = {}

    def start(self, seeds: Sequence[int]) -> Any:
        """Begin a new episode in every environment; return the batch of first observations.

        What follows depends on nothing but `seeds` and the actions.
        """
        raise NotImplementedError

    def step(self, actions: Any) -> Step:
        """Step every environment with its row of `actions`."""
        raise NotImplementedError

    def restart(self, states: Any, rows: Array, seeds: Sequence[int]) -> Any:
        """Begin a new episode in the environments `rows`; return `states` with these rows new.

        Unless all episodes are `seeded`, `seeds` is empty.
        """
        raise NotImplementedError

    def info_of(self, row: int) -> Any:
        """Return what the last step returned as info for one environment; None: it is not known."""
        return None

    def games(self, rows: Array) -> list[Any]:
        """Return what the bare environments `rows` have played, a `Game` each."""
        raise NotImplementedError

    def play_on(self, step: Step) -> Step:
        """Return a step in which no episode has ended whose game goes on, as after a life.

        The observation is then the one from which it goes on.
        """
        raise NotImplementedError

    def learnt_by_wrappers(self) -> list[dict[str, Any]]:
        """Return for each environment what its wrappers have learnt, most of it together."""
        return [each for env in self.wrapped_envs for each in env.learnt_by_wrappers()]

    def put_into_wrappers(self, state: list[dict[str, Any]]) -> None:
        """Give the wrappers of each environment copies of what others had learnt."""
        for env, each in zip(self.wrapped_envs, state, strict=False):
            env.put_into_wrappers([each])

    def render(self) -> Any:
        """Return a frame of each environment."""
        raise EnvError(f"{type(self).__name__} cannot render")

    def close(self) -> None:
        """Close every environment."""


class Single:
    """A vector environment of one, used as an environment: for evaluation, and in loop=default."""

    def __init__(self, env: VectorEnv) -> None:
        self.env = env
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.metadata = env.metadata

    @property
    def unwrapped(self) -> Any:
        """The environment itself: nothing is wrapped."""
        return self

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; without a seed, one drawn from NumPy's global stream."""
        seed = int(np.random.randint(2**31)) if seed is None else seed
        return row_of(self.env.start([seed]), 0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step it."""
        obs, rewards, terminated, truncated = self.env.step(
            in_type([action], array_type(self.action_space))
        )
        info = self.env.info_of(0) or {}
        return row_of(obs, 0), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Any:
        """Return a frame."""
        return self.env.render()[0]

    def close(self) -> None:
        """Close it."""
        self.env.close()
