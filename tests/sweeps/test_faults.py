"""Sweeps in which many jobs end badly, and whose launching process is killed again and again."""

import json
import os
import signal
from pathlib import Path

import pytest

from gym_loop.mistake import LONGEST
from tests.sweeps.agents_of_faults import fate_of
from tests.sweeps.conftest import processes, states, wait_until

AGENT = f"agent={Path(__file__).parent / 'agents_of_faults.py'}:Faulty"
SHORT = ["env=cartpole", "loop.max_episodes=3", "loop.eval_episodes=1"]
# What run.json says in the end; nobody was left to write more where a process was killed.
STATE = {"raise": "failed", "full disk": "failed"} | dict.fromkeys(
    ("kill", "exit", "kill with workers"), "running"
)


@pytest.mark.parametrize(
    ("jobs", "kills"),
    [
        pytest.param(40, 2, marks=pytest.mark.slow),
        pytest.param(1000, 5, marks=pytest.mark.long),
    ],
)
def test_every_job_ends_as_what_it_is_whatever_happens(start, tmp_path, jobs, kills):
    notes = tmp_path / "notes"
    work = tmp_path / "work"
    notes.mkdir()
    work.mkdir()
    words = ["-m", AGENT, *SHORT, f"agent.number=range({jobs})", "hydra.sweep.dir=sweep"]
    environment = {**os.environ, "NOTES": str(notes)}

    def finished():
        path = notes / "finished"
        return path.read_text().split() if path.exists() else []

    done = {}
    for kill in range(kills):
        process = start(*words, cwd=work, env=environment)
        enough = jobs * (kill + 1) // (kills + 2)
        wait_until(lambda enough=enough: len(finished()) >= enough, seconds=600)
        process.kill()
        process.communicate()
        # A job that is stopped after its evaluation evaluates again; a finished one never does.
        paths = [path for path in work.glob("sweep/*/run.json") if '"finished"' in path.read_text()]
        done |= {path: path.read_bytes() for path in paths if path not in done}
    process = start(*words, cwd=work, env=environment)
    out, err = process.communicate()

    assert process.returncode == 1
    fates = {number: fate_of(number) for number in range(jobs)}
    expected = {f"agent.number={n}": STATE.get(fate, "finished") for n, fate in fates.items()}
    assert states(work / "sweep") == expected
    good = [str(n) for n, fate in fates.items() if STATE.get(fate, "finished") == "finished"]
    assert {*finished()} == {*good}
    assert {path: path.read_bytes() for path in done} == done  # no job was run again
    assert not (notes / "twice").exists()  # nor by two processes at a time
    assert f"{jobs - len(good)} failed" in out
    assert out.count("killed by SIGKILL") == sum("kill" in fate for fate in fates.values())
    assert out.count("left with exit code 0") == sum("exit" in fate for fate in fates.values())
    assert "Traceback" not in out + err
    wait_until(lambda: not processes(work), seconds=20)


@pytest.mark.slow
def test_a_job_within_native_code_ends_with_the_launching_process(start, tmp_path):
    path = tmp_path / "deep.py"
    path.write_text(
        "import ctypes\n"
        "from gym_loop.agents import RandomAgent\n"
        "class Deep(RandomAgent):\n"
        "    def begin_episode(self, n):\n"
        "        open('begun', 'w').close()\n"
        "        ctypes.PyDLL(None).sleep(1000)  # holds the interpreter's lock\n"
    )
    process = start("-m", f"agent={path}:Deep", *SHORT, "seed=0,1", "hydra.sweep.dir=sweep")
    wait_until((tmp_path / "begun").exists)

    process.kill()

    process.wait()
    wait_until(lambda: not processes(tmp_path), seconds=20)


@pytest.mark.slow
def test_a_reason_that_no_pipe_would_hold_is_cut_and_received(start, tmp_path):
    path = tmp_path / "long.py"
    path.write_text(
        "from gym_loop.agents import RandomAgent\n"
        "class Long(RandomAgent):\n"
        "    def begin_episode(self, n):\n"
        "        raise ValueError('x' * 200_000)\n"
    )
    process = start("-m", f"agent={path}:Long", *SHORT, "seed=0,1", "hydra.sweep.dir=sweep")

    out, _ = process.communicate()

    assert process.returncode == 1
    assert out.count(f" {'x' * LONGEST}… ") == 2


@pytest.mark.slow
def test_a_signal_to_the_whole_group_stops_jobs_in_order(start, tmp_path):
    long = ["seed=0,1", "loop.max_episodes=100000000", "hydra.sweep.dir=sweep"]
    words = ["agent=random", "env=cartpole", *long]
    process = start("-m", *words, "hydra.launcher.n_jobs=2", start_new_session=True)
    wait_until(lambda: len(list(tmp_path.glob("sweep/*/episodes.csv"))) == 2)

    os.killpg(process.pid, signal.SIGTERM)  # as a scheduler does, which means them all

    assert process.wait(30) == 128 + signal.SIGTERM
    for name, state in states(tmp_path / "sweep").items():
        assert state == "stopped", name
        run = json.loads((tmp_path / "sweep" / name / "run.json").read_text())
        saved = (tmp_path / "sweep" / name / "checkpoints/latest/state.json").read_text()
        assert json.loads(saved.split("\n", 1)[1])["episodes"] == run["episodes"] > 0
