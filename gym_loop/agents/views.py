"""NumPy arrays in the memory of others: which they are, and where in it."""

import itertools
from collections import defaultdict
from typing import Any

import numpy as np


def owner_of(array: Any) -> Any:
    """Return the array whose memory an array is in: itself, or another one."""
    while type(array.base) is np.ndarray:
        array = array.base
    return array


def shared(arrays: list[Any]) -> set[int]:
    """Return the ids of the owners in whose memory two of these arrays overlap."""
    parts, found = defaultdict[int, list[Any]](list), set[int]()
    for array in arrays:
        parts[id(owner_of(array))].append(array)
    for owner, own in parts.items():
        if len(own) > 1 and owner_of(own[0]).flags.forc and not owner_of(own[0]).dtype.hasobject:
            ends = sorted(map(_ends, own))
            if any(after[0] < before[1] for before, after in itertools.pairwise(ends)):
                found.add(owner)
    return found


def _ends(array: Any) -> tuple[int, int]:
    """Return the addresses of an array's first byte and of the one behind its last."""
    start: int = array.__array_interface__["data"][0]
    reach = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)]
    below, above = (sum(r for r in reach if (r < 0) is is_below) for is_below in (True, False))
    return start + below, start + above + array.itemsize


def place(array: Any, owner: Any) -> tuple[Any, ...]:
    """Return where in the memory of `owner` an array is, as `part` takes it."""
    offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return array.shape, array.dtype, offset, array.strides, array.flags.writeable


def part(owner: Any, shape: Any, dtype: Any, offset: int, strides: Any, is_writeable: bool) -> Any:
    """Return an array in the memory of another one."""
    memory = owner if owner.flags.c_contiguous else owner.T
    array: Any = np.ndarray(shape, dtype, memory, offset, strides)
    array.flags.writeable = is_writeable and array.flags.writeable
    return array
