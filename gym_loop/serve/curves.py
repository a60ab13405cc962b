"""Curves of runs: smoothed, decimated for a screen, averaged over seeds; exact where zoomed in.

A point of a curve is an episode, or an evaluation's episodes, so that it can be watched.
"""

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_loop.reports import statistics
from gym_loop.runs import compare, reading
from gym_loop.runs.tables import EPISODES, EVALUATIONS, inside, open_file
from gym_loop.serve import files
from gym_loop.serve.files import RefusedFileError, Stamp
from gym_loop.serve.library import Entry
from gym_loop.terminal import printable

Array = NDArray[np.float64]

KEPT_BYTES = 200_000_000  # of tables in memory
POINTS = 600  # of a line, at most: a screen has few more columns
ALL_POINTS = 24_000  # of all lines together
LEAST_POINTS = 80
GRID = 200  # points of a mean over seeds
KEPT_GROUPS = 100  # drawn ones
MOST_BYTES = 8_000_000  # of events whose names are listed
BLOCK = 16_000_000  # bytes of a table that are parsed at once
IN_TABLES = ("return", "length")  # metrics of every run's tables
AXES = {"steps": "steps", "episodes": "episode", "hours": "seconds"}
KINDS = ("train", "eval")
SEAM = 64  # bytes before a table's end that have to be as they were for it to have only grown


@dataclass
class Table:
    """The rows of a CSV file that have been read so far."""

    stamp: Stamp
    header: list[str]
    end: int  # of the whole rows, in bytes
    seam: bytes  # the last bytes before `end`
    values: Array  # (columns, rows): what is drawn is a column or two

    def column(self, name: str) -> Array:
        """Return a column, empty where there is none of that name."""
        if name not in self.header:
            return np.empty(0)
        found: Array = self.values[self.header.index(name)]
        return found


@dataclass
class Line:
    """A run's curve: `first` to `last` are the episodes behind a point."""

    x: Array
    y: Array
    first: Array
    last: Array


EMPTY = Line(*(np.empty(0),) * 4)


@dataclass(frozen=True)
class View:
    """What is drawn.

    Attributes:
        kind: "train" or "eval".
        metric: `return`, `length`, one of the runs' `loop.info_keys`, or a tag of their TensorBoard
            events.
        axis: steps, episodes or hours.
        window: episodes that a point of training is the mean of.
        low, high: the stretch of the axis, None: all of it.
    """

    kind: str
    metric: str
    axis: str
    window: int = 1
    low: float | None = None
    high: float | None = None


