"""What a run keeps of the code and the packages that it ran with."""

import json
import shutil
import subprocess
import sys

import pytest

from gym_loop.code import observer
from gym_loop.code.store import digest

FAST = ("env=cartpole", "loop.max_episodes=2", "loop.eval_episodes=1")
AGENT = """
import helper
from gym_loop.agents import RandomAgent
class Mine(RandomAgent):
    def update(self, episode_num):
        pass
"""


def git(folder, *words):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path):
    """A repository with an agent; `helper.py`, which it imports, is not tracked."""
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / ".gitignore").write_text("outputs/\n*_local.py\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "agent")
    (tmp_path / "helper.py").write_text("value = 1\n")
    return tmp_path


def run(cli, *words):
    done = cli(*FAST, *words)
    assert done.returncode == 0, done.stderr
    return done


def code(project):
    """`code/` of the newest run below `outputs`."""
    return max(project.glob("outputs/*/*")) / "code"


def described(folder):
    return json.loads((folder / "environment.json").read_text())


def root(folder, path):
    return next(root for root in described(folder)["roots"] if root["path"] == str(path))


def test_commit_diff_used_files_and_packages_are_kept(cli, project):
    (project / "agent.py").write_text(AGENT + "# changed\n")
    (project / "unused.py").write_text("")
    (project / "mine_local.py").write_text("")
    (project / "settings.yaml").write_text("a: 1\n")
    (project / "helper.py").write_text("import mine_local\nNAME = 'settings.yaml'\n")
    (project / "conf" / "agent").mkdir(parents=True)
    for name in ("mine", "other"):
        (project / "conf" / "agent" / f"{name}.yaml").write_text("_target_: agent.Mine\n")
    run(cli, "agent=mine")
    kept, project_root = described(code(project)), root(code(project), project)
    assert project_root["commit"] == git(project, "rev-parse", "HEAD").strip()
    own = code(project) / project_root["name"]
    assert "+# changed" in (own / "changes.diff").read_text()
    files = {str(p.relative_to(own)) for p in own.rglob("*") if p.is_file()}
    assert files - {"changes.diff"} == {
        *("files/helper.py", "files/settings.yaml", "files/conf/agent/mine.yaml")
    }
    assert kept["left_out"][str(project / "mine_local.py")] == "ignored by git"
    import numpy

    assert kept["packages"]["numpy"] == numpy.__version__
    assert kept["cpu_features"]
    assert kept["blas"]["numpy"]


@pytest.mark.slow
def test_a_launch_in_which_nothing_has_changed_shares_every_file(cli, project):
    run(cli, "agent=agent.py:Mine")
    first = code(project)
    run(cli, "agent=agent.py:Mine")
    second = code(project)
    assert first != second
    inodes = [
        {str(p.relative_to(f)): p.stat().st_ino for p in f.rglob("*") if p.is_file()}
        for f in (first, second)
    ]
    assert inodes[0] == inodes[1]
    (project / "helper.py").write_text("value = 2\n")
    shutil.rmtree(project / "outputs" / ".code")
    run(cli, "agent=agent.py:Mine")
    name = f"{root(first, project)['name']}/files/helper.py"
    assert (code(project) / name).read_text() == "value = 2\n"
    assert (first / name).read_text() == (second / name).read_text() == "value = 1\n"


@pytest.mark.parametrize("tracked", [True, False])
def test_secrets_stay_out(cli, project, tracked):
    (project / "secrets.yaml").write_text("anything: hunter0\n")
    (project / "settings.yaml").write_text(
        "login:\n  password: hunter1\nurl: http://me:hunter2@x\n"
    )
    (project / "helper.py").write_text(
        "API_KEY = 'hunter3'\nimport os\nos.environ['A_TOKEN'] = 'hunter4'\n"
        "names = ('secrets.yaml', 'settings.yaml')\nkept = 'as it is'\n"
    )
    if tracked:
        git(project, "add", ".")
        git(project, "commit", "-qm", "all")
        for name in ("secrets.yaml", "settings.yaml", "helper.py"):
            text = (project / name).read_text()
            (project / name).write_text(text.replace("hunter", "hunter-new-") + "\n")
    run(cli, "agent=agent.py:Mine")
    everything = [p for p in project.glob("outputs/.code/*") if p.is_file()]
    everything += [p for p in code(project).rglob("*") if p.is_file()]
    assert not [p for p in everything if b"hunter" in p.read_bytes()]
    kept = described(code(project))
    assert list(kept["left_out"]) == [str(project / "secrets.yaml")]
    own = code(project) / root(code(project), project)["name"] / "files"
    assert "kept = 'as it is'" in (own / "helper.py").read_text()
    assert "(hidden)" in (own / "settings.yaml").read_text()


def test_a_diff_shows_no_secret_whose_key_is_above_its_lines_or_within_another_value(cli, project):
    deep = "credentials:\n" + "".join(f"  a{n}: word{n}\n" for n in range(6)) + "  z: hunter1\n"
    files = {"deep.yaml": deep, "flow.yaml": "x: {password: hunter2, y: 2}\n"}
    files["helper.py"] = "names = ('deep.yaml', 'flow.yaml')\nvalue, kept = 1, 'hunted'\n"
    for name, text in files.items():
        (project / name).write_text(text)
    git(project, "add", ".")
    git(project, "commit", "-qm", "all")
    for name, text in files.items():
        (project / name).write_text(text.replace("hunte", "new-hunte"))
    run(cli, "agent=agent.py:Mine")
    folders = (code(project), project / "outputs" / ".code")
    kept = [p.read_bytes() for folder in folders for p in folder.rglob("*") if p.is_file()]
    assert not [text for text in kept if b"hunter" in text]
    assert [text for text in kept if b"new-hunted" in text]
    own = code(project) / root(code(project), project)["name"] / "files"
    assert "(hidden)" in (own / "deep.yaml").read_text() and (own / "flow.yaml").is_file()


@pytest.mark.slow
def test_what_is_too_large_is_named_and_left_out(cli, project):
    (project / "helper.py").write_text("#" * 1_100_000 + "\n")
    run(cli, "agent=agent.py:Mine")
    assert "larger" in described(code(project))["left_out"][str(project / "helper.py")]


@pytest.mark.slow
def test_a_file_that_is_imported_later_is_kept_too(cli, project):
    (project / "agent.py").write_text(AGENT.replace("pass", "import late"))
    (project / "late.py").write_text("value = 3\n")
    run(cli, "agent=agent.py:Mine")
    own = code(project) / root(code(project), project)["name"]
    assert (own / "files" / "late.py").read_text() == "value = 3\n"
    assert (own / "files" / "helper.py").is_file()


def test_without_git_the_files_are_kept(cli, tmp_path):
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "helper.py").write_text("")
    run(cli, "agent=agent.py:Mine")
    own = root(code(tmp_path), tmp_path)
    assert own["commit"] is None
    assert (code(tmp_path) / own["name"] / "files" / "agent.py").read_text() == AGENT


