import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.run_directories import write_run


@pytest.fixture
def runs(tmp_path):
    """Six runs of two agents, one of which failed."""
    folder = tmp_path / "multirun"
    for seed in range(3):
        write_run(folder / "ars" / str(seed), "ars", seed=seed, parameters={"step_size": 0.1})
        write_run(folder / "dqn" / str(seed), "dqn", "Pendulum-v1", seed=seed + 10)
    failed = folder / "dqn" / "2" / "run.json"
    content = json.loads(failed.read_text())
    content |= {"state": "failed", "error": "ValueError: the loss is NaN\nat line 3"}
    failed.write_text(json.dumps(content))
    return folder


def test_the_table_shows_all_runs_newest_first(cli, runs):
    done = cli("ls")
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = done.stdout.splitlines()
    assert head.split()[:4] == ["run", "state", "agent", "env"]
    assert [line.split()[0] for line in lines] == [
        f"multirun/{name}" for name in ("dqn/2", "dqn/1", "dqn/0", "ars/2", "ars/1", "ars/0")
    ]
    assert "ValueError: the loss is NaN" in lines[0]
    assert "line 3" not in done.stdout
    assert lines[3].split()[4:6] == ["2", "0.1"]
    assert head.split()[4:6] == ["seed", "step_size"]


def test_what_all_share_is_said_once_and_what_varies_has_a_column(cli, runs):
    shared, head, *lines = cli("ls", runs / "ars").stdout.splitlines()
    assert shared == "all: agent=ars env=CartPole-v1 agent.step_size=0.1"
    assert head.split()[:4] == ["run", "state", "seed", "episodes"]
    assert [line.split()[2] for line in lines] == ["2", "1", "0"]


def test_a_column_has_the_default_of_a_run_that_was_launched_without_the_key(cli, tmp_path):
    for seed, words in enumerate((["agent=ars", "env=cartpole"], ["agent=ars", "seed=1"])):
        write_run(tmp_path / "outputs" / str(seed), seed=seed, overrides=words)
    _, _, *lines = cli("ls").stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["1", "0"]


def test_a_fork_has_the_loop_wrappers_and_lists_that_its_parent_was_given(cli, tmp_path):
    words = ["wrap=[flatten,frame_stack]", "loop=vector", "loop.info_keys=[a,b]", "seed=0"]
    for seed, given in enumerate((words, ["seed=1"])):
        file = write_run(tmp_path / "outputs" / str(seed), seed=seed, overrides=given) / "run.json"
        content = json.loads(file.read_text())
        content["config"]["env"]["wrappers"] = {
            name: {"_target_": name} for name in ("flatten", "frame_stack")
        }
        content["config"]["loop"] |= {"_target_": "gym_loop.vector.loop.VectorLoop"}
        content["config"]["loop"] |= {"info_keys": ["a", "b"]}
        file.write_text(json.dumps(content))
    shared, head, *_ = cli("ls").stdout.splitlines()
    assert " wrap=[flatten,frame_stack] loop=vector " in shared
    assert head.split()[:4] == ["run", "state", "seed", "episodes"]
    for word in words[:3]:
        assert len(cli("ls", word).stdout.splitlines()) == 4, word


def test_keys_of_one_last_word_keep_their_whole_names(cli, tmp_path):
    for seed in range(2):
        words = [f"agent.lr={seed}", f"env.lr={seed}", "agent=ars", "env=cartpole"]
        write_run(tmp_path / "outputs" / str(seed), seed=seed, overrides=words)
    _, head, *_ = cli("ls").stdout.splitlines()
    assert head.split()[2:4] == ["agent.lr", "env.lr"]


def test_a_damaged_run_makes_no_column(cli, runs):
    (runs / "ars" / "1" / "run.json").write_text("")
    shared, head, *_ = cli("ls", runs / "ars").stdout.splitlines()
    assert "agent.step_size=0.1" in shared
    assert head.split()[2] == "seed"


