"""Environments in a checkpoint: pickled, and tested after unpickling before a run uses them."""

import contextlib
import copy
import functools
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from gym_loop.agents.pickled import dumps
from gym_loop.agents.views import owner_of
from gym_loop.config.by_value import has_code
from gym_loop.config.locate import unpickle
from gym_loop.mistake import summary_of
from gym_loop.observers.objects import (
    KEPT,
    LOST,
    PASSED_OVER,
    Key,
    Objects,
    attributes_of,
    is_pickled,
    items_of,
    model_digest,
    parts_of,
    pickles_its_own_way,
)
from gym_loop.runs.compare import value_differences
from gym_loop.runs.versions import is_other_python

MAX_OWNERS = 1_000  # objects in an environment that are looked into
CLASS = "__class__"

log = logging.getLogger(__name__)

Path = tuple[Key, ...]  # to an object, from the environment
Place = tuple[Path, Key]  # the path of an object, and what it has there
# An environment's pickle, attributes that it may lack, the classes of those that nothing keeps, and
# all that there is: how it is kept, and at `CLASS` the name of its owner's class.
Saved = tuple[bytes, dict[Place, Any], dict[Place, str], dict[Place, Any]]


def save(env: Any, by_value: bool = False) -> Saved:
    """Return what `restore` takes. Raises what pickling raises.

    Args:
        env: the environment.
        by_value: also where there are functions without a name, as wrappers of Gymnasium's keep.
    """
    try:
        pickled = dumps(env)
    except Exception:
        if not by_value:
            raise
        import cloudpickle

        pickled = cloudpickle.dumps(env, protocol=5)
    return pickled, *_lacking(env)


def _lacking(env: Any) -> tuple[dict[Place, Any], dict[Place, str], dict[Place, Any]]:
    """Return what an environment's pickle may lack, what of it is not kept, and what is there."""
    kept, lost, there = dict[Place, Any](), dict[Place, str](), dict[Place, Any]()
    if each := getattr(env, "each_copy", None):  # they may be in other processes
        for number, own in enumerate(each(_lacking)):
            for all_of_them, found in zip((kept, lost, there), own, strict=True):
                for (path, key), value in found.items():
                    all_of_them[("envs", (number,), *path), key] = value
        return kept, lost, there
    own_layers = layers(env)
    objects = Objects(own_layers.values())
    if not (objects.hidden or any(pickles_its_own_way(type(e)) for e in own_layers.values())):
        return kept, lost, there  # no class defines what its pickle holds
    owners = _owners(own_layers, objects)
    known = {*map(id, owners.values())}
    hiding = objects.holding(objects.hidden, known)
    own = dict[Path, dict[Key, Any]]()  # what is in the pickle of each
    for path, owner in sorted(owners.items(), key=lambda each: len(each[0])):
        is_there = not path or path[-1] in own.get(path[:-1], {})
        own[path] = _own_state(owner) if is_there else {}
        there[path, CLASS] = type(owner).__name__
        for key, value in parts_of(owner).items():
            place = path, key
            there[place] = how = objects.how(value, known)
            if isinstance(key, str) and key.startswith("_ezpickle"):  # the constructor's arguments
                continue
            if how == KEPT:
                if own[path].get(key, value) is value:  # and not what its class says instead
                    kept[place] = value
            elif digest := model_digest(value):
                lost[place] = f"{type(value).__name__} {digest}"
            elif how != LOST or id(value) in known:
                continue
            elif id(value) in hiding or own[path].get(key) is not value:
                lost[place] = type(value).__name__
    if not is_pickled(kept):
        unpickled = [place for place, value in kept.items() if not is_pickled(value)]
        lost |= {place: type(kept.pop(place)).__name__ for place in unpickled}
    # An environment that comes back has its attributes in another order.
    kept, there = (dict(sorted(each.items(), key=lambda i: repr(i[0]))) for each in (kept, there))
    return kept, lost, there


def _own_state(owner: Any) -> dict[Key, Any]:
    """Return what of an object is in its pickle; nothing where that is not known."""
    items = {} if pickles_its_own_way(type(owner)) else items_of(owner)
    try:
        state = owner.__reduce_ex__(5)[2]
    except Exception:
        return items
    return items | state if isinstance(state, dict) else items