class Tables:
    """Tables of episodes, kept in memory as they grow; the least used are forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Table] = OrderedDict()
        self._drawn: OrderedDict[Any, tuple[Any, dict[str, Any]]] = OrderedDict()
        self._events: OrderedDict[str, tuple[Any, dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, entry: Entry, kind: str) -> Table:
        """Return the table of a run's training or evaluation episodes.

        Raises:
            RefusedFileError: the file is none of a run's.
        """
        name = EPISODES if kind == "train" else EVALUATIONS
        path = str(entry.directory / name)
        stamp = files.stamp(path)
        if stamp is None:
            return Table((0, 0, 0), [], 0, b"", np.empty((0, 0)))
        with self._lock:
            known = self._known.get(path)
            if known is None or known.stamp != stamp:
                known = self._known[path] = _read_table(Path(path), stamp, known)
            self._known.move_to_end(path)
            sizes = [table.values.nbytes for table in self._known.values()]
            while len(self._known) > 1 and sum(sizes) > KEPT_BYTES:
                self._known.popitem(last=False)
                del sizes[0]
            return known

    def drawn(self, key: Any, stamps: Any) -> dict[str, Any] | None:
        """Return a group as it was drawn, if its tables are as they were then."""
        with self._lock:
            known = self._drawn.get(key)
            return known[1] if known and known[0] == stamps else None

    def keep_drawn(self, key: Any, stamps: Any, content: dict[str, Any]) -> None:
        """Keep what was drawn of a group, and forget the oldest."""
        with self._lock:
            self._drawn[key] = stamps, content
            self._drawn.move_to_end(key)
            while len(self._drawn) > KEPT_GROUPS:
                self._drawn.popitem(last=False)

    def events(self, entry: Entry, kind: str) -> dict[str, list[tuple[int, float]]]:
        """Return the scalars that a run has written for TensorBoard: tag -> (step, value).

        Raises:
            RefusedFileError: a file is none of a run's.
        """
        folder = events_folder(entry, kind)
        paths = sorted(folder.glob("events.out.tfevents.*"))
        stamps = [files.stamp(path) for path in paths]
        with self._lock:
            known = self._events.get(str(folder))
            if known is None or known[0] != stamps:
                known = stamps, compare.read_events(folder)
                self._events[str(folder)] = known
                while len(self._events) > 50:
                    self._events.popitem(last=False)
            return known[1]


def _read_table(path: Path, stamp: Stamp, known: Table | None) -> Table:
    """Read a table, or only what has been appended to one that is known."""
    with open_file(path.parent, path.name) as file:
        # Where no line had ended, a resume had cut the file to nothing, or the disk was full.
        if known and known.stamp[0] == stamp[0] and known.seam.endswith(b"\n"):
            file.seek(known.end - len(known.seam))
            known = known if file.read(len(known.seam)) == known.seam else None
        else:
            known = None
        if known is None:
            file.seek(0)
            header = file.readline(1000)
            names = header.decode("ascii", "replace").strip().split(",")
            known = Table(stamp, names, len(header), header[-SEAM:], np.empty((len(names), 0)))
        parts, end, seam, rest = [known.values], known.end, known.seam, b""
        while end + len(rest) < stamp[1] and (block := file.read(BLOCK)):
            data = rest + block
            whole, rest = data[: (cut := data.rfind(b"\n") + 1)], data[cut:]
            parts.append(parse(whole, len(known.header)).T)
            end, seam = end + len(whole), (seam + whole[-SEAM:])[-SEAM:]
    values = np.ascontiguousarray(np.concatenate(parts, axis=1))
    return Table(stamp, known.header, end, seam, values)


def parse(data: bytes, width: int) -> Array:
    """Return the numbers of whole rows, (rows, `width`); rows that are damaged are left out."""
    rows = data.count(b"\n")
    if not rows:
        return np.empty((0, width))
    if data.count(b",") == rows * (width - 1):
        try:
            values = np.fromstring(data.replace(b"\n", b",")[:-1].decode("ascii"), sep=",")
            if values.size == rows * width:
                return values.reshape(rows, width)
        except (ValueError, DeprecationWarning):
            pass  # a cell is no number: each row is looked at below
    sound = []
    for line in data.split(b"\n"):
        cells = line.split(b",")
        if len(cells) == width:
            try:
                sound.append([float(cell) for cell in cells])
            except ValueError:
                continue
    return np.array(sound).reshape(len(sound), width)


def line(tables: Tables, entry: Entry, view: View) -> Line:
    """Return a run's whole curve."""
    table = tables.read(entry, view.kind)
    if not _is_column(entry, view.metric):
        return _event_line(tables, entry, view)
    y, episode = table.column(view.metric), table.column("episode")
    if view.kind == "eval":
        count = 0 if entry.row.get("state") == "finished" else entry.row.get("eval_episodes") or 0
        return _evaluations(table, y, view.axis, count, view.metric not in IN_TABLES)
    x = _axis(table, view.axis)
    if not len(y) == len(x) == len(episode):
        return EMPTY
    return Line(x, rolling(y, view.window), episode, episode)


def _is_column(entry: Entry, metric: str) -> bool:
    """Return whether a metric is in a run's tables; if not, it may be in TensorBoard's events."""
    return metric in IN_TABLES or metric in entry.row.get("info_keys", ())


def _axis(table: Table, axis: str) -> Array:
    return table.column(AXES[axis]) / (3600 if axis == "hours" else 1)


def _evaluations(table: Table, y: Array, axis: str, count: int, has_gaps: bool) -> Line:
    """Return one point an evaluation of `count` episodes, 0 if unknown: the mean over them.

    One that goes on, or that the process's end has cut, has no point. If `y` `has_gaps`, NaN is no
    value, and left out of the mean.
    """
    at, episode, steps, seconds = (
        table.column(name) for name in ("at_episode", "episode", "steps", "seconds")
    )
    whole = len(at) - reading.rows_of_a_cut(at.tolist(), count)
    if len(at) != len(y) or not whole:
        return EMPTY
    at, episode, steps, seconds, y = (c[:whole] for c in (at, episode, steps, seconds, y))
    starts = np.flatnonzero(np.r_[True, (np.diff(at) != 0) | (np.diff(steps) != 0)])
    counts = np.diff(np.r_[starts, len(y)])
    ends = starts + counts - 1
    x = {"steps": steps, "episodes": at, "hours": seconds / 3600}[axis][ends]
    if has_gaps:
        counts = np.add.reduceat((~np.isnan(y)).astype(float), starts)
        counts[counts == 0] = np.nan
        y = np.nan_to_num(y, nan=0.0)
    return Line(x, np.add.reduceat(y, starts) / counts, episode[starts], episode[ends])


