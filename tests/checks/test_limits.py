"""Which limit holds: one that the user gives lifts the default of `max_episodes`."""

import json

import pytest

LOOP = "_target_: gym_loop.loops.DefaultLoop\n"
RUN_CONFIG = """\
agent: {_target_: gym_loop.agents.RandomAgent}
env: {_target_: gym_loop.envs.make_gym, id: CartPole-v1}
loop: {_target_: gym_loop.loops.DefaultLoop, eval_episodes: 0, %s}
"""


def ended(folder, done):
    assert done.returncode == 0, done.stderr
    known = json.loads((folder / "run" / "run.json").read_text())
    assert f"ended by loop.{known['ended_by']}=" in done.stdout
    return known["ended_by"], known["config"]["loop"]["max_episodes"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("loop.max_steps=400", ("max_steps", None)),
        ("loop=vector loop.num_envs=2 loop.max_steps=300", ("max_steps", None)),
        ("loop.max_steps=400 loop.max_episodes=2", ("max_episodes", 2)),
        ("loop.max_steps=400 loop.max_episodes=5", ("max_episodes", 5)),
        ("", ("max_episodes", 5)),
        ("loop=steps", ("max_steps", None)),
        ("loop=both", ("max_episodes", 3)),
        ("loop=both loop.max_steps=300", ("max_episodes", 3)),
        (
            "loop.max_steps=400 agent=q_learning env=taxi loop.max_episode_len=9 "
            "agent.decay_episodes=${loop.max_episodes}",
            ("max_episodes", 5),
        ),
        (
            "loop.max_steps=400 agent=q_learning env=taxi loop.max_episode_len=9 "
            "agent.decay_episodes=${..loop.max_episodes}",
            ("max_episodes", 5),
        ),
    ],
)
def test_a_limit_that_is_given_lifts_one_that_is_not(words, expected, tmp_path, as_a_child):
    folder = tmp_path / "work"
    (folder / "conf" / "loop").mkdir(parents=True)
    (folder / "conf" / "loop" / "steps.yaml").write_text(
        f"{LOOP}max_steps: 350\neval_episodes: 1\n"
    )
    both = f"{LOOP}max_steps: 350\nmax_episodes: 3\neval_episodes: 1\n"
    (folder / "conf" / "loop" / "both.yaml").write_text(both)
    env = [] if "env=" in words else ["env=cartpole"]
    words = [*env, *words.split(), "loop.eval_episodes=0", "hydra.run.dir=run"]
    assert ended(folder, as_a_child(words, folder)) == expected


@pytest.mark.parametrize(
    ("listed", "words", "expected"),
    [
        ("max_steps: 250", [], ("max_steps", None)),
        ("max_steps: 250, max_episodes: 5", [], ("max_episodes", 5)),
        ("max_steps: 1e2, max_episodes: 50", [], ("max_steps", 50)),
        ("max_episode_len: 100", ["loop.max_steps=150"], ("max_steps", None)),
    ],
)
def test_of_a_run_config_the_limits_that_it_lists_hold(
    listed, words, expected, tmp_path, as_a_child
):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "mine.yaml").write_text(RUN_CONFIG % listed)
    done = as_a_child(["train", "-c", "mine.yaml", *words, "hydra.run.dir=run"], folder)
    assert ended(folder, done) == expected


def test_a_finished_run_goes_on_to_another_limit(tmp_path, as_a_child):
    folder = tmp_path / "work"
    folder.mkdir()
    words = ["env=cartpole", "loop.eval_episodes=0"]
    assert ended(folder, as_a_child([*words, "hydra.run.dir=run"], folder)) == ("max_episodes", 5)
    done = as_a_child(["resume", "run", "loop.max_steps=300"], folder)
    assert ended(folder, done) == ("max_steps", None)
