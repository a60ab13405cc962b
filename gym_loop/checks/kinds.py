"""Which values a parameter takes, inferred from its default."""

import math
from typing import Any

from gym_loop.loops import parameters
from gym_loop.loops.table import Parameter

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

    A default tells the kind of values; one that is null, or not given, tells nothing. Only of a
    loop's parameter is it known whether it takes null.
    """
    entry, kind = _entry(group, key), _kind(group, key, default)
    if entry and entry.choices:
        return None if value in entry.choices else " or ".join(entry.choices)
    if value is None:
        by_name = entry and (entry.null or entry.default is None)
        nullable = group != "loop" or default is None or by_name
        return None if nullable else WORDS.get(kind)
    if type(value) is float and math.isnan(value) and repr(default) != "nan":
        return f"{WORDS.get(kind, 'a number')}, not NaN"
    if kind not in WORDS or (isinstance(default, str) and default == "???"):
        return None
    if kind is float:
        return None if type(value) in (int, float) else WORDS[kind]
    if kind is int and group != "loop" and type(value) is float:
        return f"an integer, like its default {default} ({default}.0 would allow fractions)"
    return None if type(value) is (list if kind is tuple else kind) else WORDS[kind]


def problem_of(kind: type, value: Any) -> str | None:
    """Return what was expected instead of `value`, an int, a float or a bool; None if it is one."""
    if kind is bool or type(value) is bool:
        return None if kind is type(value) else WORDS[kind]
    is_number = type(value) is int or (
        type(value) is float and (kind is float or value.is_integer())
    )
    return None if is_number else WORDS[kind]


def is_whole(group: str, key: str, value: Any, default: Any) -> bool:
    """Return whether `value` is a float such as 1e5 where an integer is expected."""
    kind = _kind(group, key, default)
    return kind is int and type(value) is float and value.is_integer()


def _entry(group: str, key: str) -> Parameter | None:
    """Return what is known of a loop's parameter besides its default."""
    return parameters.ALL.get(key) if group == "loop" else None


def _kind(group: str, key: str, default: Any) -> type:
    entry = _entry(group, key)
    return (entry and entry.kind) or type(default)