@pytest.mark.slow
def test_a_launch_with_other_code_adds_a_folder_and_one_with_the_same_does_not(cli, project):
    words = ("agent=agent.py:Mine", "hydra.run.dir=run")
    run(cli, *words)
    cli("resume", "run", "loop.max_episodes=3")
    assert not list(project.glob("run/code/episode-*"))
    (project / "helper.py").write_text("value = 2\n")
    done = cli("resume", "run", "loop.max_episodes=4")
    assert "goes on with other code than before: helper.py\n" in done.stderr
    (folder,) = project.glob("run/code/episode-*")
    assert folder.name == "episode-000003"
    name = root(folder, project)["name"]
    assert (folder / name / "files" / "helper.py").read_text() == "value = 2\n"
    assert (project / "run" / "code" / name / "files" / "helper.py").read_text() == "value = 1\n"


@pytest.mark.slow
def test_a_link_that_became_a_file_and_a_file_that_became_a_link_are_kept(cli, project):
    (project / "linked.py").symlink_to("helper.py")
    git(project, "add", "linked.py")
    git(project, "commit", "-qm", "link")
    (project / "linked.py").unlink()
    (project / "linked.py").write_text("value = 2\n")
    (project / "agent.py").rename(project / "mine_local.py")
    (project / "agent.py").symlink_to("mine_local.py")
    run(cli, "agent=agent.py:Mine")
    diff = (code(project) / project.name / "changes.diff").read_text()
    assert all(line in diff.splitlines() for line in ("-helper.py", "+value = 2", "+mine_local.py"))


