"""Environments in a checkpoint: pickled, and tested after unpickling before a run uses them."""

import contextlib
import copy
import copyreg
import functools
import io
import logging
import pickle
import random
import types
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum
from typing import Any

import numpy as np

from gym_loop.compat.gymnasium import has_stream
from gym_loop.config.locate import unpickle
from gym_loop.runs.compare import value_differences
from gym_loop.streams import is_space

SCALARS = (bool, int, float, complex, str, bytes, bytearray, range, type(None))
CONTAINERS = (list, tuple, set, frozenset, deque)
MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
KEYS = (*SCALARS, tuple, Enum)  # of a dict, which are the same in another process
MAX_ITEMS = 100_000  # of a container; larger ones are not kept
MAX_OWNERS = 1_000  # objects in an environment that are looked into
PICKLING = ("__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")
# Libraries whose objects come back whole from their pickles.
WHOLE = {
    *("array", "attr", "builtins", "collections", "dataclasses", "datetime", "decimal", "enum"),
    *("fractions", "itertools", "numpy", "pandas", "pathlib", "random", "re", "torch", "uuid"),
}
# And those whose objects a reset with a seed puts where they were.
RESET = {"PIL", "_thread", "ale_py", "glfw", "logging", "matplotlib", "mujoco", "pygame"}
KEPT, PASSED_OVER, LOST = range(3)  # a value is what the worst in it is

log = logging.getLogger(__name__)

Key = str | tuple[Any]  # an attribute's name; a number in a list or a key in a dict, in a tuple
Path = tuple[Key, ...]  # to an object, from the environment
Place = tuple[Path, Key]  # the path of an object, and what it has there
# An environment's pickle, attributes that it may lack, and the classes of those that nothing keeps.
Saved = tuple[bytes, dict[Place, Any], dict[Place, str]]


def save(env: Any, by_value: bool = False) -> Saved:
    """Return what `restore` takes. Raises what pickling raises.

    Args:
        env: the environment.
        by_value: also where there are functions without a name, as wrappers of Gymnasium's keep.
    """
    try:
        pickled = pickle.dumps(env, protocol=5)
    except Exception:
        if not by_value:
            raise
        import cloudpickle

        pickled = cloudpickle.dumps(env, protocol=5)
    kept, lost = _lacking(env)
    return pickled, kept, lost


def _lacking(env: Any) -> tuple[dict[Place, Any], dict[Place, str]]:
    """Return what the pickle of an environment may lack, and what of it is not kept."""
    kept, lost = dict[Place, Any](), dict[Place, str]()
    if each := getattr(env, "each_copy", None):  # they may be in other processes
        for number, own in enumerate(each(_lacking)):
            for all_of_them, found in zip((kept, lost), own, strict=True):
                for (path, key), value in found.items():
                    all_of_them[("envs", (number,), *path), key] = value
        return kept, lost
    owners, are_whole = _owners(env)
    if are_whole:
        return kept, lost
    known = {*map(id, owners.values())}
    own = dict[Path, dict[Key, Any]]()  # what is in the pickle of each
    for path, owner in sorted(owners.items(), key=lambda each: len(each[0])):
        is_there = not path or path[-1] in own.get(path[:-1], {})
        own[path] = _own_state(owner) if is_there else {}
        for key, value in _parts(owner).items():
            if isinstance(key, str) and key.startswith("_ezpickle"):  # the constructor's arguments
                continue
            how, hidden = _look(value, known)
            if how == KEPT:
                if own[path].get(key, value) is value:  # and not what its class says instead
                    kept[path, key] = value
            elif how != LOST or id(value) in known:
                continue
            elif hidden or own[path].get(key) is not value:
                lost[path, key] = type(value).__name__
    if not _is_pickled(kept):
        unpickled = [place for place, value in kept.items() if not _is_pickled(value)]
        lost |= {place: type(kept.pop(place)).__name__ for place in unpickled}
    return kept, lost


