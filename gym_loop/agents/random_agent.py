"""An agent that samples its action space: the baseline below every baseline."""

from typing import Any

from gym_loop.agents.base_agent import BaseAgent
from gym_loop.loops.streams import samples


class RandomAgent(BaseAgent):
    """Acts uniformly at random and learns nothing."""

    vectorized = True

    def act(self, state: Any, episode_num: Any) -> Any:
        """Return a sample of the action space; for many episodes, a batch with one for each."""
        space, n = self.action_space, episode_num
        return space.sample() if isinstance(n, int) else samples(space, len(n))

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Forget."""

    def update(self, episode_num: int) -> None:
        """Learn nothing."""
