"""Copies of actions: an agent may return one object again and again and change it."""

import copy
from typing import Any

import numpy as np

# Types whose values never change and need no copy.
IMMUTABLE = frozenset((int, float, bool, str, np.int64, np.float32, np.float64))


def copied(action: Any) -> Any:
    """Return a copy of an action; the action itself where it cannot be copied."""
    if type(action) is np.ndarray:
        return action.copy()
    try:
        # A tensor with a gradient graph cannot be copied.
        return copy.deepcopy(action.detach() if hasattr(action, "detach") else action)
    except Exception:
        return action
