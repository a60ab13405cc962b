"""gym-loop replay: every episode is played again as it was, filmed, or found to differ."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import gym
import gymnasium
import pytest

from gym_loop.commands import replay
from gym_loop.mistake import Failure, Mistake
from gym_loop.observers.video import encoder
from tests.conftest import AGENTS, rows

ENVS = Path(__file__).parents[1] / "sample_envs.py"
FAMILIES = ("classic_control", "toy_text")
QUICK = ("gym:CartPole-v1", "gymnasium:Pendulum-v1", "gymnasium:FrozenLake-v1")
IDS = [
    f"{library.__name__}:{spec.id}"
    for library in (gym, gymnasium)
    for spec in library.envs.registration.registry.values()
    if isinstance(spec.entry_point, str) and any(f in spec.entry_point for f in FAMILIES)
]


def run_replay(*words):
    replay.main(list(map(str, words)))


def frame_sizes(video):
    """The (height, width) of each frame that a video decodes to."""
    size = subprocess.run(
        [encoder(), "-i", str(video)], capture_output=True, text=True, check=False
    ).stderr
    width, height = map(int, size.split("Video:")[1].split(", ")[2].split(" ")[0].split("x"))
    command = [encoder(), "-loglevel", "error", "-i", str(video), "-fps_mode", "passthrough"]
    raw = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "gray", "-"], capture_output=True, check=True
    ).stdout
    return [(height, width)] * (len(raw) // (width * height))


@pytest.mark.parametrize(
    "env", [env if env in QUICK else pytest.param(env, marks=pytest.mark.slow) for env in IDS]
)
def test_replay_equals_the_recording_in_every_classic_and_toy_text_environment(launch, capsys, env):
    run = launch(
        f"env={env}", "loop.max_episodes=4", "loop.max_episode_len=150", "loop.eval_episodes=2"
    )
    capsys.readouterr()
    run_replay(run, "--every", 1, "--jobs", 1)
    run_replay(run, "--every", 1, "--eval")
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 6
    for line, row in zip(out, rows(run) + rows(run, "evaluations.csv"), strict=True):
        assert line.removeprefix("evaluation ") == (
            f"episode {row['episode']}: {row['length']} steps, "
            f"return {float(row['return']):g}, as recorded"
        )


def test_the_list_of_environments_is_the_one_that_is_meant():
    names = {env.partition(":")[2].partition("-")[0] for env in IDS}
    assert len(IDS) >= 18
    assert {"CartPole", "Pendulum", "Acrobot", "Taxi", "Blackjack", "FrozenLake"} <= names


@pytest.mark.slow
def test_a_killed_and_resumed_run_with_a_learning_agent_replays(start, cli, tmp_path):
    words = (f"agent={AGENTS}:Learner", "env=gymnasium:Pendulum-v1", "loop.max_episodes=40")
    words = (*words, "loop.random_episodes=5", "loop.eval_episodes=1", "hydra.run.dir=run")
    process = start(*words)
    table = tmp_path / "run" / "episodes.csv"
    while not (table.exists() and table.read_bytes().count(b"\n") > 17):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert cli(*words).returncode == 0
    done = cli("replay", "run", "--every", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "40 training episodes, 8000 steps: none differ"


@pytest.mark.slow
def test_episodes_that_a_killed_run_has_not_kept_are_there_once_it_is_resumed(start, cli, tmp_path):
    process = start("env=cartpole", "loop.max_episodes=null", "hydra.run.dir=run")
    table = tmp_path / "run" / "episodes.csv"
    while not (table.exists() and table.read_bytes().count(b"\n") > 100):
        assert process.poll() is None
        time.sleep(0.002)
    running = cli("replay", "run", "--episode", 10**9)
    process.kill()
    process.wait()
    killed = cli("replay", "run", "--episode", 10**9)
    assert (running.returncode, killed.returncode) == (2, 2)
    assert "later ones are kept with its next checkpoint" in running.stderr
    assert "it was cut off, and gym-loop resume run plays later ones again" in killed.stderr
    assert cli("resume", "run", "loop.max_episodes=200", "loop.eval_episodes=0").returncode == 0
    assert cli("replay", "run", "--episode", 150).returncode == 0


@pytest.mark.slow
def test_actions_reach_the_environment_in_the_types_they_had(launch, capsys):
    for env in ("Wide", "Pair"):
        run = launch(f"env={ENVS}:{env}", "loop.max_episodes=3", directory=env)
        run_replay(run, "--every", 1)
    assert capsys.readouterr().out.count("as recorded") == 6


@pytest.mark.slow
def test_a_wandering_environment_is_caught_at_the_step_where_it_wanders(launch, capsys, cli):
    run = launch(f"env={ENVS}:Random", "loop.max_episodes=3")
    done = cli("replay", run, "--episode", "1")
    assert done.returncode == 1
    assert "episode 1: 10 steps" in done.stdout
    assert "differs at step 8: the reward is" in done.stdout
    then, now = done.stdout.splitlines()[-2:]
    assert then.startswith("  then: python 3.")
    assert now == then.replace("then:", "now: ")
    assert "gymnasium 1." in now
    assert "numpy" in now
    assert "1 of 1 episodes differ" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (4, "differs at step 4: the episode is terminated, the recorded one went on"),
        (9, "differs at step 6: the episode goes on, the recorded one was terminated"),
    ],
)
def test_an_episode_that_ends_elsewhere_is_caught(launch, capsys, monkeypatch, tmp_path, end, said):
    where = tmp_path / "end"
    monkeypatch.setenv("END_OF_EPISODES", str(where))
    where.write_text("6")
    run = launch(f"env={ENVS}:EndsAnyTime", "loop.max_episodes=1")
    run_replay(run)
    where.write_text(str(end))
    with pytest.raises(Failure, match="1 of 1 episodes differ"):
        run_replay(run)
    assert said in capsys.readouterr().out


def test_what_an_environment_keeps_between_episodes_is_said_to_be_a_reason(launch, capsys):
    run = launch(f"env={ENVS}:Remembers", "loop.max_episodes=2")
    run_replay(run, "--episode", 0)
    with pytest.raises(Failure, match="keeps something from one episode to the next"):
        run_replay(run, "--episode", 1)


def test_a_return_that_is_not_the_one_in_the_table_is_caught(launch, capsys):
    run = launch("env=cartpole", "loop.max_episodes=2")
    table = run / "episodes.csv"
    row = rows(run)[1]
    table.write_text(table.read_text().replace(f",{row['return']},", ",999.0,"))
    with pytest.raises(Failure, match="differ"):
        run_replay(run, "--episode", 1)
    assert "recorded is 999.0" in capsys.readouterr().out


def test_best_worst_last_and_lists(launch, capsys):
    run = launch("env=cartpole", "loop.max_episodes=20")
    returns = {int(row["episode"]): float(row["return"]) for row in rows(run)}
    capsys.readouterr()
    for words, expected in (
        ((), [19]),
        (("--episode", "last"), [19]),
        (("--episode", "best"), [max(returns, key=returns.get)]),
        (("--episode", "worst"), [min(returns, key=returns.get)]),
        (("--episode", "3,0,11"), [0, 3, 11]),
        (("--every", "6"), [0, 6, 12, 18]),
    ):
        run_replay(run, *words)
        out = capsys.readouterr().out.splitlines()
        assert [int(line.split(":")[0].split()[1]) for line in out] == expected


@pytest.mark.slow
def test_a_video_has_every_frame_and_a_caption_below(launch, tmp_path, capsys):
    run = launch(f"env={ENVS}:Counter", "loop.max_episodes=3")
    run_replay(run, "--video", tmp_path / "plain.mp4")
    run_replay(run, "--video", tmp_path / "with.mp4", "--caption")
    plain, captioned = (frame_sizes(tmp_path / f"{name}.mp4") for name in ("plain", "with"))
    assert plain == [(48, 64)] * 11
    assert len(captioned) == 11
    assert captioned[0][0] > 60


@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")  # NumPy's, on the user's terminal
@pytest.mark.parametrize("reward", ["float('inf')", "float('nan')", "1e308"])
def test_a_video_has_a_caption_whatever_the_rewards_add_up_to(launch, tmp_path, reward):
    (tmp_path / "huge.py").write_text(
        "from tests.sample_envs import Counter\n\n\n"
        "class Huge(Counter):\n"
        "    def step(self, action):\n"
        "        ob, _, *rest = super().step(action)\n"
        f"        return ob, {reward}, *rest\n"
    )
    run = launch(f"env={tmp_path}/huge.py:Huge", "loop.max_episodes=1")
    run_replay(run, "--video", tmp_path / "a.mp4", "--caption", "--jobs", 1)
    assert len(frame_sizes(tmp_path / "a.mp4")) == 11


NAMED_ACTIONS = """
import enum

