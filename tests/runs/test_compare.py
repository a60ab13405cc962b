"""Comparing runs: what is equal is said to be, and every doubt counts as different."""

import collections
import functools
import itertools
import pickle
import random
import shutil
import threading

import gymnasium
import numpy as np
import pytest

from gym_loop.runs import compare
from tests.conftest import AGENTS


class Thing:
    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return True  # which is not to be believed

    __hash__ = None


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Child(Slotted):
    def __init__(self, value, family):
        super().__init__(value)
        self.family = family


def family(values):
    found = set()
    found |= {Child(value, found) for value in values}
    return found


class Named(dict):
    name = None


def named(name):
    made = Named(a=1)
    made.name = name
    return made


def closure(value):
    return lambda: value


class Keyed(Thing):
    def __hash__(self):
        return 1


def ring(value):
    one, other = Thing(1), Thing(value)
    one.other, other.other = other, one
    return one


def space(draws):
    made = gymnasium.spaces.Dict(a=gymnasium.spaces.Box(0, 1, (2,)), b=gymnasium.spaces.Discrete(3))
    made.seed(0)
    for _ in range(draws):
        made.sample()
    return made


def masked(*mask):
    return np.ma.array([1, 2], mask=mask)


MAKERS = {
    "numbers": (float, 1.5, 2.5),
    "the sign of zero": (float, 0.0, -0.0),
    "texts": (str, "a", "b"),
    "pickles in bytes": (pickle.dumps, {"a": 1}, {"a": 2}),
    "arrays": (np.array, [1.0, np.nan], [1.0, 2.0]),
    "types of arrays": (functools.partial(np.zeros, 2), "f4", "f8"),
    "arrays of objects": (functools.partial(np.array, dtype=object), [[1], 2], [[1], 3]),
    "masked arrays": (masked, 0, 1),
    "attributes, whatever `==` says": (Thing, 1, 2),
    "slots": (Slotted, 1, 2),
    "attributes of a dict": (named, "a", "b"),
    "closures": (closure, 1, 2),
    "circles": (ring, 1, 2),
    "spaces": (space, 1, 2),
    "iterators": (itertools.count, 1, 2),
    "generators": (np.random.default_rng, 1, 2),
    "Python's own generator": (random.Random, 1, 2),
    "lengths of deques": (functools.partial(collections.deque, [1]), 3, 4),
    "factories of dicts": (collections.defaultdict, int, float),
    "orders of keys": (dict.fromkeys, "ab", "ba"),
    "keys that are tuples": (lambda n: {(1, n): 2}, 1, 2),
    "sets": (set, "ab", "ac"),
    "sets of objects": (lambda values: {Slotted(value) for value in values}, "aba", "abb"),
    "sets of objects that equal each other": (lambda value: {Keyed(value)}, 1, 2),
    "sets of objects that refer to each other": (family, "aba", "abb"),
    "partial functions": (functools.partial(functools.partial, max), 1, 2),
}


@pytest.mark.parametrize(("make", "this", "that"), MAKERS.values(), ids=MAKERS.keys())
def test_values_made_alike_are_equal_and_others_differ(make, this, that):
    if make is masked:
        this, that = (0, this), (0, that)
        make = lambda pair: masked(*pair)  # noqa: E731
    assert list(compare.value_differences(make(this), make(this), "x")) == []
    found = list(compare.value_differences(make(this), make(that), "x"))
    assert found
    assert all(line.startswith("x") for line in found)


def test_attributes_that_compare_oddly_are_compared_by_content():
    one = {"a": np.array([1.0, np.nan]), "b": [float("nan"), threading.Event], "c": {1: (2, 3)}}
    assert list(compare.value_differences(one, dict(one), "")) == []
    two = {**one, "a": np.array([1.0, 2.0]), "c": {1: (2, 4)}}
    found = list(compare.value_differences(one, two, ""))
    assert found == ["a", "c.1[1] (3 and 4)"]


def test_what_cannot_be_compared_is_named_and_differs():
    one, two = ({"lock": threading.Lock(), "rest": n} for n in (1, 1))
    [line] = compare.value_differences(one, two, "")
    assert line.startswith("lock: cannot be compared (TypeError")


def test_modules_of_torch_are_compared_to_their_last_attribute():
    torch = pytest.importorskip("torch", reason='needs the extra: pip install "gym-loop[sb3]"')

    def net(seed, count=0):
        torch.manual_seed(seed)
        made = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        made[1].count = count
        return made

    def optimizer(rate):
        parameters = net(0).parameters()
        return torch.optim.Adam(parameters, lr=rate)

    half = functools.partial(torch.full, (3,), dtype=torch.bfloat16)
    pairs = [(net, 0, 1), (functools.partial(net, 0), 1, 2), (optimizer, 0.1, 0.2), (half, 1, 2)]
    for make, this, that in pairs:
        assert list(compare.value_differences(make(this), make(this), "x")) == []
        assert list(compare.value_differences(make(this), make(that), "x"))


