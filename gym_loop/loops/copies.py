"""Copies of actions and rewards: one object may be returned again and again, and changed."""

import copy
from typing import Any

import numpy as np

# Types whose values never change and need no copy.
IMMUTABLE = frozenset((int, float, bool, str, np.int64, np.float32, np.float64))


def copied(given: Any) -> Any:
    """Return a copy of an action or a reward; the thing itself where it cannot be copied."""
    if type(given) is np.ndarray:
        return given.copy()
    try:
        # A tensor with a gradient graph cannot be copied.
        return copy.deepcopy(given.detach() if hasattr(given, "detach") else given)
    except Exception:
        return given
