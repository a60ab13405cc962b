"""Training episodes that end in the same step, in columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gym_loop.loops.base_loop import Episode


@dataclass(slots=True)
class EpisodeBatch:
    """`n` training episodes that have ended in one step of many environments, at least one.

    Row i of each column is the i-th of them. They are in the order of their environments, so their
    numbers need not ascend. Iterating gives each as an `Episode`; these are made once, and shared
    by all observers.

    Attributes:
        numbers: int64, shape (n,).
        seeds: int64, shape (n,); of each episode's `reset`, -1 where the library seeded it.
        returns: float64, shape (n,): undiscounted sums of the environment's own rewards.
        agent_returns: likewise, of `rewards`.
        lengths: int64, shape (n,), in steps.
        terminated, truncated: bool, shape (n,); at least one of the two is True.
        actions: for each episode an array of shape (length, *action shape), in the type of the
            action space. It is a view of the loop's memory: copy what outlives the call.
        rewards: for each episode a list of `length` floats, as the agent was given them.
        games: for each episode what the bare environment played, below the wrappers, a
            `gym_loop.envs.tape.Game`; empty where there are no wrappers.
        infos: for each episode what its last step returned as info; None where it is not known.
            That of a library's vector environment is known where `loop.info_keys` asks for it.
        metrics: for each episode what the agent's `metrics` returned.
        steps: the run's count of training steps when they ended.
        seconds: on the run's clock when they ended.
        env: the environments, a `gym_loop.vector.base.VectorEnv`.
        begun: for each the `Episode` that observers were told of when it began, or None.
    """

    numbers: npt.NDArray[np.int64]
    seeds: npt.NDArray[np.int64]
    returns: npt.NDArray[np.float64]
    agent_returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    actions: Sequence[Any]
    rewards: Sequence[list[float]]
    games: Sequence[Any]
    infos: Sequence[Any]
    metrics: Sequence[dict[str, float]]
    steps: int
    seconds: float
    env: Any
    begun: Sequence[Episode | None]
    _episodes: list[Episode] = field(default_factory=list, repr=False)
    _action_lists: list[list[Any]] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.numbers)

    def action_lists(self) -> list[list[Any]]:
        """Return for each episode its actions, as `single_actions` does.

        They are copies, made once, and shared by all observers.
        """
        if not self._action_lists:
            space = self.env.action_space
            self._action_lists = [single_actions(each, space) for each in self.actions]
        return self._action_lists

    def __iter__(self) -> Iterator[Episode]:
        if not self._episodes:
            self._episodes = [self._episode(i) for i in range(len(self))]
        return iter(self._episodes)

    def _episode(self, i: int) -> Episode:
        number = int(self.numbers[i])
        episode = self.begun[i] or Episode(
            number, int(self.seeds[i]), self.env, True, self.steps, number
        )
        episode.actions = self.action_lists()[i]
        episode.rewards, episode.ret = self.rewards[i], float(self.returns[i])
        episode.terminated, episode.truncated = bool(self.terminated[i]), bool(self.truncated[i])
        episode.info = self.infos[i]
        episode.metrics, episode.steps, episode.seconds = self.metrics[i], self.steps, self.seconds
        return episode


def single_actions(actions: npt.NDArray[Any], space: Any) -> list[Any]:
    """Return a batch's actions as a single environment takes them, each an array or a number.

    They are copies. Numbers are Python's, but those of a Box in its type, which decides what is
    computed from them.
    """
    are_numbers = actions.ndim == 1 and not hasattr(space, "low")
    return actions.tolist() if are_numbers else list(actions.copy())
