"""`gym-loop fork`, as other lines advise it."""

import shlex

import pytest
from omegaconf import OmegaConf


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