@pytest.mark.slow
def test_compiled_modules_of_torch_are_compared_by_what_was_compiled():
    torch = pytest.importorskip("torch", reason='needs the extra: pip install "gym-loop[sb3]"')

    def compiled(value):
        made = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(made.weight, value)
        torch.nn.init.constant_(made.bias, 0)
        return torch.compile(made)

    assert list(compare.value_differences(compiled(1), compiled(1), "x")) == []
    assert list(compare.value_differences(compiled(1), compiled(2), "x"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's directory, of which tests take copies."""
    import subprocess
    import sys

    directory = tmp_path_factory.mktemp("compared") / "run"
    words = (f"agent={AGENTS}:Plain", "env=cartpole", "loop.max_episodes=4", "loop.logdir=curves")
    subprocess.run(
        [sys.executable, "-m", "gym_loop", *words, f"hydra.run.dir={directory}"],
        check=True,
        capture_output=True,
        cwd=directory.parent,
    )
    return directory


def damage(path):
    path.write_bytes(path.read_bytes()[:40] + b"\xff\xfe" + path.read_bytes()[42:])


def first(pattern):
    return lambda directory: sorted(directory.glob(pattern))[0]


DAMAGED = {
    "no table": (lambda d: (d / "episodes.csv").unlink(), "episodes"),
    "a table that is no text": (lambda d: damage(d / "episodes.csv"), "episodes: cannot be comp"),
    "a column more": (
        lambda d: (d / "evaluations.csv").write_text(
            (d / "evaluations.csv").read_text().replace("\n", ",1\n")
        ),
        "evaluations.csv: columns",
    ),
    "no checkpoint": (lambda d: shutil.rmtree(d / "checkpoints"), "checkpoints: the newest is epi"),
    "an agent that is no pickle": (
        lambda d: damage(d / "checkpoints" / "latest" / "agent" / "agent.pkl"),
        "agent checkpoint: agent.pkl differs",
    ),
    "no streams": (lambda d: (d / "checkpoints/latest/loop.pkl").unlink(), "checkpoint: loop.pkl"),
    "no points": (lambda d: shutil.rmtree(d / "curves"), "TensorBoard curves"),
    "a trace that is damaged": (lambda d: damage(first("traces/*.npz")(d)), "traces: cannot be"),
    "no traces": (lambda d: shutil.rmtree(d / "traces"), "traces"),
}


@pytest.mark.parametrize(("harm", "said"), DAMAGED.values(), ids=DAMAGED.keys())
def test_what_is_absent_or_unreadable_differs(run, tmp_path, harm, said):
    shutil.copytree(run, tmp_path / "copy", symlinks=True)
    assert list(compare.differences(run, tmp_path / "copy")) == []
    harm(tmp_path / "copy")
    found = list(compare.differences(run, tmp_path / "copy"))
    assert any(said in line for line in found), found


def test_checkpoints_are_compared_whatever_the_links_to_them_say(run, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(run, tmp_path / name, symlinks=True)
    (tmp_path / "one/checkpoints/latest").unlink()
    assert list(compare.differences(tmp_path / "one", tmp_path / "two")) == []
    for name in ("one", "two"):
        for path in (tmp_path / name / "checkpoints").glob("episode-*"):
            shutil.rmtree(path)
    [line] = compare.differences(tmp_path / "one", tmp_path / "two")
    assert line == "checkpoints: the newest is none and none"


def test_a_file_of_the_users_code_is_compared_and_logs_and_films_are_not(run, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(run, tmp_path / name, symlinks=True)
        for file in ("gym_loop.log", "episode_records/episode-000000.mp4", "wandb/a", "curves/b"):
            (tmp_path / name / file).parent.mkdir(exist_ok=True)
            (tmp_path / name / file).write_text(name)
        (tmp_path / name / "notes.txt").write_text("the same")
    assert list(compare.differences(tmp_path / "one", tmp_path / "two")) == []
    (tmp_path / "one/notes.txt").write_text("changed!")
    (tmp_path / "two/more").mkdir()
    (tmp_path / "two/more/notes.txt").touch()
    assert list(compare.differences(tmp_path / "one", tmp_path / "two")) == [
        "more/notes.txt is in one of them only",
        "notes.txt, which code of yours has written",
    ]


@pytest.mark.parametrize("absent", ["episodes.csv", "evaluations.csv", "checkpoints", "traces"])
def test_what_neither_run_has_left_proves_nothing(run, tmp_path, absent):
    for name in ("one", "two"):
        shutil.copytree(run, tmp_path / name, symlinks=True)
        path = tmp_path / name / absent
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    [line] = compare.differences(tmp_path / "one", tmp_path / "two")
    assert "neither run has left any" in line
