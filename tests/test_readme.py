"""The README's commands and code are run as they are written."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL))


def commands(text):
    """The lines of the shell blocks in a text, comments cut off."""
    blocks = re.findall(r"```bash\n(.*?)```", text.replace("\\\n", " "), re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


def run(words, cwd):
    program = {"python": [sys.executable], "gym-loop": [sys.executable, "-m", "gym_loop"]}
    return subprocess.run(
        program[words[0]] + words[1:], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) < 20
    (tmp_path / "my_agent.py").write_text(code)
    return tmp_path


def test_the_first_command_is_what_ci_installs_and_runs():
    ci = (Path(__file__).parents[1] / ".ci" / "run").read_text()
    first = re.search(r"```bash\n(.*?)\n```", README)[1]
    assert first in ci
    assert README.index(first) < 300


@pytest.mark.slow
def test_the_first_screen_works_and_leaves_the_tree_it_shows(folder):
    done = run(["python", "-m", "gym_loop", "agent=random", "env=pendulum"], folder)
    assert done.returncode == 0, done.stderr
    (directory,) = (folder / "outputs").glob("[!.]*/*")
    tree = re.search(r"```\n(outputs/.*?)```", README, re.DOTALL)[1]
    for name in re.findall(r"[├└]── (\S+)", tree):
        assert (directory / name).exists(), name
    line = next(words for words in commands(README) if "agent=my_agent.py:MyAgent" in words)
    done = run(line, folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", commands(SECTIONS["Launching"]), ids=lambda words: words[1])
def test_the_commands_about_launching_work(folder, words):
    if "gymnasium" in words[1]:
        pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    if "-c" in words:
        setup = [w for w in commands(SECTIONS["Launching"]) if "create-default" in w]
        assert run(setup[0], folder).returncode == 0
    done = run(words, folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.slow
def test_the_commands_about_comparing_runs_work(folder):
    pytest.importorskip("matplotlib", reason='needs the extra: pip install "gym-loop[report]"')
    for words in commands(SECTIONS["Comparing runs"]):
        if any("sink=" in word for word in words):
            continue  # tests/observers/test_sinks.py
        if words[1] == "diff":
            found = sorted(file.parent for file in folder.glob("multirun/*/*/*/run.json"))
            words = [*words[:2], *map(str, found[:2])]
        done = run(words, folder)
        assert done.returncode == 0, (words, done.stderr)
    assert (folder / "page.html").exists()
    assert (folder / "curves.pdf").exists()


def example(section):
    """The Python of a section."""
    return re.search(r"```python\n(.*?)```", SECTIONS[section], re.DOTALL)[1]


@pytest.mark.slow
def test_the_python_example_works_as_a_script(folder):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    (folder / "script.py").write_text(example("Python and notebooks"))
    done = run(["python", "script.py"], folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("section", "file"), [("Your own observer", "my_observer.py"), ("Your own loop", "my_loop.py")]
)
def test_an_observer_and_a_loop_of_ones_own_work(folder, section, file):
    assert len([line for line in example(section).splitlines() if line.strip()]) < 25
    (folder / file).write_text(example(section))
    (words,) = commands(SECTIONS[section])
    done = run([*words, "hydra.run.dir=r"], folder)
    assert done.returncode == 0, done.stderr
    lengths = [
        int(row.split(",")[2]) for row in (folder / "r" / "episodes.csv").open().readlines()[1:]
    ]
    if file == "my_loop.py":
        assert all(length <= 5 + number for number, length in enumerate(lengths))
    else:
        longest = lengths.index(max(lengths))
        assert (folder / "r" / "longest.txt").read_text() == f"episode {longest}\n"


@pytest.mark.slow
def test_the_commands_about_killed_runs_work(folder):
    launched = ["gym-loop", "agent=my_agent.py:MyAgent", "env=cartpole", "loop.max_episodes=100"]
    assert run([*launched, "hydra.run.dir=RUN_DIR"], folder).returncode == 0
    for words in commands(SECTIONS["Killed runs"]):
        done = run(words, folder)
        assert done.returncode == 0, (words, done.stderr)


@pytest.mark.slow
def test_the_commands_about_the_same_run_again_work(folder):
    launched = ["gym-loop", "agent=my_agent.py:MyAgent", "env=cartpole", "loop.max_episodes=30"]
    assert run([*launched, "hydra.run.dir=RUN_DIR"], folder).returncode == 0
    for words in commands(SECTIONS["The same run again"]):
        done = run(words, folder)
        assert done.returncode == 0, (words, done.stderr)
        assert "equal" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", commands(SECTIONS["Agents that learn"]), ids=" ".join)
def test_the_commands_about_agents_that_learn_work(folder, words):
    done = run(words, folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.slow
def test_the_commands_about_watching_episodes_work(folder):
    launched = ["gym-loop", "agent=random", "env=frozen_lake", "loop.max_episodes=60"]
    assert run([*launched, "hydra.run.dir=RUN_DIR"], folder).returncode == 0
    for words in commands(SECTIONS["Watching any episode"]):
        done = run(words, folder)
        assert done.returncode == 0, (words, done.stderr)
    made = ["best.mp4", *(f"early-{n:06d}.gif" for n in (0, 10, 20)), "episodes.npz"]
    assert all((folder / name).stat().st_size for name in made)
