"""What is known of an episode without playing it: rewards, actions, and where two runs part."""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_loop.mistake import Failure, Mistake
from gym_loop.runs import parting as between
from gym_loop.runs import traces
from gym_loop.serve import files
from gym_loop.serve.curves import Tables, numbers
from gym_loop.serve.files import RefusedFileError
from gym_loop.serve.library import Entry
from gym_loop.streams import NO_SEED
from gym_loop.sums import total

DRAWN = 1500  # steps; of longer episodes, every k-th
PARTS = 8  # components of an action that are drawn
WORDS = ("best", "worst", "last")


def find(tables: Tables, entry: Entry, kind: str, which: str) -> int:
    """Return the number of the episode that is asked for: a number, best, worst or last.

    Raises:
        Mistake: there is none; the line says why.
    """
    table = tables.read(entry, kind)
    episodes, returns = table.column("episode"), table.column("return")
    if which.isdecimal() and len(which) < 16:
        return int(which)
    if which not in WORDS:
        raise Mistake(f"episode {which!r}: expected a number, best, worst or last")
    if len(episodes) != len(returns):
        raise Mistake("the table of episodes is damaged: it lacks the column episode or return")
    # Of a run that goes on, the last episodes' traces are not kept yet.
    sound = np.isfinite(returns) & np.isfinite(episodes) & (episodes <= _traces(entry, kind).last())
    if len(seeds := table.column("seed")) == len(returns):
        sound &= seeds != NO_SEED
    if not sound.any():
        what = "has ended yet" if not len(returns) else "can be played alone"
        raise Mistake(f"no {traces.KINDS[kind]} episode {what}")
    if which == "last":
        return int(episodes[np.flatnonzero(sound)[-1]])
    chosen = np.where(sound, returns, -math.inf if which == "best" else math.inf)
    return int(episodes[chosen.argmax() if which == "best" else chosen.argmin()])


def load(entry: Entry, kind: str, number: int) -> traces.Trace:
    """Return an episode's trace.

    Raises:
        Mistake, Failure, RefusedFileError: it cannot be played again; the line says why.
    """
    known = _traces(entry, kind)
    with _without_command_line(entry):
        path, _ = next(iter(known.chunks([number], 1)))
    with _damage_told(f"traces/{path.name}"):
        (trace,) = traces.episodes(traces.load(path), [number])
    if trace.seed == NO_SEED:
        raise Mistake(
            f"episode {number} was begun without a seed of its own, by a vector environment itself "
            "or by a wrapper that loses it, and cannot be played alone"
        )
    return trace


@contextlib.contextmanager
def _damage_told(what: str) -> Iterator[None]:
    """Raise a Failure that says `what` is damaged for any error of reading traces in the block."""
    try:
        yield
    except (Failure, RefusedFileError, OSError):
        raise
    except Exception as error:  # whatever stands there for an action
        raise Failure(f"{what} is damaged: {error}") from error


def _traces(entry: Entry, kind: str) -> traces.Traces:
    files.check_traces(entry.directory, kind)
    with _without_command_line(entry):
        return traces.Traces(entry.directory, kind)


@contextlib.contextmanager
def _without_command_line(entry: Entry) -> Iterator[None]:
    """Leave the run's path and the command line's options out of a mistake's message."""
    try:
        yield
    except Mistake as mistake:
        message = mistake.message.replace(str(entry.directory), "this run")
        raise Mistake(message.replace(": --eval", "").replace(": leave out --eval", "")) from None


