"""What a run says of itself at its end, and which evaluation it takes for the best."""

import os

from gym_loop.observers.progress import Progress
from tests.conftest import rows

SCRIPTED = """
import time, gym
from gym.spaces import Discrete

class Scripted(gym.Env):
    observation_space, action_space = Discrete(2), Discrete(2)

    def __init__(self, returns, pause=0.0, render_mode=None):
        self.returns, self.pause, self.played = list(returns), pause, 0

    def reset(self, seed=None, options=None):
        return 0, {}

    def step(self, action):
        time.sleep(self.pause)
        self.played += 1
        return 0, float(self.returns[(self.played - 1) % len(self.returns)]), True, False, {}
"""


def scripted(folder, returns, *words):
    """Words for a launch in an environment whose episodes have these returns, in this order."""
    (folder / "scripted.py").write_text(SCRIPTED)
    return ("env=scripted.py:Scripted", f"env.returns=[{','.join(returns)}]", *words)


def test_the_best_is_the_best_finite_return_and_the_others_are_counted(launch, tmp_path, capsys):
    returns = ("nan", "1.0", "inf", "3.0", "2.0")
    launch(*scripted(tmp_path, returns), "loop.max_episodes=5", "loop.eval_episodes=1")
    assert "best 3 (episode 3; 2 not finite)" in capsys.readouterr().out


def test_the_best_checkpoint_moves_on_after_an_evaluation_that_is_not_finite(launch, tmp_path):
    words = scripted(tmp_path, ("nan", "1.0", "inf", "3.0", "2.0"))
    directory = launch(
        *words, *("loop.max_episodes=5", "loop.episodes_per_eval=1", "loop.eval_episodes=1")
    )
    # The first evaluation has the first return.
    assert [row["return"] for row in rows(directory, "evaluations.csv")][:3] == [
        "nan",
        "1.0",
        "inf",
    ]
    assert os.readlink(directory / "checkpoints" / "best") == "episode-000004"


def test_a_best_that_an_older_version_kept_as_nan_is_forgotten():
    progress = Progress()
    progress.load_state_dict({"returns": [], "best": [float("nan"), 3]})
    assert progress.best is None


class Loop:
    """A loop's clock and counters, set by hand."""

    steps, seconds, episodes = 0, 0.0, 0

    def __init__(self, **parameters):
        self.parameters = parameters


def test_the_steps_a_second_leave_the_time_of_evaluations_out(tmp_path):
    class Episode:
        training, ret, number, seconds = True, 1.0, 0, 0.0

    progress, loop = Progress(), Loop()
    loop.directory, progress.due = tmp_path, float("inf")
    progress.begin(loop)
    progress.due = float("inf")
    for _ in range(4):
        loop.steps, loop.seconds = loop.steps + 20, loop.seconds + 2.0
        Episode.seconds = loop.seconds
        progress.end_episode(loop, Episode)
        loop.seconds += 50.0
        progress.end_evaluation(loop, [Episode])
    assert progress.rate(loop.seconds) == 10


def test_a_run_that_its_agent_leaves_says_how_fast_it_was(as_a_child, tmp_path):
    (tmp_path / "leaves.py").write_text(
        "from gym_loop.agents import RandomAgent\n"
        "class Leaves(RandomAgent):\n"
        "    def end_episode(self, episode_num, truncated):\n"
        "        if episode_num == 3:\n"
        "            raise SystemExit\n"
    )
    done = as_a_child(["agent=leaves.py:Leaves", "env=cartpole"], tmp_path)
    assert "stopped by SystemExit: 3 episodes" in done.stdout
    assert done.returncode == 1  # the loop did not come to its end
    assert " 0 steps a second" not in done.stdout


def test_a_line_says_what_is_counted_how_fast_how_well_and_how_long(tmp_path):
    progress, loop = Progress(), Loop(max_episodes=1000, max_steps=None)
    loop.directory = tmp_path
    progress.begin(loop)
    assert progress.line(0.0) == "episode 0/1000 · 0 steps/s"
    loop.episodes, loop.steps, loop.seconds = 400, 80_000, 44.0
    progress.returns.extend([0.5, 1.3])
    progress.evaluation = [0.93]
    assert progress.line(44.0) == (
        "episode 400/1000 · 1,818 steps/s · return 0.90 (last 2) · eval 0.93 · 1:06 left"
    )


def test_a_run_that_ends_by_steps_counts_steps_and_one_without_an_end_says_no_time(tmp_path):
    for parameters, line in (
        ({"max_episodes": None, "max_steps": 900}, "step 300/900 · 100 steps/s · 0:06 left"),
        ({"max_episodes": None, "max_steps": None}, "episode 7 · 100 steps/s"),
    ):
        progress, loop = Progress(), Loop(**parameters)
        loop.directory = tmp_path
        progress.begin(loop)
        loop.steps, loop.episodes = 300, 7
        assert progress.line(3.0) == line