def restore(
    saved: Saved | Any,
    what: str,
    make: Callable[[], Any] | None = None,
    changed: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    new: Any = None,
) -> Any:
    """Return the environment that was saved; None, with a warning, where it does not come back.

    Some come back as new, as all that are derived from `EzPickle`, which pickles the arguments of
    the constructor. Attributes that such an environment keeps from one episode to the next are put
    back. What nothing keeps, and is there after two resets, is warned of. What a class's own
    `__getstate__` names comes back as it is there: a server's process or port is another one in
    another process. Where the pickle fails, as that of a class whose constructor takes other
    arguments than its base's, which `EzPickle` has pickled, attributes are put into a new one.

    Args:
        saved: by `save`, or by an older version, whose tuples are shorter.
        what: "training" or "evaluation", for the warning.
        make: returns a new environment of the same config.
        changed: packages that have another version than when it was saved: (then, now).
        new: an environment like it that has just been made.
    """
    pickled, *rest = saved if isinstance(saved, tuple) else (saved,)
    attributes, lost, there = (_renamed(each) for each in (*rest, {}, {}, {})[:3])
    sources: list[Callable[[], Any]] = [functools.partial(_unpickled, pickled, changed, new)]
    sources += [make] if make and attributes else []
    failure: BaseException | None = None
    for source in sources:
        try:
            env, told, remaining, more = _put_back(source, attributes, lost, there)
            break
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # also a panic in Rust
            failure = failure or error
            env, told, remaining, more = None, [], [], []
    how = "comes back from its pickle as new"
    if failure:
        how = f"does not come back from its checkpoint ({summary_of(failure)}) and is started anew"
    if told:
        log.warning(
            "the %s environment %s; what was put back is %s, and anything else that it keeps from "
            "one episode to the next is lost",
            what,
            how,
            ", ".join(told),
        )
    elif failure:
        log.warning(
            "the %s environment %s. That is exact unless it keeps something from one episode to "
            "the next",
            what,
            how,
        )
    if remaining:
        log.warning(
            "the %s environment %s, and no checkpoint can keep its %s. That is exact unless there "
            "is something in it from one episode to the next",
            what,
            how,
            ", ".join(dict.fromkeys(remaining)),
        )
    if more:
        log.warning(
            "the %s environment %s, and has %s, which was not there when it was saved. That is "
            "exact unless play depends on it",
            what,
            how,
            ", ".join(dict.fromkeys(more)),
        )
    return env


def _put_back(
    new: Callable[[], Any],
    attributes: dict[Place, Any],
    lost: dict[Place, str],
    there: dict[Place, Any],
) -> tuple[Any, list[str], list[str], list[str]]:
    """Return an environment with the attributes that are kept, and the names of these and others.

    The others are what is not kept, and what is there though it was not.

    Named are those that it keeps across episodes: one copy is given the old attributes and reset,
    another one is only reset, and they still differ. The copies are closed.

    Args:
        new: returns an environment, each time another one.
        attributes: what it may keep.
        lost: what of it nothing keeps.
        there: what there was.
    """
    lost, homeless = dict(lost), dict[Place, str]()
    made = list[Any]()  # and not returned
    try:
        made.append(env := new())
        differ = _differing({k: ((v,), _value_at(env, k)) for k, v in attributes.items()})
        kept = {k: v for k, v in attributes.items() if k in differ}
        for place in [place for place in kept if not _has_room(env, place)]:
            (homeless if place[0] else lost)[place] = type(kept.pop(place)).__name__
        if getattr(env, "render_mode", None) == "human":  # a second one would open a window
            _put(env, kept)
            made.clear()
            return env, _told(kept), [], []
        made.append(trial := new())
        _put(trial, copy.deepcopy(kept))  # a reset may append to a list in it
        _reset(trial)  # fails where the environment needs an object that is gone, such as a server
        if kept:
            made.append(untouched := new())
            _reset(untouched)
            after = {k: (_value_at(trial, k), _value_at(untouched, k)) for k in kept}
            differ = _differing({place: each for place, each in after.items() if each[0]})
            _put(env, kept)  # all: a reset may read what it overwrites
            # Of a list or a dict, all: how many there are is kept as well.
            parted = {path for path, key in differ if not isinstance(key, str)}
            kept = {k: v for k, v in kept.items() if k in differ or k[0] in parted}
        remaining = _remaining(trial, lost, homeless, there)
        more = _more(trial, there)
        made.pop(0)  # env
    finally:
        for each in made:
            _close(each)
    return env, _told(kept), remaining, more


def _told(kept: Iterable[Place]) -> list[str]:
    """Return the names that are told: not gym's, nor a space that nobody draws from."""
    told = [name for name in map(_name, kept) if name not in ("spec", "observation_space")]
    return [*dict.fromkeys(told)]


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


def _unpickled(pickled: bytes, changed: Mapping[str, tuple[str, str]], new: Any) -> Any:
    """Return the environment of a pickle. Raises where the packages of now could not play it."""
    if is_other_python(changed) and has_code(pickled):
        raise ImportError("it holds code for another Python")
    env = unpickle(pickled)
    names = _names(new, changed)
    for kind, own in _names(env, changed).items():
        if lacks := sorted(names.get(kind, own) - own):
            _close(env)
            raise AttributeError(f"its {kind.__name__} lacks {', '.join(lacks)}")
    return env


def _names(env: Any, packages: Collection[str]) -> dict[type, set[str]]:
    """Return the names of the attributes of those layers whose classes are in `packages`."""
    found = {type(each): {*getattr(each, "__dict__", ())} for each in layers(env).values()}
    return {k: v for k, v in found.items() if k.__module__.partition(".")[0] in packages}


