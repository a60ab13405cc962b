"""An agent's pickle: whole, of the same types, and written without a copy of what is large."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from gym_loop.agents import pickled


@pytest.mark.parametrize(
    "array",
    [
        np.arange(1_500_000.0).reshape(3, 500_000),
        np.asfortranarray(np.arange(1_500_000.0).reshape(3, 500_000)),
        np.arange(3_000_000.0)[::2],
        np.arange(1_500_000, dtype=">i8"),
        np.zeros((3, 0)),
        np.arange(1_500_000.0).astype("M8[s]"),
        np.full(1_000_000, None),
    ],
    ids=["plain", "columns first", "strided", "foreign", "empty", "dates", "objects"],
)
def test_arrays_come_back_as_they_are(tmp_path, array):
    content = {"first": array, "again": array, "rest": [1, "a"]}
    pickled.dump(content, tmp_path / "file")
    back = pickled.load(tmp_path / "file")
    assert pickle.loads((tmp_path / "file").read_bytes()).keys() == content.keys()
    assert back["first"] is back["again"]
    assert back["first"].dtype == array.dtype
    assert back["first"].shape == array.shape
    assert back["first"].flags.f_contiguous == pickle.loads(pickle.dumps(array)).flags.f_contiguous
    assert back["first"].flags.writeable
    assert np.array_equal(back["first"], array)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason='needs the extra: pip install "gym-loop[sb3]"')


TENSORS = {
    "plain": lambda torch: torch.arange(3e6).view(3, 1_000_000),
    "half": lambda torch: torch.arange(3e6).to(torch.bfloat16),
    "flags": lambda torch: torch.arange(6_000_000) % 3 == 0,
    "learnt": lambda torch: torch.ones(2_000_000, requires_grad=True),
    "columns first": lambda torch: torch.arange(3e6).view(3, 1_000_000).t(),
    "part": lambda torch: torch.arange(6e6)[1_000_000:3_000_000],
    "complex": lambda torch: torch.ones(2_000_000, dtype=torch.complex64).conj(),
    "sparse": lambda torch: torch.ones(2_000, 2_000).to_sparse(),
    "small": lambda torch: torch.arange(3),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_come_back_as_they_are(tmp_path, torch, kind):
    value = TENSORS[kind](torch)
    pickled.dump({"first": value, "again": value}, tmp_path / "file")
    back = pickled.load(tmp_path / "file")
    assert back["first"] is back["again"]
    now = back["first"]
    assert (now.dtype, now.shape, now.layout) == (value.dtype, value.shape, value.layout)
    assert now.requires_grad == value.requires_grad
    assert torch.equal(now.to_dense(), value.to_dense())


def test_a_module_comes_back_with_its_tied_weights(tmp_path, torch):
    layers = torch.nn.ModuleList([torch.nn.Linear(1200, 1200) for _ in range(2)])
    layers[1].weight = layers[0].weight
    pickled.dump(layers, tmp_path / "file")
    back = pickled.load(tmp_path / "file")
    assert back[0].weight is back[1].weight
    assert type(back[0].weight) is torch.nn.Parameter
    assert back[0].weight.requires_grad
    assert all(
        torch.equal(b, v) for b, v in zip(back.parameters(), layers.parameters(), strict=True)
    )


MEASURE = """
import importlib, resource, sys
from pathlib import Path
from gym_loop.agents import pickled

library = importlib.import_module(sys.argv[2])
content = {"memory": library.ones(12_500_000, dtype=library.float64)}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pickled.dump(content, Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes of memory are Linux's unit")
@pytest.mark.parametrize("library", ["numpy", pytest.param("torch", marks=pytest.mark.slow)])
def test_writing_takes_a_tenth_of_an_agents_memory(tmp_path, library):
    pytest.importorskip(library, reason='needs the extra: pip install "gym-loop[sb3]"')
    words = [sys.executable, "-c", MEASURE, str(tmp_path / "file"), library]
    grown = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert os.path.getsize(tmp_path / "file") > 100e6
    assert grown * 1024 < 10e6


def in_one(flat):
    return {"whole": flat, "first": flat[:4], "rest": flat[4:].reshape(2, -1)}


VIEWS = {
    "of one that is there": lambda: in_one(np.zeros(10)),
    "that come first": lambda: dict(reversed(in_one(np.zeros(10)).items())),
    "that overlap": lambda: {"a": (flat := np.zeros(9))[:6], "b": flat[5:1:-1]},
    "of columns": lambda: {"a": (flat := np.asfortranarray(np.zeros((3, 4)))), "b": flat[1]},
    "of a large one": lambda: in_one(np.zeros(1_500_000)),
    "of records": lambda: {"a": (one := np.zeros(3, [("x", "f4"), ("y", "i8")])), "b": one["y"]},
    "that do not change": lambda: {
        "a": (flat := np.zeros(3)),
        "b": np.broadcast_to(flat, (2, 3)),
    },
}


@pytest.mark.parametrize("kind", VIEWS)
def test_a_change_of_an_array_is_seen_in_those_that_share_its_memory(kind):
    content = VIEWS[kind]()
    once = pickle.loads(pickled.dumps(content))
    again = pickle.loads(pickled.dumps(once))
    for each in (content, once, again):
        for array in each.values():
            if array.flags.writeable:
                array.ravel()[...] = 1  # a copy, where it has no room for them
                array.view()[0] = 2
    for name, array in content.items():
        for back in (once, again):
            assert np.array_equal(back[name], array)
            assert back[name].flags.writeable == array.flags.writeable
    assert len(pickled.dumps(again)) < len(pickled.dumps(content)) + 100  # it does not grow


def test_arrays_that_share_no_byte_keep_nothing_of_each_other():
    rows = [np.zeros((1_000, 8))[i] for i in range(2)]
    flat = np.zeros((1_000, 8))
    assert len(pickled.dumps([flat[0], flat[1]])) == len(pickled.dumps(rows))
