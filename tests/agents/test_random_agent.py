import numpy as np
import pytest
from gym import spaces

from gym_loop.agents import RandomAgent
from gym_loop.streams import preserved

MIXED = spaces.Dict(one=spaces.Discrete(2), two=spaces.Tuple((spaces.Discrete(3),)))
SPACES = [
    spaces.Discrete(3, start=5),
    spaces.Box(-2, 1, (2, 3)),
    spaces.Box(-np.inf, np.inf, (2,)),
    spaces.Box(0, 255, (2,), np.uint8),
    spaces.MultiDiscrete([2, 5]),
]


def agent_in(space, seed=0):
    space.seed(seed)
    return RandomAgent(action_space=space)


@pytest.mark.parametrize("space", [*SPACES, MIXED], ids=str)
def test_an_action_is_the_next_sample_of_the_space(space):
    agent = agent_in(space)
    actions = [repr(agent.act(None, 0)) for _ in range(20)]
    space.seed(0)
    assert actions == [repr(space.sample()) for _ in range(20)]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_batch_has_a_sample_for_each_episode(space):
    batch = agent_in(space).act(None, np.arange(7))
    space.seed(0)
    assert np.array_equal(batch, [space.sample() for _ in range(7)])
    assert batch.dtype == space.dtype


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
