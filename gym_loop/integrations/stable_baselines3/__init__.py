"""Stable-Baselines3's algorithms as agents: `agent=sb3/ppo`, `sb3/dqn`, `sb3/sac` and so on.

Networks, buffers, losses, exploration and schedules are the library's. `act`, `memorize` and
`end_episode` make the calls that its `learn()` makes, in the same order, so that with the same
seeds the weights are the same, bit for bit.

Raffin et al., Stable-Baselines3: Reliable Reinforcement Learning Implementations, JMLR 22, 2021.
"""

from gym_loop.mistake import Mistake

try:
    import stable_baselines3  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise Mistake(f'agent=sb3/... cannot run ({error}): pip install "gym-loop[sb3]"') from None

from gym_loop.integrations.stable_baselines3.agent import StableBaselines3Agent
from gym_loop.integrations.stable_baselines3.environment import Spaces, Transposed
from gym_loop.integrations.stable_baselines3.off_policy import DDPG, DQN, SAC, TD3, OffPolicyAgent
from gym_loop.integrations.stable_baselines3.on_policy import A2C, PPO, OnPolicyAgent

__all__ = [
    "A2C",
    "DDPG",
    "DQN",
    "PPO",
    "SAC",
    "TD3",
    "OffPolicyAgent",
    "OnPolicyAgent",
    "Spaces",  # older checkpoints have it under this name, as they have `Transposed`
    "StableBaselines3Agent",
    "Transposed",
]
