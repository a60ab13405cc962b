"""Agents that ask for their environment: masks of actions, and rewards of other goals."""

import copy
import itertools
import os
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np
import pytest

SKIP = 'needs the extra: pip install "gym-loop[sb3]"'
torch = pytest.importorskip("torch", reason=SKIP)
pytest.importorskip("stable_baselines3", reason=SKIP)
pytest.importorskip("sb3_contrib", reason=SKIP)

from stable_baselines3.common.envs import BitFlippingEnv  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv  # noqa: E402

import gym_loop  # noqa: E402
from gym_loop.integrations import sb3_contrib as contrib  # noqa: E402
from gym_loop.integrations import stable_baselines3 as ours  # noqa: E402
from gym_loop.integrations.stable_baselines3.parameters import translate  # noqa: E402
from gym_loop.streams import seed_all  # noqa: E402
from gym_loop.vector.loop import VectorLoop  # noqa: E402
from tests.integrations import test_stable_baselines3 as shared  # noqa: E402

SEED = shared.SEED
MASKED = {"n_steps": 16, "batch_size": 16, "n_epochs": 2, **shared.SMALL}
HER = {
    "policy": "MultiInputPolicy",
    "replay_buffer_class": "HerReplayBuffer",
    "learning_starts": 40,
    "batch_size": 16,
    "buffer_size": 100,  # it wraps around
    **shared.SMALL,
}


class Masked(gymnasium.Env):
    """Walks on a ring; the last action is never valid twice, and an invalid one is an error."""

    observation_space = gymnasium.spaces.Box(0, 1, (6,), np.float32)
    action_space = gymnasium.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.last = int(self.np_random.integers(6)), 0
        self.left = int(self.np_random.integers(5, 15))
        return self.look(), {}

    def action_masks(self):
        return np.arange(4) != self.last

    def step(self, action):
        assert action != self.last, "an invalid action"
        self.at, self.last = (self.at + int(action)) % 6, int(action)
        self.left -= 1
        return self.look(), float(self.at == 0), self.left == 0, False, {}

    def look(self):
        return np.eye(6, dtype=np.float32)[self.at]


class Bits(BitFlippingEnv):
    """Begins where the seed says."""

    def __init__(self, continuous=False):
        super().__init__(n_bits=4, continuous=continuous, max_steps=7)

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


def flat():
    return Bits(continuous=True)


CASES = {
    "masks": (contrib.MaskablePPO, Masked, MASKED),
    "HER, DQN": (ours.DQN, Bits, HER),
    "HER, SAC": (ours.SAC, flat, HER),
    "HER, TD3": (ours.TD3, flat, HER),
    "HER, DDPG": (ours.DDPG, flat, HER),
    "HER, TQC": (contrib.TQC, flat, HER),
}
SLOW = {"HER, SAC", "HER, TD3", "HER, DDPG", "HER, TQC"}
cases = [
    pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name in SLOW))
    for name, case in CASES.items()
]


@pytest.mark.parametrize(("kind", "make", "parameters"), cases)
def test_weights_equal_those_of_learn_bit_for_bit(kind, make, parameters):
    parameters = {**parameters, "seed": SEED, "total_timesteps": 5 * shared.STEPS}
    agent = shared.train(kind, make(), shared.STEPS, **copy.deepcopy(parameters))
    model = shared.learn(agent, make())
    assert model._n_updates == agent.model._n_updates > 0
    shared.assert_equal_weights(agent.model, model)


@pytest.mark.parametrize(("kind", "make", "parameters"), cases)
def test_four_environments_are_learnt_from_as_learn_does(kind, make, parameters):
    if "n_steps" not in parameters:
        parameters = {**parameters, "train_freq": 4}
    parameters = {**parameters, "seed": SEED, "total_timesteps": 5 * shared.STEPS}
    seed_all(SEED)
    # The loop ends all episodes at its limit, so that a last update would draw from them.
    limits = {"num_envs": 4, "max_steps": 2 * shared.STEPS + 4, "max_episodes": None}
    limits["episodes_per_round"] = 10_000  # one round: `learn()` knows none
    env = VectorLoop.make_env(make, VectorLoop.get_default_parameters() | limits, "train")
    agent = kind(*VectorLoop.spaces(env), n_envs=4, **copy.deepcopy(parameters))
    shared.count_rollouts(agent)
    loop = VectorLoop(agent, env, **limits)
    loop.seed = SEED
    loop.train()
    del agent._store

    numbers = itertools.count()
    env = DummyVecEnv([lambda: shared.SharedSeeds(make(), numbers) for _ in range(4)])
    given = {k: v for k, v in copy.deepcopy(parameters).items() if k not in kind.ours}
    model = kind.algorithm(env=env, **{"policy": kind.default_policy} | translate(given))
    with pytest.raises(shared.Enough):
        model.learn(5 * shared.STEPS, shared.UpTo(agent.rollouts))
    assert model._n_updates == agent.model._n_updates > 0
    shared.assert_equal_weights(agent.model, model)


