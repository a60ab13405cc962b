"""Jobs on the GPUs of this machine, which are made up: which they get, and how many at a time."""

import json
import os
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from gym_loop.mistake import Mistake
from gym_loop.sweeps import gpus
from gym_loop.sweeps.gpus import Slots, chosen
from tests.sweeps.conftest import SHORT, processes, states, wait_until

AGENT = f"agent={Path(__file__).parent / 'agents_on_gpus.py'}:OnGPU"
NVML = """
class NVMLError(Exception): pass
def nvmlInit():
    if COUNT is None: raise NVMLError("no driver")
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return COUNT
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Make this a machine with so many GPUs; None: one whose driver cannot be asked."""
    slots = tempfile.TemporaryDirectory()  # with a path that is short enough for a socket
    (tmp_path / "nvml").mkdir()
    (tmp_path / "notes").mkdir()
    paths = str(tmp_path / "nvml"), os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("TMPDIR", slots.name)
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "nvml"))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)

    def make(count):
        (tmp_path / "nvml" / "pynvml.py").write_text(f"COUNT = {count}\n{NVML}")

    yield make
    slots.cleanup()


@pytest.mark.parametrize(
    ("asked", "count", "found"),
    [
        (None, 2, []),
        ("auto", 3, ["0", "1", "2"]),
        ("auto", None, []),
        ([1, 0], 2, ["1", "0"]),
        ([7], None, ["7"]),  # taken as it is
        (["GPU-ab12", 0], 1, ["GPU-ab12", "0"]),
    ],
)
def test_gpus_are_those_that_are_named_or_there(machine, asked, count, found):
    machine(count)
    assert chosen(asked) == found


def test_auto_keeps_to_what_this_process_sees(machine, monkeypatch):
    machine(4)
    monkeypatch.setenv(gpus.VISIBLE, "3,1")
    assert chosen("auto") == ["3", "1"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([7], "gpus=[7]: there is no GPU 7; this machine has 0, 1"),
        ([0, 0], "jobs_per_gpu=2"),
        ([], "expected null, auto or a list"),
        ("all", "expected null, auto or a list"),
        (2, "expected null, auto or a list"),
        ([-1], "not -1"),
        ([True], "not True"),
    ],
)
def test_what_names_no_gpu_is_a_mistake(machine, asked, told):
    machine(2)
    with pytest.raises(Mistake) as refusal:
        chosen(asked)
    assert told in refusal.value.message


def test_auto_without_nvidia_ml_py_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(Mistake) as refusal:
        chosen("auto")
    assert 'pip install "gym-loop[gpu]"' in refusal.value.message
    assert chosen([5]) == ["5"]


def test_slots_are_spread_and_free_again_when_their_lock_is_closed(machine):
    slots = Slots(["0", "1"], 2)
    taken = [slots.take() for _ in range(4)]
    assert [slot[0] for slot in taken] == ["0", "1", "0", "1"]
    assert Slots(["1"], 2).take() is None  # of another launch
    taken[1][1].close()
    assert slots.take()[0] == "1"
    for slot in taken:
        slot[1].close()


@pytest.mark.slow
def test_a_mistake_in_the_gpus_is_one_line_and_leaves_nothing(cli, machine, tmp_path):
    machine(2)
    before = sorted(os.listdir(tmp_path))
    for word in ("hydra.launcher.gpus=[7]", "hydra.launcher.jobs_per_gpu=0"):
        done = cli("-m", AGENT, *SHORT, "seed=0,1", word, "hydra.sweep.dir=sweep")
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert word.partition(".")[2] in line
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.slow
def test_each_job_sees_one_gpu_alone_from_the_start(cli, machine, tmp_path):
    machine(None)
    words = ["-m", AGENT, *SHORT, "seed=range(6)", "agent.pause=0.1", "hydra.sweep.dir=sweep"]
    done = cli(*words, "hydra.launcher.gpus=[0,3]", "hydra.launcher.n_jobs=6")

    assert done.returncode == 0, done.stdout + done.stderr
    given = (tmp_path / "notes/given").read_text().splitlines()
    assert set(given) == {"'0' '0' PCI_BUS_ID", "'3' '3' PCI_BUS_ID"}
    assert not (tmp_path / "notes/twice").exists()
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("sweep/*/run.json")]
    assert {run["gpus"] for run in runs} == {"0", "3"}


@pytest.mark.slow
def test_auto_gives_a_gpu_only_to_who_asks_for_one(cli, machine, tmp_path):
    machine(2)
    words = ["-m", AGENT, *SHORT, "seed=0,1", "agent.device=cpu,cuda", "hydra.sweep.dir=sweep"]
    done = cli(*words, "hydra.launcher.gpus=auto", "hydra.launcher.n_jobs=4")

    assert done.returncode == 0, done.stdout + done.stderr
    for path in tmp_path.glob("sweep/*/run.json"):
        run = json.loads(path.read_text())
        assert (run["gpus"] == "") == (run["config"]["agent"]["device"] == "cpu")


@pytest.mark.slow
def test_never_more_than_one_job_is_on_a_gpu_whatever_is_killed(start, cli, machine, tmp_path):
    machine(2)
    words = ["-m", AGENT, "env=cartpole", "loop.max_episodes=4", "loop.eval_episodes=1"]
    words += ["seed=range(5)", "agent.kill=false,true", "agent.pause=0.1", "hydra.sweep.dir=sweep"]
    words += ["hydra.launcher.gpus=[0,1]", "hydra.launcher.n_jobs=8"]
    given = tmp_path / "notes/given"
    for rounds in (1, 2):
        process = start(*words)
        wait_until(lambda n=rounds: given.exists() and len(given.read_text().splitlines()) > 2 * n)
        process.kill()  # its jobs end within some seconds, and the next launch has to wait for them
        process.wait()
    process = start(*words)
    process.communicate()

    assert process.returncode == 1
    assert not (tmp_path / "notes/twice").exists()
    counts = Counter(states(tmp_path / "sweep").values())
    assert counts == {"finished": 5, "running": 5}  # killed, with nobody left to say so
    wait_until(lambda: not processes(tmp_path), seconds=20)


@pytest.mark.slow
def test_a_stopped_sweep_on_gpus_goes_on(start, cli, machine, tmp_path):
    machine(1)
    words = ["-m", AGENT, "env=cartpole", "loop.max_episodes=30", "agent.pause=0.05"]
    words += ["seed=range(3)", "hydra.sweep.dir=sweep", "hydra.launcher.gpus=[0]"]
    process = start(*words, "hydra.launcher.jobs_per_gpu=2")
    wait_until(lambda: len(list(tmp_path.glob("sweep/*/episodes.csv"))) >= 1)
    process.send_signal(signal.SIGTERM)
    process.wait()
    done = cli("resume", "sweep", "hydra.launcher.jobs_per_gpu=1")
    assert done.returncode == 0, done.stdout
    assert set(states(tmp_path / "sweep").values()) == {"finished"}