def _event_line(tables: Tables, entry: Entry, view: View) -> Line:
    points = tables.events(entry, view.kind).get(view.metric, [])
    steps = np.array([step for step, _ in points], float)
    y = np.array([value for _, value in points], float)
    y = rolling(y, view.window if view.kind == "train" else 1)
    table = tables.read(entry, "train")
    known, episode = table.column("steps"), table.column("episode")
    nobody = np.full(len(y), -1.0)  # no episode that could be watched
    if not len(known):
        return Line(steps, y, nobody, nobody)
    place = np.minimum(np.searchsorted(known, steps), len(known) - 1)
    x = steps if view.axis == "steps" else np.interp(steps, known, _axis(table, view.axis))
    watched = episode[place] if view.kind == "train" else nobody
    return Line(x, y, watched, watched)


def rolling(y: Array, window: int) -> Array:
    """Return the mean of each value and those before it, `window` in all; NaN is left out."""
    if window <= 1 or not len(y):
        return y
    sound = np.isfinite(y)
    if sound.all():
        sums, means = np.cumsum(y), np.empty(len(y))
        means[:window] = sums[:window] / np.arange(1, len(sums[:window]) + 1)
        np.subtract(sums[window:], sums[:-window], out=means[window:])
        means[window:] /= window
        return means
    sums = np.cumsum(np.where(sound, y, 0.0))
    counts = np.cumsum(sound).astype(float)
    sums[window:] -= sums[:-window].copy()
    counts[window:] -= counts[:-window].copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, sums / counts, np.nan)


def within(whole: Line, low: float | None, high: float | None) -> Line:
    """Return the part of a curve between two x, and the neighbours to which its line goes on."""
    if low is None or high is None or not len(whole.x):
        return whole
    start = max(int(np.searchsorted(whole.x, low)) - 1, 0)
    end = int(np.searchsorted(whole.x, high, "right")) + 1
    part = slice(start, end)
    return Line(whole.x[part], whole.y[part], whole.first[part], whole.last[part])