HERE = "tests.integrations.test_needs_env"
MASKS = ["agent=sb3/maskable_ppo", f"env={HERE}:Masked", "agent.n_steps=16", "agent.batch_size=16"]
GOALS = [
    *("agent=sb3/dqn", f"env={HERE}:Bits", "agent.policy=MultiInputPolicy"),
    *("agent.replay_buffer_class=HerReplayBuffer", "agent.learning_starts=30"),
    *("agent.batch_size=8", "agent.total_timesteps=2000"),
]
GOALS_4 = [*GOALS, "loop=vector", "loop.num_envs=4", "loop.episodes_per_round=4"]
RECURRENT = [
    *("agent=sb3/recurrent_ppo", "env=cartpole", "agent.n_steps=40"),
    "agent.policy_kwargs={net_arch: [8], lstm_hidden_size: 8}",
]


@pytest.mark.slow
@pytest.mark.parametrize("words", [MASKS, GOALS, GOALS_4], ids=["masks", "goals", "four goals"])
def test_a_resumed_run_equals_one_that_was_not_stopped(words, tmp_path):
    words = [*words, "loop.eval_episodes=2", "loop.episodes_per_eval=3"]
    whole = gym_loop.run(*words, "loop.max_episodes=20", directory=tmp_path / "whole")
    run = gym_loop.run(*words, "loop.max_episodes=4", directory=tmp_path / "run")
    for limit in (9, 20):
        run = gym_loop.resume(run, f"loop.max_episodes={limit}")
    assert run.episodes["return"].tolist() == whole.episodes["return"].tolist()
    shared.assert_equal_weights(whole.policy().agent.model, run.policy().agent.model)


@pytest.mark.long
@pytest.mark.parametrize("words", [MASKS, GOALS, RECURRENT], ids=["masks", "goals", "recurrent"])
def test_twenty_kills_change_nothing(words, tmp_path):
    limit = "loop.max_episodes=600"
    words = [*words, limit, "loop.eval_episodes=1", "agent.seed=1"]
    whole = gym_loop.run(*words, directory=tmp_path / "whole")
    run, kills = tmp_path / "run", 0
    command = [sys.executable, "-m", "gym_loop", *words, f"hydra.run.dir={run}"]
    while kills < 20:
        process = subprocess.Popen(command, env={**os.environ}, stderr=subprocess.DEVNULL)
        table = run / "episodes.csv"
        before, until = table.stat().st_size if table.exists() else 0, time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if table.exists() and table.stat().st_size > before:
                break
            time.sleep(0.01)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        command = [sys.executable, "-m", "gym_loop", "resume", str(run)]
    assert kills == 20
    subprocess.run(command, check=True, capture_output=True)
    ended = gym_loop.Run(run)
    assert ended.episodes["return"].tolist() == whole.episodes["return"].tolist()
    shared.assert_equal_weights(whole.policy().agent.model, ended.policy().agent.model)


def test_the_policy_takes_the_masks_of_the_environment_that_it_is_given(tmp_path):
    words = [*MASKS, "loop.max_episodes=3", "loop.eval_episodes=2"]
    run = gym_loop.run(*words, directory=tmp_path / "run")
    env = run.env()
    policy, (state, _) = run.policy(env=env), env.reset(seed=1)
    for _ in range(5):
        state, *_ = env.step(policy(state))  # which refuses what is not valid
    with pytest.raises(AttributeError, match="in no environment"):
        run.policy()(state)


@pytest.mark.parametrize(
    ("words", "lacking"),
    [
        (["agent=sb3/maskable_ppo", "env=cartpole"], "has no action_masks()"),
        ([*GOALS[:1], f"env={HERE}:Lacking", *GOALS[2:]], "has no compute_reward()"),
    ],
)
def test_an_environment_that_lacks_what_is_asked_for_is_one_line(words, lacking, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "gym_loop", *words, f"hydra.run.dir={tmp_path / 'run'}"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, lacking in done.stderr) == (2, True), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


class Lacking(Bits):
    compute_reward = None
