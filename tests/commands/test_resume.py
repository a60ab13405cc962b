"""resume, fork, and launching into a run's own directory."""

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gym_loop
from gym_loop import Mistake, files
from gym_loop.__main__ import dispatch
from gym_loop.checks import config
from gym_loop.observers import checkpoints as writing
from gym_loop.runs import checkpoints, compare, traces
from tests.conftest import AGENTS, left_by_a_killed_process, rows

LEARNER = (f"agent={AGENTS}:Learner", "env=pendulum", "loop.episodes_per_eval=9")
PLAIN = (f"agent={AGENTS}:Plain", "env=cartpole")
EVALUATIONS = "evaluations.csv"
OFTEN = ("loop.time_per_checkpoint=0.05",)
RANDOM = ("agent=random", "env=gymnasium:CartPole-v1")


def differences(one, two):
    sys.modules.pop("sample_agents", None)
    from gym_loop.config.locate import load_file

    load_file(str(AGENTS))  # what the checkpoints name
    return list(compare.differences(Path(one), Path(two)))


def kill_after(process, directory, episodes):
    """SIGKILL a run once it has written down that many episodes; return whether it was alive."""
    table = directory / "episodes.csv"
    while process.poll() is None:
        if table.exists() and table.read_bytes().count(b"\n") > episodes:
            process.kill()
            break
        time.sleep(0.001)
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_nothing_is_printed_of_what_the_agent_s_file_imports(cli, tmp_path):
    """gym has a notice for its users, which a launch hides."""
    source = AGENTS.read_text()
    (tmp_path / "mine.py").write_text(f"import gym\n{source}")
    assert cli("agent=mine.py:Plain", "env=cartpole", "hydra.run.dir=run").returncode == 0
    for command in ("resume", "evaluate"):
        done = cli(command, "run", "loop.max_episodes=7")
        assert done.returncode == 0
        assert "Gym has been unmaintained" not in done.stderr


@pytest.mark.slow
def test_a_run_can_be_used_from_any_folder(cli, tmp_path):
    """What its config names is found where it was launched: modules, files, files in parameters."""
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    away.mkdir()
    (home / "registers_mine.py").write_text(
        "import gym\ngym.register('Mine-v0', 'gym.envs.classic_control:CartPoleEnv')\n"
    )
    (home / "mine.py").write_text(
        f"{AGENTS.read_text()}\n\nclass Chosen(Plain):\n"
        "    get_default_parameters = staticmethod(lambda: {'helper': 'helpers.py:help'})\n"
        "    def begin_episode(self, episode_num):\n"
        "        from gym_loop import launch\n"
        "        launch.locate(self.parameters['helper'])()\n"
    )
    (home / "helpers.py").write_text("def help():\n    pass\n")
    words = ("agent=mine:Chosen", "env=gym:Mine-v0", "env.imports=[registers_mine]")
    words += ("loop.max_episodes=2", "loop.eval_episodes=1")
    for more in (("hydra.run.dir=run",), ("-m", "seed=0,1", "hydra.sweep.dir=sweep")):
        done = cli(*words, *more, cwd=home)
        assert done.returncode == 0, done.stderr
    for command in (
        ("resume", "../home/run", "loop.max_episodes=3"),
        ("fork", "../home/run", "loop.max_episodes=4", "hydra.run.dir=fork"),
        ("evaluate", "../home/run"),
        ("replay", "../home/run", "--episode", "1"),
        ("resume", "../home/sweep", "seed=range(3)"),
    ):
        done = cli(*command, cwd=away)
        assert done.returncode == 0, (command, done.stderr)
    assert len(rows(home / "run")) == 3
    # However a run came about and was resumed, readers are told one name of its class.
    runs = home / "run", away / "fork"
    names = {json.loads((d / "run.json").read_text())["config"]["agent"]["_target_"] for d in runs}
    assert names == {f"{home / 'mine.py'}:Chosen"}
    assert cli("resume", "fork", "loop.max_episodes=5", cwd=away).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "episodes"),
    [(LEARNER, 60), (PLAIN, 3000), (RANDOM, 2000)],
    ids=["learner", "plain", "random"],
)
def test_three_kills_within_a_run_leave_no_trace(alone, start, cli, tmp_path, words, episodes):
    words = (*words, f"loop.max_episodes={episodes}", "loop.eval_episodes=2", *OFTEN)
    untouched = alone(*words, directory="untouched")
    rng = np.random.default_rng(episodes)
    killed = 0
    for moment in sorted(rng.integers(0, episodes - 1, size=3)):
        process = start(*words, "hydra.run.dir=killed")
        killed += kill_after(process, tmp_path / "killed", moment)
    assert cli(*words, "hydra.run.dir=killed").returncode == 0
    assert killed == 3
    assert differences(untouched, tmp_path / "killed") == []


