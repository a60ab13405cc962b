"""The return of an episode."""

import math
from collections.abc import Iterable
from typing import Any


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
