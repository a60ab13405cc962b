"""Compares two runs: tables, checkpoints, TensorBoard points, traces, files of the user's code."""

import filecmp
import fnmatch
import io
import math
import pickle
import types
import weakref
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gym_loop.compat.torch import uncompiled
from gym_loop.loops.folders import folder_of
from gym_loop.mistake import summary_of
from gym_loop.runs import checkpoints, manifest, tables
from gym_loop.runs.planting import LEFT_OUT
from gym_loop.streams import imported_torch

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
MAX_PAIRED = 300  # elements of two sets, each compared with each; of more, only `==` is asked
# Of a checkpoint, what holds wall time and file sizes; its counters are those of the tables, and
# what observers of the user's keep in it is compared apart.
STATE = "state.json"
# What this package, Python and sinks write into a run's directory, and runs are not compared by.
NOT_COMPARED = (*LEFT_OUT, "events.out.tfevents.*", "wandb", "__pycache__")
FOLDERS = ("logdir", "eval_logdir", "record_dir", "eval_record_dir")  # of the loop


def differences(first: Path, second: Path) -> Iterator[str]:
    """Yield a line for each thing in which two runs of one config differ, wall time aside.

    What cannot be read or compared counts as different, and so does what neither run has left.
    Unpickles checkpoints: only for runs that are trusted.
    """
    for what, compare, name in parts(first):
        one, two = first / name, second / name
        try:
            if one == two:
                yield f"{what}: {name} is outside the runs' directories, and one for both"
            elif not (one.exists() or two.exists()):
                yield f"{what}: neither run has left any ({name})"
            else:
                yield from compare(one, two)
        except Exception as error:
            yield f"{what}: cannot be compared ({_reason(error)})"
    for file in sorted(others(first) | others(second)):
        one, two = first / file, second / file
        if not (one.is_file() and two.is_file()):
            yield f"{file} is in one of them only"
        elif not filecmp.cmp(one, two, shallow=False):
            yield f"{file}, which code of yours has written"


def others(directory: Path) -> set[Path]:
    """Return the files that code of the user's has written, relative to the run's directory."""
    loop = _loop(directory)
    folders = {part for key in FOLDERS for part in Path(folder_of(loop, key)).parts[:1]}
    known = {*NOT_COMPARED, tables.EPISODES, tables.EVALUATIONS, "traces"}
    return {
        path.relative_to(directory)
        for top in directory.iterdir()
        if top.name not in folders
        and not any(fnmatch.fnmatch(top.name, pattern) for pattern in known)
        for path in (top, *top.rglob("*"))
        if path.is_file()
    }


def _loop(directory: Path) -> dict[str, Any]:
    loop: Any = ((manifest.read(directory) or {}).get("config") or {}).get("loop")
    return loop or {}


def parts(directory: Path) -> list[tuple[str, Callable[[Path, Path], Iterator[str]], str]]:
    """Return (name, function, path) for each thing that runs of this config are compared by."""
    loop = _loop(directory)
    found: list[tuple[str, Callable[[Path, Path], Iterator[str]], str]]
    found = [("episodes", table_differences, tables.EPISODES)]
    if loop.get("eval_episodes", 1):
        found.append(("evaluations", table_differences, tables.EVALUATIONS))
    found.append(("the last checkpoint", last_checkpoint_differences, "checkpoints"))
    for key in ("logdir", "eval_logdir"):
        name = folder_of(loop, key)
        if (directory / name).exists():
            found.append((f"TensorBoard points of {Path(name)}", event_differences, name))
    if loop.get("trace", True):
        found.append(("traces", trace_differences, "traces"))
    return found


def table_differences(first: Path, second: Path) -> Iterator[str]:
    """Compare two tables row by row, the column `seconds` aside."""
    both = (tables.cells(path.parent, path.name, strict=True) for path in (first, second))
    (names, one), (others, two) = both
    if names != others:
        yield f"{first.name}: columns {','.join(names)} and {','.join(others)}"
    for number, (a, b) in enumerate(zip(one, two, strict=False), 1):
        if len(a) != len(b):
            yield f"{first.name} row {number}: {len(a)} and {len(b)} values"
        for name, x, y in zip(names, a, b, strict=False):
            if name != tables.CLOCK and x != y:
                yield f"{first.name} row {number}: {name} ({x} and {y})"
    if len(one) != len(two):
        yield f"{first.name}: {len(one)} and {len(two)} rows"


