"""Private names of gym's and Gymnasium's spaces."""

from typing import Any


def has_stream(space: Any) -> bool:
    """Return whether a space has a random stream; `np_random` would make one, from entropy."""
    return getattr(space, "_np_random", space) is not None