def decimated(whole: Line, most: int) -> Line:
    """Return about `most` points, at most, that look the same on a screen.

    Of each stretch of the x-axis they are the first, the last, the lowest and the highest (M4,
    Jugel et al. 2014).
    """
    count = len(whole.x)
    if count <= most:
        return whole
    edges = np.linspace(whole.x[0], whole.x[-1], max(most // 4, 1), endpoint=False)
    starts = np.unique(np.searchsorted(whole.x, edges))
    ends = np.r_[starts[1:], count]
    sound = np.isfinite(whole.y)
    y = whole.y if sound.all() else np.where(sound, whole.y, 0.0)
    kept = {0, count - 1}
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        part = y[start:end]
        kept |= {start, end - 1, start + int(part.argmin()), start + int(part.argmax())}
    chosen = np.array(sorted(kept))
    return Line(whole.x[chosen], whole.y[chosen], whole.first[chosen], whole.last[chosen])


def draw(tables: Tables, groups: list[list[Entry]], view: View) -> list[dict[str, Any]]:
    """Return for each group its seeds' lines and their mean, as JSON can hold them."""
    count = sum(map(len, groups))
    most = min(max(ALL_POINTS // max(count, 1), LEAST_POINTS), POINTS)
    drawn = []
    for group in groups:
        # Of a group whose tables are as they were, nothing is worked out again.
        key = view, most, tuple(entry.id for entry in group)
        stamps = tuple((entry.stamps, entry.row.get("state")) for entry in group)
        content = tables.drawn(key, stamps)
        if content is None or not all(_is_column(entry, view.metric) for entry in group):
            content = _draw_group(tables, group, view, most)
            tables.keep_drawn(key, stamps, content)
        drawn.append(content)
    return drawn


def _draw_group(tables: Tables, group: list[Entry], view: View, most: int) -> dict[str, Any]:
    seeds, whole, refused = [], list[tuple[Line, bool]](), []
    for entry in group:
        try:
            own = line(tables, entry, view)
            order = np.isfinite(own.x)
            if not order.all() or (own.x[1:] < own.x[:-1]).any():
                order = np.flatnonzero(order)[np.argsort(own.x[order], kind="stable")]
                own = Line(own.x[order], own.y[order], own.first[order], own.last[order])
        except Exception as error:  # whatever lies there, the others' curves are drawn
            refused.append(f"{entry.row['name']}: {printable(error)}")
            continue
        if not len(own.x):
            continue
        whole.append((own, entry.row.get("state") in ("failed", "dead", "damaged")))
        part = decimated(within(own, view.low, view.high), most)
        seeds.append(
            {
                "id": entry.id,
                "seed": entry.row.get("seed"),
                "of": len(own.x),
                "x": numbers(part.x),
                "y": numbers(part.y),
                "first": numbers(part.first),
                "last": numbers(part.last),
            }
        )
    indexed = view.kind == "eval" and all(_is_column(entry, view.metric) for entry in group)
    return {"seeds": seeds, "refused": refused, **_mean(whole, indexed, view.low, view.high)}


def _mean(
    lines: list[tuple[Line, bool]], indexed: bool, low: float | None, high: float | None
) -> dict[str, Any]:
    """Return the mean over seeds with its interval, as far as every seed goes.

    A seed that failed ends nothing: it counts as far as it went. Where the others are fewer, what
    is left would be the mean of the survivors, so the line ends.

    Args:
        lines: whole curves, and whether the run broke off.
        indexed: the k-th points belong together, whatever their x; else they are interpolated to a
            grid by the last value before it.
        low: where the grid begins, None: where all lines have begun.
        high: where it ends at the latest.
    """
    nothing: dict[str, Any] = {"x": [], "mean": [], "low": [], "high": [], "count": []}
    going = [own for own, broken in lines if not broken] or [own for own, _ in lines]
    if len(lines) < 2 or not going:
        return nothing
    if indexed:
        length = min(len(own.x) for own in going)
        x = np.mean([own.x[:length] for own in going], axis=0)
        rows = [
            np.r_[own.y[:length], np.full(max(length - len(own.y), 0), np.nan)] for own, _ in lines
        ]
    else:
        start = max(own.x[0] for own in going) if low is None else low
        end = min(own.x[-1] for own in going)
        end = end if high is None else min(end, high)
        if end < start:
            return nothing
        x = np.linspace(start, end, GRID)
        rows = []
        for own, _ in lines:
            place = np.searchsorted(own.x, x, "right") - 1
            values = own.y[np.maximum(place, 0)]
            rows.append(np.where((place >= 0) & (x <= own.x[-1]), values, np.nan))
    values = np.array(rows)
    sound = np.isfinite(values)
    counts = sound.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.where(sound, values, 0.0).sum(axis=0) / counts
    bounds = statistics.mean_interval(values) if sound.all() else None
    low_bound, high_bound = bounds if bounds is not None else (np.full(len(x), np.nan),) * 2
    return {
        "x": numbers(x),
        "mean": numbers(mean),
        "low": numbers(low_bound),
        "high": numbers(high_bound),
        "count": counts.tolist(),
    }


def numbers(values: Array) -> list[Any]:
    """Return numbers as JSON can hold them; None for what is none."""
    sound = np.isfinite(values)
    if not sound.all():
        pairs = zip(values.tolist(), sound.tolist(), strict=True)
        return [value if is_one else None for value, is_one in pairs]
    whole = (values == np.floor(values)) & (np.abs(values) < 2**53)
    listed: list[Any] = (values.astype(np.int64) if whole.all() else values).tolist()
    return listed


def events_folder(entry: Entry, kind: str) -> Path:
    """Return the folder of a run's TensorBoard events.

    Raises:
        RefusedFileError: it is a link, or lies outside of the run's directory.
    """
    name = str(entry.row.get("logdirs", {}).get(kind, ""))
    folder = entry.directory / name
    if not name or inside(entry.directory, name) is None:
        raise RefusedFileError("TensorBoard's events lie outside of the run's directory")
    files.check_folder(folder)
    return folder


def tags(tables: Tables, entry: Entry) -> dict[str, list[str]]:
    """Return the further metrics of a run by kind: its info keys, and its TensorBoard scalars.

    None of the latter of very long runs.
    """
    keys, found = entry.row.get("info_keys", []), dict[str, list[str]]()
    for kind in KINDS:
        found[kind] = [*keys]
        usual = {f"{kind}/{name}" for name in (*IN_TABLES, *keys)}
        try:
            paths = events_folder(entry, kind).glob("events.out.tfevents.*")
            if sum(os.lstat(path).st_size for path in paths) > MOST_BYTES:
                continue
            names = [printable(tag) for tag in tables.events(entry, kind)]
        except (RefusedFileError, OSError, ValueError):
            continue
        found[kind] += [name for name in names if name not in usual]
    return found
