"""The size of a checkpoint at the end of a run is told from its beginning."""

from collections import deque

import numpy as np
import pytest

from gym_loop.agents import RandomAgent
from gym_loop.checks.growth import Growth


class Keeps(RandomAgent):
    """Keeps an array of 1,000 bytes for each step."""

    def __init__(self, kept):
        super().__init__()
        self.kept = kept

    def memorize(self, *transition):
        self.kept.append(np.full(125, len(self.kept), np.float64))


class Prepared(RandomAgent):
    """Has room for 5,000 steps, of which it saves what is filled."""

    def __init__(self):
        super().__init__()
        self.room, self.filled = np.zeros((5000, 125)), 0

    def memorize(self, *transition):
        self.filled += 1

    def save(self, directory):
        np.save(directory / "kept.npy", self.room[: self.filled])


def estimate(agent, total, measures=(50, 100, 200)):
    growth, steps = Growth(), 0
    for until in measures:
        while steps < until:
            agent.memorize(*[None] * 5)
            steps += 1
        growth.measure(agent, steps)
    return growth.largest(agent, growth.sizes[-1][1], steps, total)


@pytest.mark.parametrize(
    ("agent", "total", "expected"),
    [
        (Keeps([]), 1000, 1e6),  # grows with the run
        (Keeps([]), None, 2e5),  # nobody knows how far
        (Keeps(deque(maxlen=300)), 1e9, 3e5),
        (Keeps(deque(maxlen=70)), 1e9, 7e4),  # is full already
        (Prepared(), 1000, 1e6),
        (Prepared(), 1e9, 5e6),
        (Prepared(), None, 5e6),
        (RandomAgent(), 1e9, 0),
    ],
    ids=lambda value: getattr(type(value), "__name__", "") if not isinstance(value, float) else "",
)
def test_the_largest_checkpoint_is_that_of_full_buffers(agent, total, expected):
    assert estimate(agent, total) == pytest.approx(expected, rel=0.2, abs=3000)


@pytest.mark.parametrize(("total", "expected"), [(1000, 1e6), (1e9, 5e6), (None, 5e6)])
def test_after_one_long_episode_what_was_made_in_advance_counts(total, expected):
    assert estimate(Prepared(), total, measures=(200,)) == pytest.approx(expected, rel=0.2)


def test_after_one_long_episode_without_such_arrays_the_size_is_that_of_now():
    assert estimate(Keeps([]), 1000, measures=(200,)) == pytest.approx(2e5, rel=0.2)
