"""verify-resume: a stop that loses something is found, and one that loses nothing is equal."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gym_loop.commands import verify_resume
from gym_loop.launch import launch
from tests.conftest import AGENTS
from tests.run_directories import write_run

LOSING = """
import itertools

import gymnasium as gym
from gym_loop import Observer
from gym_loop.agents import RandomAgent

class Leaning(RandomAgent):
    def act(self, state, episode_num):
        return int(self.rng.random() < self.chance())

class OnTheClass(Leaning):  # state that belongs to all objects of the class
    ended = 0
    def end_episode(self, episode_num, truncated):
        type(self).ended += self.training
    def chance(self):
        return 0.9 if self.ended > 40 else 0.5

chances = itertools.cycle([0.3, 0.5, 0.7, 0.9, 0.1])

class OfTheModule(Leaning):  # an iterator
    def begin_episode(self, episode_num):
        if self.training:
            self.now = next(chances)
    def chance(self):
        return self.now

class Unsaved(Leaning):  # kept out of what its own `save` writes
    seen = 0
    def save(self, directory):
        (directory / "nothing.txt").write_text("")
    def load(self, directory):
        pass
    def update(self, episode_num):
        self.seen += 1
    def chance(self):
        return 0.5 if self.seen < 500 else 0.8

class Games(gym.Wrapper):  # an environment that counts on its class
    played = 0
    def __init__(self):
        super().__init__(gym.make("CartPole-v1"))
    def reset(self, **options):
        Games.played += 1
        return self.env.reset(**options)
    def step(self, action):
        ob, reward, terminated, truncated, info = self.env.step(action)
        return ob, reward * Games.played, terminated, truncated, info

class Counting(Observer):  # keeps its count, and does not take it back
    count = 0
    def end_episode(self, loop, episode):
        self.count += episode.training
    def state_dict(self):
        return {"count": self.count}

class Doubling(Observer):  # appends to a file, which it does not cut back when it goes on
    def begin(self, loop):
        self.file = (loop.directory / "notes" / "mine.csv")
        self.file.parent.mkdir(exist_ok=True)
    def end_episode(self, loop, episode):
        with self.file.open("a") as file:
            file.write(f"{episode.number}\\n")

class Cutting(Doubling):
    size = 0
    def begin(self, loop):
        super().begin(loop)
        self.file.touch()
        with self.file.open("a") as file:
            file.truncate(self.size)
    def state_dict(self):
        return {"size": self.file.stat().st_size}
    def load_state_dict(self, state):
        self.size = state["size"]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["agent=losing.py:OnTheClass", "env=cartpole"],
        ["agent=losing.py:OfTheModule", "env=cartpole"],
        ["agent=losing.py:Unsaved", "env=cartpole"],
        ["env=losing.py:Games"],
    ],
    ids=lambda words: words[0],
)
def test_state_that_no_checkpoint_has_makes_a_difference(cli, tmp_path, words):
    (tmp_path / "losing.py").write_text(LOSING)
    limits = ("loop.max_episodes=60", "loop.eval_episodes=0")
    done = cli("verify-resume", "--kills", "1", "--seed", "3", *limits, *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "differs: episodes.csv row" in done.stdout
    assert "\nequal" not in done.stdout
    assert re.search(r"^different; continued from episodes \d+ of 60$", done.stdout, re.M)
    assert "does not repeat itself" not in done.stdout


@pytest.mark.slow
def test_what_an_observer_loses_of_what_it_keeps_makes_a_difference(cli, tmp_path):
    (tmp_path / "losing.py").write_text(LOSING)
    words = ("+observers.mine._target_=losing.py:Counting", "loop.max_episodes=20")
    done = cli("verify-resume", "--kills", "1", "env=cartpole", "loop.eval_episodes=0", *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^differs: observers\.mine\.count \(20 and \d+\)$", done.stdout, re.M)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Doubling", "Cutting"])
