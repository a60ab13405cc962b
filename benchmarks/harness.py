"""Two sides take turns, A B A B; medians of the ratios of neighbours, with quartiles."""

import gc
import importlib.metadata
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("gym", "gymnasium", "numpy", "hydra-core", "stable-baselines3", "torch")
HEADER = (
    "| what | against | goal | measured | by processor time | both |\n|---|---|---|---|---|---|"
)


@dataclass
class Row:
    """One line of the table. `met` is None where there is no goal, or nothing was measured."""

    what: str
    against: str
    goal: str
    measured: str
    met: bool | None = None
    by_cpu: str = ""
    both: str = ""

    def __str__(self) -> str:
        verdict = {True: "", False: " (missed)", None: ""}[self.met]
        cells = (
            self.what,
            self.against,
            self.goal + verdict,
            self.measured,
            self.by_cpu,
            self.both,
        )
        return "| " + " | ".join(cells) + " |"


@dataclass
class Cost:
    """Seconds that something took, on the wall and of the processor; bytes at the peak."""

    wall: float
    cpu: float
    memory: float = 0.0


@dataclass
class Pairs:
    """What two sides cost, turn by turn."""

    ours: list[Cost]
    rival: list[Cost]

    def times_as_fast(self, clock: str = "wall") -> list[float]:
        """Return, for each turn, our speed over the rival's."""
        both = zip(self.ours, self.rival, strict=True)
        return [getattr(b, clock) / getattr(a, clock) for a, b in both]

    def times_the_cost(self, clock: str = "wall") -> list[float]:
        """Return, for each turn, our time over the rival's."""
        return [1 / ratio for ratio in self.times_as_fast(clock)]

    def extra(self, clock: str = "wall") -> list[float]:
        """Return, for each turn, the seconds that ours took longer."""
        both = zip(self.ours, self.rival, strict=True)
        return [getattr(a, clock) - getattr(b, clock) for a, b in both]

    def both(self, unit: str, scale: float) -> str:
        """Return the two medians on the wall."""
        a, b = (statistics.median(cost.wall for cost in side) for side in (self.ours, self.rival))
        return f"{a * scale:.3g} and {b * scale:.3g} {unit}"


def take_turns(ours: Callable[[], Cost], rival: Callable[[], Cost], turns: int) -> Pairs:
    """Measure both sides `turns` times after a turn that warms up."""
    pairs = Pairs([], [])
    for turn in range(turns + 1):
        for side, costs in ((ours, pairs.ours), (rival, pairs.rival)):
            gc.collect()
            cost = side()
            if turn:
                costs.append(cost)
    return pairs


class Apart:
    """A side in a process of its own, as it is for whoever runs it.

    In one process the sides would be in each other's way: CPython adapts its code to the objects
    that it sees, and those of a run that has been pickled are laid out in another way.
    """

    def __init__(self, make: Callable[[], Callable[[], float]]) -> None:
        """Start the process, in which `make` makes the side."""
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(make, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def block(self) -> tuple[float, float, float]:
        """Do a block; return units, seconds on the wall and of the processor."""
        self.pipe.send(True)
        units, wall, cpu = self.pipe.recv()
        return units, wall, cpu

    def close(self) -> None:
        """End the process."""
        self.pipe.send(False)
        self.process.join()


def _serve(make: Callable[[], Callable[[], float]], pipe: Any) -> None:
    side = make()
    pipe.send(None)
    while pipe.recv():
        pipe.send(_block(side))
    getattr(side, "close", lambda: None)()


def _block(side: Callable[[], float]) -> tuple[float, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    units = side()
    return units, time.perf_counter() - wall, time.process_time() - cpu


def side_by_side(blocks: int, *sides: Callable[[], float] | Apart) -> list[Cost]:
    """Return what a unit of each side's work costs, the sides taking turns `blocks` times.

    A call of a side does a block of its work, best of a twentieth of a second, and returns how many
    units that was. What else the machine does for longer reaches all sides alike.
    """
    totals, units = [Cost(0.0, 0.0) for _ in sides], [0.0 for _ in sides]
    for _ in range(blocks):
        for i, side in enumerate(sides):
            done, wall, cpu = side.block() if isinstance(side, Apart) else _block(side)
            units[i] += done
            totals[i].wall += wall
            totals[i].cpu += cpu
    return [Cost(t.wall / n, t.cpu / n) for t, n in zip(totals, units, strict=True)]


def apart(blocks: int, *makers: Callable[[], Callable[[], float]]) -> list[Cost]:
    """Return the same of sides that are made and played each in a process of its own."""
    sides = [Apart(make) for make in makers]
    costs = side_by_side(blocks, *sides)
    for side in sides:
        side.close()
    return costs


def every_turn(sides: Callable[[], Sequence[Cost]], turns: int) -> list[Sequence[Cost]]:
    """Return what the sides cost in each of `turns`, long enough to need no warming up."""
    measured = []
    for _ in range(turns):
        gc.collect()
        measured.append(sides())
    return measured


def turns_of(both: Callable[[], Sequence[Cost]], turns: int) -> Pairs:
    """Return the same of two sides."""
    return Pairs(*map(list, zip(*every_turn(both, turns), strict=True)))


def timed(work: Callable[[], float]) -> Cost:
    """Return what one unit of `work` cost; it returns how many units it did."""
    wall, cpu = time.perf_counter(), time.process_time()
    units = work()
    return Cost((time.perf_counter() - wall) / units, (time.process_time() - cpu) / units)


def process(command: Sequence[str], cwd: str | Path | None = None) -> Cost:
    """Run a command to its end, quietly; children count towards processor time."""
    # As for anybody else, modules are compiled once.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPATH"] = str(ROOT)
    began = time.perf_counter()
    with tempfile.TemporaryFile() as complaints:
        running = subprocess.Popen(
            command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=complaints
        )
        _, status, usage = os.wait4(running.pid, 0)
        wall = time.perf_counter() - began
        running.returncode = os.waitstatus_to_exitcode(status)
        if running.returncode:
            complaints.seek(0)
            sys.exit(f"failed: {' '.join(command)}\n{complaints.read().decode()}")
    scale = 1 if sys.platform == "darwin" else 1024
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale)


def launch(*words: str, cwd: str | Path | None = None) -> Cost:
    """Run `python -m gym_loop WORDS`."""
    return process([sys.executable, "-m", "gym_loop", *words], cwd)


def spread(values: Iterable[float], digits: str = ".2f", unit: str = "") -> str:
    """Return the median, and the quartiles in brackets."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:{digits}}{unit} ({low:{digits}} to {high:{digits}})"


def skipped(what: str, against: str, goal: str, reason: str) -> Row:
    """Return the row of something that could not be measured."""
    return Row(what, against, goal, f"not measured: {reason}")


def machine() -> str:
    """Return what the figures were measured with."""
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    where = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, load {load}"
    return f"{datetime.now():%Y-%m-%d %H:%M}; {where}; {', '.join(versions)}"


def show(rows: Iterable[Row]) -> None:
    """Print a table of rows as they come."""
    print(f"{machine()}\n\n{HEADER}", flush=True)
    for row in rows:
        print(row, flush=True)
