"""A run directory with files of somebody else's in it is refused, or these are left alone."""

import os
import re
import shlex
from pathlib import Path

import pytest

from gym_loop import Mistake
from gym_loop.__main__ import dispatch
from gym_loop.runs import manifest

RUN = ("agent=random", "env=cartpole", "loop.max_episodes=3", "loop.eval_episodes=1")
LATE = """
import gymnasium
from gym_loop.mistake import Mistake

class Late(gymnasium.Env):
    def __init__(self):
        raise Mistake("too late")
"""


def put(folder, *names):
    """Write files of the user's, which all have one content."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"the user's, and no UTF-8: \xff\n")


def are_as_they_were(folder, *names):
    return all(b"user's" in (folder / name).read_bytes()[:20] for name in names)


@pytest.mark.parametrize("name", ["config.yaml", "episode_records/episode-000000.mp4"])
def test_a_directory_with_what_a_run_would_write_over_is_refused(child, tmp_path, name):
    put(tmp_path, name)
    before = sorted(tmp_path.rglob("*"))
    done = child(*RUN, "loop.record=true", "hydra.run.dir=.")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert name.partition("/")[0] in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert are_as_they_were(tmp_path, name)


@pytest.mark.parametrize("folder", ["films", ".", "./a/b"])
def test_a_directory_with_films_where_a_run_would_put_its_own_is_refused(child, tmp_path, folder):
    film = f"{folder.removeprefix('./')}/episode-000000.mp4".removeprefix("./")
    put(tmp_path / "run", film)
    done = child(*RUN, "loop.record=true", f"loop.record_dir={folder}", "hydra.run.dir=run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"run holds {film} but no" in done.stderr
    assert are_as_they_were(tmp_path / "run", film)


def test_films_of_other_runs_beside_a_runs_directory_refuse_none(child, tmp_path):
    put(tmp_path, "films/episode-000000.mp4")
    done = child(*RUN, "loop.record=true", "loop.record_dir=../films", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert are_as_they_were(tmp_path, "films/episode-000000.mp4")


@pytest.mark.parametrize(
    "make",
    [os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)],
    ids=["folder", "pipe", "link that leads nowhere"],
)
def test_a_config_that_is_no_file_is_refused(cli, tmp_path, make):
    make(tmp_path / "config.yaml")
    before = (tmp_path / "config.yaml").lstat().st_ino
    done = cli(*RUN, "hydra.run.dir=.", timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "holds config.yaml" in done.stderr
    assert (tmp_path / "config.yaml").lstat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_run_that_was_killed_before_its_run_json_begins_anew(child, tmp_path):
    assert child(*RUN, "hydra.run.dir=run").returncode == 0
    for name in ("episodes.csv", "evaluations.csv", "run.json"):
        (tmp_path / "run" / name).unlink()
    for name in ("checkpoints", "traces"):
        (tmp_path / "run" / name).rename(tmp_path / name)
    done = child(*RUN, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr


def test_a_mistake_found_late_removes_nothing_that_was_there_before(child, tmp_path):
    (tmp_path / "late.py").write_text(LATE)
    put(tmp_path, "gym_loop.log", ".lock", ".hydra/mine.yaml")
    before = {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts}
    assert child("agent=random", "env=late.py:Late", "hydra.run.dir=.").returncode == 2
    assert {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts} == before
    assert are_as_they_were(tmp_path, "gym_loop.log", ".lock", ".hydra/mine.yaml")


def test_a_fork_leaves_alone_what_lies_in_its_directory(child, tmp_path):
    assert child(*RUN, "hydra.run.dir=parent").returncode == 0
    (tmp_path / "parent" / "notes.md").write_text("the parent's")
    (tmp_path / "parent" / "more.md").write_text("the parent's")
    put(tmp_path, "fork/notes.md")
    done = child("fork", "parent", "loop.max_episodes=5", "hydra.run.dir=fork")
    assert done.returncode == 0, done.stderr
    assert are_as_they_were(tmp_path, "fork/notes.md")
    assert (tmp_path / "fork" / "more.md").read_text() == "the parent's"


def test_what_a_resolver_had_brought_can_be_said_where_it_brings_another_value(launch):
    Path("drawing.py").write_text(
        "import pathlib\nfrom omegaconf import OmegaConf\n"
        "from gym_loop.agents import RandomAgent\n"
        "drawn = lambda: pathlib.Path('drawn').read_text()\n"
        "OmegaConf.register_new_resolver('drawn', drawn, use_cache=True, replace=True)\n"
        "class Drawing(RandomAgent):\n"
        "    @staticmethod\n"
        "    def get_default_parameters():\n"
        "        return {'x': ''}\n"
    )
    Path("drawn").write_text("1, 'a b'")
    words = "env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=1"
    run = launch("agent=drawing.py:Drawing", "agent.x='${drawn:}'", *words)
    Path("drawn").write_text("another")
    line = "agent.x comes from ${drawn:}, which is not what it was when the run was launched"
    for command in (["evaluate", "run"], ["resume", "run", "loop.max_episodes=2"]):
        with pytest.raises(Mistake, match=re.escape(line)) as raised:
            dispatch(*command)
        said = re.search(r", or say ([^;]*)", raised.value.message)[1]
        dispatch(*command, *shlex.split(said))
    assert manifest.read(run)["episodes"] == 2
    dispatch("resume", "run", "loop.max_episodes=3")
