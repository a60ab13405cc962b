"""Private names of gym's and Gymnasium's spaces and vectors."""

from typing import Any


def has_stream(space: Any) -> bool:
    """Return whether a space has a random stream; `np_random` would make one, from entropy."""
    return getattr(space, "_np_random", space) is not None


def close_vector(env: Any) -> None:
    """Close a vector environment of a library's.

    One with processes that a call has failed in, or was interrupted, would wait in `close` for
    answers that have been read: its state is put back, and the processes are ended.
    """
    state: Any = getattr(env.unwrapped, "_state", None)
    if getattr(state, "value", "default") == "default":
        env.close()
        return
    env.unwrapped._state = type(state).DEFAULT
    env.close(terminate=True)
