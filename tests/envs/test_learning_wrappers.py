"""What wrappers learn belongs to the run: checkpoints, evaluation, resume, fork, loop=vector."""

import os
import pickle
import signal
import time

import numpy as np
import pytest

from gym_loop.runs import checkpoints
from gym_loop.runs.run import Run
from tests.conftest import rows

OWN = """
import gymnasium, numpy as np

class Centred(gymnasium.ObservationWrapper):
    training = True

    def __init__(self, env):
        super().__init__(env)
        self.count, self.sum = 0, np.zeros(4)

    def observation(self, observation):
        if self.training:
            self.count, self.sum = self.count + 1, self.sum + observation
        return (observation - self.sum / max(self.count, 1)).astype(np.float32)

    def get_state(self):
        return self.count, self.sum

    def set_state(self, state):
        self.count, self.sum = state
"""
SEEING = """
import numpy as np
from gym_loop.agents import BaseAgent

class Seeing(BaseAgent):
    '''Acts, and learns nothing but the sum of what it has seen, in training.'''

    seen = 0.0

    def act(self, state, episode_num):
        return int(np.sum(state) > 0)

    def memorize(self, last_ob, action, reward, done, ob):
        self.seen = self.seen + float(np.sum(ob)) + 0.5 * float(reward)

    def update(self, episode_num): ...
    def metrics(self, episode_num): return {"seen": self.seen}
"""
LIBRARIES = {"gym": "env=cartpole", "gymnasium": "env=gymnasium:CartPole-v1"}
NORMALIZED = "wrap=[normalize_observation,normalize_reward]"
CLASSES = {"NormalizeObservation", "NormalizeReward"}


