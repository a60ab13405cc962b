"""The promise about the core: small, and free of the parts that hang off it."""

import ast
import os
import shutil
import subprocess
import sys

import pytest

from tests.core_size import CORE, LEAVES, LIMIT, PACKAGE, ROOT, summary, total

PARTS = ("checks", "commands", "envs", "integrations", "observers", "runs", "sweeps", "testing")


def test_the_core_is_under_300_lines_of_code():
    assert total() < LIMIT, summary()


@pytest.mark.parametrize("file", CORE + LEAVES, ids=lambda file: file.stem)
def test_the_core_imports_no_part(file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert not [
            name for name in names if name.startswith(tuple(f"gym_loop.{p}" for p in PARTS))
        ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["checks", "commands", "integrations", "runs", "sweeps", "testing"]
)
def test_a_part_can_be_deleted_without_editing_the_core(part, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "gym_loop", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "gym_loop_files.py", tmp_path)
    target = tmp_path / "gym_loop" / part
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.with_suffix(".py").unlink(missing_ok=True)
    # Observers write with gym_loop.runs, and the default launcher is one of gym_loop.sweeps.
    overrides = ["observers=none"] if part == "runs" else []
    config = tmp_path / "conf" / "hydra" / "gym_loop.yaml"
    if part == "sweeps":
        lines = config.read_text().splitlines()
        config.write_text("\n".join(line for line in lines if "launcher" not in line))
    command = [sys.executable, "-m", "gym_loop", "agent=random", "env=cartpole", *overrides]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
