"""What works with the environments of a package: `python tests/packages.py [NAME ...]`.

Prints a table with a row for each package and a column for each step, each run as a user would: a
tick, or the number of a reason below it. In a package that is not installed, nothing is tried.
"""

import csv
import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# Package -> the words that make its environment.
PACKAGES = {
    "mujoco": "env=gymnasium:HalfCheetah-v5",
    "ale-py": "env=gymnasium:ALE/Pong-v5 env.kwargs.frameskip=1 wrap=[atari]",
    "box2d": "env=gymnasium:LunarLander-v3",
    "minigrid": "env=gymnasium:MiniGrid-Empty-5x5-v0 "
    "env.wrappers.flat._target_=minigrid.wrappers.FlatObsWrapper",
    "highway-env": "env=gymnasium:highway-fast-v0 env.imports=[highway_env] wrap=[flatten]",
    "gymnasium-robotics": "env=gymnasium:FetchReach-v4 env.imports=[gymnasium_robotics] "
    "wrap=[flatten]",
    "panda-gym": "env=gymnasium:PandaReach-v3 env.imports=[panda_gym] wrap=[flatten]",
    "dm-control": "env=gymnasium:dm_control/cartpole-balance-v0 env.imports=[shimmy] "
    "wrap=[flatten]",
    "pybullet": "env=gym:CartPoleBulletEnv-v1 env.imports=[pybullet_envs] wrap=[old_api]",
    "flappy-bird-gymnasium": "env=gymnasium:FlappyBird-v0 env.imports=[flappy_bird_gymnasium] "
    "env.kwargs.use_lidar=false",
    "crafter": "env=crafter_env.py:Crafter wrap=[old_api]",
    "nle": "env=nethack.py:score",
    "gymnax": "env=gymnax_env.py:Gymnax env.id=CartPole-v1",
    "brax": "env=brax_env.py:Brax env.id=inverted_pendulum",
    "pettingzoo": "env=pettingzoo.classic.tictactoe_v3:env",
}
PAGE = Path(__file__).parents[1] / "docs" / "environments.md"
# Files that the words name: those that the documentation shows, and one for a package's old class.
FILES = {
    **dict(re.findall(r'```python title="(\w+\.py)"\n(.*?)```', PAGE.read_text(), re.DOTALL)),
    "crafter_env.py": """
import crafter

class Crafter(crafter.Env):
    def __init__(self, render_mode=None):
        super().__init__()
        self.render_mode = render_mode

    def seed(self, seed):  # which the package's own class takes in its constructor alone
        self._seed, self._episode = seed, 0

    def close(self):
        pass
""",
}
POLICIES = {"ale-py": "CnnPolicy", "crafter": "CnnPolicy", "nle": "MultiInputPolicy"}
# Steps that fail for a reason of the package's own.
KNOWN = {
    "dm-control": {"record", "replay with video", "export to Minari"},
    "panda-gym": {"check"},
    "pybullet": {"check", "run"},
    "gymnax": {"record", "replay with video", "gymnasium_vector"},
    "brax": {"record", "replay with video", "gymnasium_vector"},
    "nle": {"check", "record", "replay with video", "gymnasium_vector"},
    "pettingzoo": {"check", "run"},
    "crafter": {"check", "kill and resume", "verify-resume", "gymnasium_vector"},
}
SHORT = "loop.max_episode_len=60", "loop.eval_episodes=1"
SECONDS = 300  # that a step may take
STEPS = (
    *("check", "run", "record", "kill and resume", "verify-resume", "replay with video"),
    *("export .npz", "export to Minari", "vector, copies", "gymnasium_vector", "Stable-Baselines3"),
)


def command(words: str | list[str], folder: Path) -> str:
    """Run `gym-loop WORDS` in `folder`; return "" if it ended well, else a line that says why."""
    given = words.split() if isinstance(words, str) else words
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gym_loop", *given],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"takes more than {SECONDS} s"
    if not done.returncode:
        return ""
    crosses = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    return " ".join((crosses or done.stderr.strip().splitlines() or ["?"])[-1].split())[:200]


