"""An agent's pickle, written without a second copy of its arrays and tensors in memory."""

import io
import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gym_loop.agents import views
from gym_loop.streams import imported_torch

PIECE = 1 << 22  # bytes


def dump(content: Any, path: Path) -> None:
    """Write the pickle of `content` into the file at `path`."""
    with open(path, "wb") as file:
        _dump_into(file, content)


def dumps(content: Any) -> bytes:
    """Return the pickle of `content`."""
    file = io.BytesIO()
    _dump_into(file, content)
    return file.getvalue()


def load(path: Path) -> Any:
    """Return what `dump` wrote, or any other pickle. Only for files that are trusted."""
    with open(path, "rb") as file:
        return pickle.load(file)


def _dump_into(file: BinaryIO, content: Any) -> None:
    pickler = _Pickler(file)
    pickler.dump(content)
    if shared := views.shared(pickler.arrays):
        file.seek(0)
        file.truncate()
        _Pickler(file, shared).dump(content)


class _Pickler(pickle.Pickler):
    """Pickles large arrays and tensors in pieces: `pickle` copies what it is given.

    A tensor on a GPU comes to the CPU piece by piece, all of them through the same memory: the
    pickler keeps every object that it has seen.

    Args:
        file: where to.
        shared: the ids of arrays in whose memory others are: these come back in it. `pickle` gives
            each its own, and a change of one is not seen in the other.
    """

    def __init__(self, file: BinaryIO, shared: Collection[int] = ()) -> None:
        super().__init__(file, protocol=5)
        self.shared, self.arrays, self.pieces = shared, list[Any](), set[int]()

    def reducer_override(self, value: Any) -> Any:
        if type(value) is _Piece:
            self.pieces.add(id(piece := value.on_cpu()))
            return _same, (piece,)
        if type(value) is np.ndarray:
            return NotImplemented if id(value) in self.pieces else self._reduced(value)
        if (torch := imported_torch()) and type(value) is torch.Tensor and _is_whole(value):
            flat = value.detach().view(-1).view(torch.uint8)
            if value.is_cpu:
                return tensor, (flat.numpy(), value.dtype, value.shape, "cpu", value.requires_grad)
            memory = np.empty(PIECE, np.uint8)
            parts = [_Piece(each, memory) for each in flat.split(PIECE)]
            return tensor, (parts, value.dtype, value.shape, value.device, value.requires_grad)
        return NotImplemented

    def _reduced(self, array: Any) -> Any:
        self.arrays.append(array)
        if (owner := views.owner_of(array)) is not array and id(owner) in self.shared:
            return views.part, (owner, *views.place(array, owner))
        is_plain = array.dtype.kind in "biufc" and array.dtype.isnative
        is_whole = array.flags.c_contiguous and array.flags.writeable
        if array.nbytes > PIECE and is_plain and is_whole:
            flat, step = array.reshape(-1), PIECE // array.itemsize
            pieces = [flat[start : start + step] for start in range(0, flat.size, step)]
            self.pieces |= {*map(id, pieces)}
            return joined, (pieces, array.shape)
        return NotImplemented


class _Piece:
    """A part of a tensor on a GPU, and the memory through which it comes to the CPU."""

    def __init__(self, part: Any, memory: Any) -> None:
        self.part, self.memory = part, memory

    def on_cpu(self) -> Any:
        """Return its bytes, until another piece is asked for its own."""
        own = self.memory[: len(self.part)]
        own[:] = self.part.cpu().numpy()
        return own


def _is_whole(value: Any) -> bool:
    """Return whether a large plain tensor has its storage for itself, so that no other is in it."""
    if value.numel() * value.element_size() <= PIECE or not (value.is_cpu or value.is_cuda):
        return False
    plain = value.layout is imported_torch().strided and not value.is_quantized
    return bool(
        plain
        and value.is_leaf
        and value.is_contiguous()
        and not (value.is_complex() or vars(value))
        and value.untyped_storage().nbytes() == value.numel() * value.element_size()
    )


def joined(pieces: list[Any], shape: tuple[int, ...]) -> Any:
    """Return the array that was pickled in pieces."""
    return np.concatenate(pieces).reshape(shape)


def tensor(content: Any, dtype: Any, shape: Any, device: Any, requires_grad: bool) -> Any:
    """Return the tensor of these bytes: an array, or pieces of it."""
    import torch

    flat = torch.from_numpy(np.concatenate(content) if type(content) is list else content)
    value = flat.view(dtype).view(shape).to(device)
    return value.requires_grad_(requires_grad)


def _same(value: Any) -> Any:
    return value
