"""Registers how a checkpoint that is not kept is made again, and how environments are kept."""

import contextlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def repeated(run: Path, number: int) -> contextlib.AbstractContextManager[tuple[Path, Path]]:
    """Call `repeat.repeated`, imported only when it is needed."""
    from gym_loop.observers import repeat

    return repeat.repeated(run, number)


if find_spec("gym_loop.runs"):
    from gym_loop.observers import environments, restoring
    from gym_loop.runs import checkpoints

    checkpoints.repeated = repeated
    if find_spec("gym_loop.vector"):
        from gym_loop import vector

        def restore(saved: Any) -> Any:
            """Return an environment that `environments.save` took, as fast as it was."""
            env = environments.restore(saved, "training")
            restoring.quicken_all(env)
            return env

        vector.save, vector.restore = environments.save, restore
