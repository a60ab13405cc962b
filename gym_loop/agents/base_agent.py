"""The contract between an agent and the loop that drives it."""

import difflib
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np


def with_defaults(owner: type, given: dict[str, Any]) -> dict[str, Any]:
    """Return `owner.get_default_parameters()` updated with `given`.

    Raises:
        TypeError: a parameter that the class does not have; the message names the nearest one.
        ValueError: a value that the class's own `check_parameters` refuses.
    """
    parameters = dict(owner.get_default_parameters())  # type: ignore[attr-defined]
    for name in given.keys() - parameters.keys():
        near = difflib.get_close_matches(name, parameters, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(sorted(parameters))}"
        raise TypeError(f"{owner.__name__} has no parameter {name!r}; {hint}")
    parameters.update(given)
    owner.check_parameters(parameters)  # type: ignore[attr-defined]
    return parameters


class BaseAgent:
    """Learns and acts. A subclass writes `act`, `memorize`, `update`; the rest is optional.

    Attributes:
        parameters: `get_default_parameters()` updated with what the config gives.
        observation_space, action_space: of the environment, copies of the agent's own.
        rng: the agent's own generator, made from the run's seed.
        training: False while the loop evaluates.
        vectorized: True for an agent whose methods take batches (`loop=vector`).
    """

    training: bool = True
    vectorized: ClassVar[bool] = False

    def __init__(
        self, observation_space: Any = None, action_space: Any = None, **parameters: Any
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.parameters = with_defaults(type(self), parameters)
        self._configured = dict(self.parameters)
        # The launcher has seeded NumPy's global stream from the run's seed. Drawing from it keeps
        # the name `seed` free for an agent's own parameters.
        self.rng = np.random.default_rng(np.random.randint(0, 2**32, size=4, dtype=np.uint32))

    @staticmethod
    def get_default_parameters() -> dict[str, Any]:
        """Return the tweakable parameters with their defaults; they become config keys."""
        return {}

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        """Raise ValueError, in one line, for a value out of range. Called before anything runs."""

    def act(self, state: Any, episode_num: int) -> Any:
        """Return an element of `action_space` for the observation `state`."""
        raise NotImplementedError(f"{type(self).__name__} has no act(state, episode_num)")

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Take one transition. `done` is the environment's `terminated`: `ob` has no future.

        A time limit is not `done`; it arrives through `end_episode(..., truncated=True)`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no memorize(last_ob, action, reward, done, ob)"
        )

    def update(self, episode_num: int) -> None:
        """Learn; called right after each `memorize`."""
        raise NotImplementedError(f"{type(self).__name__} has no update(episode_num)")

    def begin_episode(self, episode_num: int) -> None:
        """Called before the episode's first `act`."""

    def end_episode(self, episode_num: int, truncated: bool) -> None:
        """Called after the episode's last `update`; `truncated` tells a time limit ended it."""

    def metrics(self, episode_num: int) -> dict[str, float]:
        """Return numbers to log for the training episode that just ended."""
        return {}

    def save(self, directory: str | Path) -> None:
        """Write everything that the agent's future depends on into `directory`.

        Raises:
            TypeError: an attribute cannot be pickled; the message names it.
        """
        try:
            state = pickle.dumps(vars(self), protocol=5)
        except Exception as error:
            raise TypeError(
                f"{type(self).__name__}.{_unpicklable(vars(self))} cannot be saved ({error}); "
                "override save(directory) and load(directory), or keep it out of the agent"
            ) from error
        (Path(directory) / "agent.pkl").write_bytes(state)

    def load(self, directory: str | Path) -> None:
        """Become the agent that `save` wrote into `directory`.

        Parameters that the config has changed since then (in a fork) keep their new values.
        """
        now = self._configured
        self.__dict__ = pickle.loads((Path(directory) / "agent.pkl").read_bytes())
        then = self._configured
        self.parameters |= {k: v for k, v in now.items() if k not in then or then[k] != v}
        self._configured = now


def _unpicklable(attributes: dict[str, Any]) -> str:
    for name, value in attributes.items():
        try:
            pickle.dumps(value)
        except Exception:
            return name
    return "__dict__"
