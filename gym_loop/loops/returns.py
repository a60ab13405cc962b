"""What environments return: the first observation, rewards and their sum, how an episode ended."""

import math
from collections.abc import Iterable
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


def as_float(reward: Any) -> float:
    """Return a reward as a float; inf or -inf for an integer beyond what that holds."""
    try:
        return float(reward)
    except OverflowError:
        return math.inf if reward > 0 else -math.inf


def total(rewards: Iterable[Any]) -> float:
    """Return the sum of rewards, exact and so the same on every Python.

    Infinite rewards, and those beyond what a float holds, give inf, -inf or nan.
    """
    try:
        return math.fsum(rewards)
    except (OverflowError, ValueError):  # a sum that is too large; inf and -inf in one
        return sum(map(as_float, rewards))


def mean(values: Iterable[Any]) -> float:
    """Return the mean of values, of which there is one or more, as `total` adds them up."""
    known = [*values]
    return total(known) / len(known)


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