@pytest.mark.long
@pytest.mark.parametrize(("words", "episodes"), [(LEARNER, 60), (PLAIN, 3000), (RANDOM, 2000)])
def test_ten_single_kills_at_random_moments_leave_no_trace(
    alone, start, cli, tmp_path, words, episodes
):
    words = (*words, f"loop.max_episodes={episodes}", "loop.eval_episodes=2", *OFTEN)
    untouched = alone(*words, directory="untouched")
    for number, moment in enumerate(np.random.default_rng(1).integers(0, episodes - 1, size=10)):
        directory = tmp_path / f"killed{number}"
        assert kill_after(start(*words, f"hydra.run.dir={directory}"), directory, moment)
        assert cli(*words, f"hydra.run.dir={directory}").returncode == 0
        assert differences(untouched, directory) == []


@pytest.mark.slow
def test_which_checkpoints_were_written_changes_nothing(launch):
    words = (*LEARNER, "loop.max_episodes=12", "loop.eval_episodes=1")
    every = launch(*words, "loop.time_per_checkpoint=0", directory="every")
    none = launch(*words, "loop.episodes_per_checkpoint=null", directory="none")
    assert differences(every, none) == []


@pytest.mark.slow
def test_there_is_at_most_one_checkpoint_a_second(launch, monkeypatch):
    moments, write, began = [], writing.Checkpoints.write, time.monotonic()

    def counted(self, loop, **where):
        moments.append(time.monotonic() - began)
        write(self, loop, **where)

    monkeypatch.setattr(writing.Checkpoints, "write", counted)
    launch("env=cartpole", "loop.max_episodes=12000", "loop.eval_episodes=0")
    *due, _ = moments
    assert all(number <= moment for number, moment in enumerate(due))


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    perf_counter = monotonic


BEST = "best"  # instead of a length: an evaluation, the best so far


@pytest.mark.parametrize(
    ("parameters", "took", "episodes", "written"),
    [
        ({"episodes_per_checkpoint": 10}, 0.001, [0.5] * 30, [5, 10, 15]),
        ({"episodes_per_checkpoint": 10}, 0.001, [0.06] * 200, [0.6, 3.6, 6.6, 9.6]),
        # What slow episodes leave unused is not made up for in a burst.
        (
            {"episodes_per_checkpoint": 1},
            0.001,
            [5] * 4 + [0.7] * 14,
            [5, 10, 15, 20, 23.5, 27],
        ),
        # Two percent: a second each, so one in fifty.
        ({"episodes_per_checkpoint": 1}, 1, [10] * 16, [10, 50, 100, 150]),
        ({"time_per_checkpoint": 0.5}, 0.001, [0.2] * 10, [0.6, 1.2, 1.8]),
        ({"time_per_checkpoint": 60}, 0.001, [7] * 20, [63, 126]),
        ({"time_per_checkpoint": 0}, 0.001, [0.2] * 4, [0.2, 0.4, 0.6, 0.8]),
        ({}, 0.001, [1] * 100, []),
        ({}, 0.001, [0.1] * 3 + [BEST] + [0.1] * 3 + [BEST] + [0.1], [0.3, 0.6]),
    ],
)
def test_checkpoints_are_written_when_they_are_due_and_affordable(
    monkeypatch, tmp_path, parameters, took, episodes, written
):
    clock, moments, played = Clock(), [], 0.0

    def write(checkpoint, state):
        moments.append(round(played, 3))
        clock.now += took
        checkpoint.unfinished.mkdir()

    monkeypatch.setattr(writing, "time", clock)
    monkeypatch.setattr(writing, "write_agent", write)
    monkeypatch.setattr(writing, "quicken", lambda loop: None)
    monkeypatch.setattr(writing, "load_state", lambda path: {})
    parameters = {"episodes_per_checkpoint": None, **parameters}
    loop = SimpleNamespace(
        parameters=parameters, directory=tmp_path, episodes=0, agent=None, observers={}
    )
    observer = writing.Checkpoints()
    observer.begin(loop)
    for number, length in enumerate(episodes):
        if length == BEST:
            observer.end_evaluation(loop, [SimpleNamespace(ret=number)])
        else:
            played += length
            clock.now += length
            loop.episodes += 1
        if [*episodes, None][number + 1] != BEST:
            observer.end_cycle(loop)
    assert moments == written


