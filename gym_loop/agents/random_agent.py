"""An agent that samples its action space: the baseline below every baseline."""

from typing import Any, cast

from gym_loop.agents.base_agent import BaseAgent
from gym_loop.loops.streams import draw, samples


class RandomAgent(BaseAgent):
    """Acts uniformly at random and learns nothing."""

    vectorized, drawn, left = True, cast(Any, ()), 0

    def act(self, state: Any, episode_num: Any) -> Any:
        """Return a sample of the action space; for many episodes, a batch with one for each."""
        if not isinstance(episode_num, int):
            return samples(self.action_space, len(episode_num))
        if not self.left:
            self.drawn = draw(self.action_space)[::-1]  # taken from the end
            self.left = len(self.drawn)
        self.left -= 1
        return self.drawn[self.left]  # never changed in place: evaluation puts both back

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Forget."""

    def update(self, episode_num: int) -> None:
        """Learn nothing."""
