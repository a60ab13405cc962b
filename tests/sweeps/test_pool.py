"""Sweeps on this machine: isolation, completion, and an end in order."""

import contextlib
import json
import math
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gym_loop.runs import manifest
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.job import Outcome
from gym_loop.sweeps.processes import Running, end_group, outcome_of
from tests.conftest import rows
from tests.sweeps.conftest import AGENT, SHORT, processes, states, summary, wait_until


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_job_that_raises_and_one_that_is_killed_cost_only_themselves(sweep, tmp_path, n_jobs):
    result = sweep("agent.fate=a,raise,b,kill,c,d", f"hydra.launcher.n_jobs={n_jobs}")

    assert result.returncode == 1
    assert summary(result) == "6 jobs: 4 done, 0 skipped, 2 failed"
    failed = [line for line in result.stdout.splitlines() if line.startswith("failed")]
    assert len(failed) == 2
    assert "ValueError: no idea what to do" in failed[0]
    assert "SIGKILL" in failed[1]
    for line in failed:
        log = Path(tmp_path, line.split()[-1])
        assert log.name == "gym_loop.log"
        assert log.exists()
    assert list(states(tmp_path / "sweep").values()).count("finished") == 4
    assert "no idea what to do" in (tmp_path / "sweep/agent.fate=raise/gym_loop.log").read_text()
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.slow
def test_what_a_job_has_started_ends_with_it(sweep, tmp_path):
    result = sweep("agent.fate='leaves a child','dies with a child'")

    assert summary(result) == "2 jobs: 1 done, 0 skipped, 1 failed"
    assert processes(tmp_path) == []


def test_a_job_whose_process_is_not_known_ends_nobody():
    end_group(0)  # which would be this process's own group


@pytest.mark.parametrize("state", ["finished", "running"])
def test_a_job_that_dies_while_it_sends_its_outcome_is_what_its_run_says(tmp_path, state):
    manifest.write(tmp_path, {"state": state, "result": 3.0})
    killed = subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    process: Any = SimpleNamespace(exitcode=killed.wait())
    with open(tmp_path / "answer", "w+b") as file:
        answer = connection.Connection(os.dup(file.fileno()))
        answer.send(Outcome("finished", 3.0))
        os.truncate(file.name, os.path.getsize(file.name) - 5)

        outcome = outcome_of(Running(Job("job", [], 0, tmp_path), process, answer, math.inf), None)

    if state == "finished":
        assert outcome == Outcome("finished", 3.0)
    else:
        assert outcome.state == "failed"
        assert "SIGKILL" in outcome.reason


@pytest.mark.slow
def test_one_is_told_that_jobs_without_a_record_run_again(sweep):
    result = sweep("seed=1,2", "observers=none")

    assert summary(result) == "2 jobs: 2 done, 0 skipped, 0 failed"
    [line] = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    assert "observers.manifest" in line


@pytest.mark.slow
def test_a_repeated_sweep_continues_what_is_missing_and_touches_nothing_else(sweep, tmp_path):
    sweep("agent.fate=a,kill,raise")
    before = contents(tmp_path / "sweep" / "agent.fate=a")

    again = sweep("agent.fate=a,kill,raise")

    assert again.returncode == 1
    assert summary(again) == "3 jobs: 0 done, 1 skipped, 2 failed"
    assert contents(tmp_path / "sweep" / "agent.fate=a") == before


@pytest.mark.slow
def test_a_growing_sweep_runs_what_is_new(sweep, tmp_path):
    sweep("seed=range(4)")

    grown = sweep("seed=range(8)")

    assert grown.returncode == 0
    assert summary(grown) == "8 jobs: 4 done, 4 skipped, 0 failed"
    assert states(tmp_path / "sweep") == {f"seed={n}": "finished" for n in range(8)}