@pytest.mark.slow
def test_a_finished_run_goes_on_to_what_more_would_have_given(alone, cli):
    words = (*LEARNER, "loop.eval_episodes=2")
    longer = alone(*words, "loop.max_episodes=20", directory="longer")
    run = alone(*words, "loop.max_episodes=8", directory="run")
    done = cli("resume", "run", "loop.max_episodes=20")
    assert done.returncode == 0, done.stderr
    assert "continuing from episode 8" in done.stderr
    assert differences(run, longer) == []


@pytest.mark.slow
def test_a_limit_below_what_has_been_played_is_refused(launch, cli):
    directory = launch("env=cartpole", "loop.max_episodes=13", "loop.eval_episodes=0")
    before = (directory / "run.json").read_bytes()
    for words, said in (
        (("resume", "run", "loop.max_episodes=5"), "fewer than the 13 that run has"),
        (("resume", "run", "loop.max_steps=5"), "loop.max_steps=5 is fewer than the "),
        (("fork", "run", "loop.max_episodes=12"), "fewer than the 13 before the fork"),
    ):
        done = cli(*words)
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert said in line
    assert (directory / "run.json").read_bytes() == before
    assert not Path("outputs").exists()


@pytest.mark.slow
def test_resuming_a_finished_run_says_so_and_touches_nothing(launch, cli, tmp_path):
    directory = launch(*PLAIN)
    before = {p: p.stat().st_mtime_ns for p in directory.rglob("*")}
    for words in (("resume", "run"), (*PLAIN, "hydra.run.dir=run")):
        done = cli(*words)
        assert done.returncode == 0, done.stderr
        assert "is finished" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in directory.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["seed=1", "agent.lr=0.3", "env=cartpole", "agent=random", "loop.max_episode_len=9"]
)
def test_what_would_change_the_past_is_refused_and_points_to_fork(launch, cli, tmp_path, change):
    launch(*LEARNER, "loop.max_episodes=2", "loop.eval_episodes=1")
    before = (tmp_path / "run" / "run.json").read_bytes()
    done = cli("resume", "run", change)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "gym-loop fork run" in done.stderr
    assert (tmp_path / "run" / "run.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    ["agent.lr=null", "wrap=[]", "agent=random", "agent.more=[{a:3,b:[true,null,'x y']}]"],
)
def test_the_fork_that_a_refusal_points_to_has_what_was_asked_for(launch, cli, tmp_path, change):
    (tmp_path / "mine.py").write_text(
        f"{AGENTS.read_text()}\n\nclass Mine(Plain):\n"
        "    get_default_parameters = staticmethod(lambda: {'lr': None, 'more': ['a']})\n"
    )
    words = ("agent=mine.py:Mine", "agent.lr=0.5", "env=cartpole", "wrap=[clip_reward]")
    launch(*words, "loop.max_episodes=1", "loop.eval_episodes=0")
    done = cli("resume", "run", change)
    assert done.returncode == 2
    command = shlex.split(done.stderr.rpartition(", or: gym-loop ")[2])
    forked = cli(*command, "loop.max_episodes=2", "hydra.run.dir=fork")
    assert forked.returncode == 0, forked.stderr
    config = json.loads((tmp_path / "fork" / "run.json").read_text())["config"]
    assert {
        "agent.lr=null": lambda: config["agent"]["lr"] is None,
        "wrap=[]": lambda: not config["env"].get("wrappers"),
        "agent=random": lambda: config["agent"]["_target_"] == "gym_loop.agents.RandomAgent",
    }.get(change, lambda: config["agent"]["more"] == [{"a": 3, "b": [True, None, "x y"]}])()


@pytest.mark.slow
def test_another_config_in_a_runs_own_directory_is_refused_by_the_first_key_that_differs(
    launch, cli
):
    launch(*PLAIN)
    done = cli(*PLAIN, "hydra.run.dir=run", "loop.max_episode_len=7")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "loop.max_episode_len=5000" in done.stderr
    assert "loop.max_episode_len=7" in done.stderr


