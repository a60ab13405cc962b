"""An agent's pickle, written without a second copy of its arrays and tensors in memory."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from gym_loop.streams import imported_torch

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
    """Pickles large arrays and tensors in pieces: `pickle` copies what it is given.

    A tensor on a GPU comes to the CPU piece by piece, all of them through the same memory: the
    pickler keeps every object that it has seen.
    """

    def reducer_override(self, value: Any) -> Any:
        if type(value) is _Piece:
            return _same, (value.on_cpu(),)
        if type(value) is np.ndarray and value.nbytes > PIECE:
            is_plain = value.dtype.kind in "biufc" and value.dtype.isnative
            if is_plain and value.flags.c_contiguous and value.flags.writeable:
                flat, step = value.reshape(-1), PIECE // value.itemsize
                pieces = [flat[start : start + step] for start in range(0, flat.size, step)]
                return joined, (pieces, value.shape)
        elif (torch := imported_torch()) and type(value) is torch.Tensor and _is_whole(value):
            flat = value.detach().view(-1).view(torch.uint8)
            if value.is_cpu:
                return tensor, (flat.numpy(), value.dtype, value.shape, "cpu", value.requires_grad)
            memory = np.empty(PIECE, np.uint8)
            parts = [_Piece(each, memory) for each in flat.split(PIECE)]
            return tensor, (parts, value.dtype, value.shape, value.device, value.requires_grad)
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