@pytest.mark.slow
def test_changes_of_tracked_files_are_warned_of_and_differ(cli, project):
    words = ("agent=agent.py:Mine", "hydra.run.dir=run")
    run(cli, *words)
    (project / "agent.py").write_text(f"{AGENT}# changed\n")
    done = cli("resume", "run", "loop.max_episodes=3")
    assert "goes on with other code than before: changes.diff\n" in done.stderr
    run(cli, "agent=agent.py:Mine", "hydra.run.dir=other")
    assert "files that differ: changes.diff\n" in cli("diff", "run", "other").stdout


@pytest.mark.slow
def test_a_file_of_the_same_name_that_another_run_of_the_process_used_is_no_other_code(
    cli, tmp_path
):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        text = f"{AGENT.replace('import helper', '')}# {name}\n"
        (tmp_path / name / "agent.py").write_text(text)
    here = tmp_path / "here"
    here.mkdir()
    done = cli("agent=../two/agent.py:Mine", *FAST, "hydra.run.dir=two", cwd=here)
    assert done.returncode == 0, done.stderr
    program = f"""
import gym_loop
gym_loop.run("agent=../one/agent.py:Mine", *{FAST}, directory="one")
gym_loop.resume("two", "loop.max_episodes=3")
"""
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=here, check=True, capture_output=True, text=True)
    assert "continuing" in done.stderr
    assert "other code" not in done.stderr
    (tmp_path / "two" / "agent.py").write_text(f"{AGENT.replace('import helper', '')}# 2\n")
    done = cli("resume", "two", "loop.max_episodes=4", cwd=here)
    assert "goes on with other code than before: agent.py\n" in done.stderr


@pytest.mark.slow
def test_a_run_that_begins_anew_says_so_and_keeps_what_its_first_launch_used(cli, project):
    """It was killed before its first checkpoint; resume does not read the experiment's file."""
    (project / "agent.py").write_text(
        f"import os\n{AGENT}    def end_episode(self, episode_num, truncated):\n"
        "        if episode_num and not os.path.exists('again'):\n"
        "            os.kill(os.getpid(), 9)\n"
    )
    (project / "conf/experiment").mkdir(parents=True)
    (project / "conf/experiment/mine.yaml").write_text("# @package _global_\nseed: 3\n")
    words = ("+experiment=mine", "agent=agent.py:Mine", "hydra.run.dir=run")
    assert cli(*FAST, *words).returncode == -9
    names = described(project / "run/code")["files"]
    assert any(name.endswith("conf/experiment/mine.yaml") for name in names)
    (project / "again").touch()
    done = cli("resume", "run")
    assert done.returncode == 0, done.stderr
    assert "run has no checkpoint yet: the run begins anew\n" in done.stderr
    assert described(project / "run/code")["files"] == names
    assert not list(project.glob("run/code/episode-*"))


@pytest.mark.slow
def test_a_fork_and_a_copy_have_code_of_their_own(cli, project):
    run(cli, "agent=agent.py:Mine", "hydra.run.dir=runs/a")
    (project / "helper.py").write_text("value = 2\n")
    done = cli("fork", "runs/a", "loop.max_episodes=3", "hydra.run.dir=runs/b")
    assert done.returncode == 0, done.stderr
    shutil.copytree(project / "runs" / "a", project / "c")
    assert cli("resume", "c", "loop.max_episodes=3").returncode == 0
    for directory, value in (("runs/a", 1), ("runs/b", 2), ("c", 1)):
        folder = project / directory / "code"
        text = (folder / root(folder, project)["name"] / "files" / "helper.py").read_text()
        assert text == f"value = {value}\n"


@pytest.mark.slow
def test_jobs_of_a_sweep_share_what_they_keep(cli, project):
    run(cli, "-m", "seed=0,1", "agent=agent.py:Mine", "hydra.sweep.dir=sweep")
    files = [*project.glob("sweep/seed=*/code/environment.json")]
    assert len(files) == 2
    assert len({file.read_bytes() for file in files}) == 1
    assert all(file.stat().st_nlink > 1 for file in files)