def test_the_json_has_the_figures(cli, runs):
    found = json.loads(cli("ls", "--json", runs / "ars" / "1").stdout)
    assert len(found) == 1
    manifest = json.loads((runs / "ars" / "1" / "run.json").read_text())
    assert found[0]["evaluation"] == manifest["result"]
    assert found[0]["steps"] == manifest["steps"]
    assert (found[0]["state"], found[0]["agent"], found[0]["env"], found[0]["seed"]) == (
        *("finished", "ars"),
        *("CartPole-v1", 1),
    )


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--state", "failed"], 1),
        (["state=failed"], 1),
        (["agent=ars"], 3),
        (["agent=ARSAgent"], 3),
        (["env=Pendulum-v1", "state=finished"], 2),
        (["agent.step_size=0.1", "seed=2"], 1),
        (["loop.max_steps=null"], 6),
    ],
)
def test_filters_choose_by_state_and_config(cli, runs, words, count):
    assert len(json.loads(cli("ls", "--json", *words).stdout)) == count


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere"], "no directory nowhere"),
        (["empty"], "no runs found in empty"),
        (["agent=arx"], "no runs found with agent=arx; did you mean 'ars'?"),
        (["agnet=ars"], "no run has 'agnet'; did you mean 'agent'?"),
        (["agent.step_sise=1"], "did you mean 'agent.step_size'?"),
        (["--state", "faild"], "did you mean 'failed'?"),
        (["--jsn"], "no option --jsn; did you mean '--json'?"),
        (["--watch", "--json"], "--watch shows a table"),
    ],
)
def test_a_mistake_is_one_line_that_helps(cli, runs, tmp_path, words, line):
    (tmp_path / "empty").mkdir()
    done = cli("ls", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert line in done.stderr


def test_one_damaged_directory_is_warned_of_and_the_others_are_listed(cli, runs):
    (runs / "ars" / "1" / "run.json").write_text("")
    os.truncate(runs / "ars" / "2" / "episodes.csv", 500)
    (runs / "ars" / "0" / ".hydra").rmdir()
    done = cli("ls")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 7
    assert "warning: multirun/ars/1: run.json is empty" in done.stderr
    assert "warning: multirun/ars/2: episodes.csv: the last row is cut" in done.stderr
    assert "warning: multirun/ars/0: no .hydra" in done.stderr
    assert len(done.stderr.splitlines()) == 3


@pytest.mark.slow
def test_a_killed_run_is_shown_as_dead_and_a_running_one_with_the_time_left(cli, start, tmp_path):
    process = start(
        *("env=cartpole", "loop.max_episodes=1000000", "hydra.run.dir=outputs/run"),
        *("observers.tensorboard=null", "loop.trace=false"),
    )
    table = tmp_path / "outputs" / "run" / "episodes.csv"
    deadline = time.monotonic() + 60
    while not (table.exists() and table.stat().st_size > 2000) and time.monotonic() < deadline:
        time.sleep(0.05)
    (run,) = json.loads(cli("ls", "--json").stdout)
    assert run["state"] == "running"
    assert run["seconds_left"] > 0
    assert run["steps_per_second"] > 0
    assert "left" in cli("ls").stdout
    process.send_signal(signal.SIGKILL)
    process.wait()
    (run,) = json.loads(cli("ls", "--json").stdout)
    assert run["state"] == "dead"
    assert run["episodes"] > 0
    assert run["seconds_left"] is None


def test_a_job_that_a_search_has_paused_is_shown_as_paused(cli, tmp_path):
    write_run(tmp_path / "outputs" / "early", state="stopped", ended_by="paused")
    write_run(tmp_path / "outputs" / "told", state="stopped", ended_by="SIGTERM")
    shown = json.loads(cli("ls", "--json").stdout)
    states = {run["directory"].rpartition("/")[2]: run["state"] for run in shown}
    assert states == {"early": "paused", "told": "stopped"}
    assert "early" in (only := cli("ls", "--state=paused").stdout)
    assert "told" not in only


def test_watching_goes_on_until_it_is_interrupted(start, runs):
    process = start("ls", "--watch", "--every", "0.1")
    tables = 0
    for line in process.stdout:
        tables += line.startswith("run ")
        if tables == 2:
            (runs / "ars" / "0" / "run.json").write_text("")
        if line.startswith("multirun/ars/0") and "damaged" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 0


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_told_no_error(tmp_path):
    for number in range(300):
        write_run(tmp_path / "runs" / str(number), episodes=2)
    command = f"{sys.executable} -m gym_loop ls --json runs | head -1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[\n", "")


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_in_a_directory_is_executed(cli, tmp_path):
    pytest.importorskip("scipy", reason='needs the extra: pip install "gym-loop[report]"')
    sprung = tmp_path / "sprung"
    (tmp_path / "hostile.py").write_text(f"open({str(sprung)!r}, 'w')\n")
    directory = write_run(tmp_path / "outputs" / "0")
    content = json.loads((directory / "run.json").read_text())
    trap = {"_target_": "hostile.Agent", "_args_": [], "path": str(sprung)}
    content["config"] |= {"agent": trap, "env": {"_target_": "builtins.open", "file": str(sprung)}}
    (directory / "run.json").write_text(json.dumps(content))
    (directory / ".hydra" / "config.yaml").write_text(
        f"agent: !!python/object/apply:builtins.open [{sprung}, w]\n"
    )
    checkpoint = directory / "checkpoints" / "episode-000050"
    (checkpoint / "agent").mkdir(parents=True)
    for name in ("loop.pkl", "agent/agent.pkl"):
        (checkpoint / name).write_bytes(pickle.dumps(Trap(sprung)))
    (directory / "traces").mkdir()
    (directory / "traces" / "train.npz").write_bytes(pickle.dumps(Trap(sprung)))
    for words in (
        ["ls"],
        ["report", "--html", "page.html", "--json"],
        ["diff", "outputs/0", "outputs/0"],
    ):
        done = cli(*words)
        assert done.returncode == 0, done.stderr
    assert not sprung.exists()
    pickle.loads((checkpoint / "loop.pkl").read_bytes())  # the trap is one
    assert sprung.exists()


