"""Batches: observations or actions of many environments, in arrays with a row for each.

A batch is an array whose leading axis is that of environments, in the type of the space; of Tuple
and Dict spaces, a tuple or dict of such arrays. Where elements of a space fit into no array (texts,
sequences, graphs), it is an array of objects.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gym_loop.mistake import Failure, text_of

Array = npt.NDArray[Any]


def parts_of(space: Any) -> Any:
    """Return the spaces in a Dict or Tuple, as a mapping or a sequence; None of any other space."""
    if "OneOf" in {kind.__name__ for kind in type(space).__mro__}:  # an element is of one of them
        return None
    return getattr(space, "spaces", None)


def leaves(space: Any) -> list[Any]:
    """Return the spaces that a space is made of, which have no parts themselves."""
    parts = parts_of(space)
    if parts is None:
        return [space]
    each = parts.values() if isinstance(parts, Mapping) else parts
    return [leaf for part in each for leaf in leaves(part)]


def array_type(space: Any) -> np.dtype[Any] | None:
    """Return the type of a batch of a space: object where its elements are no numbers or arrays.

    None where the space does not say.
    """
    dtype = getattr(space, "dtype", None)
    if getattr(space, "shape", None) is None:
        return np.dtype(object)
    if dtype is None:
        return None
    return np.dtype(dtype if np.dtype(dtype).kind in "biufc" else object)


def in_type(values: Any, dtype: np.dtype[Any] | None) -> Array:
    """Return values as an array of `dtype`, or of their own type if `dtype` cannot hold them."""
    given: Array = np.asarray(values)
    if dtype is None or given.dtype == dtype:
        return given
    if given.dtype.kind == "f" and dtype.kind in "iu":
        # Integers beyond 2**63 beside others: NumPy has made floats of them, which are rounded.
        with contextlib.suppress(OverflowError, TypeError, ValueError):
            exact = np.asarray(values, object)
            return whole if np.array_equal(whole := exact.astype(dtype), exact) else given
        return given
    with np.errstate(invalid="ignore"):
        array = given.astype(dtype)
    return array if dtype.kind in "fc" or np.array_equal(array, given) else given


def stack(observations: Sequence[Any], space: Any) -> Any:
    """Return observations of single environments as one batch of their space.

    Raises:
        Failure: they are not elements of the space.
    """
    parts = parts_of(space)
    try:
        if isinstance(parts, Mapping):
            return {k: stack([ob[k] for ob in observations], parts[k]) for k in parts}
        if parts is not None:
            by_part = zip(*observations, strict=True)
            return tuple(stack(each, part) for each, part in zip(by_part, parts, strict=True))
        dtype = array_type(space)
        if dtype is not None and dtype.hasobject:
            return objects(observations)
        return in_type(observations, dtype)
    except (LookupError, TypeError, ValueError) as error:
        some = " ".join(f"{observations[0]!r:.60}".split())
        raise Failure(
            f"observations of the environment, such as {some}, are no elements of its "
            f"observation_space, {space}: {text_of(error)}"
        ) from error


def objects(values: Sequence[Any]) -> Array:
    """Return an array of shape (n,) that holds `values` as they are."""
    batch = np.empty(len(values), object)
    for i, value in enumerate(values):
        batch[i] = value
    return batch


def as_arrays(batch: Any, space: Any) -> Any:
    """Return a library's batch with arrays of objects where the library has tuples of elements."""
    if isinstance(batch, np.ndarray):
        return np.ascontiguousarray(batch)  # rows are taken four times as fast
    parts = parts_of(space)
    if isinstance(parts, Mapping):
        return {key: as_arrays(batch[key], part) for key, part in parts.items()}
    return objects(batch) if parts is None else tuple(map(as_arrays, batch, parts))


def map_arrays(function: Callable[..., Any], batch: Any, *others: Any) -> Any:
    """Return a batch of what `function` returns for each array of `batch`, and of `others`."""
    if isinstance(batch, tuple):
        each = zip(batch, *others, strict=True)
        return tuple(map_arrays(function, *parts) for parts in each)
    if isinstance(batch, Mapping):
        return {
            key: map_arrays(function, part, *(other[key] for other in others))
            for key, part in batch.items()
        }
    return function(batch, *others)


def take(batch: Any, rows: Array) -> Any:
    """Return the rows `rows` of a batch, as a batch."""
    return map_arrays(lambda array: np.asarray(array).take(rows, 0), batch)


def put(batch: Any, rows: Array, new: Any) -> Any:
    """Return a copy of a batch in which the rows `rows` are those of the batch `new`."""

    def put_into(array: Array, values: Array) -> Array:
        array = array.astype(np.result_type(array.dtype, values.dtype))
        array[rows] = values
        return array

    return map_arrays(put_into, batch, new)


def row_of(batch: Any, row: int) -> Any:
    """Return one row of a batch: what a single environment would have given."""
    return map_arrays(lambda array: array[row], batch)


def info_of_row(infos: Mapping[str, Any], row: int) -> dict[str, Any]:
    """Return one environment's info out of a library's batch of them.

    An entry is a batch of values, or a mapping of such entries. Beside it, the entry `_name` is a
    mask of those that have one.
    """
    info: dict[str, Any] = {}
    for name, batch in infos.items():
        has = infos.get(f"_{name}")
        if (name[:1] == "_" and name[1:] in infos) or (has is not None and not has[row]):
            continue
        if isinstance(batch, dict):
            info[name] = info_of_row(batch, row)
        elif isinstance(batch, (np.ndarray, list, tuple)) and len(batch) > row:
            info[name] = batch[row]
    return info