@pytest.mark.slow
def test_the_same_command_with_a_higher_limit_extends_the_run(launch, cli):
    directory = launch(*PLAIN)
    done = cli(*PLAIN, "hydra.run.dir=run", "loop.max_episodes=7")
    assert done.returncode == 0, done.stderr
    assert [row["episode"] for row in rows(directory)] == [*"0123456"]


@pytest.mark.slow
def test_a_run_goes_on_in_its_own_directory_whatever_that_is_called(launch, cli, tmp_path):
    directory = launch("env=cartpole", "loop.max_episodes=2", "loop.eval_episodes=0")
    odd = directory.rename(tmp_path / "it's \\ a,b=[$x]\\")
    done = cli("resume", odd.name, "loop.max_episodes=3")
    assert done.returncode == 0, done.stderr
    assert len(rows(odd)) == 3
    assert [path.name for path in tmp_path.iterdir()] == [odd.name]


@pytest.mark.slow
def test_a_fork_into_another_environment_has_rows_of_its_own(launch, cli):
    words = ("agent=random", "loop.eval_episodes=1", "loop.episodes_per_eval=2")
    launch(*words, "env=cartpole", "loop.max_episodes=4")
    forked = ("env=acrobot", "loop.max_episodes=6", "hydra.run.dir=forked")
    done = cli("fork", "run", *forked)
    assert done.returncode == 0, done.stderr
    assert [row["episode"] for row in rows("forked")] == ["4", "5"]
    assert all(float(row["return"]) < 0 for row in rows("forked") + rows("forked", EVALUATIONS))
    (trace,) = traces.episodes(traces.load(Path("forked/traces/train-000004.npz")), [5])
    assert set(trace.actions) == {0, 1, 2}  # Acrobot's, of which CartPole has two
    assert cli("replay", "forked", "--every", "1").returncode == 0
    best = json.loads(Path("forked/checkpoints/latest/state.json").read_text().partition("\n")[2])
    assert best["observers"]["checkpoints"]["best"] < 0
    assert cli("fork", "run", "loop.max_episodes=6", "hydra.run.dir=same").returncode == 0
    assert [row["episode"] for row in rows("same")] == [*"012345"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "env", "elsewhere", "attribute"),
    [
        ("ars", "env=cartpole", "env=acrobot", "policy"),
        ("q_learning", "env=frozen_lake", "env=taxi", "actions"),  # whose tables would be too short
    ],
)
def test_a_fork_whose_agent_does_not_fit_the_spaces_is_refused_and_leaves_nothing(
    launch, cli, agent, env, elsewhere, attribute
):
    words = ("loop.eval_episodes=1", "loop.max_episodes=2")
    launch(f"agent={agent}", env, *words)
    Path("mine").mkdir()
    Path("mine", "notes.txt").write_text("mine")
    for directory in ("forked", "mine"):
        done = cli("fork", "run", elsewhere, "loop.max_episodes=4", f"hydra.run.dir={directory}")
        assert done.returncode == 2
        assert f"has built `{attribute}` from" in done.stderr
    assert not Path("forked").exists()
    assert [*Path("mine").rglob("*")] == [Path("mine", "notes.txt")]
    if agent == "q_learning":  # a larger lake has the same actions, and its states are looked up
        larger = ("env.kwargs.map_name=8x8", "loop.max_episodes=4", "hydra.run.dir=larger")
        assert cli("fork", "run", *larger).returncode == 0
        assert cli("fork", "run", "env=cartpole", "hydra.run.dir=none").returncode == 2
        assert not Path("none").exists()


@pytest.mark.slow
def test_a_fork_has_its_parents_info_keys_unless_its_episodes_are_all_its_own(launch, tmp_path):
    launch(
        "env=frozen_lake", "loop.info_keys=[prob]", "loop.max_episodes=2", "loop.eval_episodes=1"
    )
    more = ["loop.max_episodes=4", "loop.info_keys=[prob,other]"]
    with pytest.raises(Mistake, match=r"cannot change in a fork.*expected loop.info_keys=\[prob\]"):
        gym_loop.fork("run", *more, directory="refused")
    assert not Path("refused").exists()
    fork = gym_loop.fork("run", *more, "env.kwargs.map_name=8x8", directory="elsewhere")
    assert list(fork.episodes["prob"]) == [1 / 3] * 2


