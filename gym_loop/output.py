"""Standard streams that may be closed, broken or full; logging that a program has configured."""

import contextlib
import errno
import io
import logging
import os
import select
import sys
from collections.abc import Iterator
from typing import Any

lost: set[int] = set()  # the descriptors, 1 or 2, of which something could not be written


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
            lost.add(self.fileno())
            return len(data)
        return written


def open_streams() -> None:
    """Open those standard streams that are closed, on nothing, and make none raise when written to.

    An open file under the number 1 or 2 would receive all that is printed. What a program has put
    in the place of `sys.stdout` or `sys.stderr` stays.
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


@contextlib.contextmanager
def own_logging() -> Iterator[None]:
    """Let the block configure logging, and put back what the program had.

    A configuration closes every handler that it finds in the list of `logging`'s own; a file that
    the program writes its log to would stay closed.
    """
    root, every = logging.getLogger(), logging._handlerList  # type: ignore[attr-defined]
    handlers, level, theirs = root.handlers[:], root.level, every[:]
    every.clear()
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        every[:] = theirs
