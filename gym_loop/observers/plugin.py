"""Registers how a checkpoint that is not kept is made again, and how environments are kept."""

import contextlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def repeated(run: Path, number: int) -> contextlib.AbstractContextManager[tuple[Path, Path]]:
    """Call `repeat.repeated`, imported only when it is needed."""
    from gym_loop.observers import repeat

    return repeat.repeated(run, number)


def save(env: Any) -> Any:
    """Call `environments.save`."""
    from gym_loop.observers import environments

    return environments.save(env)


def restore(saved: Any) -> Any:
    """Call `environments.restore`, and make what it returns as fast as it was."""
    from gym_loop.observers import environments, restoring

    env = environments.restore(saved, "training")
    restoring.quicken_all(env)
    return env


if find_spec("gym_loop.runs"):
    from gym_loop.runs import checkpoints

    checkpoints.repeated = repeated
    if find_spec("gym_loop.vector"):
        from gym_loop import vector

        vector.save, vector.restore = save, restore
