"""A notebook: a class of a cell is trained, swept over, read, resumed, and plays."""

import nbformat
import pytest

nbclient = pytest.importorskip("nbclient", reason="needs the extra test (nbclient, ipykernel)")

CELLS = [
    """
import numpy as np
import gym_loop

class Linear(gym_loop.BaseAgent):
    @staticmethod
    def get_default_parameters():
        return {"scale": 1.0}

    def __init__(self, **given):
        super().__init__(**given)
        self.weights = self.rng.normal(size=self.observation_space.shape)

    def act(self, state, episode_num):
        return int(self.parameters["scale"] * self.weights @ state > 0)

    def memorize(self, last_ob, action, reward, done, ob):
        self.weights += 1e-3 * self.rng.normal(size=self.weights.shape)

    def update(self, episode_num):
        pass

run = gym_loop.run("env=gymnasium:CartPole-v1", "loop.max_episodes=20", agent=Linear)
assert run.state == "finished" and len(run.episodes) == 20
""",
    """
runs = gym_loop.sweep("env=gymnasium:CartPole-v1", "agent.scale=1.0,2.0", "loop.max_episodes=3",
                      agent=Linear, directory="sweep")
assert [each.state for each in runs] == ["finished"] * 2
""",
    """
import pandas as pd

frame = gym_loop.Runs("sweep").frame()
assert set(frame["agent.scale"]) == {1.0, 2.0}
assert pd.DataFrame(run.episodes)["return"].mean() > 0
""",
    """
longer = gym_loop.resume(run, "loop.max_episodes=30")
assert longer.path == run.path and len(longer.episodes) == 30
assert (longer.episodes[:20] == run.episodes).all()
""",
    """
import gymnasium

policy, env = longer.policy(), gymnasium.make("CartPole-v1")
observation, _ = env.reset(seed=1)
total, over = 0.0, False
while not over:
    observation, reward, terminated, truncated, _ = env.step(policy(observation))
    total, over = total + reward, terminated or truncated
assert total > 0
""",
    """
class Broken(Linear):
    def act(self, state, episode_num):
        raise LookupError("no such state")

try:
    gym_loop.run("env=cartpole", agent=Broken, directory="broken")
except LookupError:
    assert gym_loop.Run("broken").state == "failed"
else:
    raise AssertionError("nothing was raised")
""",
]


def test_a_notebook_trains_sweeps_reads_resumes_and_plays(tmp_path):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
