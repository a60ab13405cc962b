"""What a parameter may be, told from its default."""

import math
from typing import Any

# What the loops' defaults do not tell: the type of what is null, and what else may be null.
NULL_BY_DEFAULT: dict[str, type] = {
    "max_steps": int,
    "max_time": float,
    "time_per_checkpoint": float,
    "episodes_per_eval": int,
}
MAY_BE_NULL = {"max_episodes", "episodes_per_checkpoint", *NULL_BY_DEFAULT}
CHOICES = {"on_nan": ("stop", "warn")}
WORDS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
}


def problem(group: str, key: str, value: Any, default: Any) -> str | None:
    """Return what was expected instead of `value`, or None where it will do.

    A default says what a parameter is; one that is null, or not given, says nothing. Only loops
    are known well enough to say where null is no value.
    """
    kind: type = type(default)
    nullable = group != "loop"
    if group == "loop":
        if key in CHOICES:
            return None if value in CHOICES[key] else " or ".join(CHOICES[key])
        kind = NULL_BY_DEFAULT.get(key, kind)
        nullable = default is None or key in MAY_BE_NULL
    if value is None:
        return None if nullable else WORDS.get(kind)
    if type(value) is float and math.isnan(value) and not _is_nan(default):
        return f"{WORDS.get(kind, 'a number')}, not NaN"
    if kind not in WORDS or (isinstance(default, str) and default == "???"):
        return None
    if kind is float:
        return None if type(value) in (int, float) else WORDS[kind]
    if kind is int and group != "loop" and type(value) is float:
        return f"an integer, like its default {default} ({default}.0 would allow fractions)"
    if kind is tuple:
        kind = list
    if kind is str and type(value) in (int, float, bool):
        return "a string"
    return None if type(value) is kind else WORDS[kind]


def is_whole(group: str, key: str, value: Any, default: Any) -> bool:
    """Return whether `value` is a float such as 1e5 where an integer is expected."""
    kind = NULL_BY_DEFAULT.get(key, type(default)) if group == "loop" else type(default)
    return kind is int and type(value) is float and value.is_integer()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
