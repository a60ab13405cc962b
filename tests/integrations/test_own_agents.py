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
