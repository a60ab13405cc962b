"""`loop.info_keys`: columns and curves of what an environment says at an episode's end."""

import re

import numpy as np
import pytest

from gym_loop.runs.run import Run
from tests.conftest import rows

REACH = """
import gym, numpy as np

class Reach(gym.Env):
    observation_space = gym.spaces.Box(-9, 9, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.steps = 0, 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.at, self.steps = self.at + 2 * int(action) - 1, self.steps + 1
        info = {"distance": np.float32(3 - self.at), "is_success": self.at >= 2, "who": "me"}
        if self.at < 0:
            info["behind"] = -self.at
        return np.array([self.at], np.float32), 0.5, self.steps == 6, False, info
"""
KEYS = "loop.info_keys=[is_success,distance,behind]"
FEW = ("env=reach.py:Reach", KEYS, "loop.max_episodes=8", "loop.eval_episodes=5")


def gaps(run):
    """Return what a run's warning has to say of `behind`, by its tables."""
    both = Run(run).episodes["behind"], Run(run).evaluations["behind"]
    (a, of_a), (b, of_b) = ((np.isnan(column).sum(), len(column)) for column in both)
    assert 0 < a < of_a
    assert 0 < b < of_b
    return f"for behind at the end of {a} of {of_a} training and {b} of {of_b} evaluation episodes"


@pytest.fixture(autouse=True)
def _reach(tmp_path):
    (tmp_path / "reach.py").write_text(REACH)


@pytest.mark.parametrize("loop", ["default", "vector"])
def test_the_last_value_is_a_column_and_a_curve(loop, launch):
    run = launch(*FEW, f"loop={loop}", "agent=random")
    for table in (Run(run).episodes, Run(run).evaluations):
        assert set(table["distance"]) <= {-3.0, -1.0, 1.0, 3.0, 5.0, 7.0, 9.0}
        np.testing.assert_array_equal(table["is_success"], table["distance"] <= 1)
        np.testing.assert_array_equal(np.isnan(table["behind"]), table["distance"] <= 3)
    _, values = Run(run).metrics("train/distance")
    np.testing.assert_array_equal(values, Run(run).episodes["distance"])
    _, [mean] = Run(run).metrics("eval/is_success")
    assert mean == pytest.approx(Run(run).evaluations["is_success"].mean())


