"""Packages that an extra brings: what is said where one is missing, and what is set for it."""

import ctypes.util
import os
import re
import subprocess
import sys
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

import pytest

from gym_loop.envs import make_gymnasium
from gym_loop.runs.run import Run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("id", "module", "extra"),
    [
        ("ALE/Pong-v5", "ale_py", "atari"),
        ("MiniGrid-Empty-5x5-v0", "minigrid", "minigrid"),
        ("HalfCheetah-v5", "mujoco", "mujoco"),
        ("LunarLander-v3", "Box2D", "box2d"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(id, module, extra):
    """In a process of its own, where the package cannot be imported."""
    code = f"""
import sys
sys.modules[{module!r}] = None
from gym_loop.envs import MissingDependencyError, make_gymnasium
try:
    make_gymnasium({id!r})
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    [line] = done.stdout.splitlines()
    assert f'pip install "gym-loop[{extra}]"' in line, done


@pytest.mark.skipif(
    not (find_spec("mujoco") and any(map(ctypes.util.find_library, ("EGL", "OSMesa")))),
    reason='needs the extra: pip install "gym-loop[mujoco]", and a library such as EGL',
)
def test_mujoco_draws_without_a_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    make_gymnasium("HalfCheetah-v5", render_mode="rgb_array").close()
    assert os.environ.pop("MUJOCO_GL") in ("egl", "osmesa")


UNSTABLE = """
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

class Unstable(HalfCheetahEnv):
    def step(self, action):
        self.data.qacc_warmstart[:] = self.data.qvel[:] = 1e30
        return super().step(action)
"""


def test_mujocos_warnings_are_in_the_log_once_each_and_not_in_the_users_folder(cli, tmp_path):
    pytest.importorskip("mujoco", reason='needs the extra: pip install "gym-loop[mujoco]"')
    (tmp_path / "unstable.py").write_text(UNSTABLE)
    words = "env=unstable.py:Unstable", "loop.max_episode_len=5", "hydra.run.dir=run"
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    [warning] = [w for w in Run(tmp_path / "run").warnings if "MuJoCo" in w]
    assert "unstable" in warning
    assert done.stderr.count("unstable.") == 1
    assert {each.name for each in tmp_path.iterdir()} <= {"run", "unstable.py", "__pycache__"}


PONG = ("env=gymnasium:ALE/Breakout-v5", "env.kwargs.frameskip=1")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["atari", "sb3_atari"])
def test_an_atari_game_is_one_episode_and_plays_again(option, launch):
    pytest.importorskip("ale_py", reason='needs the extra: pip install "gym-loop[atari]"')
    pytest.importorskip("cv2", reason='needs the extra: pip install "gym-loop[atari]"')
    if option == "sb3_atari":
        pytest.importorskip("stable_baselines3", reason='needs: pip install "gym-loop[sb3]"')
    run = launch(*PONG, f"wrap=[{option}]", "loop.max_episodes=2", "loop.eval_episodes=0")
    table = Run(run).episodes
    assert table["terminated"].all()
    for number in range(2):
        again = Run(run).replay(number)
        assert again.difference is None
        assert len(again.rewards) > 2 * table["length"][number]  # frames
        assert again.rewards.sum() == table["return"][number]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("id", "package", "extra"),
    [
        ("HalfCheetah-v5", "mujoco", "mujoco"),
        ("LunarLander-v3", "Box2D", "box2d"),
        ("ALE/Pong-v5", "ale_py", "atari"),
        ("MiniGrid-Empty-5x5-v0", "minigrid", "minigrid"),
    ],
)
def test_an_environment_of_the_package_is_resumed_and_replayed(id, package, extra, launch):
    pytest.importorskip(package, reason=f'needs the extra: pip install "gym-loop[{extra}]"')
    words = [f"env=gymnasium:{id}", "loop.eval_episodes=1", "loop.max_episode_len=200"]
    if extra == "minigrid":
        words += ["env.wrappers.image._target_=minigrid.wrappers.ImgObsWrapper"]
        words += ["env.wrappers.flat._target_=gym_loop.envs.wrappers.flatten"]
    elif extra == "atari":
        words += ["env.kwargs.frameskip=1", "wrap=[atari,normalize_reward]"]
    else:
        words += ["wrap=[normalize_observation,normalize_reward]"]
    whole = launch(*words, "loop.max_episodes=4", directory="whole")
    launch(*words, "loop.max_episodes=2", directory="cut")
    cut = launch(*words, "loop.max_episodes=4", directory="cut")
    for name in ("return", "agent_return", "length", "seed"):
        assert (Run(cut).episodes[name] == Run(whole).episodes[name]).all()
    assert Run(cut).replay(3).difference is None
    assert not any("comes back" in warning for warning in Run(cut).warnings)


def test_a_world_of_box2d_that_outlives_episodes_is_said_to_be_in_no_checkpoint(launch):
    """BipedalWalker's does, and its resumed games are others; LunarLander makes a new one."""
    pytest.importorskip("Box2D", reason='needs the extra: pip install "gym-loop[box2d]"')
    words = ["env=gymnasium:BipedalWalker-v3", "loop.eval_episodes=1", "loop.max_episode_len=200"]
    launch(*words, "loop.max_episodes=2", directory="cut")
    cut = launch(*words, "loop.max_episodes=4", directory="cut")
    [warning] = Run(cut).warnings
    assert "no checkpoint can keep its world (b2World)" in warning


def test_a_run_outlives_a_mujoco_that_cannot_draw(cli, tmp_path):
    """Asked a second time, MuJoCo 4 ends the process."""
    pytest.importorskip("mujoco", reason='needs the extra: pip install "gym-loop[mujoco]"')
    words = ["env=gymnasium:HalfCheetah-v5", "loop.eval_record=true", "loop.max_episodes=1"]
    short = ["loop.eval_episodes=2", "loop.max_episode_len=5", "hydra.run.dir=run"]
    environment = {"MUJOCO_GL": "glfw", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    done = cli(*words, *short, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "cannot render" in done.stderr
    assert "finished: 1 episodes" in done.stdout


@pytest.mark.parametrize("package", ["gymnasium", "minigrid"])
def test_the_pygame_that_is_installed_is_the_one_that_the_package_brings(package):
    """Two that share a folder write over each other's files."""
    pytest.importorskip(package, reason=f"needs the extra of {package}")
    theirs = set(re.findall(r"^pygame[-\w]*", "\n".join(requires(package)), re.MULTILINE))
    if theirs == {"pygame"}:
        pytest.skip("an older one, from before pygame-ce")
    assert set(re.findall(r'"(pygame[-\w]*)[<=>]', (ROOT / "pyproject.toml").read_text())) == theirs


@pytest.mark.slow
def test_a_mistake_in_wrappers_of_atari_is_the_last_line_that_is_told(cli):
    pytest.importorskip("ale_py", reason='needs the extra: pip install "gym-loop[atari]"')
    done = cli(*PONG, "wrap=[flatten,atari]", "loop.max_steps=10", "hydra.run.dir=r")
    assert done.returncode == 2
    # Nothing of what nanobind reports as leaked when the process ends.
    assert "cannot begin an episode in this order" in done.stderr.splitlines()[-1]
