"""Sweeps on engines, through the same directory."""

import json
import os
import signal

import pytest

from tests.conftest import rows
from tests.sweeps.conftest import AGENT, SHORT, states, wait_until


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_preempted_job_is_requeued_and_ends_as_an_undisturbed_one(start, sweep, tmp_path, number):
    pytest.importorskip("submitit", reason='needs the extra: pip install "gym-loop[slurm]"')
    words = ["seed=0,1", "loop.max_episodes=20"]
    slurm = ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.sweep.dir=preempted"]
    process = start("-m", AGENT, *SHORT, *words, "agent.pause=0.2", *slurm)
    job = tmp_path / "preempted" / "seed=0"
    wait_until((job / "episodes.csv").exists)

    os.kill(json.loads((job / "run.json").read_text())["pid"], number)

    out, _ = process.communicate()
    assert process.returncode == 0, out
    assert "2 done" in out
    assert json.loads((job / "run.json").read_text())["launches"] == 2
    sweep(*words)
    for name in states(tmp_path / "sweep"):
        assert rows(tmp_path / "preempted" / name) == rows(tmp_path / "sweep" / name)


@pytest.mark.slow
def test_ray_starts_a_killed_job_again_and_one_that_always_dies_costs_only_itself(cli, tmp_path):
    pytest.importorskip("ray", reason='needs the extra: pip install "gym-loop[ray]"')
    ray = ["hydra/launcher=ray", "hydra.launcher.init.address=null", "hydra.sweep.dir=sweep"]
    retries = "hydra.launcher.remote.max_retries=1"

    result = cli("-m", AGENT, *SHORT, "agent.fate=a,kill,raise", *ray, retries)

    assert result.returncode == 1
    assert "3 jobs: 1 done, 0 skipped, 2 failed" in result.stdout
    assert "WorkerCrashedError" in result.stdout
    assert "no idea what to do" in result.stdout
    killed = json.loads((tmp_path / "sweep/agent.fate=kill/run.json").read_text())
    assert killed["launches"] == 2
