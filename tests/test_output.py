"""A run does not depend on whether anybody can read what it prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gym_loop.output import Output
from tests import vector_agents

RUN = "agent=random env=cartpole loop.max_episodes=2 loop.eval_episodes=1"
BROKEN = "2>&1 | python -c 'import os; os.close(0)'"  # a reader that leaves at once


def shell(command, folder):
    """Run a line of bash in which `gym-loop` is this program; the exit code of that."""
    python = f'python() {{ "{sys.executable}" "$@"; }}; gym-loop() {{ python -m gym_loop "$@"; }}'
    line = f"{python}; {command}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", line], cwd=folder, check=False).returncode


SLOW = (pytest.param(streams, marks=pytest.mark.slow) for streams in ("2>&-", BROKEN))


@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "> /dev/full 2>&1", *SLOW])
def test_a_run_ends_well_whatever_its_streams_are(tmp_path, streams):
    if "full" in streams and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    assert shell(f"gym-loop {RUN} hydra.run.dir=run {streams}", tmp_path) == 0

    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "finished"
    assert (
        "finished" not in (tmp_path / "run/episodes.csv").read_text()
    )  # nothing was printed there


@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "> /dev/full 2>&1", BROKEN])
def test_a_run_from_python_ends_well_whatever_its_streams_are(tmp_path, streams):
    if "full" in streams and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    script = f"import gym_loop\ngym_loop.run(*{RUN.split()}, directory='run')\n"
    (tmp_path / "script.py").write_text(script)
    assert shell(f"python script.py {streams}", tmp_path) == 0

    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("streams", [">&- 2>&-", BROKEN])
def test_a_sweep_ends_well_whatever_its_streams_are(tmp_path, streams):
    sweep = f"gym-loop -m {RUN} seed=0,1 hydra.sweep.dir=sweep {streams}"
    assert shell(sweep, tmp_path) == 0

    for seed in (0, 1):
        run = json.loads((tmp_path / f"sweep/seed={seed}/run.json").read_text())
        assert run["state"] == "finished"
    assert shell(f"gym-loop ls sweep {streams}", tmp_path) == 0


PUT_IN_PLACE = """
import io, sys
import gym_loop

class Full:
    def write(self, text):
        raise OSError(28, "No space left on device")

    def flush(self):
        self.write("")

class WritesOnly:
    def write(self, text):
        return len(text)

class Terminal(Full):
    def isatty(self):
        return True

Closed = io.StringIO()
Closed.close()
sys.stdout = sys.stderr = stream = {stream}
words = "{run}".split()
gym_loop.run(*words, directory="run")
gym_loop.resume("run", "loop.max_episodes=3")
runs = gym_loop.sweep(*words, "seed=0,1", directory="sweep")
assert sys.stdout is sys.stderr is stream
sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
print(*[each.state for each in runs])
"""


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["Full()", "WritesOnly()", "Terminal()", "Closed"])
def test_runs_end_well_whatever_a_program_has_put_in_the_place_of_its_streams(tmp_path, stream):
    script = PUT_IN_PLACE.format(stream=stream, run=RUN)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("finished finished\n", "")
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert (run["state"], run["episodes"]) == ("finished", 3)


def test_a_run_from_python_ends_well_when_its_agent_has_closed_a_stream(tmp_path):
    (tmp_path / "closes.py").write_text(CLOSES.format(name="stdout"))
    words = "'agent=closes.py:Closes', 'env=cartpole', 'loop.max_episodes=2'"
    script = f"import gym_loop; print(gym_loop.run({words}, directory='run').state)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.stdout == "finished\n", done.stderr


KEEPS = """
import sys
from gym_loop.agents import RandomAgent

class Keeps(RandomAgent):
    def __init__(self, **spaces):
        super().__init__(**spaces)
        self.stream = sys.stdout
"""


def test_an_agent_that_keeps_what_a_program_has_put_in_the_place_of_a_stream_goes_on(tmp_path):
    (tmp_path / "keeps.py").write_text(KEEPS)
    script = (
        "import contextlib, io, gym_loop\n"
        "words = 'agent=keeps.py:Keeps', 'env=cartpole', 'loop.eval_episodes=0'\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    gym_loop.run(*words, 'loop.max_episodes=2', directory='run')\n"
        "    run = gym_loop.resume('run', 'loop.max_episodes=3')\n"
        "print(run.state)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.stdout == "finished\n", done.stderr


LOUD = """
from tests.sample_envs import Counter

