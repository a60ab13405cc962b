"""Augmented random search: a linear policy, improved along random directions.

Horia Mania, Aurelia Guy and Benjamin Recht: Simple random search of static linear policies is
competitive for reinforcement learning. NeurIPS 2018 (arXiv:1803.07055), Algorithm 1. In each
iteration, `directions` matrices are drawn, and the policy is tried with each of them added and
with each subtracted, an episode each. The policy then moves by

    step_size / (top_directions * std of their returns) * sum of (r+ - r-) * direction

over the `top_directions` whose better episode was best. With `normalize` (V2) the policy sees
observations less their mean, divided by their standard deviation, both over all that training has
met before the iteration; without, this is V1. `top_directions` below `directions` gives V1-t, V2-t.

Departures from the paper:

1. Actions: the paper's are continuous and unbounded. Here those of a Box are clipped to its
   bounds, and of a Discrete space the action with the highest score is taken.
2. The rollouts of an iteration are played one after the other, on the run's own episodes.
3. Where all returns are equal, their standard deviation is 0 and the policy stays.
4. An episode that the loop plays with random actions (`random_episodes`) is no rollout.

Evaluation plays the policy itself, without a direction.

Metrics:

- `iteration`: updates of the policy since training began.
- `return_std`: standard deviation of the returns that the last update used (sigma_R in the paper).
- `step_norm`, `policy_norm`: Frobenius norm of the last update, and of the policy's matrix.
"""

from typing import Any

import numpy as np

from gym_loop.agents import spaces
from gym_loop.agents.base_agent import BaseAgent
from gym_loop.agents.checks import check_number

MIN_VARIANCE = 1e-8  # an observation that varies less is left out, as in the paper


