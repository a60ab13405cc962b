"""The observer that warns of state which lies outside the agent and the environment."""

import contextlib
import hashlib
import itertools
import logging
import os
import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from gym_loop.code.used import file_of, is_installed
from gym_loop.loops import BaseLoop
from gym_loop.observers import Observer
from gym_loop.observers.environments import layers

SCALARS = (bool, int, float, complex, str, bytes, type(None))
MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
CONTAINERS = (list, tuple, deque, set, frozenset, *MAPPINGS)
MOST_VALUES, MOST_BYTES = 10_000, 1_000_000  # in a variable; a larger one is not looked at
STATIC = (staticmethod, classmethod)
FILES = "gym_loop_files"  # ours, too; the modules in it are the user's
NAMED = 5  # variables that a warning names

log = logging.getLogger(__name__)


class Outside(Observer):
    """Warns of variables of modules and classes that have changed since the run began.

    No checkpoint has them, and a resumed run begins with them as they are after the import. Looked
    at are numbers, texts, arrays, random generators, and what contains nothing else, in modules of
    the user's: those of the agent, the environment and the loop, and those that they name. What a
    function keeps from one call to the next is a variable, too.
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
        for owner, each in list(owners.items()):
            for name, value in each.items():
                function = getattr(value, "__func__", value) if type(value) in STATIC else value
                is_users = type(function) is FunctionType and function.__module__ in modules
                if is_users and (kept := _kept_by(function)):
                    owners[f"{owner}{name}."] = kept
        for owner, each in owners.items():
            for name, value in each.items():
                is_code = type(value) in (FunctionType, ModuleType, type)
                if not (is_code or name.startswith("__")) and (digest := digest_of(value)):
                    found[module, f"{owner}{name}"] = digest
    return found


def modules(loop: BaseLoop) -> dict[str, dict[str, Any]]:
    """Return the variables of the user's modules, by the modules' names."""
    found = dict[str, dict[str, Any]]()
    parts = (loop, loop.agent, *layers(loop.env).values(), *layers(loop.eval_env).values())
    waiting = [_of_class(kind, "__module__") for part in parts for kind in type(part).__mro__]
    while waiting:
        name = waiting.pop()
        if _is_users(name) and name not in found:
            found[name] = dict(vars(sys.modules[name]))
            waiting += _named_in(found[name])
    return found


def _is_users(module: Any) -> bool:
    """Return whether a module is the user's, by its name."""
    if not isinstance(module, str) or module.partition(".")[0] == "gym_loop" or module == FILES:
        return False
    return bool(file := file_of(module)) and not is_installed(file)


def _kept_by(function: FunctionType) -> dict[str, Any]:
    """Return what a function keeps from one call to the next: attributes, defaults, its closure."""
    found = vars(function) | (function.__kwdefaults__ or {})
    if defaults := function.__defaults__:
        code = function.__code__
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        found |= zip(names, defaults, strict=True)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # it is empty
            found[name] = cell.cell_contents
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
        elif kind in MAPPINGS:
            add(list(value.items()))
        elif kind is itertools.count:
            digest.update(repr(value).encode())
        elif kind is random.Random:
            add(value.getstate())
        elif kind is np.random.RandomState:
            add(value.get_state())
        elif kind is np.random.Generator:
            add(value.bit_generator.state)
        elif kind is SimpleNamespace or _is_users(_of_class(kind, "__module__")):
            add(object.__getattribute__(value, "__dict__"))
        else:
            raise TypeError

    try:
        add(value)
    except (TypeError, AttributeError, OverflowError, RuntimeError):
        # No plain data, too much of it, too deep, or a thread is changing it.
        return None
    return digest.digest()
