"""Classes that no importable file defines: those of a notebook's cell, or of a running script.

Such a class is pickled by value (`cloudpickle`). Its `_target_` is `NAME-DIGEST.pkl:NAME`, and each
run and sweep keeps the file in its folder `classes`, to be resumed in another process.
"""

import contextlib
import functools
import hashlib
import inspect
import itertools
import json
import pickle
import re
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gym_loop import files
from gym_loop.mistake import Mistake, summary_of

FOLDER = "classes"  # in the directory of a run or a sweep
PYTHON = "{}.{}".format(*sys.version_info)  # what is pickled by value is code for this one alone
CODE = b"cloudpickle", b"_make_function"  # in a pickle that has functions by value
pickles: dict[str, bytes] = {}  # of this process's classes, by the file's name
folders: list[Path] = []  # of runs and sweeps that are read here: where other files are looked for
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
        raise Mistake(f"{name} cannot be pickled by value: {summary_of(error)}") from error
    name = name.strip("<>")  # of a lambda: Hydra reads no such signs
    file = f"{name}-{_digest(kind, data)}.pkl"
    # What follows a pickle is not read with it.
    pickles[file], _loaded[file] = data + f"\nPython {PYTHON}".encode(), kind
    return f"{file}:{name}"


def load(file: str) -> Any:
    """Return the class in the file of that name. Unpickles: only for runs that are trusted.

    Raises:
        ImportError: neither this process nor a run that is continued here has the file.
        Mistake: it is of another Python, whose code would crash this one.
    """
    if file not in _loaded:
        import cloudpickle

        found, pickled = None, pickles.get(file)
        if pickled is None:
            found = next((f / file for f in reversed(folders) if (f / file).is_file()), None)
            if found is None:
                raise ImportError(f"no {file} in the run's folder {FOLDER}")
            pickled = found.read_bytes()
        made_by = _python_of(pickled, found)
        if made_by not in (None, PYTHON):
            raise Mistake(
                f"{file} has the code of a class for Python {made_by}, which Python {PYTHON} "
                "cannot run; go on with that one"
            )
        pickles[file] = pickled
        kind = _loaded[file] = cloudpickle.loads(pickled)
        for name, each in _of_main(kind).items():  # objects are pickled by these names
            vars(sys.modules["__main__"]).setdefault(name, each)
    return _loaded[file]


def _python_of(pickled: bytes, file: Path | None) -> str | None:
    """Return which Python a class was pickled by; None: nobody knows, or it has no code.

    Earlier versions have not written it behind the pickle: it is that of the run, or of a job of
    the sweep, in whose folder the file is; of its checkpoints, since a launch is in run.json before
    it crashes.
    """
    if marked := re.search(rb"\nPython (\d+\.\d+)$", pickled):
        return marked[1].decode()
    if file and has_code(pickled):
        places = "checkpoints/*/state.json", "run.json", "*/run.json"
        known = (sorted(file.parents[1].glob(place)) for place in places)
        for each in itertools.chain.from_iterable(known):
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
                content = each.read_bytes()
                start = content.index(b"{")  # a checksum may come before it
                version = json.loads(content[start:])["versions"]["python"]
                return str(version).rpartition(".")[0]
    return None


def has_code(pickled: Any) -> bool:
    """Return whether a pickle, in bytes or a mapped file, has code, which is for one Python."""
    return all(pickled.find(word) >= 0 for word in CODE)


def keep(targets: Iterable[str], directory: Path) -> None:
    """Write the files of those targets that are classes by value into a run's directory."""
    for file in {target.rpartition(":")[0] for target in targets}:
        if is_file(file) and not (directory / FOLDER / file).exists():
            (directory / FOLDER).mkdir(exist_ok=True)
            files.write(directory / FOLDER / file, pickles[file])


def is_file(module: str) -> bool:
    """Return whether the part of a `_target_` before the colon names a pickled class."""
    return module.endswith(".pkl")


def class_name(target: Any) -> str:
    """Return the name of the class that a `_target_` has by value, or ""."""
    module, _, name = str(target).rpartition(":")
    return name if is_file(module) else ""


def _lookup(module: str, path: str) -> Any:
    try:
        return functools.reduce(getattr, path.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        return None


def _of_main(kind: Any) -> dict[str, Any]:
    """Return the classes of `__main__` that `kind` is, derives from, or refers to, by name."""
    found: dict[str, Any] = {}
    pending, seen = [kind], set[int]()
    while pending:
        each = pending.pop()
        if getattr(each, "__module__", None) != "__main__" or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, type):
            found[each.__qualname__] = each
            pending += each.__mro__
        for function in _functions(each):
            names = inspect.getclosurevars(function)
            pending += [
                v
                for v in (*names.globals.values(), *names.nonlocals.values())
                if isinstance(v, type) or inspect.isfunction(v)
            ]
    return found


def _functions(kind: Any) -> list[Any]:
    """Return the functions that a class defines, or the function itself."""
    members = vars(kind).values() if isinstance(kind, type) else [kind]
    found = (getattr(each, "__func__", getattr(each, "fget", each)) for each in members)
    return [each for each in found if inspect.isfunction(each)]


def _digest(kind: Any, data: bytes) -> str:
    """Return what tells a class from others of its name: its source, else its pickle.

    In a notebook only the source of functions is known. What a function makes has the source of all
    that it makes: there it is also what it was made with.
    """
    for parts in ([kind], _functions(kind)):
        with contextlib.suppress(OSError, TypeError):
            data = "".join(map(inspect.getsource, parts)).encode() or data
            break
    if "<locals>" in kind.__qualname__:
        data += b"".join(_made_with(kind, {}))
    return hashlib.sha256(data).hexdigest()[:12]


def _made_with(each: Any, seen: dict[int, Any]) -> Iterator[bytes]:
    """Yield bytes for bases, attributes, code, defaults and closures; the same in each process."""
    if id(each) in seen:
        yield str([*seen].index(id(each))).encode()
        return
    seen[id(each)] = each  # kept: another object would get its id
    yield type(each).__qualname__.encode()
    held: list[Any] = []
    if isinstance(each, (set, frozenset)):
        held += sorted(each, key=repr)
    elif isinstance(each, (list, tuple)):
        held += each
    elif isinstance(each, dict):
        held += each.items()
    elif isinstance(each, functools.partial):
        held += [each.func, each.args, each.keywords]
    elif isinstance(each, types.CodeType):
        held += [each.co_code, each.co_names, each.co_consts]
    elif isinstance(each, type) or inspect.isfunction(each):
        yield each.__qualname__.encode()
        if each.__module__ != "__main__" and _lookup(each.__module__, each.__qualname__) is each:
            return
        if isinstance(each, type):
            held += [*each.__bases__, *(v for k, v in vars(each).items() if not k.startswith("__"))]
        for function in _functions(each):
            held += [function.__code__, function.__defaults__, function.__kwdefaults__]
            for cell in function.__closure__ or ():
                with contextlib.suppress(ValueError):  # it is empty
                    held.append(cell.cell_contents)
    else:
        try:
            yield pickle.dumps(each, protocol=5)
            del seen[id(each)]  # equal numbers may be one object, or several
        except Exception:  # an object that has such functions or classes
            held.append(getattr(each, "__dict__", None))
    for value in held:
        yield from _made_with(value, seen)
