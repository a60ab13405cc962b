"""Classes that no importable file defines: those of a notebook's cell, or of a running script.

Such a class is pickled by value (`cloudpickle`). Its `_target_` is `NAME-DIGEST.pkl:NAME`, and each
run keeps the file in its folder `classes`, so that it can be resumed in another process.
"""

import contextlib
import functools
import hashlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gym_loop import files
from gym_loop.mistake import Mistake

FOLDER = "classes"  # in a run's directory
pickles: dict[str, bytes] = {}  # of this process's classes, by the file's name
folders: list[Path] = []  # of runs that are continued here: where other files are looked for
_loaded: dict[str, Any] = {}


def target(kind: Any) -> str:
    """Return the `_target_` of a class or function, `package.module:Name` where that leads to it.

    Raises:
        Mistake: it is neither, or cannot be pickled.
    """
    name = getattr(kind, "__name__", None)
    if not callable(kind) or not isinstance(name, str):
        raise Mistake(f"expected a class, or its name as on the command line, not {kind!r:.60}")
    module, path = kind.__module__, kind.__qualname__
    if module != "__main__" and _lookup(module, path) is kind:
        return f"{module}:{path}"
    import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(kind)
    except Exception as error:
        raise Mistake(f"{name} cannot be pickled by value: {error}") from error
    file = f"{name}-{_digest(kind, data)}.pkl"
    pickles[file], _loaded[file] = data, kind
    return f"{file}:{name}"


def load(file: str) -> Any:
    """Return the class in the file of that name. Unpickles: only for runs that are trusted.

    Raises:
        ImportError: neither this process nor a run that is continued here has the file.
    """
    if file not in _loaded:
        import cloudpickle

        if file not in pickles:
            found = next((f / file for f in reversed(folders) if (f / file).is_file()), None)
            if found is None:
                raise ImportError(f"no {file} in the run's folder {FOLDER}")
            pickles[file] = found.read_bytes()
        kind = _loaded[file] = cloudpickle.loads(pickles[file])
        if kind.__module__ == "__main__":  # by which name its objects have been pickled
            vars(sys.modules["__main__"]).setdefault(kind.__qualname__, kind)
    return _loaded[file]


def keep(targets: Iterable[str], directory: Path) -> None:
    """Write the files of those targets that are classes by value into a run's directory."""
    for file in {target.rpartition(":")[0] for target in targets}:
        if is_file(file) and not (directory / FOLDER / file).exists():
            (directory / FOLDER).mkdir(exist_ok=True)
            files.write(directory / FOLDER / file, pickles[file])


def is_file(module: str) -> bool:
    """Return whether the part of a `_target_` before the colon names a pickled class."""
    return module.endswith(".pkl")


def _lookup(module: str, path: str) -> Any:
    try:
        return functools.reduce(getattr, path.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        return None


def _digest(kind: Any, data: bytes) -> str:
    """Return what tells a class from others of its name: its source, else its pickle."""
    with contextlib.suppress(OSError, TypeError):
        data = inspect.getsource(kind).encode()
    return hashlib.sha256(data).hexdigest()[:12]
