"""What an environment is made of, and what of it a pickle keeps."""

import contextlib
import copyreg
import functools
import hashlib
import io
import pickle
import random
import types
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection
from enum import Enum
from typing import Any

import numpy as np

from gym_loop.compat.gymnasium import has_stream
from gym_loop.streams import is_space

SCALARS = (bool, int, float, complex, str, bytes, bytearray, range, type(None))
CONTAINERS = (list, tuple, set, frozenset, deque)
MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
KEYS = (*SCALARS, tuple, Enum)  # of a dict, which are the same in another process
MAX_ITEMS = 100_000  # of a container; larger ones are not kept
PICKLING = ("__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")
# Libraries whose objects come back whole from their pickles.
WHOLE = {
    *("array", "attr", "builtins", "collections", "dataclasses", "datetime", "decimal", "enum"),
    *("fractions", "itertools", "numpy", "pandas", "pathlib", "random", "re", "torch", "uuid"),
}
# What these refer to is elsewhere, or gone.
WEAK = (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
# And those whose objects a reset with a seed puts where they were.
RESET = {"PIL", "_thread", "ale_py", "glfw", "logging", "matplotlib", "mujoco", "pygame"}
UNCHANGED = "_", "bvh_", "mesh_", "oct_", "skin_", "tex_"  # how names in MuJoCo's models begin
KEPT, PASSED_OVER, LOST = range(3)  # a value is what the worst in it is

Key = str | tuple[Any]  # an attribute's name; a number in a list or a key in a dict, in a tuple


class Objects:
    """All objects in some owners, such as an environment's layers; each is looked at once.

    Attributes:
        hidden: the ids of those whose pickles may leave something out.
    """

    def __init__(self, owners: Collection[Any]) -> None:
        self.hidden = set[int]()
        self._holders = defaultdict[int, list[int]](list)  # the ids of objects that each is in
        self._alive = list[Any]()  # an id is of an object that is there
        known = {*map(id, owners)}
        own = dict.fromkeys(known, LOST)  # by itself; an owner's attributes are kept one by one
        todo = [value for owner in owners for value in parts_of(owner).values()]
        while todo:
            value = todo.pop()
            if id(value) in own or type(value) in SCALARS:
                continue
            self._alive.append(value)
            own[id(value)], inner, may_lack = _look(value, known)
            if may_lack:
                self.hidden.add(id(value))
            for each in inner:
                if type(each) not in SCALARS:
                    self._holders[id(each)].append(id(value))
            todo += parts_of(value).values() if own[id(value)] == LOST else inner
        self._apart = {number for number, how in own.items() if how == PASSED_OVER}
        self._how = dict[int, int]()  # as the worst in each is
        for worst in (PASSED_OVER, LOST):
            some = self.holding({number for number, how in own.items() if how == worst}, set())
            self._how.update(dict.fromkeys(some, worst))

    def how(self, value: Any, owners: set[int]) -> int:
        """Return whether a value is KEPT, PASSED_OVER or LOST.

        KEPT: it is made of nothing but numbers, texts, random streams and the like.

        Args:
            value: of any kind.
            owners: the ids of objects whose attributes are kept one by one.
        """
        if type(value) is types.MethodType and id(value.__self__) in owners:
            return PASSED_OVER
        return self._how.get(id(value), KEPT)

    def is_whole(self, value: Any) -> bool:
        """Return whether a value is KEPT, or PASSED_OVER for what it is, not for what is in it."""
        return id(value) in self._apart or id(value) not in self._how

    def holding(self, some: set[int], owners: set[int]) -> set[int]:
        """Return the ids of objects, and of what they are in; what owners are in is left out."""
        found, todo = set[int](), [*some]
        while todo:
            each = todo.pop()
            if each not in found and each not in owners:
                found.add(each)
                todo += self._holders.get(each, ())
        return found


def _look(value: Any, owners: set[int]) -> tuple[int, list[Any], bool]:
    """Look at one object.

    Returns what it is apart from what it is made of, what it is made of, and whether its pickle may
    leave something out.
    """
    try:
        return _look_closely(value, owners)
    except Exception:  # one that does not want to be looked at
        return LOST, [], False


def _look_closely(value: Any, owners: set[int]) -> tuple[int, list[Any], bool]:
    kind = type(value)
    if issubclass(kind, types.FunctionType | type):
        is_named = "<" not in value.__qualname__  # in a module, and not in a function
        keeps = getattr(value, "__closure__", None)
        return LOST if keeps else KEPT if is_named else PASSED_OVER, [], False
    library = kind.__module__.partition(".")[0]
    unchanging = types.ModuleType, types.BuiltinFunctionType
    if kind is object or kind in unchanging or library in RESET:
        return PASSED_OVER, [], False
    if issubclass(kind, WEAK):
        return LOST if value else PASSED_OVER, [], False
    if kind is types.MethodType:
        its = value.__self__  # `random.choice` is of the global stream, which is kept apart
        is_apart = id(its) in owners or its is getattr(random.random, "__self__", None)
        return (PASSED_OVER, [], False) if is_apart else (KEPT, [its], False)
    if issubclass(kind, functools.partial):
        inner = [value.func, value.args, value.keywords]
    elif issubclass(kind, MAPPINGS):
        if not is_pickled(getattr(value, "default_factory", None)):
            return LOST, [], False
        inner = [*value, *value.values()]
    elif issubclass(kind, CONTAINERS):
        inner = [*value]
    elif kind is np.ndarray and value.dtype.hasobject:
        inner = value.ravel().tolist()
    elif is_space(value) and not hasattr(value, "spaces"):
        return KEPT if has_stream(value) else PASSED_OVER, [], False
    elif library in ("builtins", "itertools"):  # generators among them
        return KEPT if is_pickled(value) else LOST, [], False
    elif library in WHOLE or issubclass(kind, Enum) or is_space(value):
        return KEPT, [], False
    else:
        inner = []
    if pickles_its_own_way(kind):  # what is in C may be in its pickle
        return LOST, [], bool(inner or attributes_of(value))
    if len(inner) > MAX_ITEMS:
        return LOST, [], False
    return KEPT, [*inner, *attributes_of(value).values()], False


def model_digest(value: Any) -> str:
    """Return a digest of a model of MuJoCo's, without meshes and textures; "" of anything else.

    No reset puts back what a game has changed in it, as it does in the model's data.
    """
    kind = type(value)
    if kind.__name__ != "MjModel" or kind.__module__.partition(".")[0] != "mujoco":
        return ""
    content = hashlib.sha256()
    for each in (value, value.opt):
        for name in dir(each):
            known = None if name.startswith(UNCHANGED) else getattr(each, name)
            if isinstance(known, np.ndarray | int | float):
                content.update(np.ascontiguousarray(known).data)
    return content.hexdigest()[:16]


def is_pickled(value: Any) -> bool:
    """Return whether a value can be pickled."""
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def pickles_its_own_way(kind: type) -> bool:
    """Return whether a class defines what its pickle holds, and may leave something out."""
    whole = WHOLE | {"gym_loop"}
    if kind.__module__.partition(".")[0] in whole or issubclass(kind, functools.partial):
        return False
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] not in whole:
            for name in PICKLING:
                made_by = getattr(vars(base).get(name), "__module__", None) or ""
                if name in vars(base) and made_by.partition(".")[0] not in whole:
                    return True
    return kind in copyreg.dispatch_table


