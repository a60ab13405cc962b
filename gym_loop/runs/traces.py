"""Traces: what it takes to play an episode again, in `traces/train-000000.npz` and the like.

A file holds hundreds to thousands of episodes and is named by the first of them. Its arrays are

| array | shape | what |
|---|---|---|
| `episode`, `seed`, `length` | (episodes,) | number in the run, reset seed, count of steps |
| `terminated`, `truncated` | (episodes,) bool | how the episode ended |
| `reward` | (steps,) float | of each step, the episodes one after the other |
| `action` | (steps, ...) | as the environment got it |

An action that is a tuple or a dict has an array for each part: `action.0`, `action.gripper`.
Integers and rewards are in the smallest type that holds them all. `dtype.action` is the type that
each action was given in, empty for plain Python numbers, for that can change what an environment
computes; it is left out where it says nothing more than the array.
"""

import bisect
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gym_loop.mistake import Failure, Mistake
from gym_loop.runs import manifest

Array = npt.NDArray[Any]

FOLDER = "traces"
KINDS = {"train": "training", "eval": "evaluation"}
COUNTS = ("episode", "seed", "length")
PER_EPISODE = (*COUNTS, "terminated", "truncated")
TYPES = "dtype."  # and the name of an action's array
SAMPLE = 2048  # bytes that tell whether an array of steps is worth compressing
WORTH = 0.1  # of its size: what shrinks that far is compressed ten times as fast as the rest, too
COMPRESSION = 1  # level 6 takes four times as long for 10 % fewer bytes


@dataclass(slots=True)
class Trace:
    """One episode: its number in the run, and what it takes to play and to check it again."""

    episode: int
    seed: int
    actions: dict[str, list[Any]]  # by the names of their parts
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
        return self.actions[name][step]


def gather(
    rows: list[int], actions: list[Any], rewards: Sequence[float] | Array
) -> dict[str, Array]:
    """Return the arrays of a file.

    Args:
        rows: the numbers of `PER_EPISODE`, one episode's after the other's.
        actions: of all their steps.
        rewards: likewise.

    Raises:
        ValueError: actions that no plain array can hold, or with parts that come and go.
    """
    table = np.fromiter(rows, np.int64, len(rows)).reshape(-1, len(PER_EPISODE))
    arrays: dict[str, Array] = dict(zip(PER_EPISODE, table.T, strict=True))
    for name in ("terminated", "truncated"):
        arrays[name] = arrays[name].astype(np.bool_)
    if not isinstance(rewards, np.ndarray):
        rewards = np.fromiter(rewards, np.float64, len(rewards))
    return _narrow(arrays | {"reward": rewards} | _columns(actions, "action"))


def alike(reward: float, steps: int) -> Array:
    """Return the rewards of steps that all gave the same one, which is 1 or -1."""
    return np.full(steps, reward, np.float16)


