"""What stands for the environment in an algorithm, which no agent sees."""

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage

from gym_loop.integrations import env_methods
from gym_loop.mistake import Mistake


class Spaces(VecEnv):  # type: ignore[misc]
    """Stands for the environment when an algorithm is constructed: it has the spaces."""

    given: Any = None  # what it returns to a normalizer

    def reset(self) -> Any:
        """Return what is given; else observations of zeros, which are not used."""
        if self.given is not None:
            return self.given
        space = self.observation_space
        if isinstance(space, spaces.Dict):
            return {name: self._zeros(part) for name, part in space.spaces.items()}
        return self._zeros(space)

    def _zeros(self, space: Any) -> Any:
        return np.zeros((self.num_envs, *tuple(space.shape)), space.dtype)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return None for each environment."""
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for each environment."""
        return [False] * self.num_envs

    def close(self) -> None:
        """Do nothing."""

    def _absent(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse what only an environment could do."""
        raise Mistake("this algorithm asks for the environment itself, which no agent sees")

    def step_wait(self) -> Any:
        """Return what is given."""
        return self.given

    step_async = set_attr = env_method = _absent


class Goals:
    """Stands for the environment in a `HerReplayBuffer`, which asks it for rewards."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def env_method(self, name: str, *args: Any, indices: Any = None) -> list[Any]:
        """Return what the first environment's method `name` returns, in a list."""
        return env_methods.call(self.env, name, *args)[:1]


class Transposed(VecTransposeImage):  # type: ignore[misc]
    """The library's `VecTransposeImage`, which does not pickle by itself."""

    def __reduce__(self) -> Any:
        return Transposed, (self.venv,)