@pytest.mark.slow
def test_a_directory_that_is_no_run_is_said_so(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        done = cli("resume", name)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "is not a run" in done.stderr


@pytest.mark.slow
def test_a_fork_goes_on_from_a_checkpoint_with_a_changed_config(launch, cli, tmp_path):
    words = (*LEARNER, "loop.eval_episodes=1", "loop.keep_checkpoints=9")
    parent = launch(*words, "loop.max_episodes=12", "loop.time_per_checkpoint=0")
    before = {p: p.read_bytes() for p in parent.rglob("*") if p.is_file()}
    at = int(checkpoints.names(parent / "checkpoints")[1].partition("-")[2])
    words = ("agent.lr=0.7", "loop.max_episodes=15", "hydra.run.dir=forked")
    done = cli("fork", "run", "--at", at, *words)
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "forked" / "run.json").read_text())
    evaluated = checkpoints.read_state(parent / "checkpoints" / f"episode-{at:06d}")["evaluated"]
    assert run["parent"] == {"directory": str(parent), "episode": at, "evaluated": evaluated}
    assert run["config"]["agent"]["lr"] == 0.7
    assert rows("forked")[:at] == rows(parent)[:at]
    assert len(rows("forked")) == 15
    assert {p: p.read_bytes() for p in parent.rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_a_fork_at_an_episode_that_was_not_played_names_the_range(launch, cli, tmp_path):
    launch(*PLAIN)
    done = cli("fork", "run", "--at", 6)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected 1 to 5" in done.stderr
    assert not (tmp_path / "outputs").exists()


def damage_cut(file):
    file.write_bytes(file.read_bytes()[:-7])


def damage_zero(file):
    file.write_bytes(bytes(file.stat().st_size))


def damage_flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [damage_cut, damage_zero, damage_flip])
@pytest.mark.parametrize("name", ["state.json", "loop.pkl", "agent/agent.pkl"])
def test_a_damaged_checkpoint_costs_one_warning_and_nothing_else(launch, damage, name):
    words = (*LEARNER, "loop.eval_episodes=1", "loop.time_per_checkpoint=0")
    whole = launch(*words, "loop.max_episodes=6", directory="whole")
    launch(*words, "loop.max_episodes=4")
    damage(Path("run/checkpoints/episode-000004") / name)
    dispatch("resume", "run", "loop.max_episodes=6")
    assert Path("run/gym_loop.log").read_text().count("is damaged") == 1
    assert differences("run", whole) == []


@pytest.mark.parametrize("name", ["episodes.csv", "evaluations.csv", "checkpoints"])
def test_what_lies_in_the_place_of_a_runs_own_is_refused_and_the_run_stays_finished(
    launch, child, name
):
    run = launch(*PLAIN, "loop.max_episodes=2", "loop.eval_episodes=1")
    before = (run / "run.json").read_bytes()
    (run / name).rename("away")
    (run / name).write_text("") if name == "checkpoints" else (run / name).mkdir()
    done = child("resume", "run", "loop.max_episodes=3")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"run/{name} is no " in done.stderr
    assert (run / "run.json").read_bytes() == before


@pytest.mark.parametrize("name", ["episodes.csv", "checkpoints"])
def test_what_is_a_link_to_a_disk_that_is_not_there_is_refused(launch, child, name):
    run = launch(*PLAIN, "loop.max_episodes=2", "loop.eval_episodes=1")
    before = {file: (run / file).read_bytes() for file in ("run.json", "evaluations.csv")}
    (run / name).rename(run / "elsewhere")
    (run / name).symlink_to(f"not-mounted/{name}")
    done = child("resume", "run", "loop.max_episodes=3")
    assert (done.returncode, done.stderr) == (
        2,
        f"gym-loop: run/{name} is a link that leads nowhere: not-mounted/{name}\n",
    )
    assert (run / name).is_symlink()
    assert {file: (run / file).read_bytes() for file in before} == before
    assert len([*run.glob("*/episode-000002")]) == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["resume", "loop.max_episodes=3"], 0),
        (["resume", "seed=3"], 2),
        (["evaluate", "--checkpoint", "best"], 2),
        (["replay", "--episode", "99"], 2),
    ],
)
def test_a_terminal_is_told_no_commands_by_the_name_of_a_runs_directory(launch, child, words, code):
    run = launch(*PLAIN, "loop.max_episodes=2", "loop.eval_episodes=1")
    (run / "checkpoints" / "episode-000002" / "loop.pkl").write_bytes(b"")
    run.rename(run.with_name("\x1b[2Jrun"))
    done = child(words[0], "\x1b[2Jrun", *words[1:])
    assert done.returncode == code, done.stderr
    assert "\N{REPLACEMENT CHARACTER}[2Jrun" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="root reads what it likes")
