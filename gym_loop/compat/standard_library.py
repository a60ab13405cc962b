"""What this project touches of the standard library's private parts, each with the reason."""

import argparse
import contextlib
import logging
from collections.abc import Iterator
from typing import Any


def handlers() -> list[Any]:
    """Return logging's own list of handlers: `dictConfig` closes and forgets all that are in it."""
    found: list[Any] = logging._handlerList  # type: ignore[attr-defined]
    return found


@contextlib.contextmanager
def own_logging() -> Iterator[None]:
    """Let the block configure logging, and put back what the program had.

    A configuration closes every handler that it finds in the list of `logging`'s own; a file that
    the program writes its log to would stay closed.
    """
    root, ours, every = logging.getLogger(), logging.getLogger("gym_loop"), handlers()
    kept, level, our_level, theirs = root.handlers[:], root.level, ours.level, every[:]
    every.clear()
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in kept:
                handler.close()
        root.handlers[:] = kept
        root.setLevel(level)
        ours.setLevel(our_level)
        every[:] = theirs


def flags(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return a parser's actions: argparse does not list what has been added to a parser."""
    return parser._actions
