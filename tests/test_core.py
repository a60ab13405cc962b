"""The promise about the core: small, and free of the parts that hang off it."""

import ast
import io
import os
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gym_loop"
CORE = [
    *(PACKAGE / name for name in ("__main__.py", "launch.py")),
    *(PACKAGE / "agents" / name for name in ("base_agent.py", "random_agent.py")),
    *(PACKAGE / "loops" / name for name in ("base_loop.py", "default_loop.py")),
]
LEAVES = [PACKAGE / "mistake.py", PACKAGE / "loops" / "streams.py"]  # import nothing of ours
LIMIT = 300
PARTS = ("checks", "commands", "envs", "integrations", "observers", "runs", "sweeps", "testing")


def lines_of_code(file):
    """Lines that hold a token of code: no blanks, comments, docstrings."""
    source = file.read_text()
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    ignored = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {t.start[0] for t in tokens if t.type not in ignored and t.string.strip()}
    return len(code - docstrings)


def test_the_core_is_under_300_lines_of_code(capsys):
    counts = {str(file.relative_to(ROOT)): lines_of_code(file) for file in CORE}
    with capsys.disabled():
        leaves = sum(map(lines_of_code, LEAVES))
        print(f"\ncore: {sum(counts.values())} lines of code, at most {LIMIT - 1}: {counts}")
        print(f"and {leaves} in the two modules that it stands on, for errors and random streams")
    assert sum(counts.values()) < LIMIT


@pytest.mark.parametrize("file", CORE + LEAVES, ids=lambda file: file.stem)
def test_the_core_imports_no_part(file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert not [
            name for name in names if name.startswith(tuple(f"gym_loop.{p}" for p in PARTS))
        ]


@pytest.mark.parametrize(
    "part", ["checks", "commands", "integrations", "runs", "sweeps", "testing"]
)
def test_a_part_can_be_deleted_without_editing_the_core(part, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "gym_loop", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    target = tmp_path / "gym_loop" / part
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.with_suffix(".py").unlink(missing_ok=True)
    # Observers write with gym_loop.runs, and the default launcher is one of gym_loop.sweeps.
    overrides = ["observers=none"] if part == "runs" else []
    config = tmp_path / "conf" / "config.yaml"
    if part == "sweeps":
        lines = config.read_text().splitlines()
        config.write_text("\n".join(line for line in lines if "launcher" not in line))
    command = [sys.executable, "-m", "gym_loop", "agent=random", "env=cartpole", *overrides]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