def _owners(own_layers: dict[Path, Any], objects: Objects) -> dict[Path, Any]:
    """Return the layers of an environment and what in them is not kept as a whole."""
    found = {**own_layers}
    known = {*map(id, found.values())}
    todo = [*found.items()]
    while todo:
        path, owner = todo.pop()
        for key, value in parts_of(owner).items():
            if id(value) in known or objects.is_whole(value):
                continue
            if parts_of(value) and len(found) < MAX_OWNERS:
                known.add(id(value))
                todo.append(((*path, key), value))
                found[todo[-1][0]] = value
    return found


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
        is_fixed = isinstance(owner, functools.partial) and hasattr(functools.partial, key)
        return bool(attributes_of(owner)) and not is_fixed
    return isinstance(owner, dict) or (not isinstance(owner, tuple) and key in items_of(owner))


def _owner(env: Any, path: Path) -> Any:
    return functools.reduce(_part, path, env)


def _part(owner: Any, key: Key) -> Any:
    """Return an attribute or an item. Raises LookupError, or TypeError: it has no items."""
    if isinstance(key, str):
        return attributes_of(owner)[key]
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


def _differing(places: dict[Place, tuple[tuple[Any, ...], tuple[Any, ...]]]) -> set[Place]:
    """Return the places where a value is another one now, or where there is none.

    Objects that are at many places are compared once.

    Args:
        places: by each, what `_value_at` returned, and what it returns now.
    """
    known = dict[tuple[int, ...], bool]()
    found = set[Place]()
    for place, (then, now) in places.items():
        pair = id(then[0]), *map(id, now)
        if pair not in known:
            known[pair] = not now or any(value_differences(then[0], now[0], "_"))
        if known[pair]:
            found.add(place)
    return found


def _put(env: Any, attributes: dict[Place, Any]) -> None:
    for (path, key), value in attributes.items():
        owner = _owner(env, path)
        now = _value_at(owner, ((), key))
        if now and _is_shown(now[0]) and now[0].shape == np.shape(value):
            np.copyto(now[0], value)  # another array would show the library's state no more
        elif isinstance(key, str):
            object.__setattr__(owner, key, value)
        else:
            _numbered(owner)[key[0]] = value


def _is_shown(value: Any) -> bool:
    """Return whether a value is an array in the memory of a library: a simulator's state."""
    if type(value) is not np.ndarray or not value.flags.writeable:
        return False
    base = owner_of(value).base
    return base is not None and not isinstance(base, bytes | bytearray)  # `pickle` leaves these


def _remaining(
    env: Any, lost: dict[Place, str], homeless: dict[Place, str], there: dict[Place, Any]
) -> list[str]:
    """Return what of an environment that was reset another reset leaves alone.

    No object in a set can be told from another, so sets are named even where a reset makes others.

    Args:
        env: the environment.
        lost: what nothing keeps: classes, with the digest of a model of MuJoCo's.
        homeless: what is kept, but is in objects that a new environment has not.
        there: what there was.
    """
    if not (lost or homeless):
        return []
    owners = {(path, key): (path[:-1], path[-1]) for path, key in homeless}
    before = [_value_at(env, place) for place in (*lost, *owners.values())]
    _reset(env)
    stay = {id(value) for (value,) in filter(None, before)}  # also at another place
    named = []
    for place, kind in (lost | homeless).items():
        now = _value_at(env, owner := owners.get(place, place))
        is_shown = place in owners and there.get(owner) == PASSED_OVER
        if is_shown and not any(map(parts_of, now)):  # it comes with the first picture
            continue
        kind, _, digest = kind.partition(" ")
        if digest:  # a model of MuJoCo's, which is there in any case
            if now and model_digest(now[0]) != digest:
                named.append(f"{_name(place)} ({kind})")
        elif not (now and _value_at(env, place)) or id(now[0]) in stay or _is_lost_set(now[0]):
            named.append(f"{_name(place)} ({kind})")
    return named


def _more(env: Any, there: dict[Place, Any]) -> list[str]:
    """Return what an environment has, though it was not there, and no reset makes another one.

    It is taken away: the environment is of no use then.
    """
    more = list[Place]()
    for path in [path for path, key in there if key == CLASS]:
        with contextlib.suppress(LookupError, TypeError):
            if type(owner := _owner(env, path)).__name__ == there[path, CLASS]:
                more += [(path, key) for key in parts_of(owner) if (path, key) not in there]
            elif path and parts_of(owner):  # an object of another class
                more.append((path[:-1], path[-1]))
    for path, key in reversed(more):  # of a list, the last one first
        with contextlib.suppress(LookupError, TypeError, AttributeError):
            if isinstance(key, str):
                object.__delattr__(_owner(env, path), key)
            else:
                del _owner(env, path)[key[0]]
    if more:
        with contextlib.suppress(Exception):  # it lacks what it needs
            _reset(env)
    gone = [place for place in more if not _value_at(env, place)]
    return [
        _name(each) + ("" if isinstance(each[1], str) else f"[{each[1][0]!r}]") for each in gone
    ]


def _is_lost_set(value: Any) -> bool:
    return (
        isinstance(value, set | frozenset | dict) and Objects([[value]]).how(value, set()) != KEPT
    )


def _reset(env: Any) -> None:
    """Begin an episode, in each part of a vector environment."""
    if hasattr(env, "start") and hasattr(env, "num_envs"):
        env.start([0] * env.num_envs)
    else:
        env.reset(seed=0)