def test_files_that_code_of_the_users_writes_are_compared(cli, tmp_path, kind):
    (tmp_path / "losing.py").write_text(LOSING)
    words = (f"+observers.mine._target_=losing.py:{kind}", "loop.max_episodes=20")
    done = cli("verify-resume", "--kills", "4", "env=cartpole", "loop.eval_episodes=0", *words)
    if kind == "Doubling":
        assert done.returncode == 1, done.stdout + done.stderr
        assert "\ndiffers: notes/mine.csv, which code of yours has written\n" in done.stdout
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        assert ", traces, files of your code; continued from" in done.stdout


@pytest.mark.slow
def test_a_run_that_loses_nothing_is_equal_wherever_it_is_stopped(cli, tmp_path):
    limits = ("loop.max_episodes=40", "loop.episodes_per_eval=10", "loop.eval_episodes=2")
    done = cli("verify-resume", f"agent={AGENTS}:Plain", "env=cartpole", *limits)
    assert done.returncode == 0, done.stdout + done.stderr
    for way in ("in mid-episode", "right after a check", "between two check", "in an evaluation"):
        assert f"killed {way}" in done.stdout
    assert "asked to stop (SIGTERM)" in done.stdout
    points = [int(n) for n in re.findall(r"to go on from episode (\d+)$", done.stdout, re.M)]
    assert len(points) == 5
    assert min(points) <= 2
    assert max(points) >= 25
    assert f"continued from episodes {', '.join(map(str, points))} of 40" in done.stdout
    assert os.listdir(tmp_path) == []


def test_neither_run_is_told_to_a_sink_or_leaves_code_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launched, observers = [], []
    monkeypatch.setattr(verify_resume, "run", lambda words, limit: launched.append(words) or 2)
    words = ["agent=random", "env=cartpole", "+sink=[wandb,mlflow]", "observers.wandb.mode=offline"]
    with pytest.raises(SystemExit, match="2"):
        verify_resume.verify(tmp_path / "runs", words, 1, random.Random(0))

    def task(cfg):
        observers.extend(name for name, node in cfg.observers.items() if node)

    launch(launched[0], task=task)
    assert "checkpoints" in observers
    assert not {"wandb", "mlflow", "code"} & {*observers}


@pytest.mark.slow
def test_an_agent_that_forgets_an_attribute_has_it_named(cli, tmp_path):
    (tmp_path / "forgetful.py").write_text(
        "from gym_loop.agents import RandomAgent\n"
        "class Forgetful(RandomAgent):\n"
        "    count = 0\n"
        "    def update(self, episode_num): self.count += 1\n"
        "    def metrics(self, episode_num): return {'count': self.count}\n"
        "    def load(self, directory):\n"
        "        super().load(directory)\n"
        "        self.count = 0\n"
    )
    words = ("--kills", "1", "loop.max_episodes=60", "env=cartpole", "loop.logdir=curves")
    done = cli("verify-resume", *words, "agent=forgetful.py:Forgetful")
    assert done.returncode == 1
    assert "differs: agent checkpoint: count" in done.stdout
    assert "TensorBoard curves: agent/count" in done.stdout


@pytest.mark.slow
def test_a_run_that_does_not_repeat_itself_is_told_from_one_that_a_stop_changes(cli, tmp_path):
    (tmp_path / "clock.py").write_text(
        "from pathlib import Path\n"
        "from gym_loop.agents import RandomAgent\n"
        f"ran = Path({str(tmp_path / 'ran')!r})\n"
        "chance = 0.9 if ran.exists() else 0.5\n"
        "ran.touch()\n"
        "class Clock(RandomAgent):\n"
        "    def act(self, state, episode_num): return int(self.rng.random() < chance)\n"
    )
    words = ("--kills", "1", "--seed", "2", "agent=clock.py:Clock", "env=cartpole")
    done = cli("verify-resume", *words, "loop.max_episodes=40", "loop.eval_episodes=0")
    assert done.returncode == 1
    assert "they differ from episode 0 on, before the first stop" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["loop.max_episodes=1"],
        pytest.param(["loop=vector", "loop.max_episodes=9"], marks=pytest.mark.slow),
    ],
    ids=["one episode", "one round"],
)
def test_nothing_is_claimed_where_no_stop_was_followed_by_training(cli, words):
    done = cli("verify-resume", "--kills", "1", "env=cartpole", *words)
    assert done.returncode == 1
    assert "raise loop.max_episodes" in done.stderr
    assert "equal" not in done.stdout


