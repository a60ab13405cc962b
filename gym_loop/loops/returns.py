"""What an environment's steps make of an episode: its return, and how it has ended."""

import math
from collections.abc import Iterable
from typing import Any

from gym_loop.mistake import Failure

CONTAINERS = (list, tuple, dict, set, str)


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
