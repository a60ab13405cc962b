"""`eval_env`, an environment of evaluation's own, and evaluation by steps."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from gym_loop.runs.run import Run
from tests.conftest import rows

FEW = ("loop.max_episodes=3", "loop.eval_episodes=2", "loop.episodes_per_eval=2")


def test_what_eval_env_says_differs_in_evaluation_alone(launch):
    alike = launch("env=pendulum", *FEW, directory="alike")
    light = launch("env=pendulum", "eval_env.kwargs.g=2", *FEW, directory="light")
    assert rows(light) == rows(alike)
    assert rows(light, "evaluations.csv") != rows(alike, "evaluations.csv")
    assert Run(light).env().unwrapped.g == 2
    assert Run(light).replay(1, evaluation=True).difference is None
    assert Run(light).replay(1).difference is None


def test_the_rest_of_it_follows_env(launch, child, tmp_path):
    launch("env=pendulum", "eval_env.kwargs.g=2", *FEW)
    kept = OmegaConf.load(tmp_path / "run" / "config.yaml").eval_env
    assert OmegaConf.to_container(kept, resolve=False)["id"] == "${env.id}"


def test_an_option_stands_there_by_hydras_own_spelling(launch):
    run = launch("env=gymnasium:CartPole-v1", "env@eval_env=cartpole", *FEW)
    assert type(Run(run).env().unwrapped).__module__.startswith("gym.envs")
    assert Run(run).replay(0, evaluation=True).difference is None


def test_evaluation_may_have_other_wrappers(launch):
    run = launch(
        *("env=cartpole", "wrap=[time_limit]", "env.wrappers.time_limit.max_episode_steps=9"),
        *("eval_env.wrappers.time_limit.max_episode_steps=4", *FEW),
    )
    assert Run(run).episodes["length"].max() == 9
    assert set(Run(run).evaluations["length"]) == {4}


def test_a_wrapper_that_is_null_is_taken_away(launch):
    run = launch(
        *("env=cartpole", "wrap=[time_limit]", "env.wrappers.time_limit.max_episode_steps=5"),
        *("eval_env.wrappers.time_limit=null", *FEW),
    )
    assert Run(run).episodes["length"].max() == 5
    assert Run(run).evaluations["length"].min() > 5


def test_a_wrapper_that_differs_keeps_its_place(launch):
    run = launch(
        *("env=cartpole", "wrap=[normalize_reward,time_limit,flatten]", *FEW),
        *("env.wrappers.time_limit.max_episode_steps=5", "eval_env.wrappers.flatten=null"),
        "eval_env.wrappers.time_limit.max_episode_steps=4",
    )
    section = OmegaConf.load(run / "config.yaml").eval_env
    assert list(section.wrappers) == ["normalize_reward", "time_limit", "flatten"]
    assert Run(run).evaluations["length"].max() == 4


@pytest.mark.slow
def test_what_a_fork_changes_in_it_leaves_the_rest_following_env(launch, cli, tmp_path):
    launch("env=pendulum", "env.kwargs.g=3", "eval_env.id=Pendulum-v1", *FEW)
    words = ["loop.max_episodes=5", "hydra.run.dir=fork", "eval_env.kwargs.render_mode=rgb_array"]
    done = cli(
        "fork", "run", *words, "wrap=[time_limit]", "env.wrappers.time_limit.max_episode_steps=7"
    )
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "fork").env().unwrapped.g == 3
    assert set(Run(tmp_path / "fork").evaluations["length"]) == {7}


@pytest.mark.slow
def test_a_fork_evaluates_elsewhere_and_trains_as_before(launch, cli, tmp_path):
    launch("env=pendulum", *FEW)
    words = ["loop.max_episodes=5", "hydra.run.dir=fork", "eval_env.kwargs.g=2"]
    done = cli("fork", "run", *words)
    assert done.returncode == 0, done.stderr
    whole = launch("env=pendulum", "loop.max_episodes=5", "loop.eval_episodes=2", directory="whole")
    assert rows(tmp_path / "fork") == rows(whole)
    assert Run(tmp_path / "fork").env().unwrapped.g == 2
    light = launch("env=pendulum", "eval_env.kwargs.g=2", *FEW, directory="light")
    returns = [Run(r).evaluations["return"][-2:] for r in (tmp_path / "fork", light)]
    np.testing.assert_array_equal(*returns)
    played = len(Run(tmp_path / "fork").evaluations["return"])
    again = [Run(tmp_path / "fork").replay(n, evaluation=True) for n in range(played)]
    assert not any(episode.difference for episode in again)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("eval_env.kwargs.gg=2", "no keyword argument 'gg'"),
        ("eval_env.idd=x", "did you mean 'eval_env.id'?"),
        ("eval_env.id=Pendulun-v1", "did you mean 'Pendulum-v1'?"),
        ("eval_env=cartpole", "env@eval_env=cartpole"),
        ("env@eval_env=cartpol", "did you mean 'cartpole'?"),
        ("eval_env.wrappers.x.size=2", "eval_env.wrappers.x._target_"),
        ("loop.steps_per_eval=0", "loop.steps_per_eval is 0"),
    ],
)
def test_a_mistake_is_one_line(word, said, as_a_child, tmp_path):
    (tmp_path / "here").mkdir()
    done = as_a_child(["env=pendulum", word, "hydra.run.dir=run"], tmp_path / "here")
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval_env.id=MountainCar-v0"], "eval_env's observation space is Box"),
        (["eval_env.id=MountainCarContinuous-v0", "env.id=MountainCar-v0"], "action space is Box"),
        (
            ["wrap=[frame_stack]", "eval_env.wrappers.frame_stack.stack_size=2"],
            "change eval_env, or its wrappers",
        ),
    ],
)
def test_other_spaces_in_evaluation_are_one_line_before_the_run(words, said, as_a_child, tmp_path):
    (tmp_path / "here").mkdir()
    words = ["env=gymnasium:CartPole-v1", *words, "hydra.run.dir=run"]
    done = as_a_child(words, tmp_path / "here")
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert said in line
    assert not (tmp_path / "here" / "run").exists()


def test_spaces_are_compared_of_environments_that_are_given_what_the_run_gives(child, tmp_path):
    (tmp_path / "told.py").write_text(
        "from gym import Env, spaces\n\nclass Told(Env):\n    def __init__(self, text):\n"
        "        self.observation_space = spaces.Discrete(2 + (text == '${x}'))\n"
        "        self.action_space = spaces.Discrete(2)\n"
    )
    done = child("env=told.py:Told", "env.text=a", r"eval_env.text='\${x}'", "hydra.run.dir=run")
    assert done.returncode == 2, done.stderr
    assert "eval_env's observation space is Discrete(3), that of env is Discrete(2)" in done.stderr


def test_evaluation_by_steps(launch):
    words = ("env=pendulum", "loop.steps_per_eval=450", "loop.max_episodes=7")
    run = launch(*words, "loop.eval_episodes=1")
    # Episodes have 200 steps: 450, 900 and 1350 are passed in the third, fifth and seventh.
    assert list(Run(run).evaluations["at_episode"]) == [3, 5, 7, 7]


def test_evaluation_by_steps_in_loop_vector(launch):
    words = ("env=pendulum", "agent=random", "loop=vector", "loop.num_envs=2")
    more = ("loop.episodes_per_round=2", "loop.max_episodes=8", "loop.steps_per_eval=700")
    run = launch(*words, *more, "loop.eval_episodes=1")
    assert list(Run(run).evaluations["at_episode"]) == [4, 8, 8]


@pytest.mark.parametrize("loop", ["default", "vector"])
def test_an_option_of_evaluations_own_without_a_wrapper_that_learns_is_warned_of(loop, launch):
    words = "agent=random", f"loop={loop}", "loop.max_episodes=2", "loop.eval_episodes=1"
    own = "env=cartpole", "env@eval_env=cartpole", "wrap=[normalize_observation,normalize_reward]"
    (warning,) = Run(launch(*words, *own)).warnings
    assert warning.startswith("evaluation's environment has no NormalizeObservation, which has lea")
    name = "eval_env.wrappers.n._target_=gym_loop.envs.wrappers.normalize_observation"
    assert not Run(launch(*words, *own, name, directory="followed")).warnings
