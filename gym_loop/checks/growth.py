"""Estimates how large a checkpoint becomes, from an agent that has trained for a few seconds."""

import contextlib
import tempfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Growth:
    """The size of what an agent saves, as it trains."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []  # (steps, bytes)

    def measure(self, agent: Any, steps: int) -> None:
        """Let the agent save itself into a folder that is deleted again, and take the size."""
        # The check of a whole checkpoint tells what an agent's `save` raises.
        with contextlib.suppress(Exception), tempfile.TemporaryDirectory() as folder:
            agent.save(Path(folder))
            self.sizes.append((steps, size(Path(folder))))

    def per_step(self) -> float | None:
        """Return the bytes that each step adds: the least of what was seen between two measures.

        A part that is there at once, such as an optimizer's state, is no growth. None: there have
        been too few measures to tell.
        """
        pairs = zip(self.sizes, self.sizes[1:], strict=False)
        slopes = [(b - a) / (later - sooner) for (sooner, a), (later, b) in pairs if later > sooner]
        return max(min(slopes), 0.0) if len(slopes) > 1 else None

    def largest(self, agent: Any, now: int, steps: int, total: float | None) -> float:
        """Return the bytes of a checkpoint at the end of the run, or when its buffers are full.

        Args:
            agent: as it is now.
            now: bytes of a checkpoint now.
            steps: that it has been trained for.
            total: steps of the whole run; None: no limit.
        """
        arrays, places, rows = arrays_and_rows(agent)
        left = np.inf if total is None else max(total - steps, 0)
        each = self.per_step()
        grown = np.inf if each is None else each * min(left, rows - steps if rows > steps else left)
        # Arrays that were made in advance are saved up to where they are filled.
        made = arrays * min(left / places, 1) if arrays > now else np.inf
        more = min(grown, made)
        return float(now + more) if np.isfinite(more) else float(now)


def arrays_and_rows(agent: Any) -> tuple[int, int, int]:
    """Return what an agent holds: the bytes in all arrays, and how many rows the longest has.

    Then the limit of its longest deque.
    """
    seen: set[int] = set()
    waiting, arrays, places, rows = [agent], 0, 1, 0
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, np.ndarray):
            arrays += value.nbytes if value.base is None else 0
            places = max(places, len(value) if value.ndim else 1)
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, deque):
            rows = max(rows, value.maxlen or 0)  # its growth has been measured
        elif type(value) in (list, tuple) and len(value) < 1000:
            waiting += value
        elif not isinstance(value, type) and type(value).__module__ != "builtins":
            waiting += getattr(value, "__dict__", {}).values()
    return arrays, places, rows


def size(path: Path) -> int:
    """Return the bytes in all files below `path`."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
