"""A run is run again with the code and the packages that it had."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from gym_loop.code import again
from gym_loop.commands import reproduce
from tests.run_directories import write_run

FAST = ("env=cartpole", "loop.max_episodes=6", "loop.eval_episodes=2", "hydra.run.dir=runs/a")
AGENT = """
import helper
from gym_loop.agents import RandomAgent
class Mine(RandomAgent):
    def act(self, state, episode_num):
        return int(self.rng.random() < helper.chance())
"""


def git(folder, *words):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path):
    """A repository whose agent is tracked and changed; `helper.py` is not tracked."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "agent.py").write_text(AGENT)
    (folder / ".gitignore").write_text("runs/\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "agent")
    (folder / "agent.py").write_text(AGENT.replace("<", ">"))
    (folder / "helper.py").write_text("def chance():\n    return 0.3\n")
    return folder


def edit(folder):
    (folder / "agent.py").write_text("raise SystemError\n")
    (folder / "helper.py").write_text("raise SystemError\n")
    git(folder, "commit", "-qam", "edited")


@pytest.mark.slow
def test_after_the_code_was_edited_and_moved_a_run_is_equal_to_itself(cli, project, tmp_path):
    assert cli(*FAST, "agent=agent.py:Mine", cwd=project).returncode == 0
    edit(project)
    done = cli("reproduce", "runs/a", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "equal: episodes 6 of training and 2 of evaluation"
    home = tmp_path / "another" / "home"
    home.mkdir(parents=True)
    project.rename(home / "moved")
    words = ("reproduce", home / "moved" / "runs" / "a", "--episodes", "3")
    done = cli(*words, cwd=home, environment={"HOME": str(home)})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "equal: episodes 3 of training"
    assert len(git(home / "moved", "worktree", "list").splitlines()) == 1


@pytest.mark.slow
def test_a_run_that_was_resumed_where_it_was_moved_to_is_equal_to_itself(cli, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "agent.py").write_text(AGENT)
    (tmp_path / "here" / "helper.py").write_text("def chance():\n    return 0.3\n")
    assert cli(*FAST, "agent=agent.py:Mine", cwd=tmp_path / "here").returncode == 0
    (tmp_path / "here").rename(tmp_path / "there")
    for count in (7, 8):
        done = cli("resume", "runs/a", f"loop.max_episodes={count}", cwd=tmp_path / "there")
        assert done.returncode == 0, done.stderr
    done = cli("reproduce", "there/runs/a")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "equal: episodes 8 of training and 2 of evaluation"


@pytest.mark.slow
def test_what_lies_beside_the_agents_file_hides_nothing_of_the_standard_library(cli, tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "json.py").write_text(AGENT)
    (tmp_path / "agents" / "helper.py").write_text("def chance():\n    return 0.3\n")
    assert cli(*FAST, "agent=agents/json.py:Mine").returncode == 0
    done = cli("reproduce", "runs/a")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "equal: episodes 6 of training and 2 of evaluation"


@pytest.mark.slow
def test_the_first_step_that_differs_is_named(cli, tmp_path):
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "helper.py").write_text(
        "from pathlib import Path\n"
        f"ran = Path({str(tmp_path / 'ran')!r})\n"
        "value = 0.9 if ran.exists() else 0.5\n"
        "ran.touch()\n"
        "def chance():\n    return value\n"
    )
    assert cli(*FAST, "agent=agent.py:Mine").returncode == 0
    done = cli("reproduce", "runs/a")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()[2:]
    assert lines[0].startswith("differs: training episode 0 (")
    assert "after the same rewards: the agent, or what it observes" in lines[1]
    assert "nothing that is known" in lines[3]


@pytest.mark.slow
def test_a_run_that_fails_now_says_how(cli, tmp_path):
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "helper.py").write_text("def chance():\n    return float(open('a.txt').read())\n")
    (tmp_path / "a.txt").write_text("0.5")
    assert cli(*FAST, "agent=agent.py:Mine").returncode == 0
    done = cli("reproduce", "runs/a")
    assert done.returncode == 1
    assert "exit code 1" in done.stderr
    assert "a.txt" in done.stderr


