"""Standard streams that may be closed, broken or full: the program goes on without them."""

import contextlib
import errno
import functools
import io
import logging
import os
import select
import sys
from collections.abc import Callable
from typing import Any

# By descriptor, 1 or 2, why something could not be written; of a reader that has left, EPIPE.
lost: dict[int, OSError] = {}


class Output(io.FileIO):
    """A standard stream to write to; what cannot be written is dropped."""

    def write(self, data: Any) -> int:
        """Write bytes, or drop them; the first time, stderr says why, unless a reader has left."""
        try:
            while (written := super().write(data)) is None:  # it does not block, and is full
                select.select([], [self], [])
        except OSError as error:
            if self.fileno() not in lost and error.errno != errno.EPIPE:
                line = f"gym-loop: output is lost: descriptor {self.fileno()}: {error.strerror}\n"
                with contextlib.suppress(OSError):
                    os.write(2, line.encode())
            lost.setdefault(self.fileno(), error)
            return len(data)
        return written


class Replacement:
    """What a program has put in the place of a standard stream; what it cannot take is dropped.

    It may be closed, or write to a full disk, and have no more than `write`.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # such as pickle's: an agent may keep it in a checkpoint
            raise AttributeError(name)
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            self.write(text.encode("ascii", "backslashreplace").decode())
        except (OSError, ValueError):
            pass
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if that can be done."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal, as far as it knows."""
        try:
            return bool(self._stream.isatty())
        except (OSError, ValueError, AttributeError):
            return False


def exit_if_lost() -> None:
    """Leave with exit code 1 if an answer could not be written; a reader may leave before its end.

    For commands that only print: those that run something succeed when that does.
    """
    if sys.stdout:
        sys.stdout.flush()
    if 1 in lost and lost[1].errno != errno.EPIPE:
        sys.exit(1)


def log_in_silence() -> None:
    """Have the log's files print no traceback for a line that cannot be written.

    A full disk, say, is told of in a line, with what is lost by it.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = functools.partial(  # type: ignore[method-assign]
                _handle_error, handler.handleError
            )


def _handle_error(
    otherwise: Callable[[logging.LogRecord], None], record: logging.LogRecord
) -> None:
    if not isinstance(sys.exc_info()[1], OSError):
        otherwise(record)


def open_streams() -> None:
    """Open closed standard streams on `/dev/null`; have writes to broken ones raise nothing.

    Otherwise the next file to be opened would get the number 1 or 2, and all that is printed. What
    a program has put in the place of `sys.stdout` or `sys.stderr` is still written to.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or open(0, closefd=False)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            with contextlib.suppress(OSError, ValueError):  # broken, full or closed
                if stream:
                    stream.flush()
            text = io.TextIOWrapper(
                io.BufferedWriter(Output(number, "w", closefd=False)),
                encoding=stream.encoding if stream else "utf-8",
                errors="backslashreplace",  # a name that the terminal cannot show is shown escaped
                line_buffering=number == 2 or bool(stream and stream.line_buffering),
                write_through=bool(stream and stream.write_through),
            )
            setattr(sys, name, text)
        elif stream is not None and not isinstance(stream, Replacement):
            setattr(sys, name, Replacement(stream))
