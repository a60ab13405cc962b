"""Closing things so that what `close` raises or returns does not hide why a block has failed."""

import contextlib
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from typing import Any

log = logging.getLogger(__name__)


@contextlib.contextmanager
def closed_on_failure(what: Any) -> Iterator[Any]:
    """Close an environment, or a loop, if the block raises."""
    try:
        yield what
    except BaseException:
        try:
            getattr(what, "close", lambda: None)()  # the block may have failed because it has none
        except BaseException as error:  # also a panic in Rust
            text = traceback.format_exception_only(error)[-1].strip()  # whatever its `str` raises
            log.warning("closing %s failed, too: %.4000s", type(what).__name__, text)
        raise


@contextlib.contextmanager
def closed(what: Any) -> Iterator[Any]:
    """Close an environment, or a loop, at the end of the block, however that ends."""
    with closed_on_failure(what):
        yield what
    what.close()


def at_the_end(close: Callable[[BaseException | None], object]) -> Callable[..., None]:
    """Return what `ExitStack.push` takes: it calls `close` with what the block has raised, or None.

    An exit that returned something true, as `close` may, would take the error for handled. Nothing
    is called in a process that the block has forked and that leaves it: the files are not its own.
    """
    own = os.getpid()

    def leave(kind: object, error: BaseException | None, trace: object) -> None:
        if os.getpid() == own:
            close(error)

    return leave
