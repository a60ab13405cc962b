"""Sums and means of rewards and returns, also of infinite ones and of those beyond a float."""

import math
from collections.abc import Iterable
from typing import Any


def as_float(number: Any) -> float:
    """Return a number as a float; inf or -inf for an integer beyond what that holds."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def total(numbers: Iterable[Any]) -> float:
    """Return the sum, exact and so the same on every Python.

    Infinite numbers, and those beyond what a float holds, give inf, -inf or nan.
    """
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # a sum that is too large; inf and -inf in one
        return sum(map(as_float, numbers))


def mean(numbers: Iterable[Any]) -> float:
    """Return the mean of numbers, of which there is one or more, as `total` adds them up."""
    known = [*numbers]
    return total(known) / len(known)
