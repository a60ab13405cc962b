"""Sweeps as a user's processes, and what is left of them."""

import json
import os
import time
from pathlib import Path

import pytest

AGENT = f"agent={Path(__file__).parent / 'agents_of_sweeps.py'}:Fated"
SHORT = ["env=cartpole", "loop.max_episodes=3", "loop.eval_episodes=1"]


@pytest.fixture
def sweep(cli):
    """Run a sweep of short jobs in the folder `sweep`, two at a time, and wait for it."""

    def run(*words, **options):
        fixed = [AGENT, *SHORT, "hydra.sweep.dir=sweep", "hydra.launcher.n_jobs=2"]
        return cli("-m", *fixed, *words, **options)

    return run


def states(directory):
    """The state of each job's run.json, by the job's name."""
    found = sorted(Path(directory).glob("*/run.json"))
    return {path.parent.name: json.loads(path.read_text())["state"] for path in found}


def summary(result):
    """The last table's first line without the directory's name."""
    [line] = [line for line in result.stdout.splitlines() if " jobs: " in line]
    return line.partition(": ")[2]


def processes(folder):
    """The ids of all processes that work in `folder`: a sweep's jobs, and what serves them."""
    if not Path("/proc/self/cwd").exists():
        pytest.skip("no /proc to look for processes in")
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            cwd = os.readlink(entry / "cwd")
            zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if Path(cwd) == folder and not zombie:
            found.append(int(entry.name))
    return found


def wait_until(condition, seconds=60):
    """Wait until `condition()` is true, and return what it is."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return value
