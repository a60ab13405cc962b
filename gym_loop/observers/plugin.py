"""Registers how a checkpoint that is not kept is made again."""

import contextlib
from importlib.util import find_spec
from pathlib import Path


def repeated(run: Path, number: int) -> contextlib.AbstractContextManager[tuple[Path, Path]]:
    """Call `repeat.repeated`, imported only when it is needed."""
    from gym_loop.observers import repeat

    return repeat.repeated(run, number)


if find_spec("gym_loop.runs"):
    from gym_loop.runs import checkpoints

    checkpoints.repeated = repeated
