"""Traces: what it takes to play an episode again, in `traces/train-000000.npz` and the like.

A file holds some hundreds of episodes and is named by the first of them. Its arrays are

| array | shape | what |
|---|---|---|
| `episode`, `seed`, `length` | (episodes,) | number in the run, reset seed, count of steps |
| `terminated`, `truncated` | (episodes,) bool | how the episode ended |
| `reward` | (steps,) float | of each step, the episodes one after the other |
| `action` | (steps, ...) | as the environment got it; integers in the smallest type they fit |

An action that is a tuple or a dict has an array for each part: `action.0`, `action.gripper`.
Where the agent gave arrays of several types, `dtype.action` says which each step had.
"""

import bisect
import contextlib
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gym_loop.mistake import Failure, Mistake

Array = npt.NDArray[Any]
# One part of an episode's actions: a row for each step or, where types differ, an array for each.
Column = Array | list[Array]

# An episode's number, seed, length, and whether it was terminated and truncated.
Row = tuple[int, int, int, bool, bool]

FOLDER = "traces"
KINDS = {"train": "training", "eval": "evaluation"}
PER_EPISODE = ("episode", "seed", "length", "terminated", "truncated")
TYPES = "dtype."  # and the name of an action's array
INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4", "i8")
COMPRESSION = 1  # level 6 takes four times as long for 10 % fewer bytes


@dataclass(slots=True)
class Trace:
    """One episode: its number in the run, and what it takes to play and to check it again."""

    episode: int
    seed: int
    actions: dict[str, Column]
    rewards: Array
    terminated: bool
    truncated: bool

    def action(self, step: int, space: Any) -> Any:
        """Return the action of a step, as an element of the environment's `action_space`."""
        return self._part("action", step, space)

    def _part(self, name: str, step: int, space: Any) -> Any:
        parts = getattr(space, "spaces", None)
        if isinstance(parts, Mapping):
            return {key: self._part(f"{name}.{key}", step, part) for key, part in parts.items()}
        if parts is not None:
            numbered = enumerate(parts)
            return tuple(self._part(f"{name}.{i}", step, part) for i, part in numbered)
        value = self.actions[name][step]
        return int(value) if value.shape == () and value.dtype.kind in "iub" else value


def gather(rows: list[Row], actions: list[Any], rewards: list[float]) -> dict[str, Array]:
    """Return the arrays of a file: a row for each episode, then the steps of all of them.

    Raises:
        ValueError: actions that no plain array can hold, or with parts that come and go.
    """
    table = np.array(rows, np.int64).T
    arrays = dict(zip(PER_EPISODE, table, strict=True))
    for name in ("terminated", "truncated"):
        arrays[name] = arrays[name].astype(np.bool_)
    arrays["reward"] = _narrow("reward", np.fromiter(rewards, np.float64, len(rewards)))
    return arrays | _columns(actions, "action")


