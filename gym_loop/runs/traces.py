"""Traces: reset seed, actions and rewards of each episode, in `traces/train-000000.npz` and so on.

A file holds hundreds to thousands of episodes and is named by the first of them. Its arrays are

| array | shape | what |
|---|---|---|
| `episode`, `seed`, `length` | (episodes,) | number in the run, reset seed, count of steps |
| `terminated`, `truncated` | (episodes,) bool | how the episode ended |
| `reward` | (steps,) float | of each step, the episodes one after the other |
| `action` | (steps, ...) | as the environment got it |

Actions that are all numbers of one kind, or arrays of one shape, are in `action`. All others are in
`json`: dicts and tuples, texts, actions that change their shape or type from step to step.

| array | shape | what |
|---|---|---|
| `json` | (bytes,) uint8 | the actions as JSON, one after the other |
| `json_length` | (steps,) | bytes of each |

Integers and rewards are in the smallest type that holds them all. `dtype.action` is the type that
each action was given in, empty for plain Python numbers, for that can change what an environment
computes; it is left out where it says nothing more than the array.

A member of an Enum, or a named tuple, is kept as its value with the name of its class, which is
imported where it is played again. An action of any other class of whoever wrote it is refused.

Earlier versions kept each part of a tuple or dict in an array of its own, `action.0` or
`action.gripper.left`; these files are read as well.
"""

import bisect
import contextlib
import errno
import functools
import importlib
import io
import json
import os
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from gym_loop.files import named
from gym_loop.mistake import Failure, Mistake
from gym_loop.runs import manifest
from gym_loop.sums import as_float

Array = npt.NDArray[Any]

FOLDER = "traces"
KINDS = {"train": "training", "eval": "evaluation"}
COUNTS = ("episode", "seed", "length")
PER_EPISODE = (*COUNTS, "terminated", "truncated")
NEEDED = (*PER_EPISODE, "reward")
# The kinds of types that arrays of numbers may have.
NUMBERS = dict.fromkeys(COUNTS, "iu") | {"reward": "biuf", "json": "u", "json_length": "iu"}
TYPES = "dtype."  # and the name of an action's array
SAMPLE = 2048  # bytes that tell whether an array of steps is worth compressing
WORTH = 0.1  # of its size: what shrinks that far is compressed ten times as fast as the rest, too
LARGEST = 1 << 30  # bytes that a file unpacks to: of more, nothing is read
COMPRESSION = 1  # level 6 takes four times as long for 10 % fewer bytes


@dataclass(slots=True)
class Trace:
    """One episode: its number in the run, and the data to play it again and check the result."""

    episode: int
    seed: int
    actions: list[Any]  # one for each step, as it was given
    rewards: Array
    terminated: bool
    truncated: bool


@np.errstate(all="ignore")  # what the user's code has set is for their arithmetic
def gather(
    rows: list[int], actions: list[Any], rewards: Sequence[float] | Array
) -> dict[str, Array]:
    """Return the arrays of a file.

    Args:
        rows: the numbers of `PER_EPISODE`, one episode's after the other's.
        actions: of all their steps.
        rewards: likewise.

    Raises:
        ValueError: actions that cannot be kept.
    """
    table = np.fromiter(rows, np.int64, len(rows)).reshape(-1, len(PER_EPISODE))
    arrays: dict[str, Array] = dict(zip(PER_EPISODE, table.T, strict=True))
    for name in ("terminated", "truncated"):
        arrays[name] = arrays[name].astype(np.bool_)
    if not isinstance(rewards, np.ndarray):
        try:
            rewards = np.fromiter(rewards, np.float64, len(rewards))
        except (OverflowError, ValueError):  # an integer beyond a float; an array of one number
            rewards = np.array([*map(as_float, rewards)])
    return _narrow(arrays | {"reward": rewards} | _encoded(actions))


def uniform_reward(reward: float, steps: int) -> Array:
    """Return the rewards of steps that all gave the same one, which is 1 or -1."""
    return np.full(steps, reward, np.float16)


