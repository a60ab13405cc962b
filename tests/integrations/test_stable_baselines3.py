import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from omegaconf import OmegaConf

SKIP = 'needs the extra: pip install "gym-loop[sb3]"'
torch = pytest.importorskip("torch", reason=SKIP)
sb3 = pytest.importorskip("stable_baselines3", reason=SKIP)

from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402
from stable_baselines3.common.noise import NormalActionNoise  # noqa: E402

from gym_loop.envs import make_gym  # noqa: E402
from gym_loop.integrations import stable_baselines3 as ours  # noqa: E402
from gym_loop.launch import CONF  # noqa: E402
from gym_loop.loops import DefaultLoop  # noqa: E402
from gym_loop.loops.streams import episode_seed, get_state, seed_all  # noqa: E402
from gym_loop.mistake import Mistake  # noqa: E402

AGENTS = (ours.PPO, ours.A2C, ours.DQN, ours.SAC, ours.TD3, ours.DDPG)
SEED = 3
SMALL = {"policy_kwargs": {"net_arch": [16]}}
NORMAL_NOISE = {"mean": np.zeros(1), "sigma": np.full(1, 0.1)}


class OurSeeds(gymnasium.Wrapper):
    """Resets episode k with the seed that a loop gives it; may cut episodes short."""

    def __init__(self, env, limit=None):
        super().__init__(env)
        self.number, self.limit, self.length = 0, limit, 0

    def reset(self, *, seed=None, options=None):
        self.number, self.length = self.number + 1, 0
        return self.env.reset(seed=episode_seed(SEED, self.number - 1))

    def step(self, action):
        ob, reward, terminated, truncated, info = self.env.step(action)
        self.length += 1
        return ob, reward, terminated, truncated or self.length == self.limit, info


class Enough(Exception):
    """Ends `learn()` where the loop had ended."""


class UpTo(BaseCallback):
    """Stops before the first rollout that the loop did not complete."""

    def __init__(self, rollouts):
        super().__init__()
        self.left = rollouts

    def _on_rollout_start(self):
        self.left -= 1
        if self.left < 0:
            raise Enough

    def _on_step(self):
        return True


def count_rollouts(agent):
    """Count the rollouts of the agent's algorithm by the updates that it asks for."""
    agent.rollouts, store = 0, agent._store

    def counted(*args):
        store(*args)
        agent.rollouts += (
            agent.model.rollout_buffer.full
            if isinstance(agent, ours.OnPolicyAgent)
            else agent._steps == 0
        )

    agent._store = counted


def train(kind, env, steps, limit=5000, **parameters):
    """Train an agent by our loop; return it."""
    seed_all(SEED)
    agent = kind(env.observation_space, env.action_space, **parameters)
    count_rollouts(agent)
    DefaultLoop(
        agent, env, seed=SEED, max_steps=steps, max_episodes=None, max_episode_len=limit
    ).train()
    return agent


def learn(agent, env, limit=None):
    """Train the library's own algorithm as long as `agent` was trained; return it."""
    given = {k: v for k, v in agent.parameters.items() if k not in ours.OURS}
    given = ours._translate({**given, "policy_kwargs": dict(given["policy_kwargs"] or {})})
    model = agent.algorithm(env=OurSeeds(env, limit), **given)
    with pytest.raises(Enough):
        model.learn(agent.parameters["total_timesteps"], UpTo(agent.rollouts))
    return model


def weights(model):
    state = dict(model.policy.state_dict())
    if getattr(model, "log_ent_coef", None) is not None:
        state["log_ent_coef"] = model.log_ent_coef.detach()
    return state


def assert_equal_weights(one, two):
    one, two = weights(one), weights(two)
    assert one.keys() == two.keys()
    different = [name for name in one if not torch.equal(one[name], two[name])]
    assert not different


CASES = {
    "PPO, episodes longer than a rollout": (
        ours.PPO,
        "Pendulum-v1",
        None,
        {"n_steps": 64, "batch_size": 32, "n_epochs": 3, "learning_rate": "lin_0.001"},
    ),
    "PPO, time limits and terminations": (
        ours.PPO,
        "CartPole-v1",
        20,
        {"n_steps": 48, "batch_size": 16, "n_epochs": 3, "clip_range": "lin_0.2"},
    ),
    "PPO, a rollout that ends with a time limit": (
        ours.PPO,
        "Pendulum-v1",
        20,
        {"n_steps": 40, "batch_size": 20, "n_epochs": 3},
    ),
    "PPO, state-dependent exploration": (
        ours.PPO,
        "MountainCarContinuous-v0",
        70,
        {"n_steps": 32, "batch_size": 16, "n_epochs": 2, "use_sde": True, "sde_sample_freq": 4},
    ),
    "A2C": (ours.A2C, "CartPole-v1", None, {}),
    "DQN": (
        ours.DQN,
        "CartPole-v1",
        25,
        {"learning_starts": 50, "target_update_interval": 60, "exploration_fraction": 0.5},
    ),
    "DQN, updates by the episode": (
        ours.DQN,
        "CartPole-v1",
        None,
        {"learning_starts": 50, "train_freq": [2, "episode"], "gradient_steps": -1},
    ),
    "SAC": (ours.SAC, "Pendulum-v1", 60, {"batch_size": 16, "learning_starts": 50}),
    "SAC, state-dependent exploration": (
        ours.SAC,
        "Pendulum-v1",
        60,
        {
            "batch_size": 16,
            "train_freq": 8,
            "gradient_steps": 8,
            "use_sde": True,
            "use_sde_at_warmup": True,
        },
    ),
    "TD3, action noise": (
        ours.TD3,
        "Pendulum-v1",
        60,
        {"batch_size": 16, "action_noise": NormalActionNoise(**NORMAL_NOISE)},
    ),
    "DDPG": (ours.DDPG, "Pendulum-v1", 60, {"batch_size": 16}),
}


@pytest.mark.parametrize("case", CASES)
def test_weights_equal_those_of_learn_bit_for_bit(case):
    kind, id, limit, parameters = CASES[case]
    steps = 400
    parameters = {**SMALL, **parameters, "seed": SEED, "total_timesteps": 5 * steps}
    agent = train(kind, gymnasium.make(id), steps, limit or 5000, **parameters)
    model = learn(agent, gymnasium.make(id), limit)
    assert agent.rollouts > 2
    assert model._n_updates == agent.model._n_updates > 0
    assert_equal_weights(agent.model, model)