@pytest.fixture(params=["gym", "gymnasium", "own"])
def words(request, tmp_path):
    """An environment whose wrappers learn."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "seeing.py").write_text(SEEING)
    agent = "agent=seeing.py:Seeing"
    if request.param == "own":
        return agent, LIBRARIES["gymnasium"], "wrap=[own.py:Centred]"
    return agent, LIBRARIES[request.param], NORMALIZED


def count(learnt):
    """How many observations or returns each statistic has seen."""
    found = []
    for state in learnt[0].values():
        statistics = [state[0]] if isinstance(state, tuple) else []
        if isinstance(state, dict):
            statistics = [v["count"] for k, v in state.items() if k.endswith("_rms")]
        found += [round(n) for n in statistics]
    return found


def learnt(run, which="latest"):
    return checkpoints.learnt(checkpoints.find(run, which))


def test_a_checkpoint_has_what_training_has_seen_and_nothing_of_evaluation(words, launch):
    run = launch(*words, "loop.max_episodes=5", "loop.episodes_per_eval=2")
    table = Run(run).episodes
    steps = int(table["length"].sum())
    counts = count(learnt(run))
    # Observations are seen at each reset as well.
    assert counts in ([steps + 5], [steps + 5, steps])


def test_evaluation_changes_nothing_of_training(words, launch):
    much = launch(*words, "loop.max_episodes=6", "loop.episodes_per_eval=1", directory="much")
    none = launch(*words, "loop.max_episodes=6", directory="none")
    assert rows(much) == rows(none)
    assert repr(learnt(much)) == repr(learnt(none))


def test_evaluation_has_a_frozen_copy(words, launch):
    run = launch(*words, "loop.max_episodes=5", "loop.episodes_per_eval=5")
    env = Run(run).env()
    known = env.learnt_by_wrappers()
    assert repr(known) == repr(learnt(run))
    env.reset(seed=1)
    for _ in range(5):
        env.step(0)
    assert count(env.learnt_by_wrappers()) == count(known)
    with open(checkpoints.find(run) / "loop.pkl", "rb") as file:
        saved = pickle.load(file)["envs"]["eval_env"]
    evaluated = pickle.loads(saved[0]).learnt_by_wrappers()
    assert count(evaluated) == count(known)


@pytest.mark.slow
def test_a_resumed_run_is_as_one_that_was_never_stopped(words, launch, cli):
    whole = launch(*words, "loop.max_episodes=8", "loop.eval_episodes=3", directory="whole")
    cut = launch(*words, "loop.max_episodes=4", "loop.eval_episodes=3", directory="cut")
    launch(*words, "loop.max_episodes=8", "loop.eval_episodes=3", directory="cut")
    assert rows(cut) == rows(whole)
    assert repr(learnt(cut)) == repr(learnt(whole))
    returns = [Run(run).evaluations["agent_return"][-3:] for run in (cut, whole)]
    np.testing.assert_array_equal(*returns)


@pytest.mark.slow
def test_an_environment_made_anew_gets_back_what_its_wrappers_had_learnt(words, launch):
    """FlattenObservation of Gymnasium does not pickle, and no environment around it."""
    more = "env.wrappers.flat._target_=gym_loop.envs.wrappers.flatten"
    whole = launch(*words, more, "loop.max_episodes=8", directory="whole")
    cut = launch(*words, more, "loop.max_episodes=4", directory="cut")
    launch(*words, more, "loop.max_episodes=8", directory="cut")
    assert rows(cut) == rows(whole)
    assert repr(learnt(cut)) == repr(learnt(whole))


@pytest.mark.slow
def test_evaluate_and_fork_have_what_was_learnt(words, launch, cli, tmp_path):
    run = launch(*words, "loop.max_episodes=5", "loop.eval_episodes=4")
    done = cli("evaluate", "run", "loop.eval_episodes=4")
    assert done.returncode == 0, done.stderr
    assert f"{Run(run).result:g}"[:5] in done.stdout
    done = cli(
        "fork", "run", "env.kwargs.render_mode=null", "loop.max_episodes=6", "hydra.run.dir=f"
    )
    assert done.returncode == 0, done.stderr
    # In another environment the rows begin anew, and what was learnt does not.
    assert min(count(learnt(tmp_path / "f"))) > min(count(learnt(run)))
    assert len(Run(tmp_path / "f").episodes) == 1


@pytest.mark.slow
def test_a_fork_that_has_one_normalizer_less_gives_its_statistics_to_no_other(
    cli, launch, tmp_path
):
    target = "_target_=gymnasium.wrappers"
    two = [f"env.wrappers.a.{target}.NormalizeObservation"]
    two += [f"env.wrappers.b.{target}.FrameStackObservation", "env.wrappers.b.stack_size=2"]
    two += [f"env.wrappers.c.{target}.NormalizeObservation", "agent=random"]
    run = launch(LIBRARIES["gymnasium"], *two, "loop.max_episodes=5")
    done = cli("fork", run, "env.wrappers.a=null", "loop.max_episodes=6", "hydra.run.dir=f")
    assert done.returncode == 0, done.stderr
    steps = Run(tmp_path / "f").episodes["length"][-1]
    assert count(learnt(tmp_path / "f")) == [steps + 1]
    (warning,) = [each for each in Run(tmp_path / "f").warnings if "begins anew" in each]
    assert "there were 2 of them, and now there are 1" in warning


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly(words, launch, start, cli, tmp_path):
    short = [*words, "loop.max_episodes=400", "loop.eval_episodes=2", "loop.episodes_per_eval=50"]
    whole = launch(*short, directory="whole")
    process = start(*short, "loop.time_per_checkpoint=0.05", "hydra.run.dir=cut")
    until = time.monotonic() + 60
    while not list((tmp_path / "cut").glob("checkpoints/episode-*")) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = cli("resume", "cut")
    assert done.returncode == 0, done.stderr
    cut = tmp_path / "cut"
    assert rows(cut) == rows(whole)
    assert rows(cut, "evaluations.csv") == rows(whole, "evaluations.csv")
    assert repr(learnt(cut)) == repr(learnt(whole))
    assert Run(cut).replay(333).difference is None


def test_the_copies_of_loop_vector_share_one_statistic(launch):
    words = ("agent=random", "loop=vector", "loop.num_envs=3", "loop.max_episodes=9")
    run = launch(LIBRARIES["gym"], NORMALIZED, *words)
    states = learnt(run)
    assert len(states) == 3
    assert set(states[0]) == CLASSES
    for state in states[1:]:
        assert count([state]) == count(states[:1])
        one, other = (s["NormalizeObservation"]["obs_rms"]["mean"] for s in (states[0], state))
        np.testing.assert_array_equal(one, other)
    assert min(count(states)) >= Run(run).episodes["length"].sum()
    again = launch(LIBRARIES["gym"], NORMALIZED, *words, directory="again")
    assert repr(learnt(again)) == repr(states)
    vector = pickle.loads((checkpoints.find(run) / "loop.pkl").read_bytes())["envs"]["env"][0]
    env = pickle.loads(vector)
    first, second = (each.env.env.obs_rms for each in env.envs[:2])
    assert first is second


@pytest.mark.slow
def test_so_do_those_of_the_libraries_in_this_process(launch):
    words = ("agent=random", "loop=vector", "loop.num_envs=3", "loop.max_episodes=9", NORMALIZED)
    own = launch("env=gymnasium:Pendulum-v1", *words)
    theirs = launch("env=gymnasium_vector:Pendulum-v1", *words, directory="theirs")
    assert repr(learnt(theirs)) == repr(learnt(own))
    assert rows(theirs) == rows(own)
    assert len(learnt(launch("env=gym_vector:Pendulum-v1", *words, directory="gym"))) == 3


WITHOUT_THE_CONTRACT = """
import gymnasium
from gymnasium.wrappers.utils import RunningMeanStd