def test_reading_imports_nothing_heavy(cli, runs, tmp_path):
    (tmp_path / "main.py").write_text(
        "import sys\n"
        "from gym_loop.commands import ls, diff\n"
        "sys.argv = ['gym-loop', 'ls']\n"
        "ls.main([])\n"
        "ls.main(['--json'])\n"
        "heavy = {'numpy', 'hydra', 'omegaconf', 'gym', 'yaml', 'rich', 'tensorboard', 'scipy'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
        "diff.main(['multirun/ars/0', 'multirun/ars/1'])\n"  # traces need NumPy
        "print('heavy:', sorted(heavy & set(sys.modules) - {'numpy'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("heavy")] == [
        "heavy: []"
    ] * 2


def test_of_a_long_table_only_the_ends_are_read(runs, tmp_path):
    from gym_loop.runs import reading

    directory = Path(runs / "ars" / "0")
    table = directory / "episodes.csv"
    head, *rows = table.read_text().splitlines(keepends=True)
    table.write_text(head + "x" * 5_000_000 + "\n" + "".join(rows * 3))
    run = reading.RunContent(directory)
    assert len(run.last_rows) == 100
    assert run.warnings == []  # what lies in the middle was not looked at


def test_in_a_narrow_terminal_the_columns_are_cut_but_not_the_figures(runs):
    from gym_loop.commands import ls
    from gym_loop.runs import reading

    listed = [reading.RunContent(path) for path in sorted(reading.find([runs]))]

    def told(columns):
        return [re.sub(r"\x1b\[\d+m", "", line) for line in ls.table_lines(listed, columns)]

    for columns in (60, 80, 100):
        lines = told(columns)
        assert lines[0] == f"in {runs}/"
        assert max(map(len, lines[1:])) <= columns
        assert lines[2].startswith("ars/0  finished  ars")
        assert f"{listed[0].evaluation:.6g}" in lines[2]
    assert "steps/s" not in told(60)[1]
    assert told(None)[1].startswith(f"{runs}/ars/0  finished")


def test_a_path_too_long_for_its_row_has_a_line_of_its_own_and_is_whole(tmp_path):
    from gym_loop.commands import ls
    from gym_loop.runs import reading

    name = "agent.epsilon=0.05,agent.learning_rate=0.3,agent.discount=0.99,seed="
    paths = [write_run(tmp_path / "sweep" / f"{name}{seed}", seed=seed) for seed in (0, 1)]
    lines = ls.table_lines([reading.RunContent(path) for path in paths], 80)
    assert lines[-4::2] == [f"{name}0", f"{name}1"]
    assert all("finished" in line for line in lines[-3::2])