def killed_and_resumed(words: str, folder: Path) -> str:
    """Kill a run in its third episode or after it, resume it, and compare it with a whole one."""
    ours = [*words.split(), *SHORT, "loop.max_episodes=8"]
    if failed := command([*ours, "hydra.run.dir=whole"], folder):
        return failed
    started = [sys.executable, "-m", "gym_loop", *ours, "hydra.run.dir=killed"]
    process = subprocess.Popen(
        started, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    table, until = folder / "killed" / "episodes.csv", time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < until:
        if table.exists() and table.read_bytes().count(b"\n") > 3:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.005)
    process.kill()
    process.wait()
    if failed := command("resume killed", folder):
        return failed
    same = episodes(folder / "killed") == episodes(folder / "whole")
    return "" if same else "the resumed run's episodes differ"


def episodes(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's episodes, but for the clock."""
    with (run / "episodes.csv").open() as file:
        return [row | {"seconds": ""} for row in csv.DictReader(file)]


def recorded(words: list[str], folder: Path) -> str:
    """Record a run; return why it has no recordings, "" if it has."""
    if failed := command([*words, "loop.record=true", "hydra.run.dir=recorded"], folder):
        return failed
    if list((folder / "recorded").glob("episode_records/*.mp4")):
        return ""
    log = (folder / "recorded" / "gym_loop.log").read_text().splitlines()
    return next((line[-200:] for line in log if "recording" in line), "no video, and no word of it")


def outcomes(package: str, folder: Path) -> Iterator[str]:
    """Yield for each of STEPS "" or why it failed; no more once nothing can be run."""
    for name, content in FILES.items():
        (folder / name).write_text(content)
    words = PACKAGES[package]
    yield command(f"check {words}", folder)
    run = [*words.split(), *SHORT, "loop.max_episodes=3"]
    failed = command([*run, "hydra.run.dir=run"], folder)
    yield failed
    if failed:
        return
    yield recorded(run, folder)
    yield killed_and_resumed(words, folder)
    yield command(f"verify-resume {words} {' '.join(SHORT)} loop.max_episodes=6 --kills 1", folder)
    yield command("replay run --episode 1 --video episode.mp4", folder)
    yield command("export run episodes.npz", folder)
    yield command("export run minari/played-v0", folder)
    many = "agent=random", "loop=vector", "loop.num_envs=2", "loop.max_episodes=4"
    yield command([*words.split(), *SHORT, *many, "hydra.run.dir=many"], folder)
    if "env=gymnasium:" in words:
        theirs = words.replace("env=gymnasium:", "env=gymnasium_vector:") + " env.mode=sync"
        yield command([*theirs.split(), *SHORT, *many, "hydra.run.dir=theirs"], folder)
    else:
        yield "not of Gymnasium's registry"
    sb3 = [
        *("agent=sb3/ppo", f"agent.policy={POLICIES.get(package, 'MlpPolicy')}"),
        *("agent.n_steps=64", "loop.max_steps=130", "loop.max_episodes=null"),
    ]
    yield command([*words.split(), *SHORT, *sb3, "hydra.run.dir=sb3"], folder)


def versions(package: str) -> str:
    """Return the version of an installed package; "" of another."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def table(names: list[str]) -> Iterator[str]:
    """Yield the lines of the table, each as soon as it is known, and the reasons below it."""
    around = ("gymnasium", "gym", "numpy", "mujoco", "stable-baselines3", "minari")
    yield ", ".join(f"{name} {versions(name)}" for name in around if versions(name))
    yield ""
    yield f"| package | version | {' | '.join(STEPS)} |"
    yield "|---" * (len(STEPS) + 2) + "|"
    reasons: list[str] = []
    for name in names:
        if not (version := versions(name)):
            yield f"| `{name}` | not installed |{' |' * len(STEPS)}"
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = list(outcomes(name, Path(folder)))
        cells = []
        for outcome in found:
            reason = f"`{name}`: {re.sub(r'(/[^ :]+)+/', '', outcome)}"
            if outcome and reason not in reasons:
                reasons.append(reason)
            cells.append(str(reasons.index(reason) + 1) if outcome else "✓")
        cells += [""] * (len(STEPS) - len(cells))
        yield f"| `{name}` | {version} | {' | '.join(cells)} |"
    yield ""
    yield from (f"{number}. {reason}" for number, reason in enumerate(reasons, 1))


if __name__ == "__main__":
    for line in table(sys.argv[1:] or list(PACKAGES)):
        print(line, flush=True)
