"""Checks of parameters that several agents need."""

import math
from typing import Any


def check_number(
    parameters: dict[str, Any],
    name: str,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: bool = False,
    whole: bool = False,
) -> None:
    """Check that a parameter is a finite number within its range.

    Args:
        parameters: where it is looked up.
        name: of the parameter.
        least: the lower end of its range, which belongs to it.
        most: the upper end, which belongs to it.
        above: take `least` out of the range.
        whole: only whole numbers will do.

    Raises:
        ValueError: it is not; the line names the parameter, its value and the range.
    """
    value = parameters[name]
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    inside = number and math.isfinite(value) and least <= value <= most
    if inside and not (above and value == least):
        return
    what = "a whole number" if whole else "a number"
    if math.isfinite(most):
        what += f" from {least:g} to {most:g}" + (f", not {least:g} itself" if above else "")
    elif math.isfinite(least):
        what += f" above {least:g}" if above else f" of at least {least:g}"
    raise ValueError(f"{name} is {value!r}; expected {what}")