@pytest.mark.slow
def test_an_exit_code_beyond_those_of_signals_is_no_signal(sweep):
    result = sweep("agent.fate=wrap")

    assert result.returncode == 1
    assert "left with exit code 300" in result.stdout
    assert "signal" not in result.stdout


@pytest.mark.slow
def test_jobs_end_at_their_timeout(sweep, tmp_path):
    result = sweep("agent.fate=a,hang,deaf,leave", "hydra.launcher.timeout=3")

    assert result.returncode == 1
    assert summary(result) == "4 jobs: 1 done, 0 skipped, 3 failed"
    assert result.stdout.count("over its timeout of 3 s") == 2
    assert "left with exit code 7" in result.stdout
    assert processes(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_signal_to_the_launching_process(start, tmp_path, number):
    process = launch_slowly(start)
    begun = wait_until(lambda: two_are_running(tmp_path / "sweep"))

    process.send_signal(number)

    process.wait(5)
    wait_until(lambda: not processes(tmp_path), seconds=5)
    assert begun == sorted(path.parent for path in tmp_path.glob("sweep/*/run.json"))
    for directory in begun:  # even the last of the three is heard of in time
        kept = json.loads(
            (directory / "checkpoints/latest/state.json").read_text().split("\n", 1)[1]
        )
        assert kept["episodes"] == len(rows(directory)) > 0
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert set(states(tmp_path / "sweep").values()) == {"stopped"}


@pytest.mark.slow
def test_a_ctrl_c_at_the_terminal_stops_every_job_in_order(start, tmp_path):
    process = launch_slowly(start, start_new_session=True)
    begun = wait_until(lambda: two_are_running(tmp_path / "sweep"))

    os.killpg(process.pid, signal.SIGINT)

    assert process.wait(5) == 130
    wait_until(lambda: not processes(tmp_path), seconds=5)
    assert states(tmp_path / "sweep") == {path.name: "stopped" for path in begun}
    first, *said = process.stdout.read().splitlines()
    assert first == "continue with: gym-loop resume sweep"
    assert sum(" by Ctrl-C " in line for line in said) == len(begun)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3])
def test_a_ctrl_c_while_the_process_that_jobs_are_forked_from_starts_is_no_traceback(
    start, tmp_path, seconds
):
    process = launch_slowly(start, start_new_session=True)

    def is_warming_up():
        with contextlib.suppress(OSError):
            files = [Path(f"/proc/{number}/environ") for number in processes(tmp_path)]
            return any(b"GYM_LOOP_WARM=" in path.read_bytes() for path in files)

    wait_until(is_warming_up)
    time.sleep(seconds)

    os.killpg(process.pid, signal.SIGINT)

    _, said = process.communicate(timeout=20)
    assert process.returncode in (130, -signal.SIGINT)  # a shell shows 130 for both
    assert "Traceback" not in said
    wait_until(lambda: not processes(tmp_path), seconds=20)


