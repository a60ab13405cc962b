"""How tests run the program: as a user's process, or within this one where that is enough."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import core_size

AGENTS = Path(__file__).parent / "sample_agents.py"


@pytest.fixture
def cli(tmp_path):
    """Run `python -m gym_loop WORDS` in an empty folder, as a user does, and wait for it."""

    def run(*words, cwd=tmp_path, environment=None, **options):
        command = [sys.executable, "-m", "gym_loop", *map(str, words)]
        env = {**os.environ, **(environment or {})}
        return subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, check=False, **options
        )

    return run


@pytest.fixture
def start(tmp_path):
    """Start `python -m gym_loop WORDS` in an empty folder; whatever still runs is killed."""
    started = []

    def run(*words, cwd=tmp_path, **options):
        command = [sys.executable, "-m", "gym_loop", *map(str, words)]
        process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """Launch a run within this process and return its directory."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides, directory="run"):
        from gym_loop.launch import launch

        launch([*map(str, overrides), f"hydra.run.dir={directory}"])
        return tmp_path / directory

    return run


def pytest_terminal_summary(terminalreporter):
    """Print how large the core is."""
    terminalreporter.write_line(core_size.summary())


def rows(directory, table="episodes.csv"):
    """The rows of a run's table as dicts, wall time aside."""
    with open(Path(directory) / table) as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