class Loud(Counter):
    def reset(self, **arguments):
        print("an environment of somebody's that tells of each game", flush=True)
        return super().reset(**arguments)
"""


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["> /dev/full 2>&1", BROKEN])
def test_an_environment_may_print_in_any_process_whatever_its_streams_are(tmp_path, streams):
    if "full" in streams and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    (tmp_path / "loud.py").write_text(LOUD)
    agent = f"agent={Path(vector_agents.__file__)}:Learner env=loud.py:Loud env.length=300"
    words = f"{agent} loop=vector loop.num_envs=2 loop.num_workers=2 loop.max_episodes=40"
    assert (
        shell(f"gym-loop {words} loop.eval_episodes=1 hydra.run.dir=run {streams}", tmp_path) == 0
    )
    # More steps than one process plays again.
    assert shell(f"gym-loop replay run --every 1 --jobs 2 {streams}", tmp_path) == 0

    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "finished"


@pytest.mark.slow
def test_watching_ends_when_its_reader_leaves(tmp_path):
    shell(f"gym-loop {RUN} hydra.run.dir=run", tmp_path)

    assert shell(f"gym-loop ls run --watch --every 0.1 {BROKEN}", tmp_path) == 0


def test_what_is_lost_on_a_full_disk_is_said_once(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    line = "from gym_loop.output import open_streams; open_streams()"
    done = subprocess.run(
        [
            "bash",
            "-c",
            f'"{sys.executable}" -c "{line}; print(1, flush=True); print(2)" > /dev/full',
        ],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stderr == "gym-loop: output is lost: descriptor 1: No space left on device\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["ls run --json", "report run", "best run", "diff run run"])
def test_a_command_that_only_prints_fails_where_its_answer_is_lost(tmp_path, command):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    shell(f"gym-loop {RUN} hydra.run.dir=run", tmp_path)

    assert shell(f"gym-loop {command} > answer", tmp_path) == 0
    assert shell(f"gym-loop {command} > /dev/full", tmp_path) == 1
    assert shell(f"gym-loop {command} {BROKEN}", tmp_path) == 0
    assert shell(f"gym-loop {command} >&-", tmp_path) == 0


def test_a_stream_that_does_not_block_is_waited_for():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stream = Output(writer, "w")
    size = 0
    while size < 60_000:
        size += stream.write(b"x" * 1000)
    child = os.fork()
    if child == 0:
        os.close(writer)
        while os.read(reader, 65536):
            pass
        os._exit(0)
    os.close(reader)
    for _ in range(300):
        assert stream.write(b"y" * 1000) > 0
    stream.close()
    assert os.waitpid(child, 0)[1] == 0


CLOSES = """
import sys
from gym_loop.agents import RandomAgent

class Closes(RandomAgent):
    def begin_episode(self, number):
        sys.{name} = open("/dev/null", "w")
        sys.{name}.close()
"""


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_run_whose_agent_has_closed_a_stream_ends_well(tmp_path, name):
    (tmp_path / "closes.py").write_text(CLOSES.format(name=name))
    agent = "agent=closes.py:Closes env=cartpole loop.max_episodes=2 loop.eval_episodes=1"
    assert shell(f"gym-loop {agent} hydra.run.dir=run", tmp_path) == 0

    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "finished"


def test_a_run_whose_current_directory_is_removed_ends_well(tmp_path):
    (tmp_path / "leaves.py").write_text(
        "import os, tempfile\n"
        "from gym_loop.agents import RandomAgent\n\n\n"
        "class Leaves(RandomAgent):\n"
        "    def begin_episode(self, number):\n"
        "        with tempfile.TemporaryDirectory() as folder:\n"
        "            os.chdir(folder)\n"
    )
    agent = "agent=leaves.py:Leaves env=cartpole loop.max_episodes=2 loop.eval_episodes=1"
    assert shell(f"gym-loop {agent} hydra.run.dir=run", tmp_path) == 0

    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "finished"


def test_a_current_directory_that_has_been_removed_is_one_line(tmp_path):
    line = f"mkdir gone; cd gone; rmdir ../gone; {sys.executable} -m gym_loop {RUN}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No such file or directory" in done.stderr
