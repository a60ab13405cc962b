"""Copies of actions: an agent may use the same object again for the next one."""

import copy
from typing import Any

import numpy as np

# Types whose values never change: these are kept as they are.
CONSTANT = frozenset((int, float, bool, str, np.int64, np.float32, np.float64))


def copied(action: Any) -> Any:
    """Return a copy of an action; the action itself where its class has no copies."""
    if type(action) is np.ndarray:
        return action.copy()
    try:
        # A tensor that knows how it was computed cannot be copied, and would keep all of that.
        return copy.deepcopy(action.detach() if hasattr(action, "detach") else action)
    except Exception:
        return action