class ARS(BaseAgent):
    """Searches for a linear policy. Observations are a Box, actions a Box or Discrete.

    Attributes:
        policy: the matrix M, of shape (actions, observations), both flattened.
        deltas: the iteration's directions, of shape (directions, actions, observations).
        returns: of the iteration's rollouts so far: first direction added, first subtracted,
            second added, and so on.

    Raises:
        Mistake: the environment's spaces are of another kind.
    """

    def __init__(
        self, observation_space: Any = None, action_space: Any = None, **parameters: Any
    ) -> None:
        super().__init__(observation_space, action_space, **parameters)
        spaces.require("ars", observation_space, action_space)
        inputs = int(np.prod(observation_space.shape))
        self.discrete = spaces.kind(action_space) == "Discrete"
        outputs = int(action_space.n if self.discrete else np.prod(action_space.shape))
        self.first = int(getattr(action_space, "start", 0))  # number of the first action
        if not self.discrete:
            self.low = np.ravel(action_space.low).astype(float)
            self.high = np.ravel(action_space.high).astype(float)
        self.flat = len(observation_space.shape) == 1
        self.policy = np.zeros((outputs, inputs))
        self.deltas = np.zeros((0, outputs, inputs))
        self.returns: list[float] = []
        self.seen = Statistics(inputs)  # of all observations that training has met
        self.mean, self.variance = np.zeros(inputs), np.ones(inputs)  # for this iteration
        self.rollout: list[Any] = []  # the observations acted on in the current episode
        self.ret = 0.0  # of the current episode
        self.gain, self.bias = self._folded(self.policy)
        self.iteration, self.return_std, self.step_norm = 0, 0.0, 0.0

    @staticmethod
    def get_default_parameters() -> dict[str, Any]:
        """Return the parameters, named in the paper as given in parentheses.

        Parameters:
            directions: tried in each iteration, two episodes each (N)
            top_directions: the best of them, which the update uses (b); null: all
            step_size: of an update (alpha)
            noise: standard deviation of what a direction adds to the policy (nu)
            normalize: whether observations are normalized (V2) or not (V1)
            shift: subtracted from every reward, such as a bonus for staying alive
        """
        return {
            "directions": 8,
            "top_directions": None,
            "step_size": 0.02,
            "noise": 0.03,
            "normalize": True,
            "shift": 0.0,
        }

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        check_number(parameters, "directions", 1, whole=True)
        if parameters["top_directions"] is not None:
            check_number(parameters, "top_directions", 1, parameters["directions"], whole=True)
        for name in ("step_size", "noise"):
            check_number(parameters, name, 0, above=True)
        check_number(parameters, "shift")
        if not isinstance(parameters["normalize"], bool):
            raise ValueError(f"normalize is {parameters['normalize']!r}; expected true or false")

    def begin_episode(self, episode_num: int) -> None:
        """Choose the rollout's policy: the next direction in training, none in evaluation."""
        policy = self.policy
        if self.training:
            number, subtract = divmod(len(self.returns), 2)
            if not self.returns:
                size = (self.parameters["directions"], *policy.shape)
                self.deltas = self.rng.standard_normal(size)
            delta = self.parameters["noise"] * self.deltas[number]
            policy = policy - delta if subtract else policy + delta
            self.ret, self.rollout = 0.0, []
        self.gain, self.bias = self._folded(policy)

    def act(self, state: Any, episode_num: int) -> Any:
        """Return the action of the rollout's policy."""
        if not self.flat:
            state = np.ravel(state)
        if self.training:
            self.rollout.append(state)
        scores = self.gain.dot(state) + self.bias
        if self.discrete:
            return self.first + int(scores.argmax())
        space = self.action_space
        action = np.minimum(np.maximum(scores, self.low), self.high)
        return action.astype(space.dtype).reshape(space.shape)

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Add to the rollout's return."""
        self.ret += reward

    def update(self, episode_num: int) -> None:
        """Learn nothing within an episode."""

    def end_episode(self, episode_num: int, truncated: bool) -> None:
        """Take the rollout's return; after the iteration's last one, move the policy."""
        if not (self.training and self.rollout):
            return
        self.returns.append(float(self.ret - self.parameters["shift"] * len(self.rollout)))
        if self.parameters["normalize"]:
            self.seen.add(np.array(self.rollout, float))
        self.rollout = []
        if len(self.returns) == 2 * self.parameters["directions"]:
            self._improve()

    def metrics(self, episode_num: int) -> dict[str, float]:
        """Return the metrics that the module's docstring defines."""
        return {
            "iteration": self.iteration,
            "return_std": self.return_std,
            "step_norm": self.step_norm,
            "policy_norm": float(np.linalg.norm(self.policy)),
        }

    def _improve(self) -> None:
        returns = np.reshape(self.returns, (-1, 2))
        best = np.argsort(-returns.max(axis=1), kind="stable")[: self.parameters["top_directions"]]
        self.return_std = float(returns[best].std())
        step = np.zeros_like(self.policy)
        if self.return_std > 0:
            differences = returns[best, 0] - returns[best, 1]
            step = np.tensordot(differences, self.deltas[best], axes=1)
            step *= self.parameters["step_size"] / (len(best) * self.return_std)
        self.policy = self.policy + step
        self.step_norm = float(np.linalg.norm(step))
        self.iteration += 1
        self.returns = []
        if self.parameters["normalize"]:
            self.mean, self.variance = self.seen.mean.copy(), self.seen.variance

    def _folded(self, policy: Any) -> tuple[Any, Any]:
        """Return (gain, bias): gain @ observation + bias is `policy` @ the normalized observation.

        Shapes: (actions, observations) and (actions,).
        """
        deviation = np.where(self.variance < MIN_VARIANCE, np.inf, np.sqrt(self.variance))
        gain = policy / deviation
        return gain, -gain.dot(self.mean)


class Statistics:
    """Mean and variance of all observations so far, merged a batch at a time.

    T. F. Chan, G. H. Golub and R. J. LeVeque: Algorithms for computing the sample variance. The
    American Statistician 37, 242-247, 1983.
    """

    def __init__(self, size: int) -> None:
        self.count, self.mean, self.squares = 0, np.zeros(size), np.zeros(size)

    @property
    def variance(self) -> Any:
        """The variance of each coordinate."""
        return self.squares / max(self.count, 1)

    def add(self, batch: Any) -> None:
        """Add observations, of shape (count, size)."""
        mean, total = batch.mean(axis=0), self.count + len(batch)
        difference = mean - self.mean
        self.squares = self.squares + ((batch - mean) ** 2).sum(axis=0)
        self.squares = self.squares + difference**2 * (self.count * len(batch) / total)
        self.mean = self.mean + difference * (len(batch) / total)
        self.count = total
