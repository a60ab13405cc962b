"""Undoes what a wrapper's `reset` has changed that was only tried.

A wrapper may count its resets, keep a history, or draw from a stream of its own.
"""

import collections
import contextlib
import copy
import functools
import random
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gym_loop.loops.copies import IMMUTABLE

CONTAINERS = {
    *(list, dict, set, collections.deque),
    *(collections.Counter, collections.OrderedDict, collections.defaultdict),
}
NOT_LOOKED_INTO = type, types.ModuleType, types.FunctionType, types.MethodType
MOST_OBJECTS = 1_000  # that are looked at: a wrapper may hold a large thing
MOST_BYTES = 10_000_000  # of an array

Undo = Callable[[], object]


def attributes(owner: Any) -> dict[str, Any]:
    """Return the attributes of an object as it keeps them; an empty dict where it has none."""
    try:
        own: dict[str, Any] = object.__getattribute__(owner, "__dict__")
    except AttributeError:  # it has slots alone
        return {}
    return own


def undoing(owners: Iterable[Any], leave: Iterable[Any]) -> list[Undo]:
    """Return functions that put back what is in the attributes of `owners`, and in what they hold.

    Objects stay the same ones, and get their content back.

    Args:
        owners: what may be changed.
        leave: what is not looked into, though an owner holds it.
    """
    undo, seen, todo = list[Undo](), {*map(id, leave)}, collections.deque(owners)
    while todo and len(seen) < MOST_OBJECTS:
        each = todo.popleft()
        if type(each) in IMMUTABLE or id(each) in seen or issubclass(type(each), NOT_LOOKED_INTO):
            continue
        seen.add(id(each))
        own, inner = _of(each)
        undo += own
        todo += inner
    return undo


def _of(each: Any) -> tuple[list[Undo], Iterable[Any]]:
    """Return functions that put one object back, and the objects that it holds."""
    kind = type(each)
    if kind in CONTAINERS:
        held = each.values() if isinstance(each, dict) else each
        return [functools.partial(_refill, each, copy.copy(each))], held
    if kind is tuple:
        return [], each
    if kind is np.ndarray:
        is_kept = each.flags.writeable and each.nbytes <= MOST_BYTES
        return [functools.partial(np.copyto, each, each.copy())] if is_kept else [], ()
    if kind is np.random.Generator:
        bits = each.bit_generator
        return [functools.partial(setattr, bits, "state", bits.state)], ()
    if kind is np.random.RandomState:
        return [functools.partial(each.set_state, each.get_state())], ()
    if kind is random.Random:
        return [functools.partial(each.setstate, each.getstate())], ()
    own, slots = attributes(each), dict[Any, Any]()
    for base in kind.__mro__:
        for slot in vars(base).values() if "__slots__" in vars(base) else ():
            if type(slot) is types.MemberDescriptorType:
                with contextlib.suppress(AttributeError):  # it has not been set
                    slots[slot] = slot.__get__(each)
    undo: list[Undo] = [functools.partial(slot.__set__, each, slots[slot]) for slot in slots]
    return [*undo, functools.partial(_refill, own, own.copy())], [*own.values(), *slots.values()]


def _refill(container: Any, before: Any) -> None:
    container.clear()
    add = container.extend if hasattr(container, "extend") else container.update
    add(before)
