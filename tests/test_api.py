"""Launching and reading from Python."""

import gc
import logging
import os
import random
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

import gym_loop
from tests.conftest import AGENTS

SCRIPT = """
import gym_loop


class Counter(gym_loop.BaseAgent):
    @staticmethod
    def get_default_parameters():
        return {"step": 1}

    def act(self, state, episode_num):
        return int(self.rng.integers(2))

    def memorize(self, last_ob, action, reward, done, ob):
        pass

    def update(self, episode_num):
        pass


"""


def process_state():
    """What a launch might leave changed in the process."""
    root = logging.getLogger()
    return {
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "logging": (root.handlers[:], root.level),
        "gc": (gc.get_threshold(), gc.get_freeze_count()),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tobytes(),
        "warnings": warnings.filters[:],
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "arguments": sys.argv,
    }


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_import_gym_loop_imports_nothing_but_itself():
    code = "import sys; before = {*sys.modules}; import gym_loop; print({*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    allowed = {"gym_loop", "typing", "importlib"}
    new = {name.partition(".")[0] for name in eval(done.stdout)}
    assert not [
        name for name in new if name not in allowed and not name.startswith("_")
    ] or new <= {
        *allowed,
        *sys.stdlib_module_names,
    }


def test_a_run_is_what_its_directory_says(here):
    run = gym_loop.run("env=cartpole", "loop.max_episodes=7", "loop.episodes_per_eval=5")
    assert (run.state, run.config["loop"]["max_episodes"]) == ("finished", 7)
    assert run.path.is_relative_to("outputs") or run.path.is_absolute()
    assert run.episodes["episode"].tolist() == list(range(7))
    assert run.episodes.dtype["terminated"].kind == "b"
    assert len(run.evaluations) == 20
    assert run.result == pytest.approx(run.evaluations["return"][-10:].mean())
    steps, values = run.metrics("train/return")
    assert steps.tolist() == run.episodes["steps"].tolist()
    assert values.tolist() == run.episodes["return"].tolist()
    assert gym_loop.Run(run.path).state == "finished"


def test_a_curve_that_is_not_there_names_the_nearest(here):
    run = gym_loop.run("env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=1")
    with pytest.raises(gym_loop.Mistake, match="did you mean 'train/return'"):
        run.metrics("train/retrun")


def test_a_launch_leaves_the_process_as_it_was(here):
    before = process_state()
    gym_loop.run("env=cartpole", "loop.max_episodes=2", directory="r")
    with pytest.raises(gym_loop.Mistake):
        gym_loop.run("env=cartpole", "loop.max_episode=2")
    assert process_state() == before


def test_a_mistake_is_the_command_lines_own_line(here, cli):
    with pytest.raises(gym_loop.Mistake) as mistake:
        gym_loop.run("env=cartpole", "loop.max_episode=2")
    told = cli("env=cartpole", "loop.max_episode=2").stderr
    assert str(mistake.value) == told.removeprefix("gym-loop: ").strip()
    assert not (here / "outputs").exists()


def test_what_an_agent_raises_is_raised_and_its_run_has_failed(here):
    with pytest.raises(ValueError, match="no idea"):
        gym_loop.run("env=cartpole", f"agent={AGENTS}:Raises", directory="r")
    assert gym_loop.Run("r").state == "failed"


def test_a_run_in_its_own_directory_is_returned_when_it_is_finished(here):
    first = gym_loop.run("env=cartpole", "loop.max_episodes=2", directory="r")
    again = gym_loop.run("env=cartpole", "loop.max_episodes=2", directory="r")
    assert again.episodes.tolist() == first.episodes.tolist()


def test_a_script_without_a_guard_sweeps_over_its_own_class(tmp_path):
    script = SCRIPT + (
        "runs = gym_loop.sweep('env=cartpole', 'agent.step=1,2', 'loop.max_episodes=2',\n"
        "                      'loop.eval_episodes=1', agent=Counter, directory='s')\n"
        "print(sorted((run.state, run.config['agent']['step']) for run in runs))\n"
    )
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["[('finished', 1), ('finished', 2)]"], done.stderr