def last_checkpoint_differences(first: Path, second: Path) -> Iterator[str]:
    """Compare the newest of two runs' checkpoints: the agent, the streams, the environment."""
    one, two = (next(iter(checkpoints.names(folder)), "") for folder in (first, second))
    if not one or one != two:
        yield f"checkpoints: the newest is {one or 'none'} and {two or 'none'}"
        return
    first, second = first / one, second / two
    yield from checkpoint_differences(first / "agent", second / "agent")
    yield from checkpoint_differences(first, second, "checkpoint: ", skip=("agent", STATE))
    yield from observer_differences(first, second)


def observer_differences(first: Path, second: Path) -> Iterator[str]:
    """Compare what two checkpoints keep of observers; ours keep sizes of files, and memory."""
    config = (manifest.read(first.parents[1]) or {}).get("config") or {}
    one, two = (
        (checkpoints.read_state(path) or {}).get("observers", {}) for path in (first, second)
    )
    for name, section in (config.get("observers") or {}).items():
        if section and not section["_target_"].startswith("gym_loop."):
            yield from value_differences(one.get(name), two.get(name), f"observers.{name}")


def checkpoint_differences(
    first: Path, second: Path, what: str = "agent checkpoint: ", skip: Sequence[str] = ()
) -> Iterator[str]:
    """Compare two directories of saved objects, whatever the files are.

    Args:
        first: a directory.
        second: another.
        what: how each line begins.
        skip: names directly below them that are left out.
    """
    files = {p.relative_to(root) for root in (first, second) for p in root.rglob("*")}
    for file in sorted(file for file in files if file.parts[0] not in skip):
        one, two = first / file, second / file
        if one.is_dir() and two.is_dir():
            continue
        if not (one.is_file() and two.is_file()):
            yield f"{what}{file} is in one of them only"
        elif one.read_bytes() != two.read_bytes():
            try:
                a, b = (_unpickled(path.read_bytes()) for path in (one, two))
            except Exception as error:
                yield f"{what}{file} differs (and cannot be looked into: {_reason(error)})"
                continue
            where = what if file.name == "agent.pkl" else f"{what}{file}: "
            yield from (where + line for line in value_differences(a, b, ""))


def event_differences(first: Path, second: Path) -> Iterator[str]:
    """Compare the scalars in two TensorBoard directories, all but those of the clock."""
    one, two = read_events(first), read_events(second)
    for tag in sorted(tag for tag in one.keys() | two.keys() if not tag.startswith("time/")):
        a, b = one.get(tag, []), two.get(tag, [])
        if repr(a) != repr(b):  # NaN equals itself here
            step = next((x[0] for x, y in zip(a, b, strict=False) if repr(x) != repr(y)), "the end")
            yield f"TensorBoard {first.name}: {tag} at step {step} ({len(a)} and {len(b)} points)"


def trace_differences(first: Path, second: Path) -> Iterator[str]:
    """Compare the arrays in two directories of traces, however they are cut into files."""
    one, two = read_traces(first), read_traces(second)
    for name in sorted(one.keys() | two.keys()):
        a, b = one.get(name), two.get(name)
        if a is None or b is None or not _equal_arrays(a, b):
            yield f"traces: {name}"