class Interrupted:
    """The config of a job whose process gets a signal when it is unpacked."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return (signal.raise_signal, (self.number,))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_job_that_gets_a_signal_before_its_run_begins_was_stopped_and_did_not_fail(
    tmp_path, name
):
    from gym_loop.sweeps.directory import Job
    from gym_loop.sweeps.job import pack
    from gym_loop.sweeps.processes import Processes

    common = pack((None, None, "gym_loop", [], {}))
    with Processes(common, None) as processes:
        job = Job("seed=0", [], 0, tmp_path)
        processes.start(job, pack(Interrupted(signal.Signals[name])), {})
        [ended] = wait_until(lambda: processes.wait(1.0))
    assert (ended.state, ended.reason) == ("stopped", f"cut off by {name}, before its run began")


@pytest.mark.slow
def test_a_job_cut_off_in_a_long_episode_was_stopped_and_did_not_fail(start, tmp_path):
    words = ["agent.fate=hang", "seed=0,1", "hydra.sweep.dir=sweep", "hydra.launcher.n_jobs=2"]
    process = start("-m", AGENT, *SHORT, *words)
    tables = [tmp_path / "sweep" / f"seed={seed}" / "episodes.csv" for seed in (0, 1)]
    wait_until(lambda: all(t.exists() and len(t.read_text().splitlines()) == 3 for t in tables))

    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 130
    said = process.stdout.read()
    assert said.count("cut off within an episode") == 2
    assert "0 failed, 2 stopped" in said


@pytest.mark.slow
def test_a_sweep_killed_at_any_moment_comes_to_the_undisturbed_end(sweep, start, tmp_path):
    words = ["seed=range(6)", "agent.pause=0.1", "loop.max_episodes=8"]
    sweep(*words)
    shutil.move(tmp_path / "sweep", tmp_path / "undisturbed")
    moments, finished = random.Random(0), {}

    for _ in range(5):
        process = start("-m", AGENT, *SHORT, "hydra.sweep.dir=sweep", *words)
        wait_until((tmp_path / "sweep").exists)
        time.sleep(moments.uniform(0, 1.5))
        process.kill()
        process.wait()
        finished |= {path: at for path, at in ended(tmp_path).items() if path not in finished}
    result = sweep(*words)

    assert result.returncode == 0, result.stdout
    assert len(states(tmp_path / "sweep")) == 6
    for name in states(tmp_path / "undisturbed"):
        assert rows(tmp_path / "sweep" / name) == rows(tmp_path / "undisturbed" / name)
    assert finished == {path: at for path, at in ended(tmp_path).items() if path in finished}


@pytest.mark.slow
def test_two_launches_at_once_share_the_jobs_of_a_sweep(start, tmp_path):
    words = ["agent.pause=0.1", "seed=range(6)", "hydra.sweep.dir=sweep", "hydra.launcher.n_jobs=1"]
    both = [start("-m", AGENT, *SHORT, "agent.fate=a,raise", *words) for _ in range(2)]
    said = [process.communicate()[0] for process in both]

    names = [f"agent.fate={fate},seed={n}" for fate in ("a", "raise") for n in range(6)]
    recorded = json.loads((tmp_path / "sweep/sweep.json").read_text())["jobs"]
    assert sorted(recorded) == names
    for name in names:
        content = json.loads((tmp_path / "sweep" / name / "run.json").read_text())
        assert content["state"] == ("failed" if "raise" in name else "finished")
        assert content["launches"] == 1, name  # none was run by both
    done = [int(re.search(r"(\d+) done", text)[1]) for text in said]
    assert sum(done) == 6
    assert min(done) > 0
    assert [text.count("6 failed") for text in said] == [1, 1]


@pytest.mark.slow
def test_a_launch_that_ends_while_another_checks_loses_no_job(start, sweep, tmp_path):
    process = start("-m", AGENT, *SHORT, "seed=range(100,400)", "hydra.sweep.dir=sweep")
    assert sweep("seed=0,1").returncode == 0

    def recorded():
        return json.loads((tmp_path / "sweep/sweep.json").read_text())["jobs"].keys()

    wait_until(lambda: "seed=399" in recorded())
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert {"seed=0", "seed=1"} <= recorded()


@pytest.mark.slow
def test_a_launch_takes_over_the_jobs_of_one_that_is_killed(start, sweep, tmp_path):
    process = launch_slowly(start)
    begun = wait_until(lambda: two_are_running(tmp_path / "sweep"))
    words = ["agent.pause=0.1", "loop.max_episodes=1000", "seed=range(4)"]
    other = start("-m", AGENT, *SHORT, *words, "hydra.sweep.dir=sweep", "hydra.launcher.n_jobs=4")
    wait_until(lambda: len(list(tmp_path.glob("sweep/*/episodes.csv"))) == 4)

    process.kill()

    def launches(path):
        return json.loads((path / "run.json").read_text())["launches"]

    wait_until(lambda: [launches(path) for path in begun] == [2, 2])
    other.send_signal(signal.SIGTERM)
    assert other.wait(20) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_what_jobs_print_is_in_their_logs_and_not_on_the_terminal(sweep, tmp_path):
    result = sweep("seed=0,1")

    assert "threads" not in result.stdout + result.stderr
    log = (tmp_path / "sweep/seed=0/gym_loop.log").read_text()
    assert "threads: 1\n" in log
    assert "finished: 3 episodes" in log


@pytest.mark.slow
def test_threads_of_linear_algebra_are_what_the_user_says(sweep, tmp_path):
    sweep("seed=0,1", environment={"OMP_NUM_THREADS": "3"})

    assert "threads: 3\n" in (tmp_path / "sweep/seed=1/gym_loop.log").read_text()


@pytest.mark.slow
def test_a_terminal_shows_one_live_table(tmp_path):
    main, terminal = pty.openpty()
    words = ["-m", AGENT, *SHORT, "seed=0,1,2", "agent.pause=0.4", "hydra.launcher.n_jobs=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gym_loop", *words, "hydra.sweep.dir=sweep"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
    )
    os.close(terminal)
    shown = b""
    try:
        while data := os.read(main, 4096):
            shown += data
    except OSError:  # the terminal is closed
        pass
    process.wait()
    os.close(main)

    assert b"seed=1" in shown
    for word in (b"episode", b"return", b"time left", b"2/3", b"of 3 jobs"):
        assert word in shown


def launch_slowly(start, **options):
    """Start four jobs that would take long, two at a time."""
    long = ["agent.pause=0.1", "loop.max_episodes=1000", "seed=range(4)"]
    words = [AGENT, *SHORT, *long, "hydra.sweep.dir=sweep", "hydra.launcher.n_jobs=2"]
    return start("-m", *words, **options)


def two_are_running(directory):
    """The directories of the two jobs that have played an episode, else nothing."""
    begun = sorted(path.parent for path in directory.glob("*/episodes.csv"))
    return begun if len(begun) == 2 else None


def contents(directory):
    """Every file's content and time of change."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def ended(folder):
    """The time of change of every finished job's run.json."""
    names = [name for name, state in states(folder / "sweep").items() if state == "finished"]
    paths = [folder / "sweep" / name / "run.json" for name in names]
    return {path: path.stat().st_mtime_ns for path in paths}


