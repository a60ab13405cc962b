"""Environments in a checkpoint: pickled, and tested after unpickling before a run uses them."""

import copy
import logging
import pickle
from collections import deque
from typing import Any

import numpy as np

from gym_loop.config.locate import unpickle
from gym_loop.runs.compare import value_differences

SCALARS = (bool, int, float, complex, str, bytes, type(None))
CONTAINERS = (list, tuple, set, frozenset, deque)
MAX_ITEMS = 10_000  # of a container; larger ones are not compared
PICKLING = ("__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")

log = logging.getLogger(__name__)

# An environment's pickle, and attributes that it may lack: {(path of the layer, name): value},
# where a layer is the environment, a wrapper, or a part of a vector environment.
Saved = tuple[bytes, dict[tuple[str, str], Any]]


def save(env: Any) -> Saved:
    """Return what `restore` takes. Raises what pickling raises."""
    return pickle.dumps(env, protocol=5), _lacking(env)


def _lacking(env: Any) -> dict[tuple[str, str], Any]:
    """Return the attributes that the pickle of an environment may lack."""
    if each := getattr(env, "each_copy", None):  # they may be in other processes
        return {
            (f"env.{number}{path.removeprefix('env')}", name): value
            for number, own in enumerate(each(_lacking))
            for (path, name), value in own.items()
        }
    own_way = any(_pickles_its_own_way(type(layer)) for layer in layers(env).values())
    return _attributes(env) if own_way else {}


def restore(saved: Saved | bytes, what: str) -> Any:
    """Return the environment that was saved; None, with a warning, where it does not come back.

    Some come back as new, as all that are derived from `EzPickle`, which pickles the arguments of
    the constructor. Attributes that such an environment keeps from one episode to the next are put
    back. To find them, one copy is given the old attributes and reset, another one is only reset:
    those that still differ are kept across episodes.

    Args:
        saved: by `save`; a pickle alone, by an older version.
        what: "training" or "evaluation", for the warning.
    """
    pickled, attributes = saved if isinstance(saved, tuple) else (saved, {})
    try:
        env, trial = unpickle(pickled), unpickle(pickled)
        if getattr(env, "render_mode", None) == "human":
            return env  # a second one would open a window
        kept = _changed_attributes(attributes, _attributes(env))
        _put(trial, copy.deepcopy(kept))  # a reset may append to a list in it
        _reset(trial)  # fails where the environment needs an object that is gone, such as a server
        if kept:
            new = unpickle(pickled)
            _reset(new)
            after_reset = _attributes(trial)
            changed = _changed_attributes({k: after_reset.get(k) for k in kept}, _attributes(new))
            kept = {key: kept[key] for key in changed}
            _put(env, kept)
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
    told = [name for _, name in kept if name != "spec"]  # of gym: the same in each episode
    if told:
        log.warning(
            "the %s environment comes back from its pickle as new; what was put back is %s, and "
            "anything else that it keeps from one episode to the next is lost",
            what,
            ", ".join(told),
        )
    return env


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


def _attributes(env: Any) -> dict[tuple[str, str], Any]:
    """Return the attributes of all layers that are plain data."""
    return {
        (path, name): value
        for path, layer in layers(env).items()
        for name, value in getattr(layer, "__dict__", {}).items()
        if _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    """Return whether `value` is made of nothing but numbers, texts and the like."""
    kind = type(value)
    if kind in SCALARS or isinstance(value, np.generic | np.random.Generator):
        return True
    if kind is np.ndarray:
        return not value.dtype.hasobject
    if kind in CONTAINERS:
        return len(value) <= MAX_ITEMS and all(map(_is_plain, value))
    if kind is dict:
        return len(value) <= MAX_ITEMS and all(map(_is_plain, [*value, *value.values()]))
    own = getattr(value, "__dict__", None)
    if type(own) is not dict or isinstance(value, type) or callable(value):
        return False
    return not _pickles_its_own_way(kind) and all(map(_is_plain, own.values()))


def _pickles_its_own_way(kind: type) -> bool:
    """Return whether a class defines what its pickle holds."""
    return any(getattr(kind, n, None) is not getattr(object, n, None) for n in PICKLING)


def _changed_attributes(
    before: dict[tuple[str, str], Any], now: dict[tuple[str, str], Any]
) -> dict[tuple[str, str], Any]:
    """Return those of `before` that are absent from `now` or differ there."""
    return {
        key: value
        for key, value in before.items()
        if key not in now or any(value_differences(value, now[key], "_"))
    }


def _put(env: Any, attributes: dict[tuple[str, str], Any]) -> None:
    owners = layers(env)
    for (path, name), value in attributes.items():
        vars(owners[path])[name] = value


def _reset(env: Any) -> None:
    """Begin an episode, in each part of a vector environment."""
    if hasattr(env, "start") and hasattr(env, "num_envs"):
        env.start([0] * env.num_envs)
    else:
        env.reset(seed=0)
