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

from omegaconf import DictConfig

from gym_loop.loops import BaseLoop
from gym_loop.observers import Observer

HANDLED = (signal.SIGINT, signal.SIGTERM)
_open: "list[Signals]" = []  # whose handlers are installed in this process


class Signals(Observer):
    """Stops the run at the next episode boundary, on SIGINT, SIGTERM or after `loop.max_time`.

    A second signal stops at once: it raises SystemExit where the run is. Once training is over, the
    first one comes too late: the final evaluation is played, and the run has finished. While the
    run is open, the process's handlers of both signals are replaced, if it runs in the main thread.
    """

    def __init__(self) -> None:
        self.previous: dict[signal.Signals, Any] = {}
        self.blocked = set[int]()  # by who has started this program
        self.received = 0
        self.trained = False
        self.loop: BaseLoop | None = None
        self.limit = math.inf  # seconds
        self.began = time.monotonic()

    def open(self, cfg: DictConfig, directory: Path) -> None:
        """Install the handlers, if this is the main thread: Python allows it there alone."""
        if threading.current_thread() is threading.main_thread():
            _reset_in_children()
            _open.append(self)
            self.previous = {number: signal.signal(number, self.handle) for number in HANDLED}
            self.blocked = {*signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)} & {*HANDLED}

    def begin(self, loop: BaseLoop) -> None:
        """Stop the loop if a signal came while it was built."""
        limit = loop.parameters.get("max_time")
        self.loop, self.limit = loop, math.inf if limit is None else limit
        self._pass_on()

    def listens(self, event: str) -> bool:
        """Return whether there is anything to do: between episodes, when there is a time limit."""
        return super().listens(event) and (event != "end_cycle" or self.limit < math.inf)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Stop the loop at the next boundary; on the second signal raise SystemExit."""
        if self.received:
            raise SystemExit(128 + number)
        self.received = number
        self._pass_on()

    def end_cycle(self, loop: BaseLoop) -> None:
        """Stop when `max_time` seconds of this launch are over."""
        if time.monotonic() - self.began >= self.limit and not loop.stop:
            loop.stop = "max_time"

    def end_training(self, loop: BaseLoop) -> None:
        """Stop nothing from now on."""
        self.trained = not loop.stop

    def close(self, error: BaseException | None) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_BLOCK, self.blocked)
        if self in _open:
            _open.remove(self)

    def leave_child(self) -> None:
        """Restore the handlers in a forked child; SIGINT's only after the first SIGINT.

        SIGTERM then ends the child, as `multiprocessing` expects. Ctrl-C at the terminal reaches
        the child, too, and the run may need it to finish its episode: the child ignores the first.
        """
        self.close(None)
        if self.previous:
            previous = self.previous[signal.SIGINT]
            signal.signal(signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, previous))

    def _pass_on(self) -> None:
        if self.received and self.trained:
            logging.getLogger(__name__).info(
                "%s: training is over, and the final evaluation goes on (again: at once)",
                signal.Signals(self.received).name,
            )
        elif self.received and self.loop:
            self.loop.stop = signal.Signals(self.received).name
            self.loop.exit_code = 128 + self.received
            logging.getLogger(__name__).info(
                "%s: stopping at the end of this episode, or round (again: at once)", self.loop.stop
            )


@functools.cache
def _reset_in_children() -> None:
    """Restore the handlers in every child that this process forks from now on. Registered once.

    Signals are blocked during the fork: Python would lose one that reached the child before.
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
