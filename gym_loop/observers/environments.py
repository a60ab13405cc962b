"""Environments in a checkpoint: pickled, and tested after unpickling before a run uses them."""

import contextlib
import copy
import io
import logging
import operator
import pickle
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
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
MAX_ITEMS = 100_000  # of a container; larger ones are not kept
MAX_OWNERS = 1_000  # objects in an environment whose attributes are looked at
PICKLING = ("__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")
# Libraries whose objects come back whole from their pickles.
WHOLE = {
    *("array", "builtins", "collections", "datetime", "decimal", "enum", "fractions", "itertools"),
    *("numpy", "pandas", "pathlib", "random", "torch", "uuid"),
}
# And those whose objects a reset with a seed puts where they were.
RESET = {"PIL", "_thread", "ale_py", "glfw", "logging", "matplotlib", "mujoco", "pygame"}
KEPT, PASSED_OVER, LOST = range(3)  # a value is what the worst in it is

log = logging.getLogger(__name__)

# An attribute: the path of the object that has it, and its name. The path begins with "env", the
# environment; what follows are names of attributes, or numbers of the parts of a vector.
Place = tuple[str, str]
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
    """Return the attributes that the pickle of an environment may lack, and those not kept."""
    kept, lost = dict[Place, Any](), dict[Place, str]()
    if each := getattr(env, "each_copy", None):  # they may be in other processes
        for number, own in enumerate(each(_lacking)):
            for all_of_them, found in zip((kept, lost), own, strict=True):
                for (path, name), value in found.items():
                    all_of_them[f"env.{number}{path.removeprefix('env')}", name] = value
        return kept, lost
    owners = _owners(env)
    if not any(_pickles_its_own_way(type(owner)) for owner in owners.values()):
        return kept, lost
    known = {*map(id, owners.values())}
    own = dict[str, Mapping[str, Any]]()  # what is in the pickle of each, by name
    for path, owner in owners.items():
        above, _, part = path.rpartition(".")  # which comes before it
        is_there = not above or ("envs" if part.isdigit() else part) in own[above]
        own[path] = _own_state(owner) if is_there else {}
        for name, value in _content(owner).items():
            if name.startswith("_ezpickle"):  # the constructor's arguments
                continue
            how = _how(value, known)
            if how == KEPT:
                if own[path].get(name, value) is value:  # and not what its class says instead
                    kept[path, name] = value
            elif how == LOST and id(value) not in known:
                lost[path, name] = type(value).__name__
    if not _is_pickled(kept):
        unpickled = [place for place, value in kept.items() if not _is_pickled(value)]
        lost |= {place: type(kept.pop(place)).__name__ for place in unpickled}
    return kept, lost


def _own_state(owner: Any) -> Mapping[str, Any]:
    """Return what an object's pickle holds by name; nothing where that is not known."""
    try:
        state = owner.__reduce_ex__(5)[2]
    except Exception:
        return {}
    return state if isinstance(state, dict) else {}


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
    made = list[Any]()  # and not returned
    try:
        made.append(env := unpickle(pickled))
        if getattr(env, "render_mode", None) == "human":
            made.clear()
            return env  # a second one would open a window
        made.append(trial := unpickle(pickled))
        kept = {k: v for k, v in attributes.items() if _differs(v, *_value_at(env, k))}
        for place in [place for place in kept if not _has_owner(env, place)]:
            lost = lost | {place: type(kept.pop(place)).__name__}
        _put(trial, copy.deepcopy(kept))  # a reset may append to a list in it
        _reset(trial)  # fails where the environment needs an object that is gone, such as a server
        if kept:
            made.append(new := unpickle(pickled))
            _reset(new)
            after = {place: _value_at(trial, place) for place in kept}
            kept = {
                k: v
                for k, v in kept.items()
                if after[k] and _differs(*after[k], *_value_at(new, k))
            }
            _put(env, kept)
        remaining = _remaining(trial, lost)
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
    told = [name for _, name in kept if name not in ("spec", "observation_space")]
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


def layers(env: Any) -> dict[str, Any]:
    """Return an environment, what it wraps, and the parts of a vector, by their paths."""
    layers: dict[str, Any] = {}
    todo = [("env", env)]
    while todo:
        path, layer = todo.pop()
        layers[path] = layer
        content = getattr(layer, "__dict__", {})
        inner = [("env", content.get("env")), *enumerate(content.get("envs") or ())]
        todo += [(f"{path}.{key}", each) for key, each in inner if each is not None]
    return layers


