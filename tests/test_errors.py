"""What is told of an exception: in a bounded line, whatever its `str` does."""

import pickle
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from gym_loop import errors
from gym_loop.agents import RandomAgent
from gym_loop.checks import config, preflight, returned, running
from gym_loop.mistake import LONGEST, Failure, Mistake, installing, text_of
from gym_loop.observers import environments
from gym_loop.observers.checkpoints import save_agent
from gym_loop.testing.shared import called
from gym_loop.vector.batches import stack
from tests.sample_envs import Counter


class Mute(ValueError, TypeError):
    def __str__(self):
        raise RuntimeError("not a word")


class Refuses(RandomAgent):
    """Cannot be pickled, nor be an observation, nor be made with any parameter."""

    def __reduce__(self):
        raise Mute

    @staticmethod
    def check_parameters(parameters):
        raise Mute

    def __array__(self, *arguments, **keywords):
        raise Mute


def refuses():
    raise Mute


def run_out_of(function, *arguments):
    with pytest.raises((Mistake, Failure, AssertionError)) as caught:
        function(*arguments)
    return str(caught.value)


def saved(tmp_path):
    agent = RandomAgent(Counter.observation_space, Counter.action_space)
    agent.part = object.__new__(Refuses)
    return run_out_of(save_agent, agent, tmp_path)


def played():
    env = Counter()
    episode = SimpleNamespace(actions=[7], rewards=[], env=env, number=3)
    playing = {"episode": episode, "action": 7, "agent": env}
    return running.bad_action(Mute(), playing)


SAID = {
    "agent.save": saved,
    "bad action": lambda _: played(),
    "check_parameters": lambda _: run_out_of(
        config.check_range, OmegaConf.create({"agent": {}}), "agent", Refuses, {}
    ),
    "contract": lambda _: run_out_of(called, "act()", refuses),
    "observations": lambda _: run_out_of(
        stack, [object.__new__(Refuses)], Counter.observation_space
    ),
    "preflight": lambda _: preflight.asserted(AssertionError(Mute())),
    "place": lambda _: errors.with_place(Mute()),
}


@pytest.mark.parametrize("said", SAID)
def test_an_exception_whose_text_raises_is_told_of_by_its_type_or_not_at_all(said, tmp_path):
    assert "not a word" not in SAID[said](tmp_path)


def test_an_exception_whose_text_raises_is_no_known_mistake():
    assert returned.wrong_count(Mute(), "step()") is None
    assert returned.wrong_flag(Mute(), {}) is None
    assert installing(Mute()) == ""


def test_an_environment_that_does_not_come_back_and_cannot_say_why_is_named(caplog):
    pickled = pickle.dumps(Comes())
    assert environments.restore((pickled, {}, {}), "training") is None
    assert "does not come back from its checkpoint (Mute)" in caplog.text


class Comes:
    def __reduce__(self):
        return refuses, ()


LONG = "x" * 3_000_000


@pytest.mark.parametrize(
    "said",
    [
        lambda: Mistake(LONG).message,
        lambda: text_of(ValueError(LONG)),
        lambda: errors.message(ValueError(LONG)),
        lambda: errors.message(Failure(f"a\n{LONG}")),
        lambda: errors.in_words(ValueError(f"a\n{LONG}")),
        lambda: errors.with_place(ValueError(LONG)),
    ],
)
def test_a_line_is_cut_where_it_is_longer_than_anybody_reads(said):
    assert LONGEST < max(map(len, said().split("\n"))) < LONGEST + 100