def wheel(folder, version):
    """A wheel of a package `chance` whose `value()` depends on its version."""
    name, info = f"chance-{version}", f"chance-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as archive:
        contents = {
            "chance/__init__.py": f"def value():\n    return {version} / 10\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: chance\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        for file, text in contents.items():
            archive.writestr(file, text)
        record = "".join(f"{file},,\n" for file in (*contents, f"{info}/RECORD"))
        archive.writestr(f"{info}/RECORD", record)


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_after_a_package_was_replaced_the_one_of_the_run_is_installed(project, tmp_path, tool):
    if tool == "uv" and not shutil.which("uv"):
        pytest.skip("uv is not on PATH")
    if subprocess.run([sys.executable, "-m", "pip", "-V"], check=False).returncode:
        pytest.skip("pip is not installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    site = next((tmp_path / "v").glob("lib/python*/site-packages"))
    folders = {path for path in sys.path if path.endswith("-packages")}
    roots = {str(Path(reproduce.__file__).parents[2]), *folders, sysconfig.get_paths()["purelib"]}
    (site / "others.pth").write_text("\n".join(sorted(roots, key="site-packages".__ne__)))
    for version in ("3", "7"):
        wheel(tmp_path / "wheels", version)
    python = tmp_path / "v" / "bin" / "python"
    path = [
        part
        for part in os.environ["PATH"].split(os.pathsep)
        if tool == "uv" or "uv" not in (os.listdir(part) if os.path.isdir(part) else ())
    ]
    own = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{tmp_path}/wheels", "UV_NO_INDEX": "1"}
    own |= {"UV_FIND_LINKS": f"{tmp_path}/wheels", "PATH": os.pathsep.join(path)}

    def run(*words):
        return subprocess.run(
            [python, "-m", *map(str, words)],
            cwd=project,
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            check=False,
        )

    def install(version):
        done = run("pip", "--python", python, "install", "-q", f"chance=={version}")
        assert done.returncode == 0, done.stderr

    (project / "helper.py").write_text("import chance as c\ndef chance():\n    return c.value()\n")
    install(3)
    assert run("gym_loop", *FAST, "agent=agent.py:Mine").returncode == 0
    install(7)
    other = [*FAST[:-1], "hydra.run.dir=runs/b", "agent=agent.py:Mine"]
    assert run("gym_loop", *other).returncode == 0
    done = run("gym_loop", "reproduce", "runs/a")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "installed: chance 3" in done.stdout
    found = json.loads(run("gym_loop", "diff", "runs/a", "runs/b", "--json").stdout)
    assert found["versions"] == {"chance": ["3", "7"]}
    assert found["training"]["step"]["what"] == "action"


def test_what_cannot_be_run_again_is_a_mistake_in_one_line(as_a_child, tmp_path):
    content = json.loads((write_run(tmp_path / "a") / "run.json").read_text())
    content["config"]["loop"]["_target_"] = "gym_loop.loops.DefaultLoop"
    (tmp_path / "a" / "run.json").write_text(json.dumps(content))
    (tmp_path / "empty").mkdir()
    for words, said in (
        (("a",), "has no readable code/"),
        (("empty",), "is not a run"),
        (("a", "--episodes", "0"), "--episodes"),
    ):
        done = as_a_child(["reproduce", *words], tmp_path)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert said in done.stderr


def description(**changes):
    content = {"roots": [], "path": [], "left_out": {}, "masked": [], "packages": {}}
    return {**content, "python": "3.11.0", "sources": {}, "threads": {}, **changes}


def test_a_commit_that_is_nowhere_is_named(project, tmp_path):
    roots = [{"name": "project", "path": str(project), "commit": "1234567890abcdef" * 2}]
    back = again.Again(tmp_path / "run", description(roots=roots), tmp_path / "to")
    with pytest.raises(SystemExit) as mistake:
        back.put_code_back()
    assert "no repository has the commit 1234567890ab" in str(mistake.value)


def test_paths_that_lead_out_of_the_folder_are_refused(tmp_path):
    back = again.Again(tmp_path, description(), tmp_path / "to")
    for path in ("/a/../../etc", "etc"):
        with pytest.raises(SystemExit):
            back.path(path)
    assert back.path("/home/me") == tmp_path / "to" / "code" / "home" / "me"


def test_commit_changes_and_files_are_put_back(project, tmp_path):
    commit = git(project, "rev-parse", "HEAD").strip()
    kept = tmp_path / "run" / "code" / "project"
    (kept / "files").mkdir(parents=True)
    (kept / "files" / "helper.py").write_text("kept")
    (kept / "changes.diff").write_text(git(project, "diff", "--binary", "HEAD"))
    edit(project)
    roots = [{"name": "project", "path": str(project), "commit": commit}]
    back = again.Again(tmp_path / "run", description(roots=roots), tmp_path / "to")
    back.put_code_back()
    there = back.path(str(project))
    assert (there / "agent.py").read_text() == AGENT.replace("<", ">")
    assert (there / "helper.py").read_text() == "kept"
    assert (project / "helper.py").read_text() == "raise SystemError\n"
    back.remove()
    assert not there.exists()


@pytest.mark.parametrize(
    ("version", "source", "told"),
    [
        ("2.13.0+cpu", "", "thing==2.13.0"),
        ("1.0", "git+https://example.com/a@123", "thing @ git+https://example.com/a@123"),
        ("1.0", "file:///nowhere/thing.whl", "thing==1.0"),
    ],
)
def test_what_pip_is_told(tmp_path, version, source, told):
    sources = {"thing": source} if source else {}
    back = again.Again(tmp_path, description(sources=sources), tmp_path)
    assert back._requirement("thing", version) == told


def test_another_python_is_started_also_where_pyenv_has_not_chosen_it(tmp_path, monkeypatch):
    shim = tmp_path / "python3.2"
    chosen = "[ \"$PYENV_VERSION\" = 3.2 ] || { echo 'python3.2: command not found'; exit 127; }"
    shim.write_text(f'#!/bin/sh\n{chosen}\n/bin/mkdir "$4"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    back = again.Again(tmp_path / "run", description(), tmp_path)
    back._make_environment(None, tmp_path / "to", "3.2.6")
    assert (tmp_path / "to").is_dir()


def test_threads_are_those_of_the_run_and_folders_are_put_back(tmp_path, monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    threads = {"OMP_NUM_THREADS": "3", "torch": 1}
    back = again.Again(tmp_path, description(threads=threads, path=["/home/me"]), tmp_path / "to")
    variables = back.variables()
    assert variables["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in variables
    assert variables["PYTHONPATH"] == str(tmp_path / "to" / "code" / "home" / "me")


def test_sinks_and_windows_are_left_out(tmp_path):
    config = {
        "loop": {"render": True, "eval_render": False, "max_time": 3},
        "observers": {"wandb": {"_target_": "gym_loop.observers.wandb.WandB"}, "trace": {}},
    }
    words = reproduce.overrides(config, tmp_path, 5)
    assert words[:2] == ["loop.render=false", "observers.wandb=null"]
    assert words[-1] == "loop.max_time=null"
    assert "episodes: 5" in words[2]
    assert reproduce.overrides(config, tmp_path, None) == words[:2]


def test_the_packages_that_are_here_are_linked_and_shared_folders_are_made(tmp_path):
    linked = again.link({"click", "hydra-core", "nothing"}, tmp_path)
    assert linked == {"click", "hydra-core"}
    assert (tmp_path / "click").is_symlink()
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; import click; print(click.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(tmp_path))
