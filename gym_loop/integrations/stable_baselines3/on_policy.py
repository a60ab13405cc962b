"""Stable-Baselines3's on-policy algorithms as agents: PPO and A2C."""

from typing import Any

import numpy as np
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import obs_as_tensor

from gym_loop.compat import stable_baselines3 as compat
from gym_loop.integrations.stable_baselines3.agent import StableBaselines3Agent
from gym_loop.integrations.stable_baselines3.observations import pick
from gym_loop.integrations.stable_baselines3.parameters import CHANGEABLE


class OnPolicyAgent(StableBaselines3Agent):
    """An algorithm that learns from what its present policy has just done."""

    family = OnPolicyAlgorithm
    changeable = CHANGEABLE | {"ent_coef": ()}  # which SAC makes a tensor of

    def _explore(self) -> Any:
        model, buffer = self.model, self.model.rollout_buffer
        if buffer.full or buffer.pos == 0:
            model.policy.set_training_mode(False)
            buffer.reset()
            if model.use_sde:
                model.policy.reset_noise(model.n_envs)
        if model.use_sde and model.sde_sample_freq > 0 and buffer.pos % model.sde_sample_freq == 0:
            model.policy.reset_noise(model.n_envs)
        with torch.no_grad():
            actions, values, log_probs = self._ask(obs_as_tensor(self._observation, model.device))
        actions = actions.cpu().numpy()
        self._choice = actions, values, log_probs
        if not isinstance(self.action_space, spaces.Box):
            return actions
        if model.policy.squash_output:
            return model.policy.unscale_action(actions)
        return np.clip(actions, self.action_space.low, self.action_space.high)

    def _ask(self, observation: Any) -> Any:
        """Return the policy's actions, values and log probabilities for a batch of tensors."""
        return self.model.policy(observation)

    def _value(self, observation: Any, row: int) -> Any:
        """Return the value of an observation, a batch of one, that environment `row` ended in."""
        return self.model.policy.predict_values(observation)

    def _values(self, observation: Any, done: Any) -> Any:
        """Return the values of a batch of observations; those of `done` begin an episode."""
        return self.model.policy.predict_values(observation)

    def _more(self) -> dict[str, Any]:
        """Return what else the rollout buffer keeps of a step."""
        return {}

    def _adopt(self, action: Any) -> Any:
        return None

    def _store(self, rewards: Any, done: Any, truncated: Any, next_observation: Any) -> None:
        model, buffer, policy = self.model, self.model.rollout_buffer, self.model.policy
        actions, values, log_probs = self._choice
        if isinstance(self.action_space, spaces.Discrete):
            actions = actions.reshape(-1, 1)
        for row in truncated.nonzero()[0]:
            # After a time limit the rewards to come are estimated by the critic.
            last, _ = policy.obs_to_tensor(pick(next_observation, row))
            with torch.no_grad():
                rewards[row] += model.gamma * self._value(last, row)[0]
        starts = compat.swap_starts(model, done)
        buffer.add(self._observation, actions, rewards, starts, values, log_probs, **self._more())
        if buffer.full:
            with torch.no_grad():
                values = self._values(obs_as_tensor(next_observation, model.device), done)
            buffer.compute_returns_and_advantage(last_values=values, dones=done)
            compat.advance_schedules(model)
            model.train()


class PPO(OnPolicyAgent):
    """Proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347)."""

    algorithm = sb3.PPO


class A2C(OnPolicyAgent):
    """Advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783)."""

    algorithm = sb3.A2C