def _own_state(owner: Any) -> dict[Key, Any]:
    """Return what of an object is in its pickle; nothing where that is not known."""
    items = {} if _pickles_its_own_way(type(owner)) else _items(owner)
    try:
        state = owner.__reduce_ex__(5)[2]
    except Exception:
        return items
    return items | state if isinstance(state, dict) else items


def restore(saved: Saved | Any, what: str) -> Any:
    """Return the environment that was saved; None, with a warning, where it does not come back.

    Some come back as new, as all that are derived from `EzPickle`, which pickles the arguments of
    the constructor. Attributes that such an environment keeps from one episode to the next are put
    back. To find them, one copy is given the old attributes and reset, another one is only reset:
    those that still differ are kept across episodes. What nothing keeps, and is there after two
    resets, is warned of. What a class's own `__getstate__` names comes back as it is there: a
    server's process or port is another one in another process. The copies are closed.

    Args:
        saved: by `save`, or by an older version, whose tuples are shorter.
        what: "training" or "evaluation", for the warning.
    """
    parts = saved if isinstance(saved, tuple) else (saved,)
    pickled, attributes, lost = (*parts, {}, {})[:3]
    attributes, lost, homeless = _renamed(attributes), _renamed(lost), dict[Place, str]()
    made = list[Any]()  # and not returned
    try:
        made.append(env := unpickle(pickled))
        if getattr(env, "render_mode", None) == "human":
            made.clear()
            return env  # a second one would open a window
        made.append(trial := unpickle(pickled))
        kept = {k: v for k, v in attributes.items() if _differs(v, *_value_at(env, k))}
        for place in [place for place in kept if not _has_room(env, place)]:
            (homeless if place[0] else lost)[place] = type(kept.pop(place)).__name__
        _put(trial, copy.deepcopy(kept))  # a reset may append to a list in it
        _reset(trial)  # fails where the environment needs an object that is gone, such as a server
        if kept:
            made.append(new := unpickle(pickled))
            _reset(new)
            after = {place: _value_at(trial, place) for place in kept}
            differ = {k for k in kept if after[k] and _differs(*after[k], *_value_at(new, k))}
            # Of a list or a dict, all: how many there are is kept as well.
            parted = {path for path, key in differ if not isinstance(key, str)}
            kept = {k: v for k, v in kept.items() if k in differ or k[0] in parted}
            _put(env, kept)
        remaining = _remaining(trial, lost, homeless)
        made.pop(0)  # env
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # also a panic in Rust
        log.warning(
            "the %s environment does not come back from its checkpoint (%s: %s) and is started "
            "anew. That is exact unless it keeps something from one episode to the next",
            what,
            type(error).__name__,
            error,
        )
        return None
    finally:
        for each in made:
            _close(each)
    # Of gym's, what is the same in each episode, and a space that nobody draws from.
    told = [name for name in map(_name, kept) if name not in ("spec", "observation_space")]
    if told:
        log.warning(
            "the %s environment comes back from its pickle as new; what was put back is %s, and "
            "anything else that it keeps from one episode to the next is lost",
            what,
            ", ".join(dict.fromkeys(told)),
        )
    if remaining:
        log.warning(
            "the %s environment comes back from its pickle as new, and no checkpoint can keep its "
            "%s. That is exact unless there is something in it from one episode to the next",
            what,
            ", ".join(dict.fromkeys(remaining)),
        )
    return env


def _close(env: Any) -> None:
    """Close an environment that was made to be looked at, or does not come back."""
    try:
        env.close()
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        log.debug("closing a copy of an environment failed: %s", type(error).__name__)


def layers(env: Any) -> dict[Path, Any]:
    """Return an environment, what it wraps, and the parts of a vector, by their paths."""
    layers = dict[Path, Any]()
    todo: list[tuple[Path, Any]] = [((), env)]
    while todo:
        path, layer = todo.pop()
        layers[path] = layer
        content = getattr(layer, "__dict__", {})
        if content.get("env") is not None:
            todo.append(((*path, "env"), content["env"]))
        todo += [((*path, "envs", (n,)), each) for n, each in enumerate(content.get("envs") or ())]
    return layers