@pytest.mark.slow
def test_jobs_run_where_another_one_has_started_the_process_that_they_are_forked_from(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from gym_loop.agents import RandomAgent\nclass Mine(RandomAgent): pass\n"
    )
    words = ["-m", "agent=mine.py:Mine", *SHORT, "seed=0,1", "hydra.sweep.dir=sweep"]
    (tmp_path / "script.py").write_text(
        "import sys\n"
        "from multiprocessing import forkserver\n"
        "from gym_loop.__main__ import main\n"
        "if __name__ == '__main__':\n"
        "    forkserver.ensure_running()  # as workers of a library do\n"
        f"    sys.argv[1:] = {words}\n"
        "    main()\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "2 jobs: 2 done, 0 skipped, 0 failed" in done.stdout, done.stderr
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_an_agent_forks_may_leave_by_exit_and_ends_neither_run_nor_job(cli, tmp_path):
    (tmp_path / "forks.py").write_text(
        "import os, sys\n"
        "from gym_loop.agents import RandomAgent\n"
        "class Forks(RandomAgent):\n"
        "    def end_episode(self, episode_num, truncated):\n"
        "        if not (child := os.fork()):\n"
        "            sys.exit(3)\n"
        "        os.waitpid(child, 0)\n"
        "        if run := os.environ.get('RUN'):\n"
        "            assert '\"running\"' in open(run + '/run.json').read()\n"
    )
    words = ["agent=forks.py:Forks", *SHORT]
    done = cli(*words, "hydra.run.dir=run", environment={"RUN": "run"})
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "finished"
    swept = cli("-m", *words, "seed=0,1", "hydra.sweep.dir=sweep")
    assert summary(swept) == "2 jobs: 2 done, 0 skipped, 0 failed"
    assert states(tmp_path / "sweep") == {"seed=0": "finished", "seed=1": "finished"}


@pytest.mark.slow
def test_a_job_for_which_there_is_no_process_fails_and_those_after_it_run(sweep, tmp_path):
    # As at a limit of processes: the third fork in the process that jobs are forked from fails.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "fork, left = os.fork, [None, None]\n"
        "def limited():\n"
        "    if not left:\n"
        "        raise BlockingIOError(11, os.strerror(11))\n"
        "    left.pop()\n"
        "    return fork()\n"
        "if any('multiprocessing.forkserver' in word for word in sys.orig_argv):\n"
        "    os.fork = limited\n"
    )
    words = ("seed=range(4)", "hydra.launcher.n_jobs=1")

    done = sweep(*words, environment={"PYTHONPATH": str(tmp_path)})

    assert summary(done) == "4 jobs: 3 done, 0 skipped, 1 failed"  # guard and a job, then one more
    assert "seed=1  cannot be started: Resource temporarily unavailable" in done.stdout
    assert done.returncode == 1