from gym_loop.agents import RandomAgent
from tests.sample_envs import Counter


class Move(enum.IntEnum):
    LEFT = 0
    RIGHT = 1
    STAY = 2


class Named(Counter):
    def reward(self, action):
        return len(action.name)


class Moves(RandomAgent):
    def act(self, state, episode_num):
        return Move(super().act(state, episode_num))
"""


def test_an_environment_that_reads_the_names_of_actions_gets_them_again(launch, tmp_path, capsys):
    (tmp_path / "moves.py").write_text(NAMED_ACTIONS)
    run = launch("agent=./moves.py:Moves", "env=./moves.py:Named", "loop.max_episodes=1")
    capsys.readouterr()
    run_replay(run, "--jobs", 1)
    assert capsys.readouterr().out.endswith(", as recorded\n")


@pytest.mark.slow
def test_a_moved_project_replays_actions_whose_class_is_in_the_agents_file(cli, tmp_path):
    (tmp_path / "before" / "agents").mkdir(parents=True)
    (tmp_path / "before" / "agents" / "moves.py").write_text(NAMED_ACTIONS)
    words = "agent=agents/moves.py:Moves", "env=tests.sample_envs:Counter"
    limits = "loop.max_episodes=2", "loop.max_episode_len=5", "loop.eval_episodes=0"
    launched = cli(*words, *limits, "hydra.run.dir=run", cwd=tmp_path / "before")
    assert launched.returncode == 0, launched.stderr
    (tmp_path / "before").rename(tmp_path / "after")
    done = cli("replay", "run", "--episode", 0, cwd=tmp_path / "after")
    assert done.stdout.endswith(", as recorded\n"), done.stderr


@pytest.mark.slow
def test_several_videos_are_made_side_by_side_and_named_by_their_episodes(cli, launch, tmp_path):
    run = launch("env=gymnasium:FrozenLake-v1", "loop.max_episodes=5")
    done = cli("replay", run, "--every", 2, "--gif", "lake.gif", "--caption")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("*lake*")) == [
        "lake-000000.gif",
        "lake-000002.gif",
        "lake-000004.gif",
    ]
    lengths = [int(row["length"]) for row in rows(run)]
    assert len(frame_sizes(tmp_path / "lake-000002.gif")) == lengths[2] + 1
    assert "episode 2" in done.stdout
    assert "-> lake-000002.gif" in done.stdout


@pytest.mark.slow
def test_a_fork_replays_its_own_episodes_and_those_that_it_shares(launch, cli):
    launch(f"env={ENVS}:Counter", "loop.max_episodes=4", directory="parent")
    for name, change, lengths in ("a", "env.length=5", ["5"] * 3), ("b", "seed=3", ["10"] * 7):
        words = (change, "loop.max_episodes=7", f"hydra.run.dir={name}")
        done = cli("fork", "parent", "--at", 4, *words)
        assert done.returncode == 0, done.stderr
        done = cli("replay", name, "--every", 1)
        assert done.returncode == 0, done.stdout
        assert [line.split()[2] for line in done.stdout.splitlines()] == lengths


def test_rendering_that_needs_opengl_fails_in_one_line_with_the_fix(launch, tmp_path):
    run = launch(f"env={ENVS}:NeedsOpenGL", "loop.max_episodes=1")
    with pytest.raises(Failure) as error:
        run_replay(run, "--video", tmp_path / "a.mp4")
    assert "OpenGL" in str(error.value)
    assert "MUJOCO_GL=egl" in str(error.value)
    assert "\n" not in str(error.value)
    assert not [path for path in tmp_path.iterdir() if "mp4" in path.name]


def test_a_window_without_a_display_fails_in_one_line_with_the_fix(cli, launch):
    run = launch("env=cartpole", "loop.max_episodes=1")
    done = cli("replay", run, "--human", environment={"DISPLAY": "", "WAYLAND_DISPLAY": ""})
    assert done.returncode == 2
    assert "no display" in done.stderr
    assert "--video FILE.mp4" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_window_shows_the_episode(cli, launch):
    run = launch(f"env={ENVS}:Counter", "loop.max_episodes=2")
    dummy = {"SDL_VIDEODRIVER": "dummy"}
    done = cli("replay", run, "--human", "--caption", "--every", 1, environment=dummy)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as recorded") == 2


def test_what_is_asked_for_wrongly_is_said_in_one_line(launch, tmp_path):
    run = launch(f"env={ENVS}:Blind", "loop.max_episodes=3", "loop.eval_episodes=0")
    without = launch("loop.trace=false", "loop.max_episodes=1", directory="without")
    (tmp_path / "empty").mkdir()
    damaged = shutil.copytree(run, tmp_path / "damaged")
    (damaged / "run.json").write_text("")
    for words, said in (
        ((run, "--episode", 7), f"{run} has no training episode 7; expected one of 0-2"),
        ((run, "--episode", "lasst"), "worst or last; did you mean 'last'?"),
        ((run, "--episode", "1,x"), "--episode x: expected a number"),
        ((run, "--episode", "0", "--every", "2"), "--episode or --every, not both"),
        ((run, "--eval"), "no traces of evaluation episodes; it has traces of training"),
        ((without,), "no traces of training episodes; was it run with loop.trace=false?"),
        ((tmp_path / "nowhere",), "is not a run: no such directory"),
        ((tmp_path / "empty",), "is not a run: no readable run.json in it"),
        ((damaged, "--every", "1"), "is not a run: no readable run.json in it"),
        ((run, "--video", tmp_path / "no" / "a.mp4"), "there is no directory"),
        ((run, "--video", tmp_path / "a.avi"), "unknown video format '.avi'"),
        ((run, "--video", tmp_path / "a.gif"), "expected a name that ends in .mp4"),
        ((run, "--gif", "a.gif", "--human"), "expected one of --video, --gif and --human"),
        ((run, "--caption"), "--caption needs a picture"),
        ((run, "--human", "--jobs", "2"), "expected no --jobs beside it"),
        ((run, "--video", tmp_path / "a.mp4"), "cannot render: it takes no render_mode"),
        ((run, "--vidoe", "a.mp4"), "did you mean '--video'?"),
        ((run, "--every", "0"), "0 is not in the range"),
    ):
        with pytest.raises(Mistake) as error:
            run_replay(*words)
        assert said in error.value.message
        assert "\n" not in error.value.message


@pytest.mark.slow
def test_a_class_that_its_file_no_longer_has_is_named_with_the_one_like_it(cli, tmp_path):
    file = tmp_path / "renamed.py"
    text = (
        "from gym.envs.classic_control import CartPoleEnv\n\nclass Keeps(CartPoleEnv):\n    pass\n"
    )
    file.write_text(text)
    words = ["env=renamed.py:Keeps", "loop.max_episodes=2", "loop.eval_episodes=1"]
    assert cli(*words, "hydra.run.dir=run").returncode == 0
    file.write_text(text.replace("Keeps", "Keeps2"))
    for asked in (["replay", "run", "--episode", "1"], ["export", "run", "run.npz"]):
        done = cli(*asked)
        assert done.returncode == 2, done.stderr
        [line] = done.stderr.splitlines()
        assert line.endswith("renamed.py has no 'Keeps'; did you mean 'Keeps2'?")
    assert not (tmp_path / "run.npz").exists()


@pytest.mark.slow
def test_of_many_episodes_those_without_a_seed_of_their_own_are_left_out(launch, capsys):
    agent = "agent=random", "loop=vector", "loop.num_envs=2", "loop.max_episodes=50"
    run = launch("env=gym_vector", "env.id=CartPole-v1", *agent)
    capsys.readouterr()
    run_replay(run, "--every", 1)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("left out: ")
    assert rest[0].startswith("episode 0: ")
    assert all(line.endswith("as recorded") for line in rest)
    seedless = [int(row["episode"]) for row in rows(run) if row["seed"] == "-1"]
    assert first.split()[2] == str(len(seedless))
    with pytest.raises(Mistake) as mistake:
        run_replay(run, "--episode", seedless[0])
    assert "without a seed of its own" in mistake.value.message


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc that refuses files")
def test_a_place_where_no_file_can_be_made_is_named_before_anything_is_played(launch):
    run = launch("env=pendulum", "loop.max_episodes=1")
    with pytest.raises(Mistake) as mistake:
        run_replay(run, "--video", "/proc/x.mp4")
    assert "cannot write /proc/x.mp4" in mistake.value.message


@pytest.mark.slow
def test_a_run_that_moved_is_replayed_with_the_modules_of_where_it_ran(cli, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mine.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Mine-v0', 'gymnasium.envs.classic_control.cartpole:CartPoleEnv')\n"
    )
    words = ("env=gymnasium:Mine-v0", "env.imports=[mine]", "loop.max_episodes=1")
    done = cli(*words, "loop.max_episode_len=50", "hydra.run.dir=run", cwd=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    shutil.move(tmp_path / "home" / "run", tmp_path / "moved")
    done = cli("replay", "moved")
    assert done.returncode == 0, done.stderr


LEAVES = """
import os, sys
import click
import gymnasium

