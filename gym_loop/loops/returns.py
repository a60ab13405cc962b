"""The return of an episode."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def as_float(reward: Any) -> float:
    """Return a reward as a float; inf or -inf for an integer beyond what that holds."""
    try:
        return float(reward)
    except OverflowError:
        return math.inf if reward > 0 else -math.inf


def float_array(rewards: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return rewards as an array, each as `as_float` gives it."""
    try:
        return np.fromiter(rewards, np.float64, len(rewards))
    except (OverflowError, ValueError):  # an integer beyond a float; an array of one number
        return np.array([as_float(reward) for reward in rewards])


def total(rewards: Iterable[Any]) -> float:
    """Return the sum of rewards, exact and so the same on every Python.

    Infinite rewards, and those beyond what a float holds, give inf, -inf or nan.
    """
    rewards = list(map(as_float, rewards))
    try:
        return math.fsum(rewards)
    except (OverflowError, ValueError):  # a sum that is too large; inf and -inf in one
        return float(sum(rewards))
