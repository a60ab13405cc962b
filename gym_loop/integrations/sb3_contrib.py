"""The algorithms of sb3-contrib as agents: `agent=sb3/tqc`, `sb3/qrdqn` and so on.

They are driven as those of Stable-Baselines3 are, by the classes of `stable_baselines3/`.
"""

from typing import Any, ClassVar

from gym_loop.compat import stable_baselines3 as compat
from gym_loop.integrations import env_methods
from gym_loop.integrations.stable_baselines3 import DQN, OffPolicyAgent, OnPolicyAgent
from gym_loop.mistake import Mistake

try:
    import numpy as np
    import sb3_contrib
    import torch
except ImportError as error:
    raise Mistake(f'agent=sb3/... cannot run ({error}): pip install "gym-loop[sb3]"') from None


class TQC(OffPolicyAgent):
    """Truncated quantile critics (Kuznetsov et al. 2020, arXiv:2005.04269)."""

    algorithm = sb3_contrib.TQC


class QRDQN(DQN):
    """Quantile regression DQN (Dabney et al. 2018, arXiv:1710.10044)."""

    algorithm = sb3_contrib.QRDQN


class RecurrentPPO(OnPolicyAgent):
    """Proximal policy optimization with an LSTM.

    In evaluation its memory is cleared when an episode begins.
    """

    algorithm = sb3_contrib.RecurrentPPO
    name: ClassVar[str] = "sb3/recurrent_ppo"
    default_policy = "MlpLstmPolicy"
    _memory: Any = None  # of evaluation: the LSTM's states, as `predict` returns them
    _next_states: Any = None  # of training: those after the step that is waiting

    def begin_episode(self, episode_num: int) -> None:
        """Forget the memory of the evaluation before."""
        super().begin_episode(episode_num)
        self._memory = None

    def _predict(self, observation: Any, deterministic: bool) -> Any:
        action, self._memory = self.model.predict(
            observation, self._memory, deterministic=deterministic
        )
        return action

    def _ask(self, observation: Any) -> Any:
        model = self.model
        starts = self._tensor(compat.starts(model))
        *asked, self._next_states = model.policy(observation, compat.lstm_states(model), starts)
        return asked

    def _value(self, observation: Any, row: int) -> Any:
        states = tuple(part[:, row : row + 1].contiguous() for part in self._next_states.vf)
        return self.model.policy.predict_values(observation, states, self._tensor([False]))

    def _values(self, observation: Any, done: Any) -> Any:
        states = self._next_states.vf
        return self.model.policy.predict_values(observation, states, self._tensor(done))

    def _more(self) -> dict[str, Any]:
        return {"lstm_states": compat.swap_lstm_states(self.model, self._next_states)}

    def _tensor(self, flags: Any) -> Any:
        return torch.tensor(flags, dtype=torch.float32, device=self.model.device)


class MaskablePPO(OnPolicyAgent):
    """Proximal policy optimization that takes valid actions only (Huang and Ontañón 2020).

    Which ones are, the environment's method `action_masks()` tells before each action, also in
    evaluation: an array of booleans (arXiv:2006.14171).
    """

    algorithm = sb3_contrib.MaskablePPO
    name: ClassVar[str] = "sb3/maskable_ppo"
    needs_env = True
    _masks: Any = None  # of the step that is waiting

    def begin_episode(self, episode_num: int) -> None:
        """Check that the environment has masks.

        Raises:
            Mistake: it has none.
        """
        super().begin_episode(episode_num)
        if not env_methods.has(self.env, "action_masks"):
            raise Mistake(
                f"{self.name}: the environment has no action_masks(), which tells the valid "
                "actions; give it one, or take agent=sb3/ppo"
            )

    def _predict(self, observation: Any, deterministic: bool) -> Any:
        masks = self._valid()
        return self.model.predict(observation, deterministic=deterministic, action_masks=masks)[0]

    def _ask(self, observation: Any) -> Any:
        self._masks = self._valid()
        return self.model.policy(observation, action_masks=self._masks)

    def _more(self) -> dict[str, Any]:
        return {"action_masks": self._masks}

    def _valid(self) -> Any:
        return np.stack(env_methods.call(self.env, "action_masks"))
