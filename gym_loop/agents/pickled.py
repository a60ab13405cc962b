"""An agent's pickle, written and read without a second copy of its arrays in memory."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

PIECE = 1 << 22  # bytes


def dump(content: Any, path: Path) -> None:
    """Write the pickle of `content` into the file at `path`."""
    with open(path, "wb") as file:
        _Pickler(file, protocol=5).dump(content)


def load(path: Path) -> Any:
    """Return what `dump` wrote, or any other pickle. Only for files that are trusted."""
    with open(path, "rb") as file:
        return pickle.load(file)


class _Pickler(pickle.Pickler):
    """Pickles a large array in pieces: `pickle` copies what it is given before it writes it."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not np.ndarray or value.nbytes <= PIECE:
            return NotImplemented
        is_plain = value.dtype.kind in "biufc" and value.dtype.isnative
        if not (is_plain and value.flags.c_contiguous and value.flags.writeable):
            return NotImplemented
        flat, step = value.reshape(-1), PIECE // value.itemsize
        pieces = [flat[start : start + step] for start in range(0, flat.size, step)]
        return joined, (pieces, value.shape)


def joined(pieces: list[Any], shape: tuple[int, ...]) -> Any:
    """Return the array that was pickled in pieces."""
    return np.concatenate(pieces).reshape(shape)