def join(first: dict[str, Array], second: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays of a file that holds the episodes of two, neither of an earlier version."""
    for empty, other in ((first, second), (second, first)):
        if not len(empty["reward"]):  # games that ended before their first step
            both = {name: np.concatenate((first[name], second[name])) for name in PER_EPISODE}
            return other | both
    if (kind := _kind(first)) is None or kind != _kind(second):
        first, second = map(_as_texts, (first, second))
    names = [name for name in first if not name.startswith(TYPES)]
    joined = {name: np.concatenate((first[name], second[name])) for name in names}
    key = TYPES + "action"
    if "action" in joined:
        alike = joined["action"].ndim == 1 or first["action"].dtype == second["action"].dtype
        if not alike or key in first or key in second:
            types = [each.get(key, _types(each["action"])) for each in (first, second)]
            joined[key] = np.concatenate(types)
    return joined


def head(arrays: dict[str, Array], count: int) -> dict[str, Array]:
    """Return the arrays of a file that holds only the episodes before number `count`."""
    episodes = int(np.searchsorted(arrays["episode"], count))
    steps = int(arrays["length"][:episodes].sum())
    kept = {n: a[: episodes if n in PER_EPISODE else steps] for n, a in arrays.items()}
    if "json" in arrays and steps:
        kept = {name: array for name, array in kept.items() if not _is_action(name)}
        kept |= _encoded(_actions(unpacked(arrays), slice(steps), find=_class_or_name))
    return kept


def of_earlier_version(arrays: dict[str, Array]) -> bool:
    """Return whether a file with these arrays has actions in several parts, and cannot grow."""
    return "action" not in arrays and "json" not in arrays


def pack(arrays: dict[str, Array]) -> bytes:
    """Return the content of a file, in the smallest types that lose nothing."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compresslevel=COMPRESSION) as archive:
        for name, given in _narrow(arrays).items():
            array = np.ascontiguousarray(given)
            archive.compression = zipfile.ZIP_STORED
            if name not in PER_EPISODE:
                sample = array[: 1 + SAMPLE * len(array) // max(array.nbytes, 1)].tobytes()
                most = WORTH if name != "json" else 1
                if len(zlib.compress(sample, COMPRESSION)) < most * len(sample):
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
        OSError: it cannot be read, or there is no memory for it.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(member.file_size for member in packed.infolist())
        if size > LARGEST:
            raise ValueError(f"it unpacks to {size:,} bytes")
        with np.load(path, allow_pickle=False) as archive:
            wanted = names or dict.fromkeys((*archive.files, *NEEDED))
            arrays = {name: archive[name] for name in wanted}
            _check(arrays)
            counts = {name: arrays[name].astype(np.int64) for name in COUNTS if name in arrays}
            return arrays | counts
    except OSError:
        raise
    except MemoryError as error:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), str(path)) from error
    except Exception as error:  # zipfile's, zlib's and NumPy's own
        if isinstance(error.__context__, OSError):  # which zipfile takes for damage
            raise error.__context__ from None
        raise Failure(f"{path} is damaged: {error}") from error


def _check(arrays: dict[str, Array]) -> None:
    """Raise a ValueError unless arrays of a file fit each other, as the tables above have them."""
    for name, kinds in NUMBERS.items():
        array = arrays.get(name)
        if array is not None and (array.ndim != 1 or array.dtype.kind not in kinds):
            raise ValueError(f"{name} holds {array.dtype} in {array.ndim} dimensions")
    rows = {name: array.shape for name, array in arrays.items() if name in PER_EPISODE}
    if len({*rows.values()}) > 1 or (0,) in rows.values():
        raise ValueError(f"not one value for each episode: {rows}")
    if "reward" not in arrays:  # only some were asked for
        return
    has_texts = not {"json", "json_length"}.isdisjoint(arrays)
    if has_texts and arrays["json_length"].sum() != len(arrays["json"]):
        raise ValueError("json_length is not that of json")
    columns = {"reward", *filter(_is_action, arrays)} - {"json"}
    steps = {name: arrays[name].shape[:1] for name in columns}
    if arrays["length"].min() < 0 or {*steps.values()} != {(arrays["length"].sum(),)}:
        raise ValueError(f"not one value for each step: {steps}")