def _owners(env: Any) -> tuple[dict[Path, Any], bool]:
    """Return the layers of an environment and what in them is not kept as a whole.

    And whether their pickles hold all, as no class defines its own.
    """
    found = layers(env)
    known = {*map(id, found.values())}
    are_whole = not any(_pickles_its_own_way(type(layer)) for layer in found.values())
    todo = [*found.items()]
    while todo:
        path, owner = todo.pop()
        for key, value in _parts(owner).items():
            if id(value) in known:
                continue
            how, hidden = _look(value, known)
            are_whole = are_whole and not hidden
            if how == LOST and _parts(value) and len(found) < MAX_OWNERS:
                known.add(id(value))
                todo.append(((*path, key), value))
                found[todo[-1][0]] = value
    return found, are_whole


def _parts(owner: Any) -> dict[Key, Any]:
    """Return the attributes of an object, and what is in it by number or key."""
    return _content(owner) | _items(owner)


def _items(owner: Any) -> dict[Key, Any]:
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


def _content(owner: Any) -> dict[Key, Any]:
    """Return the attributes of an object of a class in Python, those in `__slots__` among them."""
    if isinstance(owner, types.MethodType):
        return {"__self__": owner.__self__}
    if isinstance(owner, functools.partial):
        parts: dict[Key, Any] = {"func": owner.func, "args": owner.args}
        return parts | vars(owner) | {"keywords": owner.keywords}
    if isinstance(owner, type | types.ModuleType | types.FunctionType):
        return {}
    if isinstance(owner, io.IOBase):  # in C, though some have a `__dict__`
        return {}
    found = dict[Key, Any]()
    for kind in type(owner).__mro__:
        for name, slot in vars(kind).items():
            if type(slot) is types.MemberDescriptorType and "__slots__" in vars(kind):
                with contextlib.suppress(AttributeError):
                    found[name] = slot.__get__(owner)
    own = getattr(owner, "__dict__", None)
    if type(own) is not dict or type(own.get("this")).__name__ == "SwigPyObject":
        return found  # of the latter, all that changes is in C++
    return found | own


def _look(value: Any, owners: set[int]) -> tuple[int, list[type]]:
    """Return whether an attribute's value is KEPT, PASSED_OVER or LOST.

    KEPT: it is made of nothing but numbers, texts, random streams and the like. Returned as well
    are the classes in it whose pickles may leave something out.

    Args:
        value: of any kind.
        owners: the ids of objects whose attributes are kept one by one: they are in nothing else.
    """
    seen, hidden = set[int](), list[type]()

    def look(value: Any) -> int:
        kind = type(value)
        if kind in SCALARS or id(value) in seen:
            return KEPT
        seen.add(id(value))
        if id(value) in owners:
            return LOST
        if issubclass(kind, types.FunctionType | type):
            is_named = "<" not in value.__qualname__  # in a module, and not in a function
            keeps = getattr(value, "__closure__", None)
            return LOST if keeps else KEPT if is_named else PASSED_OVER
        library = kind.__module__.partition(".")[0]
        unchanging = types.ModuleType, types.BuiltinFunctionType
        if kind is object or kind in unchanging or library in RESET:
            return PASSED_OVER
        if kind is types.MethodType:
            its = value.__self__  # `random.choice` is of the global stream, which is kept apart
            is_apart = id(its) in owners or its is getattr(random.random, "__self__", None)
            return PASSED_OVER if is_apart else look(its)
        if issubclass(kind, functools.partial):
            inner = [value.func, value.args, value.keywords]
        elif issubclass(kind, MAPPINGS):
            if not _is_pickled(getattr(value, "default_factory", None)):
                return LOST
            inner = [*value, *value.values()]
        elif issubclass(kind, CONTAINERS):
            inner = [*value]
        elif kind is np.ndarray and value.dtype.hasobject:
            inner = value.ravel().tolist()
        elif is_space(value) and not hasattr(value, "spaces"):
            return KEPT if has_stream(value) else PASSED_OVER
        elif library in ("builtins", "itertools"):  # generators among them
            return KEPT if _is_pickled(value) else LOST
        elif library in WHOLE or issubclass(kind, Enum) or is_space(value):
            return KEPT
        else:
            inner = []
        if _pickles_its_own_way(kind):
            if inner or _content(value):  # what is in C may be in its pickle
                hidden.append(kind)
            return LOST
        if len(inner) > MAX_ITEMS:
            return LOST
        return max(map(look, [*inner, *_content(value).values()]), default=KEPT)

    try:
        return look(value), hidden
    except Exception:  # too deep, or an object that does not want to be looked at
        return LOST, hidden


