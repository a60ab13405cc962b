"""Type checkers accept what users write, against the package as it is installed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTENDING = (ROOT / "docs" / "extending.md").read_text()
EVERYTHING = """
import numpy as np

import gym_loop
from my_agent import MyAgent
from my_loop import Growing
from my_observer import Longest

run: gym_loop.Run = gym_loop.run("env=cartpole", agent=MyAgent, loop=Growing, directory="r")
runs: gym_loop.Runs = gym_loop.sweep("seed=0,1", agent="random", env="cartpole")
same: gym_loop.Run = gym_loop.resume(run, "loop.max_episodes=400")
all_of_them: gym_loop.Runs = gym_loop.resume(runs)
other: gym_loop.Run = gym_loop.fork(run, "agent.lr=0.01", at=100)
mean: float = float(gym_loop.evaluate(run).mean())
state: str = gym_loop.Run("r").state
result: float = run.result or 0.0
lr: object = run.config["agent"]["lr"]
returns = np.sort(run.episodes["return"]) + run.evaluations["return"]
steps, values = run.metrics("agent/loss")
pair: float = float(steps[0]) * float(values[0])
policy = run.policy("best")
action = policy(run.env().reset()[0])
replay = run.replay(17, frames=True)
pixels: int = sum(frame.size for frame in replay.frames or ())
names: list[str] = [str(each.path) for each in gym_loop.Runs("sweep")] + run.warnings
frame = runs.frame()
gym_loop.testing.check_agent(MyAgent, lr=0.1)
gym_loop.testing.check_loop(Growing)
observer: gym_loop.Observer = Longest()
bases: list[type] = [gym_loop.BaseAgent, gym_loop.BaseLoop, gym_loop.DefaultLoop, gym_loop.Episode]
try:
    gym_loop.run("loop.max_episode=1")
except gym_loop.Mistake as mistake:
    line: str = mistake.message
"""


def run(*words, cwd):
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the classes of docs/extending.md, and `venv`: the wheel, installed."""
    for module in ("build", "mypy", "pyright"):
        pytest.importorskip(module, reason="needs the extra dev (build, mypy, pyright)")
    folder = tmp_path_factory.mktemp("typing")
    python = folder / "venv" / "bin" / "python"
    into = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index")
    for words in (
        (sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT),
        (sys.executable, "-m", "venv", "--without-pip", folder / "venv"),
        (*into, "--find-links", folder, "gym-loop"),
    ):
        code, told = run(*words, cwd=folder)
        assert code == 0, told
    # What it depends on; a folder in a .pth file brings no editable packages.
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    ours = [place for place in sys.path if place.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(ours))
    for file in ("my_agent.py", "my_observer.py", "my_loop.py"):
        code = re.search(rf'```python title="{file}"\n(.*?)```', EXTENDING, re.DOTALL)[1]
        (folder / file).write_text(code)
    (folder / "everything.py").write_text(EVERYTHING)
    return folder


FILES = ("my_agent.py", "my_observer.py", "my_loop.py", "everything.py")


@pytest.mark.slow
def test_mypy_accepts_the_classes_of_the_docs_and_every_public_name(installed):
    strict = ("--strict", "--python-executable", installed / "venv" / "bin" / "python")
    code, told = run(sys.executable, "-m", "mypy", *strict, *FILES, cwd=installed)
    assert code == 0, told


@pytest.mark.slow
def test_pyright_accepts_the_classes_of_the_docs_and_every_public_name(installed):
    command = (sys.executable, "-m", "pyright")
    code, told = run(*command, "--version", cwd=installed)
    if code:
        pytest.skip(f"pyright cannot get its npm package: {told.splitlines()[-1]}")
    python = installed / "venv" / "bin" / "python"
    code, told = run(*command, "--pythonpath", python, *FILES, cwd=installed)
    assert code == 0, told
