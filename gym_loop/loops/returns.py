"""The return of an episode."""

import math
from collections.abc import Iterable


def total(rewards: Iterable[float]) -> float:
    """Return the sum of rewards, exact and so the same on every Python.

    Infinite rewards, and those beyond what a float holds, give inf, -inf or nan.
    """
    rewards = list(map(float, rewards))
    try:
        return math.fsum(rewards)
    except (OverflowError, ValueError):  # a sum that is too large; inf and -inf in one
        return sum(rewards)
