"""An agent that writes down all that happens to it, and episodes played alone to compare with."""

from collections import defaultdict
from typing import Any

import numpy as np

from gym_loop.agents import BaseAgent


class Tape(BaseAgent):
    """Acts at random; `episodes[number]` is the list of the episode's transitions.

    One that was played beside a round's last ones begins anew; then its first attempt is forgotten.
    """

    vectorized = True

    def __init__(self, *spaces: Any, **parameters: Any) -> None:
        super().__init__(*spaces, **parameters)
        self.episodes: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        self.begun: list[int] = []
        self.forgotten = 0  # transitions
        self.ended: dict[int, bool] = {}
        self.rows: list[int] = []  # of each act in training
        self.memory: tuple[Any, ...] = ()
        self.lane: dict[int, int] = {}  # in which environment an episode is played
        self.just_ended: set[int] = set()  # environments whose episode the last step ended

    def act(self, states: Any, episode_nums: Any) -> Any:
        count = len(leaf(states))
        assert len(episode_nums) == count
        self.acting = episode_nums.copy()
        if self.training:
            assert set(episode_nums) <= set(self.begun) - set(self.ended)
            self.rows.append(count)
            lanes = range(self.rows[0])
            if count < len(lanes):  # rows of environments that are being reset are left out
                lanes = [lane for lane in lanes if lane not in self.just_ended]
            self.lane |= dict(zip(episode_nums.tolist(), lanes, strict=True))
            self.just_ended = set()
        return np.array([self.action_space.sample() for _ in range(count)])

    def memorize(self, last_obs: Any, actions: Any, rewards: Any, dones: Any, obs: Any) -> None:
        assert self.training
        assert dones.dtype == bool
        self.memory = (last_obs, actions, rewards, dones, obs)

    def update(self, episode_nums: Any) -> None:
        assert list(episode_nums) == list(self.acting)
        last_obs, actions, rewards, dones, obs = self.memory
        for i, number in enumerate(episode_nums.tolist()):
            step = (rows(last_obs, i), actions[i], float(rewards[i]), bool(dones[i]), rows(obs, i))
            self.episodes[number].append(step)

    def begin_episode(self, episode_num: int) -> None:
        if not self.training:
            return
        if episode_num in self.ended:
            del self.ended[episode_num]
            self.forgotten += len(self.episodes.pop(episode_num))
        else:
            self.begun.append(episode_num)

    def end_episode(self, episode_num: int, truncated: bool) -> None:
        if self.training:
            assert episode_num not in self.ended
            self.ended[episode_num] = truncated
            self.just_ended.add(self.lane[episode_num])


def leaf(batch: Any) -> Any:
    while isinstance(batch, tuple):
        batch = batch[0]
    return batch


def rows(batch: Any, i: int) -> Any:
    return tuple(rows(part, i) for part in batch) if isinstance(batch, tuple) else batch[i]


def same(a: Any, b: Any) -> bool:
    """Return whether two observations are equal, bit for bit."""
    if isinstance(a, tuple):
        return all(same(x, y) for x, y in zip(a, b, strict=True))
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.tobytes() == b.astype(a.dtype).tobytes()


def assert_played_alone(env: Any, first: Any, transitions: list[tuple[Any, ...]]) -> bool:
    """Play the actions of `transitions` in `env`, which has just given the observation `first`.

    Returns whether the episode has ended by itself, and only then, with its last action.
    """
    ob, ended = first, False
    for last_ob, action, reward, done, next_ob in transitions:
        assert not ended, "a transition after the end"
        assert same(last_ob, ob)
        ob, expected, terminated, truncated, _ = env.step(action)
        assert reward == expected
        assert done == terminated
        assert same(next_ob, ob)
        ended = terminated or truncated
    return ended