def facts(trace: traces.Trace) -> dict[str, Any]:
    """Return what is drawn below an episode's picture, as JSON can hold it."""
    length = len(trace.rewards)
    with np.errstate(all="ignore"):  # rewards may be infinite, or too many for a float
        returns = np.cumsum(trace.rewards)
    every = max(math.ceil(length / DRAWN), 1)
    parts: list[dict[str, Any]] = []
    for name, table in _numeric(trace.actions):
        for place in range(min(table.shape[1], PARTS - len(parts))):
            parts.append(
                {
                    "name": name.removeprefix("action").removeprefix(".")
                    + (f"[{place}]" if table.shape[1] > 1 else ""),
                    "y": numbers(table[::every, place]),
                    "whole": bool((table[:, place] % 1 == 0).all()),
                }
            )
    return {
        "episode": trace.episode,
        "length": length,
        "return": numbers(np.array([total(trace.rewards.tolist())]))[0],
        "seed": trace.seed,
        "ended": "terminated" if trace.terminated else "truncated" if trace.truncated else "",
        "every": every,
        "rewards": numbers(trace.rewards[::every]),
        "returns": numbers(returns[::every]),
        "actions": parts,
    }


def _numeric(actions: list[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the parts of actions that are numbers in every step: name, (steps, numbers).

    Dicts, and tuples of parts that differ in shape, are taken apart.
    """
    pending = [("action", actions)]
    while pending:
        name, values = pending.pop(0)
        first = values[0] if len(values) else None
        keys: Iterable[Any] = first if isinstance(first, dict) else ()
        try:
            yield name, np.asarray(values, float).reshape(len(values), -1)
            continue
        except (TypeError, ValueError):
            if isinstance(first, tuple | list):
                keys = range(len(first))
        with contextlib.suppress(LookupError, TypeError):  # not the same parts in every step
            pending += [(f"{name}.{key}", [value[key] for value in values]) for key in keys]


Recorded = tuple[int, dict[str, Any], Callable[[], list[traces.Trace]]]


def _all(entry: Entry, kind: str) -> Iterator[Recorded]:
    """Yield each episode's number, the arrays that are kept of it, and what makes its trace."""
    for _, path in _traces(entry, kind).files:
        arrays = traces.load(path)
        ends = np.cumsum(arrays["length"])
        columns = {name: arrays[name] for name in arrays if name.partition(".")[0] == "action"}
        if "json" in arrays:
            columns["json"] = _texts(arrays["json"], arrays["json_length"])
        columns["reward"] = arrays["reward"]
        for row, number in enumerate(arrays["episode"].tolist()):
            part = slice(int(ends[row] - arrays["length"][row]), int(ends[row]))
            content = {name: column[part] for name, column in columns.items()}
            content |= {name: arrays[name][row] for name in ("seed", "terminated", "truncated")}
            yield number, content, functools.partial(traces.episodes, arrays, [number])


def _texts(data: NDArray[Any], lengths: NDArray[Any]) -> NDArray[Any]:
    """Return the actions that are kept as JSON, one object for each step."""
    text, ends = data.tobytes(), np.cumsum(lengths, dtype=np.int64).tolist()
    return np.array([text[i:j] for i, j in itertools.pairwise([0, *ends])], object)


def parting(one: Entry, two: Entry, kind: str) -> dict[str, Any]:
    """Return the first episode and step in which two runs differ, and in what.

    Raises:
        Mistake, Failure, RefusedFileError: one has no traces; the line says why.
    """
    with _damage_told("a trace of one of the two runs"):
        return _first_difference(_all(one, kind), _all(two, kind))


def _first_difference(one: Iterator[Recorded], two: Iterator[Recorded]) -> dict[str, Any]:
    last = -1
    for a, b in itertools.zip_longest(one, two):
        if a is None or b is None:
            if last < 0:
                break
            ended = "first" if a is None else "second"
            return _parted(last, None, f"they are the same as far as the {ended} goes")
        if a[0] != b[0]:
            return _parted(min(a[0], b[0]), 0, "only one of them kept this episode")
        last = a[0]
        if not _equal(a[1], b[1]):
            (here,), (there,) = a[2](), b[2]()
            if found := between.of_traces(here, there):
                return _parted(last, found["step"], between.difference(found))
    return _parted(last, None, "they are the same in every episode")


def _parted(episode: int, step: int | None, what: str) -> dict[str, Any]:
    return {"episode": max(episode, 0), "step": step, "what": what}


def _equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Return whether the arrays of two episodes are equal; NaN is itself."""
    return a.keys() == b.keys() and all(
        np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in a
    )