def join(first: dict[str, Array], second: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays of a file that holds the episodes of two.

    Raises:
        ValueError: actions with parts that come and go, or of changing shape.
    """
    names = [name for name in first if not name.startswith(TYPES)]
    if names != [name for name in second if not name.startswith(TYPES)]:
        raise ValueError("actions with parts that come and go")
    joined = {}
    for name in names:
        a, b = first[name], second[name]
        if a.shape[1:] != b.shape[1:]:
            raise ValueError("actions of changing shape")
        joined[name] = _narrow(name, np.concatenate((a, b)))
        mixed = a.dtype != b.dtype or TYPES + name in first or TYPES + name in second
        if mixed and _is_action(name) and not _is_count(joined[name]):
            types = [file.get(TYPES + name, _types(file[name])) for file in (first, second)]
            joined[TYPES + name] = np.concatenate(types)
    return joined


def head(arrays: dict[str, Array], count: int) -> dict[str, Array]:
    """Return the arrays of a file that holds only the episodes before number `count`."""
    episodes = int(np.searchsorted(arrays["episode"], count))
    steps = int(arrays["length"][:episodes].sum())
    cut = {n: a[: episodes if n in PER_EPISODE else steps] for n, a in arrays.items()}
    for types in [name for name in cut if name.startswith(TYPES)]:
        if len(left := np.unique(cut[types])) == 1:
            del cut[types]
            name = types.removeprefix(TYPES)
            cut[name] = cut[name].astype(left[0].decode())
    return {name: _narrow(name, array) for name, array in cut.items()}


def pack(arrays: dict[str, Array]) -> bytes:
    """Return the content of a file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return file.getvalue()


def load(path: Path, names: Iterable[str] | None = None) -> dict[str, Array]:
    """Return arrays of the file at `path`, all by default.

    Raises:
        Failure: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names or archive.files}
    except OSError:
        raise
    except Exception as error:  # zipfile's, zlib's and NumPy's own
        raise Failure(f"{path} is damaged: {error}") from error


def unpack(arrays: dict[str, Array], wanted: Iterable[int]) -> list[Trace]:
    """Return the episodes of `wanted` that are in a file, in its order."""
    ends = np.cumsum(arrays["length"])
    numbers = set(wanted)
    traces = []
    for row, number in enumerate(arrays["episode"].tolist()):
        if number not in numbers:
            continue
        part = slice(int(ends[row] - arrays["length"][row]), int(ends[row]))
        actions: dict[str, Column] = {n: a[part] for n, a in arrays.items() if _is_action(n)}
        for name, values in actions.items():
            if (types := arrays.get(TYPES + name)) is not None:
                typed = zip(values, types[part], strict=True)
                actions[name] = [value.astype(kind.decode()) for value, kind in typed]
        traces.append(
            Trace(
                number,
                int(arrays["seed"][row]),
                actions,
                arrays["reward"][part].astype(np.float64),
                bool(arrays["terminated"][row]),
                bool(arrays["truncated"][row]),
            )
        )
    return traces


def files(directory: Path, kind: str) -> list[tuple[int, Path]]:
    """Return the first episode and the path of each file in `directory`, in order."""
    found = [(path.stem.partition("-")[2], path) for path in directory.glob(f"{kind}-*.npz")]
    return sorted((int(number), path) for number, path in found if number.isdigit())


def name(kind: str, first: int) -> str:
    """Return the name of the file whose first episode is `first`."""
    return f"{kind}-{first:06d}.npz"


class Traces:
    """The traces of one kind, "train" or "eval", in a run's directory, read as they are needed.

    Raises:
        Mistake: there are none.
    """

    def __init__(self, run: Path, kind: str) -> None:
        self.run, self.kind = run, kind
        self.files = files(run / FOLDER, kind)
        if not self.files:
            other = next(k for k in KINDS if k != kind)
            advice = "was it run with loop.trace=false?"
            if files(run / FOLDER, other):
                advice = f"it has traces of {KINDS[other]} episodes" + (
                    ": --eval" if other == "eval" else ": leave out --eval"
                )
            raise Mistake(f"{run} has no traces of {KINDS[kind]} episodes; {advice}")

    def episodes(self) -> Array:
        """Return the numbers of all episodes."""
        return np.concatenate([load(path, ("episode",))["episode"] for _, path in self.files])

    def last(self) -> int:
        """Return the number of the last episode."""
        return int(load(self.files[-1][1], ("episode",))["episode"][-1])

    def chunks(self, numbers: Iterable[int], steps: int) -> Iterator[tuple[Path, list[int]]]:
        """Yield episodes in order, as files and which of their episodes, `steps` at a time or one.

        Reads no more than it must.

        Raises:
            Mistake: one was not played, or its trace was not kept; the line says which were.
        """
        wanted = sorted(set(numbers))
        ends = [bisect.bisect_left(wanted, first) for first, _ in self.files[1:]]
        for (_, path), start, end in zip(self.files, [0, *ends], [*ends, None], strict=True):
            mine = wanted[start:end]
            if not mine:
                continue
            index = load(path, ("episode", "length"))
            lengths = dict(zip(index["episode"].tolist(), index["length"].tolist(), strict=True))
            chunk: list[int] = []
            left = steps
            for number in mine:
                if number not in lengths:
                    raise Mistake(
                        f"{self.run} has no {KINDS[self.kind]} episode {number}; expected one of "
                        f"{_ranges(self.episodes())}"
                    )
                left -= lengths[number]
                if chunk and left < 0:
                    yield path, chunk
                    chunk, left = [], steps - lengths[number]
                chunk.append(number)
            yield path, chunk


def _columns(actions: list[Any], name: str) -> dict[str, Array]:
    """Return actions as one array for each part of them, and their types where they differ."""
    first = actions[0]
    with contextlib.suppress(TypeError, ValueError):
        return {name: np.frombuffer(bytes(actions), np.uint8)}  # most often, and five times faster
    if isinstance(first, dict | tuple):
        keys = list(first) if isinstance(first, dict) else range(len(first))
        columns: dict[str, Array] = {}
        for key in keys:
            try:
                parts = [action[key] for action in actions]
            except (LookupError, TypeError):
                raise ValueError("actions with parts that come and go") from None
            columns |= _columns(parts, f"{name}.{key}")
        return columns
    try:
        array = np.array(actions)
    except ValueError:
        raise ValueError("actions of changing shape") from None
    if array.dtype.kind not in "iubf":
        raise ValueError(f"actions of type {type(first).__name__}")
    if _is_count(array):
        return {name: _narrow(name, array)}
    types = {getattr(action, "dtype", array.dtype) for action in actions}
    if len(types) == 1:
        return {name: array}
    each = [getattr(action, "dtype", array.dtype).str.encode() for action in actions]
    return {name: array, TYPES + name: np.array(each)}


def _narrow(name: str, array: Array) -> Array:
    """Return an array in a smaller type that holds the same, where that loses nothing."""
    if name == "reward":
        with np.errstate(over="ignore"):
            single = array.astype(np.float32)
        return single if np.array_equal(single, array, equal_nan=True) else array
    if _is_action(name) and _is_count(array) and array.size:
        low, high = int(array.min()), int(array.max())
        for kind in INTEGERS:
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return array.astype(kind)
    return array


def _is_count(array: Array) -> bool:
    """Return whether these are plain integers, whose type does not matter to an environment."""
    return array.ndim == 1 and array.dtype.kind in "iub"


def _is_action(name: str) -> bool:
    return name.partition(".")[0] == "action"


def _types(array: Array) -> Array:
    return np.full(len(array), array.dtype.str.encode())


def _ranges(numbers: Array) -> str:
    """Return "0-99, 150-199"."""
    ends = np.flatnonzero(np.diff(numbers) != 1)
    starts = numbers[np.r_[0, ends + 1]]
    stops = numbers[np.r_[ends, len(numbers) - 1]]
    pairs = zip(starts.tolist(), stops.tolist(), strict=True)
    return ", ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in pairs)
