"""SIGINT, SIGTERM and a time limit: finish the episode, then stop in order."""

import functools
import logging
import math
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from gym_loop.observers import Observer

HANDLED = (signal.SIGINT, signal.SIGTERM)
_open: "list[Signals]" = []  # those that have taken over signals of this process


class Signals(Observer):
    """Asks the loop to stop at the next episode boundary; a second signal stops at once."""

    def __init__(self) -> None:
        self.previous: dict[signal.Signals, Any] = {}
        self.received = 0
        self.loop: Any = None
        self.limit = math.inf  # seconds
        self.began = time.monotonic()

    def open(self, cfg: Any, directory: Path) -> None:
        """Take over the signals, where this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            _reset_in_children()
            _open.append(self)
            self.previous = {number: signal.signal(number, self.handle) for number in HANDLED}

    def begin(self, loop: Any) -> None:
        """Stop the loop at once if a signal came while it was built."""
        limit = loop.parameters.get("max_time")
        self.loop, self.limit = loop, math.inf if limit is None else limit
        self._pass_on()

    def listens(self, event: str) -> bool:
        """Return whether there is anything to do: between episodes, when there is a time limit."""
        return super().listens(event) and (event != "end_cycle" or self.limit < math.inf)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; the second one interrupts whatever is going on."""
        if self.received:
            raise SystemExit(128 + number)
        self.received = number
        self._pass_on()

    def end_cycle(self, loop: Any) -> None:
        """Stop when `max_time` seconds of this launch are over."""
        if time.monotonic() - self.began >= self.limit and not loop.stop:
            loop.stop = "max_time"

    def close(self, error: BaseException | None) -> None:
        """Give the signals back."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        if self in _open:
            _open.remove(self)

    def leave_child(self) -> None:
        """Give the signals of a forked child back; SIGINT from its second one on.

        SIGTERM ends the child, as `multiprocessing` expects. A Ctrl-C at the terminal reaches the
        child as well, which the run may need to finish its episode; the second one stops at once.
        """
        self.close(None)
        if self.previous:
            previous = self.previous[signal.SIGINT]
            signal.signal(signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, previous))

    def _pass_on(self) -> None:
        if self.received and self.loop:
            self.loop.stop = signal.Signals(self.received).name
            self.loop.exit_code = 128 + self.received
            logging.getLogger(__name__).info(
                "%s: stopping at the end of this episode, or round (again: at once)", self.loop.stop
            )


@functools.cache
def _reset_in_children() -> None:
    """Have this process's forked children leave its runs' signal handlers; done once.

    A signal that comes while a child is forked waits until the child has done so: Python would
    forget it.
    """
    masks: list[set[int]] = []

    def block() -> None:
        masks.append({*signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)})

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop())

    def reset() -> None:
        for each in [*_open]:
            each.leave_child()
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=reset)
