"""`gym-loop resume SWEEP_DIR`."""

import pytest

from gym_loop.mistake import Mistake
from gym_loop.sweeps import resume
from gym_loop.sweeps.resume import replaced
from tests.sweeps.conftest import states, summary


def test_a_resumed_sweep_completes_all_that_was_ever_asked_for(sweep, cli, tmp_path):
    sweep("seed=0,1")
    sweep("agent.fate=none", "seed=4")  # refused: another fixed override
    sweep("seed=4")

    result = cli("resume", tmp_path / "sweep", "seed=range(5,7)", cwd=tmp_path.parent)

    assert result.returncode == 0, result.stderr
    assert summary(result).endswith("5 jobs: 2 done, 3 skipped, 0 failed")
    assert list(states(tmp_path / "sweep")) == [f"seed={n}" for n in (0, 1, 4, 5, 6)]


def test_what_is_no_sweep_is_refused(tmp_path):
    assert not resume.is_sweep(tmp_path)
    with pytest.raises(Mistake, match="2"):
        resume.resume(tmp_path, [])


def test_new_overrides_take_the_place_of_known_ones():
    known = ["agent=random", "seed=range(4)", "hydra/launcher=ray", "hydra.launcher.init=null"]

    assert replaced(known, ["seed=9", "env=taxi"]) == [
        *("agent=random", "seed=9", "hydra/launcher=ray", "hydra.launcher.init=null", "env=taxi")
    ]
    assert replaced(known, ["hydra/launcher=pool"])[2:] == ["hydra/launcher=pool"]