@pytest.mark.slow
def test_where_nothing_can_be_shared_a_run_keeps_files_of_its_own(cli, project):
    (project / "outputs").mkdir()
    (project / "outputs" / ".code").write_text("a file where the folder would be")
    (project / "agent.py").write_text(AGENT + "# changed\n")
    run(cli, "agent=agent.py:Mine")
    known = json.loads((code(project).parent / "run.json").read_text())
    assert known["state"] == "finished"
    assert not known.get("warnings")
    assert described(code(project))["packages"]
    # The checkout may have a difference of its own.
    assert any("# changed" in each.read_text() for each in code(project).rglob("*.diff"))


@pytest.mark.slow
def test_what_cannot_be_kept_is_a_warning(cli, project):
    (project / "outputs" / "run").mkdir(parents=True)
    (project / "outputs" / "run" / "code").write_text("a file where the folder would be")
    run(cli, "agent=agent.py:Mine", "hydra.run.dir=outputs/run")
    known = json.loads((project / "outputs" / "run" / "run.json").read_text())
    assert known["state"] == "finished"
    assert "cannot keep what runs in code/" in known["warnings"][0]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{}", "[]", '{"files": 3', '{"named": 1, "files": 2}'])
def test_what_is_damaged_ends_no_run(cli, project, text):
    words = ("agent=agent.py:Mine", "hydra.run.dir=outputs/run")
    run(cli, *words)
    [note] = project.glob("outputs/.code/seen-*.json")
    for file in (note, project / "outputs/run/code/environment.json"):
        file.unlink()
        file.write_text(text)
    assert cli("resume", "outputs/run", "loop.max_episodes=3").returncode == 0
    assert described(project / "outputs/run/code/episode-000002")["packages"]
    run(cli, "agent=agent.py:Mine", "hydra.run.dir=outputs/other")
    assert described(project / "outputs/other/code")["packages"]


@pytest.mark.slow
def test_a_shared_file_that_is_damaged_is_written_again(cli, project):
    run(cli, "agent=agent.py:Mine", "hydra.run.dir=outputs/run")
    for file in project.glob("outputs/.code/*"):
        file.unlink()
        file.write_text("{")
    run(cli, "agent=agent.py:Mine", "hydra.run.dir=outputs/other")
    folder = project / "outputs/other/code"
    for name, known in described(folder)["files"].items():
        assert digest((folder / name).read_bytes()) == known


def test_a_folder_of_that_name_that_is_not_the_runs_is_left_alone(cli, project):
    (project / "code").mkdir()
    (project / "code" / "mine.py").write_text("precious")
    run(cli, "agent=agent.py:Mine", "hydra.run.dir=.")
    assert [path.name for path in (project / "code").iterdir()] == ["mine.py"]
    known = json.loads((project / "run.json").read_text())
    assert known["state"] == "finished"
    assert "cannot keep what runs in code/" in known["warnings"][0]


def test_only_what_was_kept_is_removed(tmp_path):
    for name in ("project/files/a.py", "project/files/user.py", "environment.json"):
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).write_text("")
    (tmp_path / "outside").write_text("")
    description = {"files": {"project/files/a.py": "1", "../outside": "2"}}
    (tmp_path / "code" / "environment.json").write_text(json.dumps(description))
    observer.remove(tmp_path / "code")
    left = [path.name for path in (tmp_path / "code").rglob("*") if path.is_file()]
    assert left == ["user.py"]
    assert (tmp_path / "outside").exists()


def test_a_run_beside_a_store_that_cannot_be_written_keeps_its_own_files(child, tmp_path):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / ".code").touch()
    (tmp_path / "own.py").write_text(
        "from gym_loop.agents import RandomAgent\n\n\nclass Own(RandomAgent):\n    pass\n"
    )
    words = ("agent=own.py:Own", "env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=1")

    done = child(*words, "hydra.run.dir=outputs/run")

    assert done.returncode == 0
    assert done.stderr == ""
    kept = tmp_path / "outputs" / "run" / "code"
    (copy,) = kept.rglob("own.py")
    assert copy.read_text() == (tmp_path / "own.py").read_text()
    assert json.loads((kept / "environment.json").read_text())["files"]
