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


@pytest.mark.slow
def test_a_notebook_trains_sweeps_reads_resumes_and_plays(tmp_path):
    trained, swept, *_ = executed(tmp_path, CELLS)
    assert any("20/20" in text and "steps/s" in text for text in displayed(trained))
    assert any("2 of 2 jobs" in text or "1 of 2 jobs" in text for text in displayed(swept))


INTERRUPTED = """
import os, signal
import gym_loop

class Interrupts(gym_loop.BaseAgent):
    def act(self, state, episode_num):
        return 0

    def memorize(self, last_ob, action, reward, done, ob):
        if self.training and episode_ended(done):
            os.kill(os.getpid(), signal.SIGINT)

    def update(self, episode_num):
        pass

def episode_ended(done):
    return done

handler = signal.getsignal(signal.SIGINT)
run = gym_loop.run("env=cartpole", "loop.max_episodes=5", agent=Interrupts, directory="r")
assert (run.state, len(run.episodes)) == ("stopped", 1), run
assert signal.getsignal(signal.SIGINT) is handler
"""


@pytest.mark.slow
def test_an_interrupt_ends_a_cell_with_the_run_so_far(tmp_path):
    executed(tmp_path, [INTERRUPTED])


EDITED = [
    CELLS[0].replace("agent=Linear", "agent=Linear, directory='first'"),
    CELLS[0].partition("run = ")[0].replace("* self.weights", "* -self.weights"),
    """
try:
    gym_loop.run("env=gymnasium:CartPole-v1", "loop.max_episodes=20", agent=Linear,
                 directory="first")
except gym_loop.Mistake as mistake:
    advice = mistake.message.partition(", or: ")[2]
assert advice == "gym_loop.fork('first', agent=Linear)", advice
fork = eval(advice)
assert fork.state == "finished" and "Linear" in fork.config["agent"]["_target_"]
assert fork.config["agent"]["_target_"] != run.config["agent"]["_target_"]
assert (fork.episodes == run.episodes).all()
""",
]


@pytest.mark.slow
def test_a_class_that_was_edited_in_its_cell_goes_on_as_the_message_says(tmp_path):
    executed(tmp_path, EDITED)


@pytest.mark.slow
def test_the_same_cell_in_a_new_kernel_names_the_same_class(tmp_path):
    for _ in range(2):
        executed(tmp_path, [CELLS[0].replace("agent=Linear", "agent=Linear, directory='r'")])
    assert len([*(tmp_path / "r" / "classes").iterdir()]) == 1


def executed(folder, cells):
    """Execute a notebook of these cells in `folder`; return the cells."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=resources).execute()
    return notebook.cells


def displayed(cell):
    """What a cell shows in the place of a terminal's bar."""
    return [o["data"]["text/plain"] for o in cell["outputs"] if o["output_type"] == "display_data"]
