"""The GPUs of this machine, and slots on them that hold one job each.

A slot is a locked file, which the job inherits: it is free again when the job and all that it has
forked are gone, whoever was killed, and other launches of the same user keep to it.
"""

import fcntl
import os
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gym_loop.mistake import Mistake

VISIBLE = "CUDA_VISIBLE_DEVICES"
Slot = tuple[str, Connection]  # the GPU, and the lock


def count() -> int | None:
    """Return how many GPUs the driver knows; None: it cannot be asked.

    Asks NVML, which initialises no CUDA.

    Raises:
        ImportError: nvidia-ml-py is not installed.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


def chosen(gpus: Any) -> list[str]:
    """Return the GPUs that `hydra.launcher.gpus` means, as CUDA_VISIBLE_DEVICES names them.

    Args:
        gpus: None for none, `auto` for those that this process sees, or a list of numbers or UUIDs.

    Raises:
        Mistake: it means none that there is.
    """
    if gpus is None:
        return []
    if gpus == "auto":
        try:
            found = count() or 0
        except ImportError:
            raise Mistake(
                'hydra.launcher.gpus=auto needs nvidia-ml-py: pip install "gym-loop[gpu]"; or name '
                "them: hydra.launcher.gpus=[0,1]"
            ) from None
        if os.environ.get(VISIBLE) is not None:
            return [word.strip() for word in os.environ[VISIBLE].split(",") if word.strip()]
        return [str(number) for number in range(found)]
    told = f"hydra.launcher.gpus={str(gpus).replace(' ', '')}"
    if not isinstance(gpus, Sequence) or isinstance(gpus, str) or not gpus:
        raise Mistake(f"{told}; expected null, auto or a list such as [0,1]")
    for gpu in gpus:
        if not ((type(gpu) is int and gpu >= 0) or (isinstance(gpu, str) and gpu)):
            raise Mistake(f"{told}; expected numbers from 0, or UUIDs, and not {gpu!r}")
    if len(set(gpus)) < len(gpus):
        raise Mistake(
            f"{told} names one twice; hydra.launcher.jobs_per_gpu=2 puts two jobs on each"
        )
    try:
        known = count()
    except ImportError:
        known = None
    for gpu in gpus:
        if known is not None and isinstance(gpu, int) and gpu >= known:
            has = ", ".join(map(str, range(known))) or "none"
            raise Mistake(f"{told}: there is no GPU {gpu}; this machine has {has}")
    return [str(gpu) for gpu in gpus]


def environment(gpu: str) -> dict[str, str]:
    """Return environment variables with which a process sees one GPU, by its number; "": none."""
    return {VISIBLE: gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


class Slots:
    """Slots for jobs on GPUs.

    Args:
        gpus: as CUDA_VISIBLE_DEVICES names them.
        each: how many jobs a GPU takes.
    """

    def __init__(self, gpus: Sequence[str], each: int) -> None:
        self.names = [(gpu, number) for number in range(each) for gpu in gpus]
        self.folder = Path(tempfile.gettempdir()) / f"gym_loop-{os.getuid()}-gpus"

    def take(self) -> Slot | None:
        """Return a free slot, on the GPU with the fewest jobs; None: there is none."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for gpu, number in self.names:
            path = self.folder / f"{gpu.replace('/', '_')}.{number}"
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            return gpu, Connection(lock)
        return None