def parts_of(owner: Any) -> dict[Key, Any]:
    """Return the attributes of an object, and what is in it by number or key."""
    return attributes_of(owner) | items_of(owner)


def items_of(owner: Any) -> dict[Key, Any]:
    """Return what is in a list, a dict or an array of objects.

    Nothing has a place in a set, nor in a dict with objects as keys: in another process they have
    another order, or are others.
    """
    if isinstance(owner, MAPPINGS):
        has_places = len(owner) <= MAX_ITEMS and all(isinstance(key, KEYS) for key in owner)
        return {(key,): value for key, value in owner.items()} if has_places else {}
    if isinstance(owner, np.ndarray):
        owner = owner.ravel().tolist() if owner.dtype.hasobject else []
    is_ordered = isinstance(owner, list | tuple | deque) and len(owner) <= MAX_ITEMS
    return {(number,): value for number, value in enumerate(owner if is_ordered else ())}


def attributes_of(owner: Any) -> dict[Key, Any]:
    """Return the attributes of an object of a class in Python, those in `__slots__` among them."""
    if isinstance(owner, types.MethodType):
        return {"__self__": owner.__self__}
    if isinstance(owner, functools.partial):
        parts: dict[Key, Any] = {"func": owner.func, "args": owner.args}
        return parts | vars(owner) | {"keywords": owner.keywords}
    if isinstance(owner, type | types.ModuleType | types.FunctionType):
        return {}
    if isinstance(owner, (io.IOBase, *WEAK)):  # in C, though some have a `__dict__`
        return {}
    found = dict[Key, Any]()
    for kind in type(owner).__mro__:
        for name, slot in vars(kind).items() if "__slots__" in vars(kind) else ():
            if type(slot) is types.MemberDescriptorType:
                with contextlib.suppress(AttributeError):
                    found[name] = slot.__get__(owner)
    own = getattr(owner, "__dict__", None)
    if type(own) is not dict or type(own.get("this")).__name__ == "SwigPyObject":
        return found  # of the latter, all that changes is in C++
    return found | own
