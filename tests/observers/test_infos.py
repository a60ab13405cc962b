"""`loop.info_keys`: columns and curves of what an environment says at an episode's end."""

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


def test_a_resumed_run_has_the_same_columns(launch):
    launch(*FEW[:2], "loop.max_episodes=3", "loop.eval_episodes=5")
    run = launch(*FEW)
    whole = launch(*FEW, directory="whole")
    assert rows(run) == rows(whole)


def test_a_key_that_never_comes_is_warned_of_once(launch):
    run = launch(*FEW[:1], "loop.info_keys=[succes,distance]")
    [warning] = [line for line in Run(run).warnings if "succes" in line]
    assert "distance" not in warning
    assert np.isnan(Run(run).episodes["succes"]).all()


@pytest.mark.parametrize(
    ("value", "said"),
    [("is_success", "a list"), ("[return]", "'return'"), ("['a,b']", "'a,b'")],
)
def test_what_can_be_no_column_is_refused(value, said, as_a_child, tmp_path):
    done = as_a_child(
        ["env=reach.py:Reach", f"loop.info_keys={value}", "hydra.run.dir=run"], tmp_path
    )
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert said in line
