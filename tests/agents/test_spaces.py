import gym
import gymnasium
import numpy as np
import pytest

from gym_loop.agents import spaces
from gym_loop.mistake import Mistake

LIBRARIES = [gym.spaces, gymnasium.spaces]


@pytest.mark.parametrize("library", LIBRARIES, ids=["gym", "gymnasium"])
def test_both_libraries_spaces_are_told_apart(library):
    one = library.Discrete(3)
    kinds = {
        "Discrete": (one, "Discrete(3)"),
        "Box": (library.Box(-1, 1, (2, 3), np.float32), "Box(2, 3)"),
        "MultiDiscrete": (library.MultiDiscrete([2, 5]), "MultiDiscrete([2, 5])"),
        "MultiBinary": (library.MultiBinary(4), "MultiBinary(4)"),
        "Tuple of Discrete": (library.Tuple([one, one]), "Tuple(Discrete(3), Discrete(3))"),
        "Tuple": (
            library.Tuple([one, library.MultiBinary(2)]),
            "Tuple(Discrete(3), MultiBinary(2))",
        ),
        "Dict": (library.Dict({"a": one}), "Dict"),
    }
    for kind, (space, description) in kinds.items():
        assert spaces.kind(space) == kind
        assert spaces.describe(space) == description


def test_an_agent_that_does_not_fit_is_one_line_that_names_both_and_who_fits():
    box, discrete = gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Discrete(4)
    with pytest.raises(Mistake) as caught:
        spaces.require("q_learning", box, discrete)
    assert caught.value.message == (
        "q_learning needs Discrete or Tuple of Discrete observations and Discrete actions; "
        "got Box(3,) observations; try agent=ars, sb3/ppo, sb3/a2c or sb3/dqn"
    )
    with pytest.raises(Mistake) as caught:
        spaces.require("sb3/sac", discrete, discrete)
    assert "got Discrete(4) actions; try agent=q_learning, sb3/ppo" in caught.value.message


def test_needs_can_be_given_for_an_agent_that_is_not_listed():
    box, discrete = gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Discrete(4)
    needs = {"observations": ("Box",), "actions": ("Box",)}
    spaces.require("mine", box, box, **needs)
    with pytest.raises(Mistake) as caught:
        spaces.require("mine", gym.spaces.Tuple([box]), discrete, **needs)
    assert caught.value.message == (
        "mine needs Box observations and actions; "
        "got Tuple(Box(3,)) observations and Discrete(4) actions; try agent=random"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("agent=q_learning", "env=pendulum"), "got Box(3,) observations and Box(1,) actions"),
        (("agent=ars", "env=taxi"), "got Discrete(500) observations; try agent=q_learning"),
    ],
)
def test_it_is_one_line_and_exit_code_2_from_the_command_line(child, words, line):
    done = child(*words)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
