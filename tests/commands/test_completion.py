"""Words are completed by a real bash, as it does when Tab is pressed."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BASH = """
eval "$(gym-loop completion bash)"
COMP_LINE={line}; COMP_POINT=${{#COMP_LINE}}; COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
_gym_loop gym-loop 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""

AGENT = """
class MyAgent:
    @staticmethod
    def get_default_parameters():
        return {"lr": 0.1, "layers": [1, 2]}
"""


@pytest.fixture
def folder(tmp_path):
    """A user's folder, and a `gym-loop` on the path, as a console script is."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "gym-loop"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m gym_loop "$@"\n')
    script.chmod(0o755)
    (tmp_path / "my_agent.py").write_text(AGENT)
    return tmp_path


def press_tab(folder, line):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    code = BASH.format(line=shlex.quote(line))
    done = subprocess.run(
        [bash, "--norc", "-c", code],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gym-loop res", ["resume"]),
        ("gym-loop age", ["agent="]),
        ("gym-loop agent=rando", ["random"]),
        ("gym-loop -m env=pendulum,cartp", ["pendulum,cartpole"]),
        ("gym-loop agent=random loop.max_epis", ["loop.max_episode_len=", "loop.max_episodes="]),
        ("gym-loop loop.recor", ["loop.record=", "loop.record_dir=", "loop.record_every="]),
        ("gym-loop loop.record=f", ["false"]),
        ("gym-loop agent=my_ag", ["my_agent.py:"]),
        ("gym-loop agent=my_agent.py:", ["MyAgent"]),
        ("gym-loop agent=my_agent.py:MyAgent agent.l", ["agent.layers=", "agent.lr="]),
        ("gym-loop train --run", ["--run-config"]),
        ("gym-loop nothing_like_that=", [""]),
    ],
)
def test_tab_completes(folder, line, expected):
    found = press_tab(folder, line)
    assert (found or [""]) == expected


def test_what_is_before_the_cursor_counts(folder):
    found = press_tab(folder, "gym-loop env=pen")
    assert found == ["pendulum"]


def test_options_of_the_users_own_conf_are_offered(folder):
    (folder / "conf" / "agent").mkdir(parents=True)
    (folder / "conf" / "agent" / "randy.yaml").write_text("_target_: a.B\nnerve: true\n")
    assert press_tab(folder, "gym-loop agent=rand") == ["random", "randy"]
    assert press_tab(folder, "gym-loop agent=randy agent.") == ["agent.nerve="]


def test_run_directories_are_offered_to_the_commands_that_take_one(folder):
    for name in ("a", "b"):
        (folder / "outputs" / name).mkdir(parents=True)
        (folder / "outputs" / name / "run.json").write_text('{"state": "finished"}')
    for command in ("resume", "replay", "diff", "reproduce"):
        assert press_tab(folder, f"gym-loop {command} outputs/") == ["outputs/a", "outputs/b"]
    assert press_tab(folder, "gym-loop resume outputs/a loop.max_episodes") == [
        "loop.max_episodes="
    ]


def test_completing_imports_nothing_that_launching_needs():
    code = """
import sys
from gym_loop.commands.completion import complete
for line in ("gym-loop ", "gym-loop env=", "gym-loop resume ", "gym-loop loop."):
    complete(line)
print([name for name in ("hydra", "omegaconf", "gym", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
