"""What this project touches of the standard library's private parts, each with the reason."""

import argparse
import logging
from typing import Any


def handlers() -> list[Any]:
    """Return logging's own list of handlers: `dictConfig` closes and forgets all that are in it."""
    found: list[Any] = logging._handlerList  # type: ignore[attr-defined]
    return found


def flags(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return a parser's actions: argparse does not list what has been added to a parser."""
    return parser._actions
