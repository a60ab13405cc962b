"""Pickling an environment that has drawn with pygame."""

import copyreg
from typing import Any


def leave_screens_behind(env: Any) -> None:
    """Let `env`, new and unwrapped, and its class be pickled and copied once they have drawn.

    pygame's surfaces and clocks cannot be pickled. The pickle goes without them; environments
    make them at the first `render`, and so again after unpickling.
    """
    at_birth = frozenset(getattr(env, "__dict__", ()))

    def reduce(env: Any) -> Any:
        make, args, *rest = env.__reduce_ex__(2)
        if not rest or not isinstance(rest[0], dict):
            return make, args, *rest
        # An attribute that a new environment has is None there until something is drawn.
        state = {
            name: None if _is_drawn(value) else value
            for name, value in rest[0].items()
            if name in at_birth or not _is_drawn(value)
        }
        return make, args, state, *rest[1:]

    copyreg.pickle(type(env), reduce)


def _is_drawn(value: Any) -> bool:
    """Return whether `value` is an object of pygame's, or a list or tuple that has one."""
    if isinstance(value, (list, tuple)):
        return any(map(_is_drawn, value))
    return type(value).__module__.partition(".")[0] == "pygame"
