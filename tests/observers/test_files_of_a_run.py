import csv
import json
import os
import re
import resource
import signal
import sys
import time

import pytest

from gym_loop.observers import tensorboard
from gym_loop.runs import traces
from gym_loop.runs.compare import read_events
from tests.conftest import AGENTS, rows

FAST = ("env=cartpole", "loop.eval_episodes=2")


def test_episodes_csv_has_a_row_for_each_episode_whose_steps_add_up(launch):
    table = rows(launch(*FAST, "loop.max_episodes=6"))
    header = ["episode", "steps", "length", "return", "terminated", "truncated", "seed"]
    assert list(table[0]) == header
    total = 0
    for number, row in enumerate(table):
        total += int(row["length"])
        assert (int(row["episode"]), int(row["steps"])) == (number, total)
        assert float(row["return"]) == int(row["length"])
        assert (row["terminated"], row["truncated"]) == ("1", "0")


def test_a_row_is_in_the_file_as_soon_as_its_episode_has_ended(start, tmp_path):
    process = start("env=pendulum", "loop.max_episodes=100000", "hydra.run.dir=run")
    table = tmp_path / "run" / "episodes.csv"
    for _ in range(1000):
        if table.exists() and table.stat().st_size:  # it is made just before its first row
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    text = table.read_text()
    assert text.endswith("\n")
    assert len(text.splitlines()) > 1


def test_every_row_is_in_the_file_before_the_next_episode_begins(launch, tmp_path):
    (tmp_path / "looks.py").write_text(
        "from gym_loop.agents import RandomAgent\n\n\n"
        "class Looks(RandomAgent):\n"
        "    def begin_episode(self, number):\n"
        "        if self.training and number:\n"
        "            lines = open('run/episodes.csv').read().splitlines()\n"
        "            assert lines[-1].startswith(f'{number - 1},'), lines[-1]\n"
    )
    assert len(rows(launch("agent=looks.py:Looks", *FAST, "loop.max_episodes=30"))) == 30


@pytest.mark.slow
def test_a_kill_loses_no_more_rows_and_events_than_those_of_a_moment(start, tmp_path):
    process = start(
        *("env=cartpole", "loop.max_episodes=null", "loop.trace=false", "hydra.run.dir=run"),
        "loop.episodes_per_checkpoint=null",
    )
    table = tmp_path / "run" / "episodes.csv"
    while not table.exists() or len(table.read_text().splitlines()) < 500:
        time.sleep(0.02)
        assert process.poll() is None
    before = float(table.read_text().splitlines()[-1].split(",")[-1])
    time.sleep(4)  # of which the events of the last quarter of a second may be missing
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    lines = table.read_text().splitlines()
    assert float(lines[-1].split(",")[-1]) > before + 0.5
    events = read_events(tmp_path / "run" / "logs")["train/return"]
    assert abs(len(events) - len(lines)) < 0.2 * len(lines)


def test_evaluations_rows_say_after_how_many_training_episodes_they_were_played(launch):
    directory = launch(*FAST, "loop.max_episodes=3", "loop.episodes_per_eval=1")
    with open(directory / "evaluations.csv", newline="") as file:
        played = [int(row["at_episode"]) for row in csv.DictReader(file)]
    assert played == [1, 1, 2, 2, 3, 3, 3, 3]


def test_tensorboard_has_returns_lengths_and_metrics_over_steps(launch):
    directory = launch(f"agent={AGENTS}:Learner", *FAST, "loop.episodes_per_eval=2")
    table, points = rows(directory), read_events(directory / "logs")
    steps = [int(row["steps"]) for row in table]
    assert points["train/return"] == [
        (s, float(r["return"])) for s, r in zip(steps, table, strict=True)
    ]
    assert [step for step, _ in points["train/length"]] == steps
    assert [step for step, _ in points["agent/norm"]] == steps
    for tag in ("eval/return", "eval/length"):
        evaluations = read_events(directory / "eval_logs")[tag]
        assert [step for step, _ in evaluations] == [steps[1], steps[3], steps[4]]