def _owners(env: Any) -> dict[str, Any]:
    """Return the layers of an environment, and the objects in them that are not kept as a whole."""
    found = layers(env)
    known = {*map(id, found.values())}
    todo = list(found.items())
    while todo and len(found) < MAX_OWNERS:
        path, owner = todo.pop()
        for name, value in _content(owner).items():
            if id(value) not in known and _content(value) and _how(value, known) == LOST:
                known.add(id(value))
                found[f"{path}.{name}"] = value
                todo.append((f"{path}.{name}", value))
    return found


def _content(owner: Any) -> dict[str, Any]:
    """Return the attributes of an object of a class in Python, those in `__slots__` among them."""
    if isinstance(owner, type | types.ModuleType | types.FunctionType | types.MethodType):
        return {}
    if isinstance(owner, io.IOBase):  # in C, though some have a `__dict__`
        return {}
    found = dict[str, Any]()
    for kind in type(owner).__mro__:
        for name, slot in vars(kind).items():
            if type(slot) is types.MemberDescriptorType and "__slots__" in vars(kind):
                with contextlib.suppress(AttributeError):
                    found[name] = slot.__get__(owner)
    own = getattr(owner, "__dict__", None)
    if type(own) is not dict or type(own.get("this")).__name__ == "SwigPyObject":
        return found  # of the latter, all that changes is in C++
    return found | own


def _how(value: Any, owners: set[int]) -> int:
    """Return whether an attribute's value is KEPT, PASSED_OVER or LOST.

    KEPT: it is made of nothing but numbers, texts, random streams and the like.

    Args:
        value: of any kind.
        owners: the ids of objects whose attributes are kept one by one: they are in nothing else.
    """
    seen = set[int]()

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
        unchanging = types.ModuleType, types.MethodType, types.BuiltinFunctionType
        if kind is object or kind in unchanging or library in RESET:
            return PASSED_OVER
        if issubclass(kind, MAPPINGS):
            inner = [*value, *value.values()]
        elif issubclass(kind, CONTAINERS):
            inner = [*value]
        elif kind is np.ndarray and value.dtype.hasobject:
            inner = value.ravel().tolist()
        elif is_space(value) and not hasattr(value, "spaces"):
            return KEPT if has_stream(value) else PASSED_OVER
        elif library in WHOLE or issubclass(kind, Enum) or is_space(value):
            return KEPT
        else:
            inner = []
        if len(inner) > MAX_ITEMS or _pickles_its_own_way(kind):
            return LOST
        return max(map(look, [*inner, *_content(value).values()]), default=KEPT)

    try:
        return look(value)
    except Exception:  # too deep, or an object that does not want to be looked at
        return LOST


def _is_pickled(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def _pickles_its_own_way(kind: type) -> bool:
    """Return whether a class defines what its pickle holds, and may leave something out."""
    whole = WHOLE | {"gym_loop"}
    bases = (base for base in kind.__mro__ if base.__module__.partition(".")[0] not in whole)
    return any(name in vars(base) for base in bases for name in PICKLING)


def _value_at(env: Any, place: Place) -> tuple[Any, ...]:
    """Return the attribute at a place in an environment, alone in a tuple; an empty one: none."""
    path, name = place
    try:
        return (_content(_owner(env, path))[name],)
    except LookupError:
        return ()


def _has_owner(env: Any, place: Place) -> bool:
    try:
        return bool(_content(_owner(env, place[0])))
    except LookupError:
        return False


def _owner(env: Any, path: str) -> Any:
    for key in path.split(".")[1:]:
        content = _content(env)
        env = content["envs"][int(key)] if key.isdigit() else content[key]
    return env


def _differs(value: Any, *now: Any) -> bool:
    """Return whether a value is another one now, or there is none."""
    return not now or any(value_differences(value, now[0], "_"))


def _put(env: Any, attributes: dict[Place, Any]) -> None:
    for (path, name), value in attributes.items():
        object.__setattr__(_owner(env, path), name, value)


def _remaining(env: Any, places: dict[Place, str]) -> list[str]:
    """Return those attributes of an environment that was reset which another reset leaves alone."""
    if not places:
        return []
    before = {place: _value_at(env, place) for place in places}
    _reset(env)
    after = {place: _value_at(env, place) for place in places}
    return [
        f"{place[1]} ({kind})"
        for place, kind in places.items()
        if all(map(operator.is_, before[place], after[place])) and not _is_kept(*after[place])
    ]


def _is_kept(*values: Any) -> bool:
    """Return whether there is a value that can be kept, such as a list that a reset has emptied."""
    return bool(values) and all(_how(each, set()) == KEPT and _is_pickled(each) for each in values)


def _reset(env: Any) -> None:
    """Begin an episode, in each part of a vector environment."""
    if hasattr(env, "start") and hasattr(env, "num_envs"):
        env.start([0] * env.num_envs)
    else:
        env.reset(seed=0)
