"""Tabular Q-learning.

Christopher J. C. H. Watkins and Peter Dayan: Q-learning. Machine Learning 8, 279-292, 1992. After
each step from `s` by `a` to `s'`, with reward `r`:

    Q(s, a) += learning_rate * (r + discount * max Q(s', .) - Q(s, a))

where the maximum is left out if `s'` is terminal. An episode cut off by a time limit is not
terminal: its last state is bootstrapped like any other.

Departures from the paper:

1. The paper asks for learning rates that sum to infinity while their squares do not. Here the rate
   falls linearly from `learning_rate` to `learning_rate_final` over the first `decay_episodes`
   episodes and stays there: the usual choice, and exact in the limit only if the final one is 0
   or the environment deterministic.
2. The paper leaves exploration open. Here it is epsilon-greedy: with probability `epsilon`, which
   falls in the same way to `epsilon_final`, an action drawn uniformly. Of actions with equal
   values the first is taken.
3. Evaluation is greedy, and does not learn.

Metrics, of the training episode that has just ended:

- `epsilon`, `learning_rate`: in that episode.
- `td_error`: mean over its steps of |r + discount * max Q(s', .) - Q(s, a)|, before each update.
- `states`: distinct states met since training began, terminal ones as well.
"""

from collections import defaultdict
from functools import partial
from typing import Any

from gym_loop.agents import spaces
from gym_loop.agents.base_agent import BaseAgent
from gym_loop.agents.checks import check_number


class QLearning(BaseAgent):
    """Learns a table of action values. Observations are Discrete or a Tuple of Discrete.

    Attributes:
        table: state -> list of the value of each action. Plain lists: looking up and comparing a
            handful of numbers costs a fifth of what it costs in NumPy.

    Raises:
        Mistake: the environment's spaces are of another kind.
    """

    def __init__(
        self, observation_space: Any = None, action_space: Any = None, **parameters: Any
    ) -> None:
        super().__init__(observation_space, action_space, **parameters)
        spaces.require("q_learning", observation_space, action_space)
        self.actions = int(action_space.n)
        self.first = int(getattr(action_space, "start", 0))  # the number of the first action
        self.unknown = [float(self.parameters["initial_value"])] * self.actions
        self.table: defaultdict[Any, list[float]] = defaultdict(partial(list, self.unknown))
        self.discount = float(self.parameters["discount"])
        self.epsilon = self.learning_rate = 0.0
        self.transition: tuple[Any, ...] = ()
        self.error, self.steps = 0.0, 0  # of the current episode: sum of |TD error|, updates

    @staticmethod
    def get_default_parameters() -> dict[str, Any]:
        """Return the parameters.

        Parameters:
            discount: of the next step's value, from 0 to 1
            learning_rate: share of the error that a value is moved by, in the first episode
            learning_rate_final: the same after `decay_episodes`
            epsilon: probability of a random action, in the first episode
            epsilon_final: the same after `decay_episodes`
            decay_episodes: episodes over which both fall, linearly
            initial_value: of an action never tried; above the best return, it makes agents explore
        """
        return {
            "discount": 0.99,
            "learning_rate": 0.5,
            "learning_rate_final": 0.1,
            "epsilon": 1.0,
            "epsilon_final": 0.05,
            "decay_episodes": 1000,
            "initial_value": 0.0,
        }

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        for name in ("discount", "epsilon", "epsilon_final", "learning_rate_final"):
            check_number(parameters, name, 0, 1)
        check_number(parameters, "learning_rate", 0, 1, above=True)
        check_number(parameters, "decay_episodes", 0, whole=True)
        check_number(parameters, "initial_value")

    def act(self, state: Any, episode_num: int) -> int:
        """Return the best action known in `state`, or with probability epsilon a random one."""
        if self.training:
            draw = self.rng.random()
            if draw < self.epsilon:  # then draw / epsilon is uniform in [0, 1)
                return self.first + int(draw / self.epsilon * self.actions)
        values = self.table.get(state, self.unknown)
        return self.first + values.index(max(values))

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Keep the transition for `update`."""
        self.transition = (last_ob, action, reward, done, ob)

    def update(self, episode_num: int) -> None:
        """Move the value of the last transition towards its target."""
        last_ob, action, reward, done, ob = self.transition
        after = self.table[ob]  # adds the state to the table
        target = reward if done else reward + self.discount * max(after)
        values = self.table[last_ob]
        error = target - values[action - self.first]
        values[action - self.first] += self.learning_rate * error
        self.error += abs(error)
        self.steps += 1

    def begin_episode(self, episode_num: int) -> None:
        """Set epsilon and the learning rate of this episode."""
        given, decay = self.parameters, self.parameters["decay_episodes"]
        done = min(episode_num / decay, 1.0) if decay else 1.0
        self.epsilon = given["epsilon"] + done * (given["epsilon_final"] - given["epsilon"])
        first, final = given["learning_rate"], given["learning_rate_final"]
        self.learning_rate = first + done * (final - first)
        self.error, self.steps = 0.0, 0

    def metrics(self, episode_num: int) -> dict[str, float]:
        """Return the metrics that the module's docstring defines."""
        return {
            "epsilon": self.epsilon,
            "learning_rate": self.learning_rate,
            "td_error": self.error / max(self.steps, 1),
            "states": len(self.table),
        }
