"""Where two runs part: tables, checkpoints, TensorBoard points, traces."""

import pickle
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def differences(first: Path, second: Path) -> Iterator[str]:
    """Yield a line for each thing in which two runs of one config differ, wall time aside.

    Unpickles checkpoints: only for runs that are trusted.
    """
    for table in ("episodes.csv", "evaluations.csv"):
        yield from table_differences(first / table, second / table)
    one, two = (path / "checkpoints" / "latest" / "agent" for path in (first, second))
    yield from checkpoint_differences(one, two)
    for folder in ("logs", "eval_logs"):
        yield from event_differences(folder, first / folder, second / folder)
    yield from trace_differences(first / "traces", second / "traces")


def table_differences(first: Path, second: Path) -> Iterator[str]:
    """Compare two CSV files row by row, the column `seconds` aside."""
    rows = [path.read_text().splitlines() if path.exists() else [] for path in (first, second)]
    if not rows[0] and not rows[1]:
        return
    names = (rows[0] or rows[1])[0].split(",")
    for number, (one, two) in enumerate(zip(*rows, strict=False)):
        for name, a, b in zip(names, one.split(","), two.split(","), strict=False):
            if name != "seconds" and a != b:
                yield f"{first.name} row {number}: {name} ({a} and {b})"
    if len(rows[0]) != len(rows[1]):
        yield f"{first.name}: {len(rows[0]) - 1} and {len(rows[1]) - 1} rows"


def checkpoint_differences(first: Path, second: Path) -> Iterator[str]:
    """Compare what two agents have saved, whatever the files are."""
    files = sorted({p.relative_to(root) for root in (first, second) for p in root.rglob("*")})
    for file in files:
        one, two = first / file, second / file
        if one.is_dir() and two.is_dir():
            continue
        if not (one.is_file() and two.is_file()):
            yield f"agent checkpoint: {file} is in one of them only"
        elif one.read_bytes() != two.read_bytes():
            try:
                a, b = _load(one), _load(two)
            except Exception:
                yield f"agent checkpoint: {file} differs"
                continue
            where = "agent checkpoint: " + ("" if file.name == "agent.pkl" else f"{file}: ")
            yield from (where + line for line in value_differences(a, b, ""))


def event_differences(name: str, first: Path, second: Path) -> Iterator[str]:
    """Compare the scalars in two TensorBoard directories."""
    one, two = read_events(first), read_events(second)
    for tag in sorted(one.keys() | two.keys()):
        a, b = one.get(tag, []), two.get(tag, [])
        if repr(a) != repr(b):  # NaN equals itself here
            step = next((x[0] for x, y in zip(a, b, strict=False) if repr(x) != repr(y)), "the end")
            yield f"TensorBoard {name}: {tag} at step {step} ({len(a)} and {len(b)} points)"


def trace_differences(first: Path, second: Path) -> Iterator[str]:
    """Compare the arrays in two directories of traces, however they are cut into files."""
    one, two = read_traces(first), read_traces(second)
    for name in sorted(one.keys() | two.keys()):
        a, b = one.get(name), two.get(name)
        if a is None or b is None or not _equal_arrays(a, b):
            yield f"traces: {name}"


def read_events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars of a TensorBoard directory: tag -> (step, value), steps purged once."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    points: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
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


def value_differences(a: Any, b: Any, path: str) -> Iterator[str]:
    """Yield the path of each leaf in which two values differ: `parameters.W`, `memory[3]`."""
    if type(a) is not type(b):
        yield f"{path}: {type(a).__name__} and {type(b).__name__}"
    elif isinstance(a, np.ndarray):
        if not _equal_arrays(a, b):
            yield path
    elif isinstance(a, Mapping):
        for key in dict.fromkeys((*a, *b)):
            inner = f"{path}.{key}" if path else str(key)
            if key not in a or key not in b:
                yield f"{inner}: in one of them only"
            else:
                yield from value_differences(a[key], b[key], inner)
    elif isinstance(a, Sequence | deque) and not isinstance(a, str | bytes | range):
        if len(a) != len(b):
            yield f"{path}: {len(a)} and {len(b)} long"
        for number, (one, two) in enumerate(zip(a, b, strict=False)):
            yield from value_differences(one, two, f"{path}[{number}]")
    elif isinstance(a, np.random.Generator):
        yield from value_differences(a.bit_generator.state, b.bit_generator.state, path)
    elif hasattr(a, "detach") and hasattr(a, "numpy"):  # a torch tensor
        if not _equal_arrays(a.detach().cpu().numpy(), b.detach().cpu().numpy()):
            yield path
    elif hasattr(a, "state_dict") and not isinstance(a, type):  # torch's modules and optimizers
        yield from value_differences(a.state_dict(), b.state_dict(), path)
        if hasattr(a, "named_modules"):  # a policy may hold its optimizer, outside of the state
            one, two = ({k: v for k, v in vars(x).items() if k[0] != "_"} for x in (a, b))
            yield from value_differences(one, two, path)
    elif hasattr(a, "__array__"):  # NumPy scalars, JAX arrays
        if not _equal_arrays(np.asarray(a), np.asarray(b)):
            yield path
    elif hasattr(a, "__dict__") and _has_no_eq(a) and not callable(a):
        yield from value_differences(vars(a), vars(b), path)
    elif not _equal(a, b):
        yield f"{path} ({a!r:.40} and {b!r:.40})"


def _equal(a: Any, b: Any) -> bool:
    if _has_no_eq(a):
        return pickle.dumps(a) == pickle.dumps(b)
    return a is b or bool(a == b) or repr(a) == repr(b) == "nan"


def _has_no_eq(value: Any) -> bool:
    return getattr(type(value), "__eq__", None) is object.__eq__


def _equal_arrays(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.hasobject:
        return not list(value_differences(a.tolist(), b.tolist(), ""))
    return a.tobytes() == b.tobytes()


def _load(file: Path) -> Any:
    if file.suffix in (".pt", ".pth"):
        import torch

        return torch.load(file, weights_only=False)
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return dict(arrays)
    return pickle.loads(file.read_bytes())
