"""What environments return: the first observation, how an episode ended."""

from numbers import Number
from typing import Any

from gym_loop.mistake import Failure

CONTAINERS = (list, tuple, dict, set, str)
SCALARS = (Number, str, bytes)  # NumPy's numbers are registered as such


def first_observation(returned: Any) -> Any:
    """Return the observation that `reset` returned beside its info.

    Raises:
        ValueError: the info is a scalar: an old `reset` returned an observation of length 2 alone.
    """
    observation, info = returned
    if type(info) is not dict and (isinstance(info, SCALARS) or getattr(info, "shape", 0) == ()):
        raise ValueError(
            f"reset() returned {info!r} as info (expected a dict); an environment of the API "
            "before gym 0.26 needs wrap=[old_api]"
        )
    return observation


def as_flag(value: Any, name: str) -> bool:
    """Return `terminated` or `truncated` as a bool.

    Raises:
        Failure: it is a container, which Python takes for true unless it is empty.
    """
    if isinstance(value, CONTAINERS):
        raise Failure(
            f"step() of the environment returned {value!r:.60} as {name}; expected true or false "
            "(an environment of many at once is for loop=vector)"
        )
    return bool(value)
