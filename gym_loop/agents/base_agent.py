"""The contract between an agent and the loop that drives it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from gym_loop.mistake import nearest

FILE = "agent.pkl"


class Parametric:
    """What has parameters that a config gives: agents and loops.

    Raises:
        TypeError: a parameter that the class does not have; the message names the nearest one.
        ValueError: a value that the class's own `check_parameters` refuses.
    """

    def __init__(self, **given: Any) -> None:
        self.parameters = dict(self.get_default_parameters())
        for name in given.keys() - self.parameters.keys():
            hint = nearest(name, self.parameters, f"; it has: {', '.join(self.parameters)}")
            raise TypeError(f"{type(self).__name__} has no parameter {name!r}{hint}")
        self.parameters.update(given)
        self.check_parameters(self.parameters)

    @staticmethod
    def get_default_parameters() -> dict[str, Any]:
        """Return the tweakable parameters with their defaults; they become config keys.

        A default also says of which type the values are; None takes any.
        """
        return {}

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        """Raise ValueError, in one line, for a value out of range. Called before anything runs."""


class BaseAgent(Parametric):
    """Learns and acts. A subclass writes `act`, `memorize`, `update`; the rest is optional.

    Attributes:
        parameters: `get_default_parameters()` updated with what the config gives.
        observation_space, action_space: of the environment, copies of the agent's own.
        rng: the agent's own generator, made from the run's seed.
        training: False while the loop evaluates.
        vectorized: True for an agent whose methods take batches (`loop=vector`).
            One that says `whole_batches = True`, too, wants a row for each environment in each.
    """

    training, vectorized = True, False

    def __init__(self, observation_space: Any = None, action_space: Any = None, **given: Any):  # noqa: ANN204
        super().__init__(**given)
        self.observation_space, self.action_space = observation_space, action_space
        self._configured = dict(self.parameters)  # checkpoints put the config in its place
        # The launcher has seeded NumPy's global stream from the run's seed. Drawing from it keeps
        # the name `seed` free for an agent's own parameters.
        self.rng = np.random.default_rng(np.random.randint(2**32, size=4, dtype=np.uint32))

    def act(self, state: Any, episode_num: int) -> Any:
        """Return an element of `action_space` for the observation `state`."""
        raise NotImplementedError(f"{type(self).__name__} has no act()")

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Take one transition. `done` is the environment's `terminated`: `ob` has no future.

        A time limit is not `done`; it arrives through `end_episode(..., truncated=True)`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no memorize()")

    def update(self, episode_num: int) -> None:
        """Learn; called right after each `memorize`."""
        raise NotImplementedError(f"{type(self).__name__} has no update()")

    def begin_episode(self, episode_num: int) -> None:
        """Called before the episode's first `act`."""

    def end_episode(self, episode_num: int, truncated: bool) -> None:
        """Called after the episode's last `update`; `truncated` tells a time limit ended it."""

    def metrics(self, episode_num: int) -> dict[str, float]:
        """Return numbers to log for the training episode that just ended."""
        return {}

    def save(self, directory: str | Path) -> None:
        """Write everything that the agent's future depends on into `directory`."""
        Path(directory, FILE).write_bytes(pickle.dumps(vars(self), protocol=5))

    def load(self, directory: str | Path) -> None:
        """Become the agent that `save` wrote into `directory`.

        Parameters that the config has changed since then (in a fork) keep their new values.
        """
        now, self.__dict__ = vars(self), pickle.loads(Path(directory, FILE).read_bytes())
        then, self._configured = self._configured, now["_configured"]
        changed = [k for k, v in self._configured.items() if v != then.get(k)]
        self.parameters |= {k: v for k, v in now["parameters"].items() if k in changed}