def test_a_mistake_in_the_config_is_said_once(child):
    wrong = child("verify-resume", "agent=rndom")
    assert wrong.returncode == 2
    [line] = wrong.stderr.splitlines()
    assert "no agent 'rndom' (command line); did you mean 'random'?" in line


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_nothing_is_left_running_when_it_is_stopped_itself(start, tmp_path, number):
    """The run's own children are ended with it: here one that an environment has started."""
    process, run, directory = without_an_end(start, tmp_path)
    while process.poll() is None:  # impatient
        process.send_signal(number)
        time.sleep(0.001)
    assert process.returncode == (143 if number == signal.SIGTERM else 130)
    for pid in (run, *map(int, (tmp_path / "pids").read_text().split())):
        assert is_gone(pid)
    assert list(directory.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
def test_its_run_ends_with_it_when_it_is_killed(start, tmp_path):
    process, run, _ = without_an_end(start, tmp_path)
    process.kill()
    process.wait()
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        os.kill(pid, signal.SIGKILL)  # what an environment has started is its own
    deadline = time.monotonic() + 60
    while not is_gone(run):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_signal_that_is_ignored_as_by_nohup_stays_so(start, tmp_path):
    process, *_ = without_an_end(start, tmp_path, ignored=signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    process.terminate()
    assert process.wait() == 143


def without_an_end(start, tmp_path, ignored=None):
    """Start a verification whose run never ends; return it, the run's id and its folder."""
    (tmp_path / "parent.py").write_text(
        "import subprocess, sys\n"
        "import gymnasium\n"
        "def make(render_mode=None):\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    with open('pids', 'a') as file: file.write(f'{child.pid}\\n')\n"
        "    return gymnasium.make('CartPole-v1')\n"
    )
    directory = tmp_path.with_name(f"{tmp_path.name}-temporary")
    directory.mkdir()
    words = ("env=parent.py:make", "loop.max_episodes=100000000")
    environment = {**os.environ, "TMPDIR": str(directory)}
    ignore = None if ignored is None else lambda: signal.signal(ignored, signal.SIG_IGN)
    process = start("verify-resume", *words, env=environment, preexec_fn=ignore)
    while not (rows := list(directory.glob("*/untouched/episodes.csv"))):
        assert process.poll() is None
        time.sleep(0.01)
    return process, json.loads((rows[0].parent / "run.json").read_text())["pid"], directory


def is_gone(pid):
    """Return whether a process has ended; a zombie has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def plan_of(directory, kills, seed=0):

    return verify_resume.plan(directory, kills, random.Random(seed))


def test_the_stops_are_spread_over_the_run_and_the_ways_to_stop(tmp_path):
    write_run(tmp_path / "run", episodes=400, evaluations=3)
    for seed in range(20):
        moments = plan_of(tmp_path / "run", 5, seed)
        after = [moment["after"] for moment in moments]
        assert after == sorted(after)
        assert 1 <= after[0] <= 8
        assert after[1] < 100 <= after[2] < 200 <= after[3] < 300
        assert after[4] == 400  # in the only evaluation, which is the final one
        assert len({moment["way"] for moment in moments}) == 5
    [alone] = plan_of(tmp_path / "run", 1)
    assert alone["way"] == verify_resume.KILL
    write_run(tmp_path / "short", episodes=2, evaluations=0)
    assert {moment["after"] for moment in plan_of(tmp_path / "short", 4)} == {1}
