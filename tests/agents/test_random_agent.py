import numpy as np
import pytest
from gym import spaces

from gym_loop.agents import RandomAgent
from gym_loop.loops.streams import preserved

MIXED = spaces.Dict(one=spaces.Discrete(2), two=spaces.Tuple((spaces.Discrete(3),)))


def agent_in(space, seed=0):
    space.seed(seed)
    return RandomAgent(action_space=space)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=5),
        spaces.Box(-2, 1, (2, 3)),
        spaces.Box(-np.inf, np.inf, (2,)),
        spaces.Box(0, 255, (2,), np.uint8),
        spaces.MultiDiscrete([2, 5]),
        MIXED,
    ],
    ids=str,
)
def test_an_action_is_what_the_space_itself_would_give(space):
    agent, sample = agent_in(space), space.sample()
    for _ in range(1000):
        action = agent.act(None, 0)
        assert type(action) is type(sample)
        assert getattr(action, "dtype", None) == getattr(sample, "dtype", None)
        assert space.contains(action)


def test_actions_are_uniform():
    discrete, box = agent_in(spaces.Discrete(4)), agent_in(spaces.Box(-2, 6, (1,)))
    counts = np.bincount([discrete.act(None, 0) for _ in range(40_000)])
    assert abs(counts - 10_000).max() < 400
    numbers = np.array([box.act(None, 0)[0] for _ in range(40_000)])
    counts, _ = np.histogram(numbers, 4, (-2, 6))
    assert abs(counts - 10_000).max() < 400


@pytest.mark.parametrize("space", [spaces.Discrete(1000), spaces.Box(0, 1, (1,)), MIXED], ids=str)
def test_what_is_played_in_evaluation_takes_nothing_from_trainings_actions(space):
    untouched = agent_in(space)
    expected = [repr(untouched.act(None, 0)) for _ in range(1000)]
    evaluated, actions = agent_in(space), []
    for number in range(10):
        with preserved(evaluated, 0):
            for _ in range(100 * number):
                evaluated.act(None, 0)
        actions += [repr(evaluated.act(None, 0)) for _ in range(100)]
    assert actions == expected
