"""Copies of actions and rewards: one object may be returned again and again, and changed."""

import copy
from collections import OrderedDict
from typing import Any

import numpy as np

# Types whose values never change and need no copy.
IMMUTABLE = frozenset((int, float, bool, str, np.int64, np.float32, np.float64))


def copied(given: Any) -> Any:
    """Return a copy of an action or a reward; the thing itself where it cannot be copied."""
    kind = type(given)
    if kind is np.ndarray:  # first: an agent's action in each step
        return given.copy()
    if kind in (np.str_, np.bytes_):  # their deep copies lack a NUL at the end
        return given
    try:
        if kind in (list, tuple):
            return kind(map(copied, given))
        if kind in (dict, OrderedDict):
            return kind((key, copied(value)) for key, value in given.items())
        # A tensor with a gradient graph cannot be copied.
        return copy.deepcopy(given.detach() if hasattr(given, "detach") else given)
    except Exception:
        return given