def join(first: dict[str, Array], second: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays of a file that holds the episodes of two.

    Raises:
        ValueError: actions with parts that come and go, or of changing shape.
    """
    names, others = ([n for n in each if not n.startswith(TYPES)] for each in (first, second))
    if set(names) != set(others):
        raise ValueError("actions with parts that come and go")
    if any(first[name].shape[1:] != second[name].shape[1:] for name in names):
        raise ValueError("actions of changing shape")
    joined = {name: np.concatenate((first[name], second[name])) for name in names}
    for name in filter(_is_action, names):
        key, both = TYPES + name, (first, second)
        alike = joined[name].ndim == 1 or first[name].dtype == second[name].dtype
        if not alike or any(key in each for each in both):
            types = [each[key] if key in each else _types(each[name]) for each in both]
            joined[key] = np.concatenate(types)
    return joined


def head(arrays: dict[str, Array], count: int) -> dict[str, Array]:
    """Return the arrays of a file that holds only the episodes before number `count`."""
    episodes = int(np.searchsorted(arrays["episode"], count))
    steps = int(arrays["length"][:episodes].sum())
    return {n: a[: episodes if n in PER_EPISODE else steps] for n, a in arrays.items()}


def pack(arrays: dict[str, Array]) -> bytes:
    """Return the content of a file, in the smallest types that lose nothing."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compresslevel=COMPRESSION) as archive:
        for name, given in _narrow(arrays).items():
            array = np.ascontiguousarray(given)
            archive.compression = zipfile.ZIP_STORED
            if name not in PER_EPISODE:
                sample = array[: 1 + SAMPLE * len(array) // array.nbytes].tobytes()
                if len(zlib.compress(sample, COMPRESSION)) < WORTH * len(sample):
                    archive.compression = zipfile.ZIP_DEFLATED
            with archive.open(f"{name}.npy", "w") as member:
                # As `write_array` does, but without a copy.
                header = np.lib.format.header_data_from_array_1_0(array)
                np.lib.format.write_array_header_1_0(member, header)
                member.write(array.data)
    return file.getvalue()


def load(path: Path, names: Iterable[str] | None = None) -> dict[str, Array]:
    """Return arrays of the file at `path`, all by default; counts as int64.

    Raises:
        Failure: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in names or archive.files}
            counts = {name: arrays[name].astype(np.int64) for name in COUNTS if name in arrays}
            return arrays | counts
    except OSError:
        raise
    except Exception as error:  # zipfile's, zlib's and NumPy's own
        raise Failure(f"{path} is damaged: {error}") from error


def unpacked(arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays that were packed, from those of a file."""
    whole = dict(arrays, reward=arrays["reward"].astype(np.float64))
    for name, array in arrays.items():
        if _is_action(name):
            whole.setdefault(TYPES + name, _types(array))
            if array.ndim == 1:
                whole[name] = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    return whole


def episodes(arrays: dict[str, Array], wanted: Iterable[int]) -> list[Trace]:
    """Return the episodes of `wanted` that are in a file with these arrays, in its order."""
    arrays, numbers, traces = unpacked(arrays), set(wanted), []
    ends = np.cumsum(arrays["length"])
    for row, number in enumerate(arrays["episode"].tolist()):
        if number not in numbers:
            continue
        part = slice(int(ends[row] - arrays["length"][row]), int(ends[row]))
        actions = {
            name: [
                value.astype(kind.decode()) if kind else value.item()
                for value, kind in zip(array[part], arrays[TYPES + name][part], strict=True)
            ]
            for name, array in arrays.items()
            if _is_action(name)
        }
        traces.append(
            Trace(
                number,
                int(arrays["seed"][row]),
                actions,
                arrays["reward"][part],
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
                    known = self.episodes()
                    later = _until_resumed(self.run) if number > known[-1] else ""
                    raise Mistake(
                        f"{self.run} has no {KINDS[self.kind]} episode {number}; expected one of "
                        f"{_ranges(known)}" + (later and f"; {later}")
                    )
                left -= lengths[number]
                if chunk and left < 0:
                    yield path, chunk
                    chunk, left = [], steps - lengths[number]
                chunk.append(number)
            yield path, chunk


def _until_resumed(run: Path) -> str:
    """Return why a run may not have kept its last episodes yet, or nothing."""
    if (manifest.read(run) or {}).get("state") != "running":
        return ""
    if manifest.is_locked(run):
        return "later ones are kept with its next checkpoint"
    return f"it was cut off, and gym-loop resume {run} plays later ones again"


def _columns(actions: list[Any], name: str) -> dict[str, Array]:
    """Return actions as one array for each part of them, and the type that each was given in."""
    first = actions[0]
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
        array: Array = np.frombuffer(bytes(actions), np.uint8)  # most often, and five times faster
    except (TypeError, ValueError):
        try:
            array = np.array(actions)
        except ValueError:
            raise ValueError("actions of changing shape") from None
    if array.dtype.kind not in "iubf":
        raise ValueError(f"actions of type {type(first).__name__}")
    if array.ndim == 1:
        array = array.astype(np.float64) if array.dtype.kind == "f" else _smallest(array)
        if array.dtype.kind != "f" and type(sum(actions)) is int:  # one of NumPy's would show
            return {name: array}
        kinds = set(map(type, actions))
        if kinds <= {int, bool, float}:
            return {name: array}
        if len(kinds) == 1 and issubclass(kind := kinds.pop(), np.generic):
            given = np.dtype(kind).str.encode()
            return {name: array, TYPES + name: np.full(len(array), given, "S4")}
    types = [action.dtype.str if hasattr(action, "dtype") else "" for action in actions]
    return {name: array, TYPES + name: np.array(types, "S4")}


def _narrow(arrays: dict[str, Array]) -> dict[str, Array]:
    """Return arrays in the smallest types that lose nothing, and types only where they say more."""
    narrow = {name: array for name, array in arrays.items() if not name.startswith(TYPES)}
    for name in COUNTS:
        narrow[name] = _smallest(arrays[name])
    if arrays["reward"].dtype == np.float64:
        narrow["reward"] = _single(arrays["reward"])
    for name, array in arrays.items():
        if not _is_action(name):
            continue
        types = arrays.get(TYPES + name)
        if array.ndim > 1 and types is not None:
            narrow[name] = array.astype(np.result_type(*(t.decode() for t in set(types.tolist()))))
        elif array.ndim == 1 and array.dtype.kind != "f":
            narrow[name] = _smallest(array)
        if types is not None:
            usual = _types(narrow[name])
            if not np.array_equal(types.view(np.uint32), usual.view(np.uint32)):  # faster so
                narrow[TYPES + name] = types
    return narrow


def _single(array: Array) -> Array:
    """Return real numbers in single precision, where that loses nothing."""
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    return single if (single == array).all() else array


def _smallest(array: Array) -> Array:
    """Return integers in the smallest type that holds them all."""
    low, high = int(array.min()), int(array.max())
    kinds = ("u1", "i1", "u2", "i2", "u4", "i4", "i8")
    fits = next(k for k in kinds if (i := np.iinfo(k)).min <= low and high <= i.max)
    return array.astype(fits, copy=False)


def _types(array: Array) -> Array:
    """Return the types that go without saying: Python's for numbers, the array's own for arrays."""
    return np.full(len(array), array.dtype.str.encode() if array.ndim > 1 else b"", "S4")


def _is_action(name: str) -> bool:
    return name.partition(".")[0] == "action"


def _ranges(numbers: Array) -> str:
    """Return "0-99, 150-199"."""
    ends = np.flatnonzero(np.diff(numbers) != 1)
    starts = numbers[np.r_[0, ends + 1]]
    stops = numbers[np.r_[ends, len(numbers) - 1]]
    pairs = zip(starts.tolist(), stops.tolist(), strict=True)
    return ", ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in pairs)
