"""Work done beside training, in a forked child that has the memory as it was at the fork."""

import contextlib
import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable

from gym_loop.machine import end_with
from gym_loop.streams import imported_torch

# Their threads hold locks that a forked child would wait for without an end.
DO_NOT_FORK = ("jax", "tensorflow")
POLL = 0.005  # seconds


def is_possible() -> bool:
    """Return whether a forked child can read all that this process holds.

    A GPU's memory it cannot, and on macOS the system's libraries do not survive a fork.
    """
    torch = imported_torch()
    uses_gpu = torch is not None and torch.cuda.is_initialized()
    return sys.platform == "linux" and not uses_gpu and not any(map(sys.modules.get, DO_NOT_FORK))


class Beside:
    """Does `work` in a forked child. Memory is shared until one of the two writes to it.

    Args:
        work: changes nothing but files; what it raises is the reason why it was not done.
        seconds: after which the child is killed: a lock that was held at the fork stays held in it.

    Raises:
        OSError: there is no memory or no process to be had.
    """

    def __init__(self, work: Callable[[], None], seconds: float) -> None:
        parent, self.seconds = os.getpid(), seconds
        self.began = time.monotonic()
        with warnings.catch_warnings():  # of Python 3.12: other threads are not in the child
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                end_with(parent)
                gc.disable()  # it writes to every object that it looks at
                work()
                code = 0
            except OSError as error:
                code = error.errno or 1
            finally:
                os._exit(code)

    def reason(self, wait: bool) -> str | None:
        """Return "" when the work is done, or why it is not; None while the child is at it."""
        while True:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has asked for the ends of all children
                self.pid = 0  # which may be another process's by now
                return "nobody knows how it ended"
            if pid:
                self.pid = 0
                return _said(os.waitstatus_to_exitcode(status))
            if time.monotonic() - self.began > self.seconds:
                self.kill()
                return f"it took more than {self.seconds:.0f} s"
            if not wait:
                return None
            time.sleep(POLL)

    def kill(self) -> None:
        """End the child now, if it has not ended."""
        if self.pid:
            with contextlib.suppress(ChildProcessError):  # as in `reason`
                if not os.waitpid(self.pid, os.WNOHANG)[0]:  # else its number may be another's
                    os.kill(self.pid, signal.SIGKILL)
                    os.waitpid(self.pid, 0)
            self.pid = 0


def _said(code: int) -> str:
    """Return what the exit code of a child says; "" for 0."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return os.strerror(code) if code > 1 else "it raised an error" if code else ""