class Leaves(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        if "LEAVE" in os.environ:
            exec(os.environ["LEAVE"])
        return 0, 1.0, True, False, {}
"""


@pytest.mark.parametrize(
    "words",
    ["replay run", "export run e.npz", "evaluate run", "check agent=random env=leaves.py:Leaves"],
)
def test_an_environment_that_leaves_the_process_is_no_success(
    words, launch, as_a_child, tmp_path, monkeypatch
):
    (tmp_path / "leaves.py").write_text(LEAVES)
    launch("agent=random", "env=leaves.py:Leaves", "loop.max_episodes=2", "loop.eval_episodes=1")
    with monkeypatch.context() as patch:
        patch.setenv("LEAVE", "sys.exit(0)")
        done = as_a_child(words.split(), tmp_path)
    assert done.returncode == 1
    assert "leaves.py" in done.stderr  # where it left
    assert not (tmp_path / "e.npz").exists()
    assert as_a_child(words.split(), tmp_path).returncode == 0


@pytest.mark.parametrize("raised", ["EOFError", "click.exceptions.Exit(0)", "BrokenPipeError(32)"])
def test_what_click_would_take_for_its_own_fails_an_evaluation(
    raised, launch, as_a_child, tmp_path, monkeypatch
):
    (tmp_path / "leaves.py").write_text(LEAVES)
    launch("agent=random", "env=leaves.py:Leaves", "loop.max_episodes=2", "loop.eval_episodes=1")
    monkeypatch.setenv("LEAVE", f"raise {raised}")
    done = as_a_child(["evaluate", "run"], tmp_path)
    assert done.returncode == 1
    assert f"{raised.partition('(')[0]}" in done.stderr
    assert "leaves.py" in done.stderr