def test_checkpoints_that_may_not_be_read_are_not_taken_for_none(launch, tmp_path):
    run = launch(*PLAIN, "loop.max_episodes=2", "loop.eval_episodes=1")
    before = (run / "episodes.csv").read_bytes()
    (run / "checkpoints").chmod(0)
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] * (os.geteuid() == 0)
    words += [sys.executable, "-m", "gym_loop", "resume", "run", "loop.max_episodes=3"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    (run / "checkpoints").chmod(0o755)
    assert (done.returncode, done.stderr) == (
        2,
        "gym-loop: cannot read and write run/checkpoints: no permission\n",
    )
    assert (run / "episodes.csv").read_bytes() == before


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_run_that_may_not_be_written_into_is_named_as_such(launch, monkeypatch, command):
    launch("agent=random", "env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=1")
    monkeypatch.setattr(config, "_writable", set())  # what has been found writable

    def refused(dir):
        raise PermissionError(errno.EACCES, "Permission denied", dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    with pytest.raises(Mistake) as raised:
        dispatch(command, "run", "loop.eval_episodes=2")
    said = "cannot write into the run's directory run (a copy will do): Permission denied"
    assert raised.value.message == said


def test_a_checkpoint_leaves_the_attributes_of_agent_and_environment_as_they_were():
    from gym_loop.agents import RandomAgent
    from gym_loop.envs import make_gym
    from gym_loop.loops import DefaultLoop
    from gym_loop.observers.restoring import quicken

    env = make_gym("CartPole-v1")
    loop = DefaultLoop(RandomAgent(env.observation_space, env.action_space), env)
    loop.train()
    layers = (loop.agent, loop.agent.action_space, env, env.unwrapped)
    before = [(vars(layer), list(vars(layer).items())) for layer in layers]
    quicken(loop)
    for layer, (attributes, items) in zip(layers, before, strict=True):
        assert vars(layer) is attributes
        assert [name for name, _ in items] == list(attributes)
        assert all(attributes[name] is value for name, value in items)


def test_names_of_attributes_are_interned_again_after_a_resume(tmp_path):
    """One that is not is compared letter by letter, each time."""
    from gym_loop.agents import RandomAgent
    from gym_loop.envs import make_gym
    from gym_loop.loops import DefaultLoop
    from gym_loop.observers.restoring import quicken

    env = make_gym("CartPole-v1")
    loop = DefaultLoop(RandomAgent(env.observation_space, env.action_space), env)
    loop.agent.save(tmp_path)
    names = list(vars(loop.agent))
    loop.agent.load(tmp_path)
    quicken(loop)
    assert list(vars(loop.agent)) == names
    assert all(sys.intern(name) is name for name in vars(loop.agent))


def test_checkpoints_kept_are_the_newest_the_best_and_the_final_one(launch):
    words = ("env=cartpole", "loop.time_per_checkpoint=0", "loop.episodes_per_eval=2")
    directory = launch(*words, "loop.max_episodes=30", "loop.keep_checkpoints=3")
    folder = directory / "checkpoints"
    kept = set(checkpoints.names(folder))
    table = rows(directory, "evaluations.csv")
    means = {}
    for row in table:
        means.setdefault(int(row["at_episode"]), []).append(float(row["return"]))
    best = max(range(2, 31, 2), key=lambda at: (sum(means[at][:10]), -at))
    assert kept >= {"episode-000030", f"episode-{best:06d}"}
    assert len(kept) in (3, 4)
    assert os.readlink(folder / "latest") == "episode-000030"
    assert os.readlink(folder / "best") == f"episode-{best:06d}"


def test_an_agent_that_does_not_pickle_is_told_which_attribute_it_is(child):
    done = child(f"agent={AGENTS}:DoesNotPickle", "env=cartpole")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "DoesNotPickle.guard cannot be saved" in done.stderr


STATISTICS = """
import threading

import gymnasium as gym
from gymnasium.wrappers import NormalizeObservation

def normalized():
    return NormalizeObservation(gym.make("Pendulum-v1"))

def stubborn():
    env = gym.make("CartPole-v1")
    env.guard = threading.Lock()  # which does not pickle
    return env
"""


@pytest.mark.slow
@pytest.mark.parametrize(("env", "warns"), [("normalized", False), ("stubborn", True)])
def test_environments_with_statistics_and_those_that_do_not_pickle_resume_exactly(
    alone, start, cli, tmp_path, env, warns
):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    (tmp_path / "my_env.py").write_text(STATISTICS)
    words = (f"agent={AGENTS}:Learner", f"env=my_env.py:{env}", "loop.max_episodes=60")
    words = (*words, "loop.time_per_checkpoint=0", "loop.eval_episodes=1")
    untouched = alone(*words, directory="untouched")
    assert kill_after(start(*words, "hydra.run.dir=killed"), tmp_path / "killed", 20)
    done = cli(*words, "hydra.run.dir=killed")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("does not pickle") == warns
    assert differences(untouched, tmp_path / "killed") == []


WRITER = """
import sys
from pathlib import Path
from gym_loop.observers.checkpoints import Checkpoints
from gym_loop.loops import DefaultLoop
from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym
env = make_gym("CartPole-v1")
agent = RandomAgent(observation_space=env.observation_space, action_space=env.action_space)
agent.ballast = bytes(200_000)
loop = DefaultLoop(agent, env)
loop.directory = Path(sys.argv[1])
observer = Checkpoints()
observer.restore(loop)
observer.begin(loop)
print("ready", flush=True)
sys.stdin.readline()
while True:
    loop.episodes += 1
    observer.write(loop)
"""


@pytest.mark.slow
def test_kills_while_checkpoints_are_written_leave_all_readable_and_nothing_over(tmp_path):
    assert kill_writers(tmp_path, 12) == []


@pytest.mark.long
def test_200_kills_while_checkpoints_are_written_leave_all_readable_and_nothing_over(tmp_path):
    assert kill_writers(tmp_path, 200) == []


def test_what_a_kill_left_of_a_link_to_a_checkpoint_is_removed(tmp_path):
    (tmp_path / "whole").mkdir()
    left_by_a_killed_process(tmp_path / "latest").symlink_to("whole")
    left_by_a_killed_process(tmp_path / "best").symlink_to("nothing")
    files.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def kill_writers(tmp_path, times):
    """Return what the next start did not remove, and what could not be read, after the kills."""
    elsewhere = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path
    folder, wrong = tmp_path / "checkpoints", []
    rng = np.random.default_rng(0)
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            env={**os.environ, "TMPDIR": str(elsewhere)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout.readline() == b"ready\n"
            wrong += folder.glob(f"{files.TEMPORARY}*")
            process.stdin.write(b"go\n")
            process.stdin.flush()
            time.sleep(rng.uniform(0.0, 0.1))
        finally:
            process.kill()
            process.communicate()
        names = checkpoints.names(folder)
        wrong += [name for name in names if checkpoints.load_state(folder / name) is None]
    assert checkpoints.names(folder), "none was written"
    return wrong


@pytest.mark.slow
def test_a_full_disk_ends_the_run_in_one_line_and_the_resume_is_exact(cli, alone, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("needs the right to mount a small file system")
    try:
        # The log is elsewhere, since it could not say anything on a full disk.
        words = (*PLAIN, "loop.max_episodes=1500", "loop.time_per_checkpoint=0")
        words = (*words, "loop.keep_checkpoints=1", "loop.eval_episodes=1")
        ballast = disk / "ballast"
        whole = alone(*words, directory="whole")
        ballast.write_bytes(bytes(940_000))
        done = cli(*words, f"hydra.run.dir={disk}/run", timeout=60)
        assert done.returncode == 1
        (line,) = (
            line
            for line in done.stderr.splitlines()
            if "MB are free" in line and "training" not in line
        )
        assert str(disk) in line
        names = checkpoints.names(disk / "run" / "checkpoints")
        assert names
        assert all(checkpoints.load_state(disk / "run" / "checkpoints" / n) for n in names)
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        assert cli(*words, f"hydra.run.dir={disk}/run").returncode == 0
        assert differences(disk / "run", whole) == []
    finally:
        subprocess.run(["umount", str(disk)], check=False)
