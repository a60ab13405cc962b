"""The contract between an agent and the loop that drives it."""

from pathlib import Path
from typing import Any, cast

import numpy as np

from gym_loop.agents import environment, pickled
from gym_loop.mistake import nearest

FILE = "agent.pkl"


class Parametric:
    """A class with parameters that a config gives: agents and loops.

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

        A given value has to be of its default's type; a default of None takes any.
        """
        return {}

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        """Raise ValueError, in one line, for a value out of range. Called before anything runs."""


class BaseAgent(Parametric):
    """Learns and acts. A subclass writes `act`, `memorize`, `update`; the rest is optional.

    For each training episode the loop calls `begin_episode`, then for each step `act`, `memorize`
    and `update`, then `end_episode` and `metrics`. In evaluation `training` is False: the loop
    calls `begin_episode`, `act` and `end_episode` alone, and puts the attributes back afterwards.

    Attributes:
        parameters: `get_default_parameters()` updated with what the config gives.
        observation_space, action_space: the environment's spaces; copies of the agent's own, seeded
            from the run's seed.
        rng: a `numpy.random.Generator` of the agent's own, seeded from the run's seed.
        training: False while the loop evaluates.
        vectorized: True if `act`, `memorize` and `update` take batches, as `loop=vector` gives
            them: every argument has a leading axis of n rows, one for each environment that was
            stepped, and `episode_num` is an int64 array of shape (n,).
        needs_env: True if the agent asks for `env`.
        env: with `needs_env`, the environment that the agent is in: training's, and evaluation's
            while `training` is False; with `loop=vector`, training's is a `VectorEnv`. It is never
            saved with the agent, and not there yet in `__init__`.
        whole_batches: True if, besides, n has to be the number of environments in every call.

    Raises:
        TypeError: a parameter that the class does not have.
        ValueError: a value that `check_parameters` refuses.
    """

    training, vectorized, needs_env, env = True, False, False, cast(Any, environment.Environment())

    def __init__(self, observation_space: Any = None, action_space: Any = None, **given: Any):  # noqa: ANN204
        super().__init__(**given)
        self.observation_space, self.action_space = observation_space, action_space
        self._configured = dict(self.parameters)  # a launch replaces it by the config's values
        # The launcher has seeded NumPy's global stream from the run's seed. Drawing from it keeps
        # the name `seed` free for an agent's own parameters.
        self.rng = np.random.default_rng(np.random.randint(2**32, size=4, dtype=np.uint32))

    def act(self, state: Any, episode_num: int) -> Any:
        """Return the action to take: an element of `action_space`.

        Args:
            state: the observation, an element of `observation_space`, in its shape and dtype.
            episode_num: number of the episode, from 0.
        """
        raise NotImplementedError(f"{type(self).__name__} has no act()")

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Take one transition of training, right after its step.

        Args:
            last_ob: the observation that `act` was given.
            action: what `act` returned.
            reward: a number, as the environment gave it.
            done: the environment's `terminated`: nothing follows `ob`. A time limit is not `done`;
                it arrives through `end_episode(..., truncated=True)`.
            ob: the observation after the step.
        """
        raise NotImplementedError(f"{type(self).__name__} has no memorize()")

    def update(self, episode_num: int) -> None:
        """Learn. Called right after each `memorize`."""
        raise NotImplementedError(f"{type(self).__name__} has no update()")

    def begin_episode(self, episode_num: int) -> None:
        """Prepare for an episode, before its first `act`."""

    def end_episode(self, episode_num: int, truncated: bool) -> None:
        """Finish an episode, after its last `update`; `truncated`: a time limit ended it."""

    def metrics(self, episode_num: int) -> dict[str, float]:
        """Return numbers to log, by name, for the training episode that has just ended."""
        return {}

    def save(self, directory: str | Path) -> None:
        """Write the agent's whole state into `directory`, which exists: by default its pickle.

        A large agent's is called in a forked child, beside training: it changes nothing but files.
        """
        pickled.dump(vars(self), Path(directory, FILE))

    def load(self, directory: str | Path) -> None:
        """Become the agent that `save` wrote into `directory`. Unpickles: only for trusted runs.

        Parameters that the config has changed since then (in a fork) keep their new values.
        """
        now, self.__dict__ = vars(self), pickled.load(Path(directory, FILE))
        then, self._configured = self._configured, now["_configured"]
        changed = [k for k, v in self._configured.items() if v != then.get(k)]
        self.parameters |= {k: v for k, v in now["parameters"].items() if k in changed}