class Plain(gymnasium.ObservationWrapper):
    mean, count = 0.0, 0

    def observation(self, observation):
        self.count += 1
        self.mean = self.mean + (observation - self.mean) / self.count
        return (observation - self.mean).astype("float32")

class Held(gymnasium.ObservationWrapper):
    def __init__(self, env):
        super().__init__(env)
        self.seen = RunningMeanStd(shape=(4,))

    def observation(self, observation):
        self.seen.update(observation[None])
        return (observation - self.seen.mean).astype("float32")

def made():
    return gymnasium.wrappers.NormalizeReward(gymnasium.make("CartPole-v1"))
"""
EVALUATED = ("loop.max_episodes=4", "loop.episodes_per_eval=2", "loop.eval_episodes=1")
WORDS = {
    "Plain.mean": (LIBRARIES["gymnasium"], "wrap=[bad.py:Plain]"),
    "Held.seen": (LIBRARIES["gymnasium"], "wrap=[bad.py:Held]"),
    "NormalizeReward.return_rms": ("env=bad.py:made",),
}


@pytest.mark.parametrize("loop", ["default", "vector"])
@pytest.mark.parametrize("statistic", WORDS)
def test_statistics_that_each_copy_has_for_itself_are_warned_of_once(
    statistic, loop, launch, tmp_path
):
    (tmp_path / "bad.py").write_text(WITHOUT_THE_CONTRACT)
    run = launch(*WORDS[statistic], "agent=random", f"loop={loop}", *EVALUATED)
    (warning,) = [each for each in Run(run).warnings if "has learnt" in each]
    assert warning.startswith(f"{statistic} differs between copies of the environment")


def test_statistics_that_are_shared_or_frozen_are_not_warned_of(words, launch):
    alone = launch(*words, *EVALUATED)
    assert not [each for each in Run(alone).warnings if "has learnt" in each]
    if NORMALIZED in words:
        many = launch(*words[1:], "agent=random", "loop=vector", *EVALUATED, directory="many")
        assert not [each for each in Run(many).warnings if "has learnt" in each]


def test_learning_in_processes_of_their_own_is_refused(as_a_child, tmp_path):
    words = ["env=gym_vector:CartPole-v1", "env.asynchronous=true", "loop=vector", NORMALIZED]
    done = as_a_child([*words, "hydra.run.dir=run"], tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "NormalizeObservation, NormalizeReward learns" in line
    assert "env.asynchronous=false" in line
    assert not (tmp_path / "run").exists()


def test_a_wrapper_that_cannot_be_shared_is_refused_by_loop_vector(as_a_child, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    words = [LIBRARIES["gymnasium"], "wrap=[own.py:Centred]", "loop=vector", "hydra.run.dir=run"]
    done = as_a_child(words, tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "Centred learns" in line
    assert "loop=default" in line


def test_a_wrapper_that_only_gives_its_state_is_one_that_does_not_learn(launch, tmp_path):
    half = OWN.replace("def set_state(self, state):", "def put(self, state):")
    (tmp_path / "half.py").write_text(half)
    words = LIBRARIES["gymnasium"], f"wrap=[{tmp_path / 'half.py'}:Centred]", "loop.eval_episodes=1"
    assert Run(launch(*words, "loop.max_episodes=3")).state == "finished"


def test_a_wrapper_whose_training_cannot_be_set_is_refused_before_the_run(as_a_child, tmp_path):
    fixed = OWN + "\n    training = property(lambda self: True)\n"
    (tmp_path / "fixed.py").write_text(fixed)
    words = [LIBRARIES["gymnasium"], "wrap=[fixed.py:Centred]", "hydra.run.dir=run"]
    done = as_a_child(words, tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "Centred learns, and its training cannot be set" in line
    assert not (tmp_path / "run" / "episodes.csv").exists()