def test_tensorboards_speed_is_that_of_training_alone(launch, monkeypatch):
    monkeypatch.setattr(tensorboard, "SECONDS_BETWEEN_WRITES", 0.0)
    monkeypatch.setattr(tensorboard, "SECONDS_BETWEEN_SPEEDS", 1e-9)
    words = ("agent=random", "env=cartpole", "loop.max_episodes=4", "loop.episodes_per_eval=2")
    directory = launch(*words, "loop.eval_episodes=500")
    table = list(csv.DictReader((directory / "episodes.csv").read_text().splitlines()))
    points = read_events(directory / "logs")["time/steps_per_second"]
    assert [step for step, _ in points] == [int(row["steps"]) for row in table]
    lengths, ends = ([float(row[name]) for row in table] for name in ("length", "seconds"))
    assert points[1][1] == pytest.approx(lengths[1] / (ends[1] - ends[0]), rel=0.05)
    assert points[2][1] > 1.5 * lengths[2] / (ends[2] - ends[1])  # 500 episodes lie between


def test_tensorboards_own_reader_takes_the_events(launch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(launch(*FAST) / "logs")).Reload()
    assert len(accumulator.Scalars("train/return")) == 5


def test_metrics_may_come_in_any_order_and_come_and_go(launch, tmp_path):
    (tmp_path / "moody.py").write_text(
        "from gym_loop.agents import RandomAgent\n"
        "class Moody(RandomAgent):\n"
        "    def metrics(self, n):\n"
        "        return [{'a': 1, 'b': 2}, {'b': 2, 'a': 1}, {}, {'b': 2}][n % 4]\n"
    )
    run = launch(f"agent={tmp_path}/moody.py:Moody", *FAST, "loop.max_episodes=8")
    points = read_events(run / "logs")
    assert [value for _, value in points["agent/a"]] == [1.0] * 4
    assert [value for _, value in points["agent/b"]] == [2.0] * 6
    assert len(points["train/return"]) == 8


@pytest.mark.parametrize(
    ("parameter", "default"), [("logdir", "logs"), ("eval_logdir", "eval_logs")]
)
def test_log_directories_are_where_the_config_says(launch, parameter, default):
    directory = launch(*FAST, f"loop.{parameter}=elsewhere")
    assert list((directory / "elsewhere").glob("events*"))
    assert not (directory / default).exists()


def test_run_json_says_what_was_run_and_how_it_ended(launch):
    run = json.loads((launch(*FAST, "seed=2") / "run.json").read_text())
    assert run["state"] == "finished"
    assert run["versions"].keys() >= {"python", "numpy", "gym", "gym_loop"}
    assert run["versions"]["python"] == sys.version.split()[0]
    assert {"command", "host", "start", "end", "git"} <= run.keys()
    assert (run["seed"], run["episodes"]) == (2, 5)
    assert run["steps"] > 0