def read_events(
    folder: Path, is_read: Callable[[Path], bool] = lambda file: True
) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars of a TensorBoard directory: tag -> (step, value), steps purged once.

    Args:
        folder: the directory.
        is_read: says of each file whether it is read.
    """
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    points: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(filter(is_read, folder.glob("events.out.tfevents.*"))):
        for event in LegacyEventFileLoader(str(file)).Load():
            if event.HasField("session_log"):
                for tag, old in points.items():
                    points[tag] = [point for point in old if point[0] < event.step]
            for value in event.summary.value:
                points.setdefault(value.tag, []).append((event.step, value.simple_value))
    return points


def read_traces(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return all traces: for each kind of file and array, the concatenation over the files."""
    parts: dict[str, list[np.ndarray[Any, Any]]] = {}
    for file in sorted(folder.glob("*.npz")):
        kind = file.stem.partition("-")[0]
        with np.load(file, allow_pickle=False) as arrays:
            for name in arrays.files:
                parts.setdefault(f"{kind} {name}", []).append(np.atleast_1d(arrays[name]))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def value_differences(
    a: Any, b: Any, path: str, seen: dict[Any, Any] | None = None
) -> Iterator[str]:
    """Yield the path of each leaf in which two values differ: `parameters.W`, `memory[3]`.

    What cannot be compared is yielded as well, with the reason. `seen` holds the pairs of objects
    that are being compared already: objects may refer to each other in circles.
    """
    seen = {} if seen is None else seen
    if a is b or (id(a), id(b)) in seen:
        return
    if type(a) is not type(b):
        yield f"{path}: {type(a).__name__} and {type(b).__name__}"
    elif type(a) in PLAIN:
        yield from _plain_differences(a, b, path, seen)
    else:
        seen[id(a), id(b)] = a, b  # which keeps them alive: an id may be given again
        try:
            yield from _object_differences(a, b, path, seen)
        except Exception as error:
            yield f"{path}: cannot be compared ({_reason(error)})"


def _plain_differences(a: Any, b: Any, path: str, seen: dict[Any, Any]) -> Iterator[str]:
    if type(a) is bytes and a != b:
        try:  # such as a pickled environment
            values = pickle.loads(a), pickle.loads(b)
        except Exception:
            yield f"{path} ({a!r:.40} and {b!r:.40})"
        else:
            yield from value_differences(*values, path, seen)
    elif type(a) is float:
        equal = a == b and math.copysign(1, a) == math.copysign(1, b)
        if not (equal or (math.isnan(a) and math.isnan(b))):
            yield f"{path} ({a!r} and {b!r})"
    elif repr(a) != repr(b):
        yield f"{path} ({a!r:.40} and {b!r:.40})"


def _object_differences(a: Any, b: Any, path: str, seen: dict[Any, Any]) -> Iterator[str]:
    """Compare two objects of one type: by their content where that is known, else as pickled."""
    inner: Any = None  # what is compared instead
    torch = imported_torch()
    if type(a) is dict:
        yield from _dict_differences(a, b, path, seen)
    elif type(a) in (list, tuple, deque):
        if len(a) != len(b) or getattr(a, "maxlen", None) != getattr(b, "maxlen", None):
            yield f"{path}: {len(a)} and {len(b)} long"
        for number, (one, two) in enumerate(zip(a, b, strict=False)):
            yield from value_differences(one, two, f"{path}[{number}]", seen)
    elif type(a) in (set, frozenset):
        there = {each: each for each in b}
        for each in filter(there.__contains__, a):  # by `__eq__`, which may look at a part of it
            yield from value_differences(each, there[each], f"{path}: an element", seen)
        one, two = [*(a - b)], [*(b - a)]
        if max(len(one), len(two)) <= MAX_PAIRED:
            one, two = _without_pairs(one, two, seen)
        if one or two:
            yield f"{path}: {len(one)} and {len(two)} elements are in one of them only"
    elif type(a) is np.ndarray:
        if not _equal_arrays(a, b):
            yield path
    elif isinstance(a, np.generic):
        if not _equal_arrays(np.asarray(a), np.asarray(b)):
            yield f"{path} ({a!r:.40} and {b!r:.40})"
    elif isinstance(a, np.random.Generator):
        inner = a.bit_generator.state, b.bit_generator.state
    elif isinstance(a, types.FunctionType):  # as a pickle of cloudpickle's has them
        names = ("__code__", "__defaults__", "__kwdefaults__", "__dict__")
        cells = [[cell.cell_contents for cell in f.__closure__ or ()] for f in (a, b)]
        one, two = ([getattr(f, name) for name in names] for f in (a, b))
        inner = [*one, cells[0]], [*two, cells[1]]
    elif isinstance(a, types.CodeType | type | types.ModuleType):
        if a != b:
            yield f"{path} ({a!r:.60} and {b!r:.60})"
    elif torch and isinstance(a, torch.Tensor):
        if not _equal_tensors(a, b):
            yield path
        inner = getattr(a, "__dict__", {}), getattr(b, "__dict__", {})
    elif isinstance(a, weakref.ref):  # an LSTM of torch's refers so to its weights
        inner = a(), b()
    elif torch and isinstance(a, torch.Generator):
        inner = a.get_state(), b.get_state()
    elif torch and isinstance(a, torch.optim.Optimizer):  # its own state has tensors as keys
        yield from value_differences(a.state_dict(), b.state_dict(), path, seen)
        inner = tuple(
            {k: v for k, v in vars(x).items() if k not in ("state", "param_groups")} for x in (a, b)
        )
    elif torch and isinstance(a, torch.nn.Module):
        modules = uncompiled(a), uncompiled(b)
        inner = modules if None not in modules else (vars(a), vars(b))
    elif hasattr(a, "__array__") and not hasattr(a, "__dict__"):  # JAX arrays
        inner = np.asarray(a), np.asarray(b)
    else:
        inner = _reduced(a), _reduced(b)
    if inner is not None:
        yield from value_differences(inner[0], inner[1], path, seen)