def unpacked(arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays that were packed, from those of a file; `json_end` is where each ends."""
    whole = dict(arrays, reward=arrays["reward"].astype(np.float64))
    if "json" in arrays:
        whole["json_end"] = np.cumsum(arrays["json_length"], dtype=np.int64)
    for name, array in arrays.items():
        if _is_column(name):
            whole.setdefault(TYPES + name, _types(array))
            if array.ndim == 1:
                whole[name] = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    return whole


def episodes(
    arrays: dict[str, Array], wanted: Iterable[int], find: Callable[[str, str], Any] | None = None
) -> list[Trace]:
    """Return the episodes of `wanted` that are in a file with these arrays, in its order.

    Args:
        arrays: what `load` returned.
        wanted: their numbers.
        find: `find_class` for actions as the environment got them; without it members of an Enum
            are their values, named tuples are tuples, and no module but a library is imported.
    """
    arrays, numbers, traces = unpacked(arrays), set(wanted), []
    ends = np.cumsum(arrays["length"])
    for row, number in enumerate(arrays["episode"].tolist()):
        if number not in numbers:
            continue
        part = slice(int(ends[row] - arrays["length"][row]), int(ends[row]))
        if of_earlier_version(arrays):
            parts = {name: _actions(arrays, part, name) for name in filter(_is_column, arrays)}
            actions = _put_together(parts, "action")
        else:
            actions = _actions(arrays, part, find=find)
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
    paths = filter(Path.is_file, named(directory, f"{kind}-", ".npz"))
    found = [(path.stem.partition("-")[2], path) for path in paths]
    return sorted((int(number), path) for number, path in found if number.isdecimal())


def name(kind: str, first: int) -> str:
    """Return the name of the file whose first episode is `first`."""
    return f"{kind}-{first:06d}.npz"


def remove(directory: Path) -> None:
    """Remove the files in `directory`, and it if nothing else is in it."""
    for kind in KINDS:
        for _, path in files(directory, kind):
            path.unlink()
    with contextlib.suppress(OSError):
        directory.rmdir()


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


def _encoded(actions: list[Any]) -> dict[str, Array]:
    """Return the arrays that give each action back as it was."""
    return _column(actions) or _texts(actions)


def _column(actions: list[Any]) -> dict[str, Array] | None:
    """Return actions as one array, with their types; None where it would not give them back."""
    kinds = set(map(type, actions))
    if kinds == {np.ndarray}:
        dtypes = {action.dtype for action in actions}
        if len({action.shape for action in actions}) > 1 or len({d.kind for d in dtypes}) > 1:
            return None
        array = _one_array(actions, dtypes)
        if array.ndim == 1 or array.dtype.kind not in "biuf":
            return None
        return {"action": array, TYPES + "action": _types_of(actions, dtypes)}
    plain = kinds <= {int}
    if not (plain or kinds == {float}):
        if not all(map(_is_numpys, kinds)):
            return None
        if len({np.dtype(kind).kind for kind in kinds}) > 1:
            return None
    try:
        array = np.frombuffer(bytes(actions), np.uint8)  # most often, and five times faster
    except (TypeError, ValueError):
        array = np.array(actions)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8 or (array.dtype == np.uint64):
        return None
    if plain and array.dtype.kind == "f":  # from integers that no type of NumPy holds
        return None
    array = array.astype(np.float64) if array.dtype.kind == "f" else _smallest(array)
    if plain or kinds == {float}:
        return {"action": array}
    return {"action": array, TYPES + "action": _types_of(actions, {*map(np.dtype, kinds)})}


def _one_array(actions: list[Any], dtypes: set[np.dtype[Any]]) -> Array:
    """Return arrays of one shape, and of these types, as one."""
    first = actions[0]
    is_plain = len(dtypes) == 1 and first.dtype.isnative and first.dtype.kind in "biuf"
    if is_plain and first.nbytes:
        with contextlib.suppress(TypeError):  # an array that is not in one piece
            joined = b"".join(actions)  # takes a third of the time
            return np.frombuffer(joined, first.dtype).reshape(-1, *first.shape)
    return np.array(actions)


def _types_of(actions: list[Any], dtypes: set[np.dtype[Any]]) -> Array:
    """Return the type of each action; `dtypes` are those that there are, most often one."""
    if len(dtypes) == 1:
        return np.full(len(actions), dtypes.pop().str.encode(), "S4")
    return np.array([action.dtype.str for action in actions], "S4")


def _distinct(types: Array) -> set[bytes]:
    """Return the types that there are among those of actions, compared as numbers: it is faster."""
    numbers = np.sort(types.view(np.uint32))  # np.unique imports numpy.ma: 10 ms of a launch
    is_first = np.diff(numbers, prepend=~numbers[:1]) != 0
    return {*numbers[is_first].view(types.dtype).tolist()}


def _kind(arrays: dict[str, Array]) -> tuple[Any, ...] | None:
    """Return what the actions in an array have in common, where they lie in one."""
    if "action" not in arrays:
        return None
    array = arrays["action"]
    types = _distinct(arrays.get(TYPES + "action", _types(array[:1])))
    own = "f" if array.dtype.kind == "f" else "i"
    kinds = {np.dtype(each.decode()).kind if each else f"Python's {own}" for each in types}
    return (array.shape[1:], *kinds) if len(kinds) == 1 else None


def _texts(actions: list[Any]) -> dict[str, Array]:
    """Return actions as JSON.

    Raises:
        ValueError: some have parts that JSON, as written here, does not hold.
    """
    texts = []
    for action in actions:
        try:
            texts.append(json.dumps(_plain(action), separators=(",", ":")).encode())
        except ValueError:
            raise
        except Exception as error:  # of a class of whoever wrote the agent
            raise ValueError(f"actions of type {type(action).__name__}") from error
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return {"json": np.frombuffer(b"".join(texts), np.uint8), "json_length": lengths}


def _as_texts(arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays of a file with the actions as JSON."""
    if "json" in arrays:
        return arrays
    others = {name: array for name, array in arrays.items() if not _is_action(name)}
    return others | _texts(_actions(unpacked(arrays)))


def _plain(value: Any) -> Any:
    """Return a value as what JSON holds: an object has one key, the type, see `_from_json`.

    Raises:
        ValueError: it is of another type than those here.
    """
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [_plain(part) for part in value]
    if kind is tuple:
        return {"tuple": [_plain(part) for part in value]}
    if kind in (dict, OrderedDict):
        return {kind.__name__: [[_plain(key), _plain(part)] for key, part in value.items()]}
    if kind in (bytes, np.bytes_):
        return {kind.__name__: value.hex()}
    if kind is np.str_:
        return {"str_": str.__str__(value)}  # its own leaves out a NUL at the end
    if (kind is np.ndarray or _is_numpys(kind)) and value.dtype.kind in "biufcSU":
        name = "array" if kind is np.ndarray else "scalar"
        return {name: [value.dtype.str, value.shape, value.tobytes().hex()]}
    if library in ("torch", "jax", "jaxlib") and hasattr(value, "dtype"):
        array = np.asarray(value.detach().cpu() if library == "torch" else value)
        return {library.removesuffix("lib"): _plain(array)}
    if library in ("gym", "gymnasium") and kind.__name__ == "GraphInstance":
        return {"GraphInstance": [library, *map(_plain, value)]}
    if kind is _Named:
        return {"named": [value.module, value.name, _plain(value.content)]}
    if isinstance(value, Enum) or hasattr(kind, "_make"):
        content = value._value_ if isinstance(value, Enum) else tuple(value)
        if _is_found_again(value, content):
            return {"named": [kind.__module__, kind.__qualname__, _plain(content)]}
    raise ValueError(f"actions of type {kind.__name__}")


@dataclass(frozen=True)
class _Named:
    """A member of an Enum or a named tuple, as a file has it: its class may be gone."""

    module: str
    name: str
    content: Any


def _class_or_name(module: str, name: str) -> Any:
    """Return the class of an action, or what makes a `_Named` in its place."""
    try:
        return find_class(module, name)
    except Failure:
        return functools.partial(_Named, module, name)


def _is_numpys(kind: type) -> bool:
    """Return whether a class is one of NumPy's scalars, and not derived from one."""
    return issubclass(kind, np.generic) and np.dtype(kind).type is kind


def _is_found_again(value: Any, content: Any) -> bool:
    """Return whether `content` and its class's name give back a member, or a named tuple."""
    kind = type(value)
    with contextlib.suppress(Exception):  # a class within a function; a value that is not equal
        again = _named(find_class(kind.__module__, kind.__qualname__), content)
        is_tuple = isinstance(value, tuple) and not getattr(value, "__dict__", None)
        return again is value or (is_tuple and type(again) is kind)
    return False


def find_class(module: str, name: str) -> Any:
    """Return the class of an action, which is imported.

    Raises:
        Failure: there is none that another process finds, too.
    """
    try:
        kind = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except Exception as error:
        file = module.removeprefix("gym_loop_files.")
        where = f"{module}.{name}" if file == module else f"{unquote(file)}:{name}"
        line = f"{where}, the class of an action, cannot be imported; put it there again"
        raise Failure(line) from error
    is_one = isinstance(kind, type) and issubclass(kind, Enum | tuple)
    if module == "__main__" or not is_one:
        raise Failure(f"{module}.{name} is no class of actions: expected an Enum or a named tuple")
    return kind


def _named(kind: Any, content: Any) -> Any:
    """Return the member of an Enum, or the named tuple, with this value."""
    return getattr(kind, "_make", kind)(content)


def _from_json(described: dict[str, Any], find: Callable[[str, str], Any] | None) -> Any:
    """Return the value of an object of the JSON that `_plain` makes; see `episodes` for `find`."""
    ((name, content),) = described.items()
    if name == "named":
        module, kind, content = content
        return _named(find(module, kind), content) if find else content
    if name in ("array", "scalar"):
        kind, shape, data = content
        if (dtype := np.dtype(kind)).hasobject:  # whose data are addresses in memory
            raise ValueError(f"an array of {kind}")
        array: Array = np.ndarray(shape, dtype, bytearray.fromhex(data))
        return array if name == "array" else array[()]
    if name == "torch":
        return importlib.import_module("torch").from_numpy(content)
    if name == "jax":
        return importlib.import_module("jax.numpy").asarray(content)
    if name == "GraphInstance":
        library, *parts = content
        if library not in ("gym", "gymnasium"):  # any other module runs whatever is in it
            raise ValueError(f"a GraphInstance of {library}")
        return importlib.import_module(f"{library}.spaces.graph").GraphInstance(*parts)
    if name in ("bytes", "bytes_"):
        return (bytes if name == "bytes" else np.bytes_)(bytes.fromhex(content))
    types: dict[str, Any] = {"tuple": tuple, "dict": dict, "str_": np.str_}
    return (types | {"OrderedDict": OrderedDict})[name](content)


def _actions(
    arrays: dict[str, Array],
    part: slice = slice(None),
    name: str = "action",
    find: Callable[[str, str], Any] | None = None,
) -> list[Any]:
    """Return actions, or one part of each, from what `unpacked` returned."""
    if "json" in arrays:
        text, ends = arrays["json"].tobytes(), arrays["json_end"][part].tolist()
        starts = (arrays["json_end"] - arrays["json_length"])[part].tolist()
        each = (text[start:end] for start, end in zip(starts, ends, strict=True))
        hook = functools.partial(_from_json, find=find)
        return [json.loads(one, object_hook=hook) for one in each]
    return [
        value.astype(kind.decode()) if kind else value.tolist()
        for value, kind in zip(arrays[name][part], arrays[TYPES + name][part], strict=True)
    ]


def _put_together(parts: dict[str, list[Any]], name: str) -> list[Any]:
    """Return the actions whose parts a file of an earlier version has, each in an array of its own.

    Parts that are numbered, `action.0`, are those of a tuple; others, `action.left`, of a dict.
    """
    if name in parts:
        return parts[name]
    below = [each.removeprefix(f"{name}.") for each in parts if each.startswith(f"{name}.")]
    keys = dict.fromkeys(each.partition(".")[0] for each in below)
    steps = zip(*(_put_together(parts, f"{name}.{key}") for key in keys), strict=True)
    is_tuple = all(map(str.isdecimal, keys))
    return [step if is_tuple else dict(zip(keys, step, strict=True)) for step in steps]


@np.errstate(all="ignore")
def _narrow(arrays: dict[str, Array]) -> dict[str, Array]:
    """Return arrays in the smallest types that lose nothing, and types only where they say more."""
    narrow = {name: array for name, array in arrays.items() if not name.startswith(TYPES)}
    for name in (*COUNTS, "json_length"):
        if name in arrays:
            narrow[name] = _smallest(arrays[name])
    if arrays["reward"].dtype == np.float64:
        single = arrays["reward"].astype(np.float32)
        if (single == arrays["reward"]).all():
            narrow["reward"] = single
    for name, array in arrays.items():
        if not _is_column(name):
            continue
        types = arrays.get(TYPES + name)
        if array.ndim > 1 and types is not None:
            narrow[name] = array.astype(np.result_type(*(t.decode() for t in _distinct(types))))
        elif array.ndim == 1 and array.dtype.kind != "f":
            narrow[name] = _smallest(array)
        if types is not None:
            usual = _types(narrow[name])
            if not np.array_equal(types.view(np.uint32), usual.view(np.uint32)):  # faster so
                narrow[TYPES + name] = types
    return narrow


def _smallest(array: Array) -> Array:
    """Return integers in the smallest type that holds them all."""
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    kinds = ("u1", "i1", "u2", "i2", "u4", "i4", "i8")
    fits = next(k for k in kinds if (i := np.iinfo(k)).min <= low and high <= i.max)
    return array.astype(fits, copy=False)


def _types(array: Array) -> Array:
    """Return the types that go without saying: Python's for numbers, the array's own for arrays."""
    return np.full(len(array), array.dtype.str.encode() if array.ndim > 1 else b"", "S4")


def _is_column(name: str) -> bool:
    return name.partition(".")[0] == "action"


def _is_action(name: str) -> bool:
    return _is_column(name.removeprefix(TYPES)) or name in ("json", "json_length")


def _ranges(numbers: Array) -> str:
    """Return "0-99, 150-199"."""
    ends = np.flatnonzero(np.diff(numbers) != 1)
    starts = numbers[np.r_[0, ends + 1]]
    stops = numbers[np.r_[ends, len(numbers) - 1]]
    pairs = zip(starts.tolist(), stops.tolist(), strict=True)
    return ", ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in pairs)
