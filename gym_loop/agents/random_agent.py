"""An agent that samples its action space: the baseline below every baseline."""

from typing import Any

from gym_loop.agents.base_agent import BaseAgent
from gym_loop.loops.streams import draw, samples


class RandomAgent(BaseAgent):
    """Acts uniformly at random and learns nothing."""

    vectorized, drawn, used = True, (), 0

    def act(self, state: Any, episode_num: Any) -> Any:
        """Return a sample of the action space; for many episodes, a batch with one for each."""
        if not isinstance(episode_num, int):
            return samples(self.action_space, len(episode_num))
        self.used += 1
        if self.used >= len(self.drawn):  # never changed in place: evaluation puts both back
            self.used, self.drawn = 0, draw(self.action_space)
        return self.drawn[self.used]

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Forget."""

    def update(self, episode_num: int) -> None:
        """Learn nothing."""
