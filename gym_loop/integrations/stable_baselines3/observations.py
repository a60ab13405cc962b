"""Spaces and batches of observations, as Stable-Baselines3 takes them."""

from typing import Any

import numpy as np
from gymnasium import spaces


def from_zero(space: Any) -> Any:
    """Return a space of Gymnasium's that begins at 0: `space` itself where it does already."""
    if isinstance(space, spaces.Dict) and first(space):
        return spaces.Dict({key: from_zero(part) for key, part in space.spaces.items()})
    if isinstance(space, spaces.Discrete) and first(space):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete) and np.any(first(space)):
        return spaces.MultiDiscrete(space.nvec, dtype=space.dtype)
    return space


def unlimited(space: Any) -> Any:
    """Return a space with infinite limits where gym writes the largest float for them."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: unlimited(part) for key, part in space.spaces.items()})
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f":
        return space
    largest = np.finfo(space.dtype).max
    low = np.where(space.low <= -largest, -np.inf, space.low)
    high = np.where(space.high >= largest, np.inf, space.high)
    return spaces.Box(low, high, space.shape, space.dtype.type)


def first(space: Any) -> Any:
    """Return the number with which a space begins; 0 if all of its parts begin with 0.

    For a MultiDiscrete it is an array; for a Dict, a dict with a number for each part.
    """
    if hasattr(space, "spaces") and hasattr(space.spaces, "items"):
        parts = {key: first(part) for key, part in space.spaces.items()}
        return parts if any(np.any(part) for part in parts.values()) else 0
    start = getattr(space, "start", 0)
    return start if np.any(start) else 0


def rows(observation: Any, space: Any, start: Any) -> Any:
    """Return a copy with one row for each environment, of the type that the library keeps."""
    rows = np.array(observation, space.dtype).reshape((-1, *space.shape))
    return rows - np.asarray(start, space.dtype) if np.any(start) else rows


def as_views(images: Any) -> Any:
    """Return a batch of images, channels first, in memory as a view of one with channels last."""
    return np.moveaxis(np.array(np.moveaxis(images, 1, -1), order="C"), -1, 1)


def pick(batch: Any, index: Any) -> Any:
    """Return one observation of a batch."""
    if isinstance(batch, dict):
        return {name: part[index] for name, part in batch.items()}
    return batch[index]


def replaced(batch: Any, rows: Any, observations: list[Any]) -> Any:
    """Return a copy of a batch with `observations` in the rows that `rows`, flags, tell."""
    if isinstance(batch, dict):
        return {k: replaced(v, rows, [each[k] for each in observations]) for k, v in batch.items()}
    copied = np.array(batch)
    for row, observation in zip(rows.nonzero()[0], observations, strict=True):
        copied[row] = observation
    return copied