def _is_pickled(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def _pickles_its_own_way(kind: type) -> bool:
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


def _value_at(env: Any, place: Place) -> tuple[Any, ...]:
    """Return what is at a place in an environment, alone in a tuple; an empty one: nothing."""
    path, key = place
    try:
        return (_part(_owner(env, path), key),)
    except (LookupError, TypeError):
        return ()


def _has_room(env: Any, place: Place) -> bool:
    """Return whether something can be put at a place: the object is there, and can be changed."""
    path, key = place
    try:
        owner = _owner(env, path)
    except (LookupError, TypeError):
        return False
    if isinstance(key, str):
        return bool(_content(owner))
    return isinstance(owner, dict) or (not isinstance(owner, tuple) and key in _items(owner))


def _owner(env: Any, path: Path) -> Any:
    return functools.reduce(_part, path, env)


def _part(owner: Any, key: Key) -> Any:
    """Return an attribute or an item. Raises LookupError, or TypeError: it has no items."""
    if isinstance(key, str):
        return _content(owner)[key]
    if isinstance(owner, dict) and key[0] not in owner:  # some then make one
        raise KeyError(key[0])
    return _numbered(owner)[key[0]]


def _numbered(owner: Any) -> Any:
    return owner.flat if isinstance(owner, np.ndarray) else owner


def _name(place: Place) -> str:
    """Return the name of the attribute that a place is, or is in."""
    path, key = place
    return next(each for each in reversed((*path, key)) if isinstance(each, str))


def _renamed(places: dict[Any, Any]) -> dict[Place, Any]:
    """Return places as they are now. A path was a text once, such as `env.0.env.inner`."""

    def keys(path: str) -> Path:
        names = path.split(".")[1:]
        return sum((("envs", (int(n),)) if n.isdigit() else (n,) for n in names), Path())

    return {(keys(p) if isinstance(p, str) else p, key): v for (p, key), v in places.items()}


def _differs(value: Any, *now: Any) -> bool:
    """Return whether a value is another one now, or there is none."""
    return not now or any(value_differences(value, now[0], "_"))


def _put(env: Any, attributes: dict[Place, Any]) -> None:
    for (path, key), value in attributes.items():
        owner = _owner(env, path)
        if isinstance(key, str):
            object.__setattr__(owner, key, value)
        else:
            _numbered(owner)[key[0]] = value


def _remaining(env: Any, lost: dict[Place, str], homeless: dict[Place, str]) -> list[str]:
    """Return what of an environment that was reset another reset leaves alone.

    No object in a set can be told from another, so sets are named even where a reset makes others.

    Args:
        env: the environment.
        lost: what nothing keeps.
        homeless: what is kept, but is in objects that a new environment has not.
    """
    if not (lost or homeless):
        return []
    owners = {(path, key): (path[:-1], path[-1]) for path, key in homeless}
    before = [_value_at(env, place) for place in (*lost, *owners.values())]
    _reset(env)
    stay = {id(value) for (value,) in filter(None, before)}  # also at another place
    named = []
    for place, kind in (lost | homeless).items():
        now = _value_at(env, owners.get(place, place))
        if not (now and _value_at(env, place)) or id(now[0]) in stay or _is_lost_set(now[0]):
            named.append(f"{_name(place)} ({kind})")
    return named


def _is_lost_set(value: Any) -> bool:
    return isinstance(value, set | frozenset | dict) and _look(value, set())[0] != KEPT


def _reset(env: Any) -> None:
    """Begin an episode, in each part of a vector environment."""
    if hasattr(env, "start") and hasattr(env, "num_envs"):
        env.start([0] * env.num_envs)
    else:
        env.reset(seed=0)