@pytest.mark.slow
def test_git_commit_and_dirt_are_recorded(cli, tmp_path):
    git = "git -c user.name=a -c user.email=a@b.c"
    os.system(f"cd {tmp_path} && git init -q && touch f && git add f && {git} commit -qm f")
    cli(*FAST, "hydra.run.dir=../clean_run")
    clean = json.loads((tmp_path.parent / "clean_run" / "run.json").read_text())["git"]
    (tmp_path / "f").write_text("changed")
    cli(*FAST, "hydra.run.dir=../dirty_run")
    dirty = json.loads((tmp_path.parent / "dirty_run" / "run.json").read_text())["git"]
    assert len(clean["commit"]) == 40
    assert (clean["dirty"], dirty["dirty"]) == (False, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_episode_checkpoints_and_says_how_to_go_on(
    start, child, tmp_path, number, code
):
    process = start("env=cartpole", "loop.max_episodes=10000000", "hydra.run.dir=run")
    while not (tmp_path / "run" / "episodes.csv").exists():
        time.sleep(0.02)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert "gym-loop resume run" in out
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["state"] == "stopped"
    assert len(rows(tmp_path / "run")) == run["episodes"]
    newest = os.readlink(tmp_path / "run" / "checkpoints" / "latest")
    assert newest == f"episode-{run['episodes']:06d}"


def test_max_time_stops_the_run_with_exit_code_0(child, tmp_path):
    words = ("env=cartpole", "loop.max_episodes=10000000", "hydra.run.dir=run")
    done = child(*words, "loop.max_time=0.3")
    assert done.returncode == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "stopped"


def test_an_observer_that_is_null_is_taken_away(launch):
    directory = launch(*FAST, "observers.tensorboard=null")
    assert not (directory / "logs").exists()
    assert len(rows(directory)) == 5


@pytest.mark.slow
def test_two_processes_do_not_run_in_one_directory(start, cli, tmp_path):
    words = ("env=cartpole", "loop.max_episodes=10000000", "hydra.run.dir=run")
    start(*words)
    while not (tmp_path / "run" / "episodes.csv").exists():
        time.sleep(0.02)
    done = cli(*words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "another process" in done.stderr


GREEDY = """
from gym_loop.agents import RandomAgent

class Greedy(RandomAgent):
    @staticmethod
    def get_default_parameters():
        return {"bytes": 0}

    def begin_episode(self, episode_num):
        if episode_num == 2:
            b"x" * self.parameters["bytes"]  # and free again

    def save(self, directory):
        (directory / "agent.json").write_text("{}")

    def load(self, directory):
        pass
"""


@pytest.mark.slow
def test_the_most_memory_of_any_launch_is_in_run_json_though_the_launch_was_killed(
    cli, start, tmp_path
):
    (tmp_path / "greedy.py").write_text(GREEDY)
    run, most = tmp_path / "run", 300_000_000
    process = start(
        *("agent=greedy.py:Greedy", f"agent.bytes={most}", "env=pendulum", "hydra.run.dir=run"),
        *("loop.max_episodes=100", "loop.episodes_per_checkpoint=5", "loop.eval_episodes=1"),
    )
    deadline = time.monotonic() + 60
    while not [path for path in run.glob("checkpoints/episode-*") if int(path.name[8:]) > 2]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert peak(run) < most  # nothing has been written since

    done = cli("resume", "run")
    assert done.returncode == 0, done.stderr
    assert peak(run) > most


def peak(run):
    return json.loads((run / "run.json").read_text())["peak_memory"]


def test_a_log_that_cannot_be_written_costs_no_traceback(child, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "gym_loop.log").symlink_to("/dev/full")
    (tmp_path / "full.py").write_text(
        "import logging, resource\n\n"
        "from gym_loop.agents import RandomAgent\n\n"
        "log = logging.getLogger('gym_loop')\n\n\n"
        "class Full(RandomAgent):\n"
        "    def begin_episode(self, number):\n"
        "        if self.training:\n"
        "            log.debug('x' * 70_000)\n"
        "            limit = 65_536, resource.RLIM_INFINITY\n"
        "            resource.setrlimit(resource.RLIMIT_FSIZE, limit)\n"
        "            log.warning('a line')\n"
    )

    refused = child("agent=full.py:Full", *FAST, "hydra.run.dir=run")
    done = child("agent=full.py:Full", *FAST, "loop.max_episodes=2", "hydra.run.dir=other")

    assert refused.returncode == 2
    assert done.returncode == 0
    assert done.stderr.splitlines() == ["a line", "a line"]


def test_a_run_whose_config_could_not_be_kept_begins_when_it_can_be(cli, tmp_path):
    """No run.json tells of a run that nobody could continue; a sweep would stand still by it."""
    (tmp_path / "wordy.py").write_text(
        "from gym_loop.agents import RandomAgent\n\n\n"
        "class Wordy(RandomAgent):\n"
        "    @staticmethod\n"
        "    def get_default_parameters():\n"
        "        return {'text': ''}\n"
    )
    size = 1 << 16  # what is written to see that the directory can be written into
    words = (*FAST, "loop.max_episodes=2", "hydra.run.dir=run", "hydra.output_subdir=null")
    words += ("agent=wordy.py:Wordy", f"agent.text={'x' * (size + 1)}")

    def on_a_full_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    failed = cli(*words, preexec_fn=on_a_full_disk)

    assert failed.returncode == 1
    assert "config.yaml: File too large" in failed.stderr
    assert not (tmp_path / "run" / "run.json").exists()
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run")) == 2


@pytest.mark.parametrize("name", ["logs", "eval_logs", "traces"])
def test_a_run_is_not_finished_while_a_part_cannot_be_written_and_the_resume_has_it_all(
    child, tmp_path, name
):
    obstacle = tmp_path / "run" / name
    (tmp_path / "blocks.py").write_text(
        "from pathlib import Path\n"
        "from gym_loop.agents import RandomAgent\n\n\n"
        "class Blocks(RandomAgent):\n"
        "    def begin_episode(self, number):\n"
        "        if not Path('once').exists():\n"
        f"            Path('run/{name}').touch()\n"
        "            Path('once').touch()\n"
    )

    failed = child("agent=blocks.py:Blocks", *FAST, "loop.max_episodes=3", "hydra.run.dir=run")

    assert failed.returncode == 1
    assert re.search(rf"cannot write \S*/{name}: File exists$", failed.stderr)
    assert "Traceback" not in failed.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "failed"
    obstacle.unlink()
    done = child("resume", "run")
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run")) == 3
    assert len(traces.Traces(tmp_path / "run", "train").episodes()) == 3
    points = read_events(tmp_path / "run" / "logs") | read_events(tmp_path / "run" / "eval_logs")
    assert {tag: len(found) for tag, found in points.items() if "return" in tag} == {
        "train/return": 3,
        "eval/return": 1,
    }


MEDDLES = """
import os
import shutil
from pathlib import Path
from gym_loop.agents import RandomAgent
from gym_loop.observers import checkpoints

checkpoints.MAX_SHARE_OF_TIME = 1e9  # one that is due does not wait

class Meddles(RandomAgent):
    def begin_episode(self, number):
        if number != 3 or Path("once").exists():
            return
        Path("once").touch()
        match os.environ.get("DEED"):
            case "remove":
                os.unlink("run/episodes.csv")
            case "replace":
                shutil.copy("run/episodes.csv", "copy")
                os.replace("copy", "run/episodes.csv")
            case "cut":
                os.truncate("run/episodes.csv", 0)
            case "close and open":
                os.closerange(3, 1000)
                self.__class__.own = [open(f"own-{n}", "w") for n in range(50)]
            case "remove logs":
                shutil.rmtree("run/logs")
            case "cut logs":
                for file in Path("run/logs").iterdir():
                    os.truncate(file, 0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("deed", ["remove", "replace", "cut", "close and open"])
def test_a_run_whose_rows_are_gone_has_not_finished_and_the_next_launch_has_them_all(
    cli, tmp_path, deed
):
    (tmp_path / "meddles.py").write_text(MEDDLES)
    words = ("agent=meddles.py:Meddles", *FAST, "loop.max_episodes=6", "hydra.run.dir=run")

    failed = cli(*words, environment={"DEED": deed})

    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "failed"
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    assert [row["episode"] for row in rows(tmp_path / "run")] == list("012345")


@pytest.mark.slow
@pytest.mark.parametrize("deed", ["remove logs", "cut logs"])
def test_events_that_somebody_has_removed_are_warned_of_and_those_to_come_are_written(
    cli, tmp_path, deed
):
    (tmp_path / "meddles.py").write_text(MEDDLES)
    words = ("agent=meddles.py:Meddles", *FAST, "loop.max_episodes=6", "hydra.run.dir=run")
    words = (*words, "loop.episodes_per_checkpoint=1", "loop.time_per_checkpoint=0")  # seen there

    done = cli(*words, environment={"DEED": deed})

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("events are missing") == 1
    [warning] = json.loads((tmp_path / "run" / "run.json").read_text())["warnings"]
    assert "events are missing" in warning
    found = read_events(tmp_path / "run" / "logs")["train/return"]
    steps = [int(row["steps"]) for row in rows(tmp_path / "run")]
    assert 0 < len(found) < 6
    assert [step for step, _ in found] == steps[-len(found) :]
