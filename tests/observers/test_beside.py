"""A checkpoint that a child writes beside training is as good as one written in the loop."""

import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest

from gym_loop.__main__ import dispatch
from gym_loop.observers import beside
from gym_loop.runs import checkpoints, manifest
from tests.conftest import rows
from tests.sweeps.conftest import wait_until

# What `save` does depends on the process that it is called in.
AGENT = """
import errno, os, signal, time
from pathlib import Path
import numpy as np
from gym_loop.agents import RandomAgent
from gym_loop.observers import checkpoints

checkpoints.MAX_SHARE_OF_TIME = 1e9  # a test does not wait for the next one
PARENT = os.getpid()

class Large(RandomAgent):
    @staticmethod
    def get_default_parameters():
        return {"child": "writes", "sleep": 0.02}

    def __init__(self, **given):
        super().__init__(**given)
        self.memory, self.steps = np.zeros(5_000_000), 0
        if self.parameters["child"] == "leaves no word":
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    def update(self, episode_num):
        self.memory[self.steps] = self.rng.random()
        self.steps += 1

    def end_episode(self, episode_num, truncated):
        time.sleep(self.parameters["sleep"])

    def save(self, directory):
        if os.getpid() != PARENT:
            Path("children").open("a").write(f"{os.getpid()}\\n")
            fate = self.parameters["child"]
            if fate == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if fate == "leaves no word":
                os._exit(0)
            if fate == "raises":
                raise ValueError("no idea how")
            if fate == "fills the disk":
                raise OSError(errno.ENOSPC, "No space left on device")
            if fate == "hangs" or (fate == "hangs once" and not Path("hung").exists()):
                Path("hung").touch()
                time.sleep(1000)
        super().save(directory)
"""
WORDS = ("env=cartpole", "loop.eval_episodes=1", "loop.time_per_checkpoint=0")


@pytest.fixture(autouse=True)
def large_agent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not beside.is_possible():
        pytest.skip("needs Linux, and no library that does not survive a fork")
    Path("agent.py").write_text(AGENT)


def large(child="writes", episodes=40, **more):
    more = [f"agent.{key}={value}" for key, value in more.items()]
    own = ("agent=agent.py:Large", f"agent.child='{child}'", *more)
    return (*own, *WORDS, f"loop.max_episodes={episodes}")


def children():
    """The ids of the processes that have saved the agent beside training."""
    path = Path("children")
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def leftovers(run):
    return [path.name for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]


def newest(run):
    return next(checkpoints.sound(run / "checkpoints"), None)


@pytest.mark.slow
def test_a_run_goes_on_exactly_from_what_a_child_has_written(alone, start, tmp_path):
    whole = alone(*large(sleep=0), directory="whole")
    Path("children").unlink(missing_ok=True)
    process = start(*large(), "hydra.run.dir=part")
    part = tmp_path / "part"
    wait_until(lambda: (path := newest(part)) and checkpoints.episode(path) > 1)
    process.kill()
    process.wait()
    assert children()
    begun = checkpoints.episode(newest(part))
    assert begun < 40
    dispatch("resume", "part")
    assert rows(part) == rows(whole)
    state = json.loads((part / "run.json").read_text())
    assert (state["state"], state["warnings"]) == ("finished", [])
    saved = {run: newest(run) / "agent" / "agent.pkl" for run in (whole, part)}
    import pickle

    agents = [pickle.loads(path.read_bytes()) for path in saved.values()]
    assert (agents[0]["memory"] == agents[1]["memory"]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fate", "told"),
    [
        ("is killed", "killed by SIGKILL"),
        ("raises", "it raised an error"),
        ("fills the disk", os.strerror(errno.ENOSPC)),
        ("leaves no word", "nobody knows how it ended"),
    ],
)
def test_a_child_that_fails_costs_a_warning_and_the_loop_writes_again(alone, fate, told):
    run = alone(*large(fate, episodes=12), directory="run")
    assert len(children()) == 1
    [warning] = manifest.read(run)["warnings"]
    assert told in warning
    assert leftovers(run) == []
    names = checkpoints.names(run / "checkpoints")
    assert len(names) == 2
    assert all(checkpoints.load_state(run / "checkpoints" / name) for name in names)
    assert checkpoints.load_state(run / "checkpoints" / "episode-000012")["episodes"] == 12


@pytest.mark.slow
def test_a_child_that_hangs_is_killed(monkeypatch, alone, as_a_child, tmp_path):
    from gym_loop.observers import checkpoints as writing

    monkeypatch.setattr(writing, "PATIENCE", (0.2, 0.0))
    words = (*large("hangs", episodes=30, sleep=0.05), "hydra.run.dir=run")
    assert as_a_child(words, tmp_path).returncode == 0
    [child] = children()
    assert not Path(f"/proc/{child}").exists()
    [warning] = manifest.read(tmp_path / "run")["warnings"]
    assert "it took more than" in warning
    assert leftovers(tmp_path / "run") == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_during_the_childs_work_leaves_no_child_and_no_half(start, tmp_path, number):
    process = start(*large("hangs once", episodes=100_000), "hydra.run.dir=run")
    run = tmp_path / "run"
    [child] = wait_until(children)
    process.send_signal(number)
    process.wait(30)
    wait_until(lambda: not Path(f"/proc/{child}").exists(), seconds=5)
    played = len(rows(run))
    if number == signal.SIGTERM:  # the last one is written in the loop
        assert process.returncode == 128 + number
        assert manifest.read(run)["state"] == "stopped"
        assert checkpoints.episode(newest(run)) == played
        assert leftovers(run) == []
    else:
        assert checkpoints.episode(newest(run)) == 1
        assert len(leftovers(run)) == 1
    dispatch("resume", "run", f"loop.max_episodes={played + 5}")
    assert [row["episode"] for row in rows(run)] == [str(n) for n in range(played + 5)]
    assert leftovers(run) == []


@pytest.mark.slow
def test_the_last_checkpoint_is_there_when_a_run_ends_and_nothing_of_a_child_is_left(alone):
    run = alone(*large(episodes=15), directory="run")
    assert checkpoints.episode(newest(run)) == 15
    assert os.readlink(run / "checkpoints" / "latest") == "episode-000015"
    assert len(checkpoints.names(run / "checkpoints")) == 2
    assert leftovers(run) == []
    assert not any(Path(f"/proc/{child}").exists() for child in children())


@pytest.mark.slow
def test_the_best_checkpoint_stays_until_a_better_one_is_on_the_disk(start, tmp_path):
    words = (*large(episodes=100_000), "loop.episodes_per_eval=3")
    process = start(*words, "hydra.run.dir=run")
    folder = tmp_path / "run" / "checkpoints"
    seen, end = 0, time.monotonic() + 4
    while time.monotonic() < end or not seen:
        if (path := newest(tmp_path / "run")) is None:
            continue
        state = checkpoints.read_state(path) or {"observers": {"checkpoints": {}}}
        best = state["observers"]["checkpoints"].get("best_name")
        if best and newest(tmp_path / "run") == path:  # none has replaced it meanwhile
            assert checkpoints.read_state(folder / best)
            seen += 1
    process.kill()


def test_small_agents_are_written_in_the_loop(launch, monkeypatch):
    monkeypatch.setattr(os, "fork", None)
    run = launch("agent=random", *WORDS, "loop.max_episodes=20")
    assert checkpoints.episode(newest(run)) == 20


def test_a_gpu_or_a_library_with_threads_of_its_own_forbids_a_child(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jax", sys)
    assert not beside.is_possible()
