"""State of modules and classes, which no checkpoint holds, is warned of."""

import itertools
import json
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest

import gym_loop
from gym_loop.code.outside import MOST_BYTES, digest_of, modules

HELPER = """
import itertools
import random
import numpy as np

RNG = np.random.default_rng(3)
OWN = random.Random(3)
TABLE = np.zeros(3)
NUMBERS = itertools.count()

class Tally:
    def __init__(self):
        self.drawn, self.shown = 0, [0]

TALLY, IDLE = Tally(), Tally()

def counter():
    count = 0
    def counted():
        nonlocal count
        count += 1
    return counted

COUNTED, UNCOUNTED = counter(), counter()

def draw(before=[], idle=[]):
    next(NUMBERS)
    before.append(0)
    TALLY.shown[0] += 1
    COUNTED()
    draw.times += 1
    OWN.random()
    return RNG.random()

draw.times = draw.idle = 0
"""
AGENT = """
import helper_of_test_outside as helper
from gym_loop.agents import BaseAgent
from helper_of_test_outside import TABLE

CONSTANT, COUNT, SEEN = 3, 0, {"states": [0]}

class Mine(BaseAgent):
    games, names, counted = 0, ("a", "b"), staticmethod(helper.counter())

    def act(self, state, episode_num):
        global COUNT
        if self.parameters["outside"]:
            COUNT += 1
            helper.draw()
            self.counted()
            TABLE[0] += 1
            SEEN["states"].append(1)
        return 0

    def memorize(self, *transition):
        pass

    def update(self, episode_num):
        pass

    def end_episode(self, episode_num, truncated):
        type(self).games += self.parameters["outside"]
        if self.parameters["outside"]:
            type(self).later = episode_num

    @staticmethod
    def get_default_parameters():
        return {"outside": True}
"""
STATE = {
    *(
        "agent.py:COUNT",
        "agent.py:SEEN",
        "agent.py:TABLE",
        "agent.py:Mine.games",
        "agent.py:Mine.later",
        "agent.py:Mine.counted.count",
    ),
    *(f"helper_of_test_outside.py:{name}" for name in ("RNG", "OWN", "TABLE", "NUMBERS", "TALLY")),
    *(
        f"helper_of_test_outside.py:{each}"
        for each in ("COUNTED.count", "draw.before", "draw.times")
    ),
}


@pytest.fixture
def play(tmp_path, monkeypatch):
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "helper_of_test_outside.py").write_text(HELPER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(*words):
        words = ("agent=agent.py:Mine", "env=cartpole", "loop.max_episodes=3", *words)
        made = gym_loop.run(*words, "loop.eval_episodes=1", directory=tmp_path / "run")
        return json.loads((made.path / "run.json").read_text())["warnings"]

    return run


def test_what_has_changed_outside_agent_and_environment_is_named_once(play, monkeypatch):
    monkeypatch.setattr("gym_loop.code.outside.NAMED", 20)
    [warning] = play("loop.episodes_per_checkpoint=1", "loop.time_per_checkpoint=0")
    assert "in no checkpoint" in warning
    named = set(warning.partition("checkpoint: ")[2].partition(". A resumed")[0].split(", "))
    assert named == STATE


def test_a_run_that_keeps_its_state_in_the_agent_is_not_warned(play):
    assert play("agent.outside=false") == []


def test_many_variables_are_counted_and_the_first_are_named(play):
    [warning] = play()
    assert " and 9 more." in warning


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        ([1, [2]], [[1], 2]),
        ({"a": 1}, {"a": 2}),
        (np.zeros(2), np.zeros((2, 1))),
        (np.float32(1), np.float64(1)),
        ("1", b"1"),
        pytest.param(10**5000, 10**5000 + 1, id="more digits than Python makes of a number"),
        (("ab", "c"), ("a", "bc")),
        (Counter("ab"), Counter("abb")),
        (defaultdict(int, a=1), defaultdict(int, a=2)),
        (itertools.count(1), itertools.count(2)),
        (SimpleNamespace(a=1), SimpleNamespace(a=2)),
    ],
)
def test_different_data_has_different_digests(one, other):
    assert digest_of(one) != digest_of(other)
    assert digest_of(one) == digest_of(one) is not None


@pytest.mark.parametrize(
    "value", [print, object(), np.zeros(MOST_BYTES), [0] * 20_000, np.array([object()])]
)
def test_what_is_large_or_no_plain_data_is_not_looked_at(value):
    assert digest_of(value) is None


def test_equal_sets_have_equal_digests_in_whatever_order_they_were_filled():
    one, other = set(), set()
    for number in range(100):
        one.add(str(number))
        other.add(str(99 - number))
    assert digest_of(one) == digest_of(other) != digest_of({*other, "100"})


def test_data_that_contains_itself_is_not_looked_at():
    circle = []
    circle.append(circle)
    assert digest_of(circle) is None


ODD = """
class Kind(type):
    def __getattribute__(cls, name):
        if name in ("__module__", "__dict__"):
            raise RuntimeError("not yet")
        return type.__getattribute__(cls, name)

class Lazy(metaclass=Kind):
    pass

made = eval("lambda x: x", {})
"""


def test_functions_without_a_module_and_classes_that_raise_end_no_run(play, tmp_path):
    with open(tmp_path / "helper_of_test_outside.py", "a") as file:
        file.write(ODD)
    assert play("loop.max_episodes=1", "agent.outside=false") == []


def test_an_agent_of_no_module_is_not_looked_at():
    kind = type("Nowhere", (), {"__module__": None})
    loop = type("Loop", (), {"agent": kind(), "env": kind(), "eval_env": None})()
    assert __name__ in modules(loop)