def _without_pairs(
    one: list[Any], two: list[Any], seen: dict[Any, Any]
) -> tuple[list[Any], list[Any]]:
    """Return the objects of each set that equal none of the other, compared by their attributes.

    Objects of a class without `__eq__` are found by their identity, which no pickle has.
    """
    left, rest = [], list(two)
    for each in one:
        for number, other in enumerate(rest):
            if not any(value_differences(each, other, "", dict(seen))):
                del rest[number]
                break
        else:
            left.append(each)
    return left, rest


def _dict_differences(
    a: dict[Any, Any], b: dict[Any, Any], path: str, seen: dict[Any, Any]
) -> Iterator[str]:
    """Compare keys, values and, where the keys are the same, their order."""
    if not all(type(key) in PLAIN for key in (*a, *b)):
        # Objects as keys are found by their identity, so they are compared in their order.
        yield from value_differences(list(a), list(b), f"{path}.keys()", seen)
        yield from value_differences(list(a.values()), list(b.values()), path, seen)
        return
    for key in dict.fromkeys((*a, *b)):
        inner = f"{path}.{key}" if path else str(key)
        if key not in a or key not in b:
            yield f"{inner}: in one of them only"
        else:
            yield from value_differences(a[key], b[key], inner, seen)
    if a.keys() == b.keys() and list(a) != list(b):
        yield f"{path}: the same keys in another order"


def _reduced(value: Any) -> Any:
    """Return what pickle would keep of an object: its attributes alone, where that is all."""
    try:
        reduced = value.__reduce_ex__(4)
    except TypeError:  # holds what does not pickle, such as a lock
        return vars(value)
    if isinstance(reduced, str):
        return reduced  # a global object's name
    made_by, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    content = list(items) if items is not None else dict(pairs) if pairs is not None else None
    plain = made_by.__name__ == "__newobj__" and arguments == (type(value),) and content is None
    return state if plain and state is not None else (made_by, arguments, state, content)


def _equal_arrays(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.hasobject:
        return not list(value_differences(a.tolist(), b.tolist(), ""))
    return a.tobytes() == b.tobytes()


def _equal_tensors(a: Any, b: Any) -> bool:
    import torch

    if any(getattr(a, n) != getattr(b, n) for n in ("dtype", "shape", "device", "requires_grad")):
        return False
    one, two = (x.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for x in (a, b))
    return bool(torch.equal(one, two))


def _unpickled(data: bytes) -> Any:
    """Return the object that a file holds: NumPy's, torch's, or a pickle."""
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
        if all(name.endswith(".npy") for name in names):
            with np.load(io.BytesIO(data), allow_pickle=True) as arrays:
                return dict(arrays)
        import torch

        return torch.load(io.BytesIO(data), weights_only=False)
    if data.startswith(b"\x93NUMPY"):
        return np.load(io.BytesIO(data), allow_pickle=True)
    return pickle.loads(data)


def _reason(error: Exception) -> str:
    return f"{summary_of(error):.100}"
