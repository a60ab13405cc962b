"""An agent that samples its action space: the baseline below every baseline."""

from typing import Any

from gym_loop.agents.base_agent import BaseAgent


class RandomAgent(BaseAgent):
    """Acts uniformly at random and learns nothing."""

    def act(self, state: Any, episode_num: int) -> Any:
        """Return a sample of the action space."""
        return self.action_space.sample()

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Forget."""

    def update(self, episode_num: int) -> None:
        """Learn nothing."""
