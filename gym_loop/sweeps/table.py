"""Progress of a sweep: a live table on a terminal, elsewhere a line now and then."""

import itertools
import math
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from gym_loop import terminal
from gym_loop.runs import tables
from gym_loop.runs.reading import BYTES_OF_ROWS, WINDOW
from gym_loop.sweeps.directory import Job

REFRESH_SECONDS, LOG_SECONDS = 0.25, 30.0
LOOKED_AT = 64  # running jobs, at most, by which the time left is estimated
STATES = ("finished", "skipped", "failed", "stopped", "held", "new")
WORDS = {"finished": "done", "held": "running elsewhere", "new": "not started"}


class Table:
    """Shows the jobs that run, and how many are done.

    Costs the same for ten jobs and for ten thousand: only what runs is looked at, and of that
    no more than fits on the terminal.
    """

    def __init__(self, total: int, skipped: int = 0) -> None:
        self.total, self.counts = total, Counter(skipped=skipped)
        self.began = time.monotonic()
        self.due = self.began + LOG_SECONDS
        self.live: Any = None

    def __enter__(self) -> "Table":
        if terminal.is_watched():
            self.live = terminal.live(auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live:
            self.live.stop()

    def end(self, job: Job) -> None:
        """Count a job that has ended, and name it when it failed."""
        self.counts[job.state] += 1
        if job.state == "failed":
            self.say(f"failed: {job.name}: {job.reason}")

    def show(self, running: Collection[Job]) -> None:
        """Update the table, or print a line when it is time to."""
        now = time.monotonic()
        if self.live:
            self.live.update(self.render(running, now), refresh=True)
        elif now >= self.due:
            left = self.left(running, now)
            self.say(f"{self.status()}, {number_of(len(running))} running, {left} left")
            self.due = now + LOG_SECONDS

    def say(self, line: str) -> None:
        """Print a line, above the table if there is one."""
        if self.live:
            self.live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    @property
    def done(self) -> int:
        """How many jobs have ended, in whatever way."""
        return self.counts.total()

    def status(self) -> str:
        """Return `12 of 64 jobs, 2 failed`."""
        failed = f", {self.counts['failed']} failed" if self.counts["failed"] else ""
        return f"{self.done} of {number_of(self.total)}{failed}"

    def left(self, running: Collection[Job], now: float) -> str:
        """Return how long the rest will take, by the jobs that have ended and how far others are.

        Jobs that were done before this launch say nothing of its pace.
        """
        before = self.counts["skipped"]
        shares = sum(share(job) for job in itertools.islice(running, LOOKED_AT))
        done = self.done - before + shares
        return time_left(now - self.began, done, self.total - before)

    def render(self, running: Collection[Job], now: float) -> Any:
        """Return what the terminal is to show."""
        from rich import box
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table as Grid

        grid = Grid(box=box.SIMPLE, expand=True)
        grid.add_column("job", overflow="ellipsis", no_wrap=True, ratio=1)
        for title in ("on", "episode", "return, last 100", "time left"):
            grid.add_column(title, justify="right", no_wrap=True)
        room = max(self.live.console.size.height - 8, 1)
        for job in list(running)[:room]:
            grid.add_row(job.label or job.name, job.place, *progress(job))
        if len(running) > room:
            grid.add_row(f"... and {len(running) - room} more", "", "", "", "")
        bar = Grid.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        left = self.left(running, now)
        bar.add_row(ProgressBar(self.total, self.done), f"{self.status()}, {left} left")
        return Group(grid, bar)


def progress(job: Job) -> tuple[str, str, str]:
    """Return a running job's episode, mean return of the last 100, and time left."""
    of = f"/{job.episodes}" if job.episodes is not None else ""
    rows = last_rows(job, WINDOW)
    if not rows:
        return f"0{of}", "", ""
    episode, mean = int(rows[-1]["episode"]) + 1, sum(row["return"] for row in rows) / len(rows)
    seconds = rows[-1][tables.CLOCK]
    left = time_left(seconds, episode, job.episodes) if job.episodes is not None else ""
    return f"{episode}{of}", f"{mean:.6g}", left


def share(job: Job) -> float:
    """Return the part of its episodes, 0 to 1, that a running job has played; 0 without a limit."""
    rows = last_rows(job, 1) if job.episodes else []
    return min((rows[-1]["episode"] + 1) / job.episodes, 1.0) if rows and job.episodes else 0.0


def last_rows(job: Job, most: int) -> list[tables.Row]:
    """Return the last rows of a job's episodes.csv, at most `most`; none if it has none yet."""
    names, size = ("episode", "return", tables.CLOCK), BYTES_OF_ROWS * most // WINDOW + 512
    try:
        return tables.tail(job.directory, tables.EPISODES, names, size, most).rows
    except (OSError, LookupError):
        return []


def time_left(seconds: float, done: float, total: float) -> str:
    """Return how long the rest will take at the pace so far."""
    return terminal.duration(seconds / done * max(total - done, 0)) if done else "?"


def summary(directory: Path, jobs: Sequence[Job]) -> str:
    """Return the table at the end: how many jobs are in each state, and why some did not finish."""
    counts = Counter(job.state for job in jobs)
    parts = [f"{counts[state]} {WORDS.get(state, state)}" for state in STATES[:3]]
    parts += [f"{counts[state]} {WORDS.get(state, state)}" for state in STATES[3:] if counts[state]]
    lines = [f"{directory}: {number_of(len(jobs))}: {', '.join(parts)}"]
    told = [job for job in jobs if job.state in ("failed", "stopped")]
    rows = columns((job.state, job.name, job.reason) for job in told)
    width = terminal.width() or math.inf
    for job, row in zip(told, rows, strict=True):
        log = str(job.log)
        lines += [f"{row}  {log}"] if len(row) + 2 + len(log) <= width else [row, f"  log: {log}"]
    return "\n".join(lines)


def number_of(jobs: int) -> str:
    """Return `1 job` or `12 jobs`."""
    return f"{jobs} job" if jobs == 1 else f"{jobs} jobs"


def listing(jobs: Collection[Job]) -> str:
    """Return a line for each job: its state and its name."""
    words = {"new": "new", "finished": "done", "running": "killed"}
    states = (str(job.where or words.get(job.state, job.state)) for job in jobs)
    return "\n".join(columns(zip(states, (job.name for job in jobs), strict=True)))


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the rows as lines, each column as wide as its longest field."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(field.ljust(width) for field, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
