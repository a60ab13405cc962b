"""Stable-Baselines3's off-policy algorithms as agents: DQN, SAC, TD3 and DDPG."""

from pathlib import Path
from typing import Any, ClassVar

import stable_baselines3 as sb3
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import should_collect_more_steps

from gym_loop.compat import stable_baselines3 as compat
from gym_loop.integrations import env_methods
from gym_loop.integrations.stable_baselines3 import saving
from gym_loop.integrations.stable_baselines3.agent import StableBaselines3Agent
from gym_loop.integrations.stable_baselines3.environment import Goals
from gym_loop.integrations.stable_baselines3.observations import replaced
from gym_loop.integrations.stable_baselines3.parameters import OURS
from gym_loop.mistake import Mistake

LARGE = 1e9  # bytes of a replay buffer that are worth a warning


class OffPolicyAgent(StableBaselines3Agent):
    """An algorithm that learns from a replay buffer.

    It has one parameter more: with `save_buffer` False, checkpoints are without the replay buffer.
    What is resumed from one begins with an empty buffer, is not exact, and trains again when
    `learning_starts` more steps have been played.

    A `HerReplayBuffer` asks the environment that the agent is in for the rewards of other goals.
    """

    family = OffPolicyAlgorithm
    needs_env = True
    ours = OURS | {"save_buffer": True}
    exact_with: ClassVar[dict[str, Any]] = {"save_buffer": True}  # for `gym-loop check`
    _empty_at = 0  # steps played when the replay buffer was last empty

    def __init__(self, observation_space: Any, action_space: Any, **parameters: Any) -> None:
        super().__init__(observation_space, action_space, **parameters)
        self._steps = self._episodes = 0  # since the algorithm last trained

    def about_checkpoints(self, steps: int | None) -> list[str]:
        """Return what a user has to know of the checkpoints before a run begins, in lines.

        Args:
            steps: of the run; None: as many as its schedules run over.
        """
        if not self.parameters["save_buffer"]:
            return [
                "agent.save_buffer=false: checkpoints are without the replay buffer, and a run "
                "that is resumed from one goes on with an empty one, not exactly"
            ]
        steps = steps or self.parameters["total_timesteps"]
        size = saving.bytes_when_filled(self.model.replay_buffer, steps)
        if size < LARGE:
            return []
        return [
            f"each checkpoint will have up to {size / 1e9:.1f} GB, those of the replay buffer: "
            "agent.save_buffer=false leaves it out (what is resumed is then not exact), a smaller "
            "agent.buffer_size shrinks it"
        ]

    def save(self, directory: str | Path) -> None:
        """Write networks, optimizers, counters and, with `save_buffer`, the filled buffer."""
        if self.parameters["save_buffer"]:
            super().save(directory)
            return
        before = self._empty_at
        try:
            self._empty_at = self.model.num_timesteps
            with saving.replay_buffer_left_out(self.model):
                super().save(directory)
        finally:
            self._empty_at = before

    def begin_episode(self, episode_num: int) -> None:
        """Let a buffer of goals ask this environment, as it is not saved with the agent.

        Raises:
            Mistake: the environment has no `compute_reward`.
        """
        super().begin_episode(episode_num)
        buffer = getattr(self.model, "replay_buffer", None)
        if not self.training or not isinstance(buffer, HerReplayBuffer):
            return
        if not env_methods.has(self.env, "compute_reward"):
            raise Mistake(
                f"{self.option()}: the environment has no compute_reward(), which HerReplayBuffer "
                "asks for rewards; take an environment with goals, or another replay_buffer_class"
            )
        vars(buffer)["env"] = Goals(self.env)

    def _explore(self) -> Any:
        model = self.model
        if self._steps == 0:
            model.policy.set_training_mode(False)
            if model.use_sde:
                model.actor.reset_noise(model.n_envs)
        if model.use_sde and model.sde_sample_freq > 0 and self._steps % model.sde_sample_freq == 0:
            model.actor.reset_noise(model.n_envs)
        actions, self._choice = compat.sample(model, self._observation)
        return actions

    def _adopt(self, action: Any) -> Any:
        return (
            self.model.policy.scale_action(action)
            if isinstance(self.action_space, spaces.Box)
            else action
        )

    def _store(self, rewards: Any, done: Any, truncated: Any, next_observation: Any) -> None:
        model = self.model
        infos = [{"TimeLimit.truncated": cut} for cut in truncated.tolist()]
        model.replay_buffer.add(
            self._original, next_observation, self._choice, rewards, done, infos
        )
        compat.advance_schedules(model)
        compat.count_step(model)
        self._steps += 1
        for row in done.nonzero()[0]:
            self._episodes += 1
            compat.count_episode(model)
            if model.action_noise is not None:
                which = {"indices": [row]} if model.n_envs > 1 else {}
                model.action_noise.reset(**which)
        if should_collect_more_steps(model.train_freq, self._steps, self._episodes):
            return
        collected, self._steps, self._episodes = self._steps * model.n_envs, 0, 0
        if model.num_timesteps > self._empty_at + model.learning_starts:
            gradient_steps = model.gradient_steps if model.gradient_steps >= 0 else collected
            if gradient_steps > 0:
                model.train(batch_size=model.batch_size, gradient_steps=gradient_steps)

    def _kept(
        self, rewards: Any, normalized: Any, done: Any, observation: Any, last: list[Any]
    ) -> tuple[Any, Any]:
        # The buffer keeps what the environment returned, and normalizes it when it is sampled.
        normalizer = self._normalizer
        assert normalizer
        original = normalizer.get_original_obs()
        if not isinstance(original, dict):  # as whose numbers the library keeps what is normalized
            last = [each.astype(original.dtype) for each in last]
        last = [normalizer.unnormalize_obs(each) for each in last]
        return rewards, replaced(original, done, last)


class DQN(OffPolicyAgent):
    """Deep Q-network (Mnih et al. 2015, Nature 518)."""

    algorithm: ClassVar[type[Any]] = sb3.DQN

    def _scheduled(self) -> str | None:
        return "its exploration"


class SAC(OffPolicyAgent):
    """Soft actor-critic (Haarnoja et al. 2018, arXiv:1801.01290)."""

    algorithm = sb3.SAC


class TD3(OffPolicyAgent):
    """Twin delayed DDPG (Fujimoto et al. 2018, arXiv:1802.09477)."""

    algorithm = sb3.TD3


class DDPG(OffPolicyAgent):
    """Deep deterministic policy gradient (Lillicrap et al. 2015, arXiv:1509.02971)."""

    algorithm = sb3.DDPG