@pytest.mark.slow
def test_a_job_that_leaves_no_memory_or_no_file_to_work_with_ends(cli, tmp_path):
    (tmp_path / "greedy.py").write_text(
        "import os, resource, threading\n"
        "from gym_loop.agents import RandomAgent\n"
        "class Greedy(RandomAgent):\n"
        "    @staticmethod\n"
        "    def get_default_parameters():\n"
        "        return {'takes': ''}\n"
        "    def begin_episode(self, number):\n"
        "        if self.parameters['takes'] == 'files':\n"
        "            threading.Thread(target=threading.Event().wait).start()\n"
        "            os.closerange(3, 1000)\n"
        "        if self.parameters['takes'] == 'memory':\n"
        "            resource.setrlimit(resource.RLIMIT_AS, (10 << 20, resource.RLIM_INFINITY))\n"
        "            bytearray(1 << 30)\n"
    )
    words = ("agent=greedy.py:Greedy", "agent.takes=none,files,memory", "hydra.launcher.n_jobs=3")

    done = cli("-m", *words, *SHORT, "hydra.sweep.dir=sweep", timeout=100)

    assert done.returncode == 1
    assert summary(done) == "3 jobs: 1 done, 0 skipped, 2 failed"
    assert "MemoryError" in done.stdout


def test_a_job_is_within_the_programs_surroundings_though_it_has_lost_its_exit_functions():
    # As in what Python 3.13 forks for `multiprocessing`.
    code = (
        "import atexit, gc\n"
        "from gym_loop.sweeps import warm\n"
        "outside = gc.get_threshold()\n"
        "warm.enter_surroundings()\n"
        "inside = gc.get_threshold()\n"
        "atexit._clear()\n"
        "gc.collect()\n"
        "assert gc.get_threshold() == inside != outside, gc.get_threshold()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="root reads what it likes")
def test_a_job_whose_lock_nobody_may_look_at_fails_instead_of_being_waited_for(tmp_path):
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] * (os.geteuid() == 0)
    words += [sys.executable, "-m", "gym_loop", "-m", *SHORT]
    words += ["hydra.sweep.dir=sweep"]
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 60}
    assert subprocess.run([*words, "seed=0,1"], check=False, **options).returncode == 0
    lock = tmp_path / "sweep" / "seed=2" / ".lock"
    lock.parent.mkdir()
    lock.touch(0)

    done = subprocess.run([*words, "seed=0,1,2"], check=False, **options)

    assert done.returncode == 1
    assert re.search(r"failed: seed=2: cannot lock \S+seed=2: Permission denied", done.stderr)
