"""Copies of a single environment, stepped one after the other."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gym_loop.closing import closed
from gym_loop.envs.tape import share_learnt
from gym_loop.loops.episode_batch import single_actions
from gym_loop.loops.returns import first_observation
from gym_loop.mistake import Failure
from gym_loop.sums import as_float
from gym_loop.vector.base import Step, VectorEnv
from gym_loop.vector.batches import Array, put, stack


class Copies(VectorEnv):
    """Single environments of any kind, stepped one after the other in this process.

    Each episode begins with its own seed, so that it is the episode that the environment would
    have played alone.
    """

    cuts = True
    seeded = "all"

    def __init__(self, envs: Sequence[Any]) -> None:
        self.envs, self.num_envs = list(envs), len(envs)
        self.infos: tuple[Any, ...] = ()
        self.observation_space = envs[0].observation_space
        self.action_space = envs[0].action_space
        self.metadata = getattr(envs[0], "metadata", None) or {}
        self.wrapped = hasattr(envs[0], "bare_game")
        if self.wrapped:
            self.wrapped_envs = self.envs
            share_learnt(self.envs)

    def start(self, seeds: Sequence[int]) -> Any:
        return self.begin(range(self.num_envs), seeds)

    def begin(self, rows: Iterable[int], seeds: Sequence[int]) -> Any:
        """Reset the environments `rows`, each with its seed; return a batch of theirs alone."""
        first = [
            first_observation(self.envs[row].reset(seed=seed))
            for row, seed in zip(rows, seeds, strict=True)
        ]
        return stack(first, self.observation_space)

    def step(self, actions: Any) -> Step:
        """Step one environment after the other."""
        each = single_actions(actions, self.action_space)
        obs, rewards, terminated, truncated, self.infos = zip(
            *[env.step(action) for env, action in zip(self.envs, each, strict=True)], strict=True
        )
        try:
            flags = np.array((terminated, truncated), np.bool_)
            rewarded = numbers(rewards)
        except (TypeError, ValueError, RuntimeError) as error:
            raise Failure(unlike_one(rewards, terminated, truncated)) from error
        if flags.ndim != 2 or rewarded.ndim != 1 or rewarded.dtype.kind not in "fiub":
            raise Failure(unlike_one(rewards, terminated, truncated))
        rewarded = rewarded.astype(np.float64, copy=False)
        return stack(obs, self.observation_space), rewarded, flags[0], flags[1]

    def restart(self, states: Any, rows: Array, seeds: Sequence[int]) -> Any:
        return put(states, rows, self.begin(rows, seeds))

    def info_of(self, row: int) -> Any:
        return self.infos[row]

    def games(self, rows: Array) -> list[Any]:
        return [self.envs[row].bare_game for row in rows]

    def play_on(self, step: Step) -> Step:
        states, rewards, terminated, truncated = step
        terminated, truncated = terminated.copy(), truncated.copy()
        ended = (terminated | truncated).nonzero()[0]
        for row, first in zip(ended, self.go_on(ended), strict=True):
            if first is not None:
                terminated[row] = truncated[row] = False
                one = stack([first], self.observation_space)
                states = put(states, np.array([row]), one)
        return states, rewards, terminated, truncated

    def go_on(self, rows: Array) -> list[Any]:
        """Return for each of `rows` the observation from which its game goes on, or None."""
        return [self.envs[row].go_on_with_game() for row in rows]

    def each_copy(self, function: Callable[[Any], Any]) -> list[Any]:
        """Return what `function` returns for each environment."""
        return list(map(function, self.envs))

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            for env in self.envs:
                stack.enter_context(closed(env))


def numbers(rewards: Iterable[Any]) -> Array:
    """Return the rewards of a step as an array."""
    try:
        found = np.array(rewards)
    except RuntimeError:  # tensors with a gradient graph
        found = np.array(None)
    if found.dtype.kind == "O":  # also integers beyond what NumPy has, fractions
        return np.array([*map(as_float, rewards)])
    return found


def unlike_one(rewards: Iterable[Any], *flags: Iterable[Any]) -> str:
    """Return the line for a reward that is no number, or a flag that is neither true nor false.

    Args:
        rewards: one for each environment.
        flags: `terminated` and `truncated`, likewise.
    """
    expected = {
        "the reward": "a number",
        "terminated": "true or false",
        "truncated": "true or false",
    }
    for (name, kind), values in zip(expected.items(), (rewards, *flags), strict=True):
        for value in values:
            if np.ndim(value) or not isinstance(np.asarray(value).item(), int | float):
                return (
                    f"step() of the environment returned {value!r:.60} as {name}; expected {kind} "
                    "(an environment of many at once needs num_envs among its arguments)"
                )
    return f"step() of the environment returned rewards {rewards!r:.60}; expected numbers"
