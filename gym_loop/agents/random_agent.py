"""The random agent, the baseline of every comparison."""

from typing import Any

import numpy as np

from gym_loop.agents.base_agent import BaseAgent


class RandomAgent(BaseAgent):
    """Acts uniformly at random and learns nothing."""

    vectorized = True

    def act(self, state: Any, episode_num: Any) -> Any:
        """Return a sample of the action space; for many episodes, a batch with one for each."""
        sample = self.action_space.sample
        return sample() if type(episode_num) is int else np.array([sample() for _ in episode_num])

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Keep nothing."""

    def update(self, episode_num: int) -> None:
        """Learn nothing."""
