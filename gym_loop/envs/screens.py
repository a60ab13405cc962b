"""Pickling of environments that have drawn with pygame."""

import copyreg
from typing import Any


def leave_screens_behind(env: Any) -> None:
    """Make environments of the class of `env`, which is new and unwrapped, pickle after drawing.

    pygame's surfaces and clocks do not pickle, so they are left out. Environments make them at the
    first `render`, and do so again after unpickling. Registers a reducer for the class with
    `copyreg`; copying uses it, too.
    """
    at_birth = frozenset(getattr(env, "__dict__", ()))

    def reduce(env: Any) -> Any:
        make, args, *rest = env.__reduce_ex__(2)
        if not rest or not isinstance(rest[0], dict):
            return make, args, *rest
        # Attributes that a new environment has are None until it draws; others do not exist.
        state = {
            name: None if _is_drawn(value) else value
            for name, value in rest[0].items()
            if name in at_birth or not _is_drawn(value)
        }
        return make, args, state, *rest[1:]

    copyreg.pickle(type(env), reduce)


def _is_drawn(value: Any) -> bool:
    """Return whether `value` is a pygame object, or a list or tuple that contains one."""
    if isinstance(value, (list, tuple)):
        return any(map(_is_drawn, value))
    return type(value).__module__.partition(".")[0] == "pygame"
