"""`gym-loop fork`: of forks, and as other lines advise it."""

import shlex
import stat

import pytest
from omegaconf import OmegaConf

import gym_loop
from gym_loop import files
from gym_loop.__main__ import dispatch
from gym_loop.runs import checkpoints
from tests.conftest import rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["wrap=[flatten]"]),
        (["wrap=[flatten]"], []),
        ([], ["eval_env.kwargs.render_mode=rgb_array"]),
        ([], ["env.imports=[os,json]"]),
    ],
    ids=str,
)
def test_a_launch_into_a_runs_directory_names_a_fork_that_can_be_typed(before, after, launch, cli):
    words = "agent=random", "env=cartpole", "loop.max_episodes=2", "loop.eval_episodes=1"
    run = launch(*words, *before)
    line = cli(*words, *after, f"hydra.run.dir={run}").stderr
    _, _, advice = line.strip().partition("or: gym-loop ")
    typed = shlex.split(advice)
    assert typed[:2] == ["fork", "run"], line
    done = cli(*typed, "loop.max_episodes=3", "hydra.run.dir=fork")
    assert done.returncode == 0, done.stderr
    kept = OmegaConf.load(run.parent / "fork" / "config.yaml")
    wanted = OmegaConf.load(launch(*words, *after, directory="anew") / "config.yaml")
    assert kept.env == wanted.env
    assert kept.get("eval_env") == wanted.get("eval_env")


@pytest.mark.slow
@pytest.mark.parametrize("change", ["seed=5", "env=acrobot"])
def test_a_fork_of_a_fork_from_where_that_began_plays_what_that_has_played(change, launch, cli):
    """What the parent had of its own parent (streams, an environment) is not taken up again."""
    words = ("agent=random", "env=cartpole", "loop.max_episode_len=40", "loop.eval_episodes=1")
    launch(*words, "loop.max_episodes=2", directory="parent")
    words = ("loop.max_episodes=4", "loop.keep_checkpoints=9")
    for parent, more, name in (("parent", (change,), "fork"), ("fork", (), "again")):
        done = cli("fork", parent, "--checkpoint", 2, *more, *words, f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stderr
    played = [[(row["episode"], row["return"]) for row in rows(d)] for d in ("fork", "again")]
    assert played[0] == played[1] != []


def test_a_fork_goes_on_with_the_best_checkpoint_of_its_history(launch, child, tmp_path):
    words = ("agent=random", "env=cartpole", "loop.episodes_per_eval=1", "loop.eval_episodes=1")
    parent = launch(*words, "loop.max_episodes=6", "loop.keep_checkpoints=1")
    best = checkpoints.find(parent, "best")
    done = child("fork", "run", "loop.max_episodes=7", "hydra.run.dir=fork")
    assert done.returncode == 0, done.stderr
    mine = tmp_path / "fork"
    table = [float(row["return"]) for row in rows(mine, "evaluations.csv")[:7]]  # in training
    assert checkpoints.episode(checkpoints.find(mine, "best")) == table.index(max(table)) + 1
    assert checkpoints.episode(best) == table.index(max(table[:6])) + 1


def test_a_fork_made_in_its_parent_s_directory_takes_no_other_run_along(tmp_path, monkeypatch):
    words = ("env=cartpole", "loop.max_episodes=2", "loop.eval_episodes=1")
    run = gym_loop.run(*words, directory=tmp_path / "run")
    monkeypatch.chdir(run.path)
    for name in ("outputs/first", "outputs/second"):
        fork = gym_loop.fork(".", "loop.max_episodes=3", directory=name)
        assert (fork.state, len(fork.episodes)) == ("finished", 3)
        assert not [*fork.path.rglob("run.json")][1:]
    assert gym_loop.Run(run.path).state == "finished"


def test_a_fork_of_a_run_that_is_read_only_is_the_owner_s_to_write(launch, tmp_path):
    words = ("agent=random", "env=cartpole", "loop.eval_episodes=1")
    parent = launch(*words, "loop.max_episodes=2")
    (tmp_path / "fork").mkdir()
    (tmp_path / "fork" / "notes.txt").touch(0o444)
    for path in (parent, *parent.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        dispatch("fork", "run", "loop.max_episodes=3", "hydra.run.dir=fork")
    finally:
        files.let_owner_write([parent, *parent.rglob("*")])
    made = [tmp_path / "fork", *(tmp_path / "fork").rglob("*")]
    read_only = [path for path in made if not path.stat().st_mode & stat.S_IWUSR]
    own = [path.name for path in read_only if "code" not in path.parts]  # which nobody edits
    assert own == ["notes.txt"]
    assert len(rows(tmp_path / "fork")) == 3
