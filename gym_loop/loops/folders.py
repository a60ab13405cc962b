"""The directories that a loop's parameters name: `logdir`, `record_dir` and so on."""

from collections.abc import Mapping
from typing import Any

from gym_loop.loops.parameters import ALL


def folder_of(parameters: Mapping[str, Any], name: str) -> str:
    """Return the directory under `name`; a loop of the user's that has no such parameter has ours.

    It is relative to the run's directory, or absolute.
    """
    return str(parameters.get(name) or ALL[name].default)
