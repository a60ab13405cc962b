import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "agent.md").read_text()


def blocks(heading):
    """The code and the command of a section of the page."""
    section = PAGE.partition(f"## With {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```(?:python|bash)[^\n]*\n(.*?)```", section, re.DOTALL)


@pytest.mark.parametrize(
    ("library", "code", "command", "install"),
    [
        ("torch", *blocks("PyTorch"), 'pip install "gym-loop[sb3]"'),
        ("jax", *blocks("JAX"), "pip install jax"),
    ],
)
def test_the_agent_in_the_docs_is_short_and_learns(library, code, command, install, tmp_path):
    pytest.importorskip(library, reason=f"needs {library}: {install}")
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    (tmp_path / f"{library}_agent.py").write_text(code)
    words = [*shlex.split(command)[1:], "loop.eval_episodes=1", "hydra.run.dir=run"]
    done = subprocess.run(
        [sys.executable, "-m", "gym_loop", *words],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = np.loadtxt(tmp_path / "run" / "episodes.csv", delimiter=",", skiprows=1)
    assert len(rows) == 120
    assert rows[-20:, 3].mean() > 50  # an untrained one: 22


FILLS = """import resource
import gym
import torch
from gym_loop.agents import RandomAgent


class Env(gym.Wrapper):
    def __init__(self):
        super().__init__(gym.make("CartPole-v1").unwrapped)

    def reset(self, **more):
        limit = 40_000, resource.RLIM_INFINITY  # as a full disk does it, but for the agent alone
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        return super().reset(**more)


class Own(RandomAgent):
    def save(self, directory):
        super().save(directory)
        file = directory / "weights.pt"
        torch.save(torch.zeros(100_000), file, _use_new_zipfile_serialization=FORMAT)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "told"),
    [
        ("sb3/ppo", "File too large; `ulimit -f`, or the file system, allows no larger file"),
        ("fills.py:Own", r"PyTorch: .*; [\d.]+ MB are free"),
        ("older.py:Own", r"PyTorch: .*File too large; [\d.]+ MB are free"),
    ],
)
def test_weights_of_pytorch_that_find_no_room_end_the_run_in_one_line(cli, tmp_path, agent, told):
    for library in ("torch", "stable_baselines3"):
        pytest.importorskip(library, reason='needs: pip install "gym-loop[sb3]"')
    for name, newer in (("fills", True), ("older", False)):
        (tmp_path / f"{name}.py").write_text(FILLS.replace("FORMAT", str(newer)))

    done = cli(f"agent={agent}", "env=fills.py:Env", "loop.max_episodes=2", "hydra.run.dir=run")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(rf"cannot write \S+: {told}$", done.stderr)
    known = json.loads((tmp_path / "run" / "run.json").read_text())
    assert known["state"] == "failed"
    assert known["error"].startswith("gym_loop.mistake.Failure: cannot write ")
    assert not [*(tmp_path / "run" / "checkpoints").iterdir()]
