"""An agent's pickle: whole, of the same types, and written without a copy of its arrays."""

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


MEASURE = """
import resource, sys
import numpy as np
from pathlib import Path
from gym_loop.agents import pickled

content = {"memory": np.ones(12_500_000)}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pickled.dump(content, Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes of memory are Linux's unit")
def test_writing_takes_a_tenth_of_an_agents_memory(tmp_path):
    words = [sys.executable, "-c", MEASURE, str(tmp_path / "file")]
    grown = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert os.path.getsize(tmp_path / "file") > 100e6
    assert grown * 1024 < 10e6