@pytest.mark.parametrize(
    "env",
    [
        "gym_vector",
        pytest.param("gym_vector env.asynchronous=true", marks=pytest.mark.slow),
        "gymnasium_vector",
        "gymnasium_vector +env.vector_kwargs.autoreset_mode=SameStep",
        "gymnasium_vector +env.vector_kwargs.autoreset_mode=NextStep",
        pytest.param("gymnasium_vector env.mode=async", marks=pytest.mark.slow),
    ],
)
def test_vector_environments_of_the_libraries_have_them_too(env, launch, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    library = env.partition("_")[0]
    (tmp_path / f"{library}_reach.py").write_text(
        f"{REACH.replace('import gym,', f'import {library} as gym,')}\n"
        "gym.register(id='Reach-v0', entry_point=Reach, max_episode_steps=5)\n"
    )
    words = "env.id=Reach-v0", f"env.imports=[{library}_reach]", KEYS
    limits = "loop=vector", "loop.num_envs=3", "loop.max_episodes=20", "loop.eval_episodes=5"
    run = launch(*f"env={env}".split(), *words, *limits)
    for table in (Run(run).episodes, Run(run).evaluations):
        assert len({*table["distance"]}) > 1
        np.testing.assert_array_equal(table["is_success"], table["distance"] <= 1)
        np.testing.assert_array_equal(np.isnan(table["behind"]), table["distance"] <= 3)
    [warning] = [line for line in Run(run).warnings if "behind" in line]
    assert gaps(run) in warning


OBSERVER = """
from gym_loop import Observer

class Told(Observer):
    def end_episode(self, loop, episode):
        with open("told.txt", "a") as file:
            print(episode.info["who"], float(episode.info["distance"]), file=file)
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_observer_has_infos_of_copies_whatever_keys_are_asked_for(launch, tmp_path, workers):
    (tmp_path / "watching.py").write_text(OBSERVER)
    words = ["loop=vector", "loop.num_envs=2", f"loop.num_workers={workers}"]
    launch(FEW[0], *FEW[2:], *words, "+observers.told._target_=watching.py:Told")
    lines = (tmp_path / "told.txt").read_text().splitlines()
    assert len(lines) == 8 + 5
    assert all(re.fullmatch(r"me -?\d\.0", line) for line in lines)


@pytest.mark.slow
def test_envpools_infos_are_those_of_the_episodes_last_steps(launch):
    pytest.importorskip("envpool", reason='needs the extra: pip install "gym-loop[envpool]"')
    length = "loop.max_episode_len=15"  # which some episodes reach: a step resets these alone
    words = "loop=vector", "loop.num_envs=5", "loop.max_episodes=40", "loop.eval_episodes=3"
    run = launch("env=envpool:CartPole-v1", length, *words, "loop.info_keys=[elapsed_step]")
    for table in (Run(run).episodes, Run(run).evaluations):
        np.testing.assert_array_equal(table["elapsed_step"], table["length"])
    assert Run(run).episodes["truncated"].any()


def test_a_resumed_run_has_the_same_columns(launch):
    launch(*FEW[:2], "loop.max_episodes=3", "loop.eval_episodes=5")
    run = launch(*FEW)
    whole = launch(*FEW, directory="whole")
    assert rows(run) == rows(whole)


def test_a_key_that_never_comes_is_warned_of_once(launch):
    run = launch(*FEW[:1], "loop.info_keys=[succes,distance]")
    [warning] = [line for line in Run(run).warnings if "succes" in line]
    assert "had succes at" in warning
    assert "there was behind, distance, is_success, who" in warning
    assert np.isnan(Run(run).episodes["succes"]).all()


@pytest.mark.parametrize("loop", ["loop=default", "loop=vector loop.num_envs=3"])
def test_episodes_without_a_key_are_counted_in_a_warning_also_of_a_resumed_run(loop, launch):
    words = [*FEW[:2], *loop.split(), "agent=random", "loop.eval_episodes=9"]
    first = launch(*words, "loop.max_episodes=9")
    [before] = [line for line in Run(first).warnings if "behind" in line]
    assert gaps(first) in before
    run = launch(*words, "loop.max_episodes=25")
    _, after = (line for line in Run(run).warnings if "behind" in line)
    assert gaps(run) in after
    assert before != after
    assert not any("is_success" in line or "distance" in line for line in Run(run).warnings)


def test_a_key_whose_values_are_no_numbers_is_warned_of(launch):
    run = launch(FEW[0], "loop.info_keys=[who]", *FEW[2:])
    [warning] = [line for line in Run(run).warnings if "who" in line]
    assert "no number for who at the end of 8 of 8 training and 5 of 5 evaluation" in warning


@pytest.mark.parametrize("loop", ["default", "vector"])
def test_an_integer_beyond_what_a_float_holds_is_infinite(loop, launch, tmp_path):
    (tmp_path / "reach.py").write_text(REACH.replace('"me"', "-(10**400)"))
    run = launch(FEW[0], "loop.info_keys=[who]", *FEW[2:], f"loop={loop}", "agent=random")
    assert (Run(run).episodes["who"] == -np.inf).all()


def test_a_key_that_came_only_before_a_resume_has_not_never_come(launch, tmp_path):
    early = "loop.info_keys=[early]"
    there = 'if __import__("os").path.exists("early"): info["early"] = 1'
    (tmp_path / "reach.py").write_text(REACH.replace("if self.at", f"{there}\n        if self.at"))
    (tmp_path / "early").touch()
    launch(FEW[0], early, "loop.max_episodes=3", "loop.eval_episodes=2")
    (tmp_path / "early").unlink()
    run = launch(FEW[0], early, "loop.max_episodes=8", "loop.eval_episodes=2")
    [warning] = [line for line in Run(run).warnings if "early" in line]
    assert "for early at the end of 5 of 8 training and 2 of 2 evaluation episodes" in warning


def test_a_run_without_an_episode_has_nothing_to_warn_of(as_a_child, tmp_path):
    (tmp_path / "broken.py").write_text(REACH.replace("self.steps == 6", "undefined"))
    words = ["env=broken.py:Reach", "loop.info_keys=[succes]", "hydra.run.dir=run"]
    assert as_a_child(words, tmp_path).returncode == 1
    assert not any("succes" in warning for warning in Run(tmp_path / "run").warnings)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("is_success", "a list"),
        ("[return]", "'return'"),
        ("['a,b']", "'a,b'"),
        ("[null]", "None, which cannot name a column of its own"),
        ("[who,who]", "'who', which cannot name a column of its own"),
    ],
)
def test_what_can_be_no_column_is_refused(value, said, as_a_child, tmp_path):
    done = as_a_child(
        ["env=reach.py:Reach", f"loop.info_keys={value}", "hydra.run.dir=run"], tmp_path
    )
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert said in line
