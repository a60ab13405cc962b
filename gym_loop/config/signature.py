"""What a class or a function takes."""

import inspect
import re
from collections.abc import Mapping
from typing import Any


def parameters(target: Any) -> Mapping[str, inspect.Parameter] | None:
    """Return the parameters of a constructor or function by name; None where it hides them."""
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None


def takes_any_keyword(target: Any) -> bool:
    """Return whether `target` takes any keyword argument, or hides which it takes."""
    known = parameters(target)
    return known is None or any(p.kind is p.VAR_KEYWORD for p in known.values())


def wants_tuple(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter wants a tuple where YAML, which has none, gives a list."""
    kinds = str(parameter.annotation).lower()
    also_lists = "list" in kinds or "sequence" in kinds
    return isinstance(parameter.default, tuple) or ("tuple" in kinds and not also_lists)


def wants_function(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter wants what can be called, and takes no text."""
    kinds = str(parameter.annotation)
    return "Callable" in kinds and "str" not in kinds.replace("Callable", "")


def number(parameter: inspect.Parameter) -> type | None:
    """Return int, float or bool where a parameter is annotated as that, or as that or None."""
    given = parameter.annotation
    names = re.findall(r"[\w.]+", given.__name__ if isinstance(given, type) else str(given))
    kinds = {name.removeprefix("typing.") for name in names} - {"Optional", "Union", "None"}
    if kinds == {"int", "float"}:
        return float
    return {"int": int, "float": float, "bool": bool}.get(kinds.pop()) if len(kinds) == 1 else None
