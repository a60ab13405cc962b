"""The observer that warns of state which lies outside the agent and the environment."""

import hashlib
import logging
import os
import random
import sys
from collections import deque
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from gym_loop.code.used import file_of, is_installed
from gym_loop.loops import BaseLoop
from gym_loop.observers import Observer
from gym_loop.observers.environments import layers

SCALARS = (bool, int, float, complex, str, bytes, type(None))
CONTAINERS = (list, tuple, deque, set, frozenset, dict)
MOST_VALUES, MOST_BYTES = 10_000, 1_000_000  # in a variable; a larger one is not looked at
FILES = "gym_loop_files"  # ours, too; the modules in it are the user's
NAMED = 5  # variables that a warning names

log = logging.getLogger(__name__)


class Outside(Observer):
    """Warns of variables of modules and classes that have changed since the run began.

    No checkpoint has them, and a resumed run begins with them as they are after the import. Looked
    at are numbers, texts, arrays, random generators, and what contains nothing else, in modules of
    the user's: those of the agent, the environment and the loop, and those that they name.
    """

    def __init__(self) -> None:
        self.loop: Any = None
        self.modules = set[str]()  # that there were when the run began
        self.known = dict[tuple[str, str], bytes]()  # see `digests`
        self.said = set[tuple[str, str]]()

    def begin(self, loop: BaseLoop) -> None:
        """Remember what the variables are."""
        found = modules(loop)
        self.loop, self.modules, self.known = loop, {*found}, digests(found)

    def state_dict(self) -> dict[str, Any]:
        """Warn of those that have changed or are new, each once; nothing is kept."""
        found = {name: each for name, each in modules(self.loop).items() if name in self.modules}
        now = digests(found).items() - self.known.items()
        if changed := sorted({name for name, _ in now} - self.said):
            self.said.update(changed)
            names = [f"{os.path.basename(file_of(m) or m)}:{name}" for m, name in changed]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            log.warning(
                "changed since the run began, and in no checkpoint: %s%s. A resumed run begins "
                "with it as new, which is exact unless play depends on it: state belongs in the "
                "agent or the environment",
                ", ".join(names[:NAMED]),
                more,
            )
        return {}


def digests(modules: dict[str, dict[str, Any]]) -> dict[tuple[str, str], bytes]:
    """Return a digest of each variable of `modules` and their classes that is plain data.

    They go by the name of the module, and their own, which for a class's begins with the class's.
    """
    found = {}
    for module, variables in modules.items():
        owners = {"": variables}
        for name, value in variables.items():
            if issubclass(type(value), type) and _of_class(value, "__module__") == module:
                owners[f"{name}."] = dict(_of_class(value, "__dict__"))
        for owner, each in owners.items():
            for name, value in each.items():
                if not name.startswith("__") and (digest := digest_of(value)):
                    found[module, f"{owner}{name}"] = digest
    return found


def modules(loop: BaseLoop) -> dict[str, dict[str, Any]]:
    """Return the variables of the user's modules, by the modules' names."""
    found = dict[str, dict[str, Any]]()
    parts = (loop, loop.agent, *layers(loop.env).values(), *layers(loop.eval_env).values())
    waiting = [_of_class(kind, "__module__") for part in parts for kind in type(part).__mro__]
    while waiting:
        name = waiting.pop()
        if not isinstance(name, str):  # None in a function that `eval` made
            continue
        file, is_ours = file_of(name), name.partition(".")[0] == "gym_loop" or name == FILES
        if file and name not in found and not is_ours and not is_installed(file):
            found[name] = dict(vars(sys.modules[name]))
            waiting += _named_in(found[name])
    return found


def _named_in(variables: dict[str, Any]) -> Iterator[Any]:
    """Yield the names of the modules that variables are, or whose classes and functions."""
    for value in variables.values():
        kind = type(value)  # asked itself, a proxy may raise
        if issubclass(kind, ModuleType):
            yield object.__getattribute__(value, "__dict__").get("__name__")  # it may be lazy
        elif issubclass(kind, FunctionType):
            yield value.__module__
        elif issubclass(kind, type):
            yield _of_class(value, "__module__")


def _of_class(value: Any, name: str) -> Any:
    """Return an attribute of a class; its metaclass, which may raise, is not asked."""
    return type.__getattribute__(value, name)


def digest_of(value: Any) -> bytes | None:
    """Return a digest of plain data, the same only for equal data; None for anything else."""
    digest, left = hashlib.blake2b(digest_size=16), MOST_VALUES

    def add(value: Any) -> None:
        nonlocal left
        left -= 1
        kind = type(value)
        size = len(value) if kind in CONTAINERS else 0
        if size > left or (kind is np.ndarray and value.nbytes > MOST_BYTES):
            raise OverflowError
        digest.update(f"{kind.__name__}:".encode())
        if kind in SCALARS:
            text = hex(value) if kind is int else repr(value)  # decimal digits have a limit
            digest.update(text.encode("utf-8", "surrogatepass"))
        elif kind is np.ndarray and not value.dtype.hasobject:
            digest.update(f"{value.dtype.str}{value.shape}".encode() + value.tobytes())
        elif issubclass(kind, np.generic) and not value.dtype.hasobject:
            digest.update(value.tobytes())
        elif kind in (set, frozenset):  # in an order that is no part of it
            add(sorted(digest_of(each) or b"" for each in value))
        elif kind in (list, tuple, deque):
            digest.update(f"{len(value)}[".encode())
            for each in value:
                add(each)
        elif kind is dict:
            add(list(value.items()))
        elif kind is random.Random:
            add(value.getstate())
        elif kind is np.random.RandomState:
            add(value.get_state())
        elif kind is np.random.Generator:
            add(value.bit_generator.state)
        else:
            raise TypeError

    try:
        add(value)
    except (TypeError, OverflowError, RuntimeError):  # too deep, or a thread is changing it
        return None
    return digest.digest()
