"""The files that a run uses: those that it has imported, and those that its config came from."""

import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gym_loop import launch
from gym_loop.config import kept, stored

SUFFIXES = (".py", ".yaml", ".yml")
STANDARD = os.path.dirname(os.__file__) + os.sep
INSTALLED = "-packages/"  # site- and dist-


def imported(before: Collection[str] = ()) -> set[str]:
    """Return the Python files of modules that are neither installed nor Python's own.

    Args:
        before: names of modules that are left out.
    """
    found = []
    for name, module in [*sys.modules.items()]:
        if name not in before:
            file = getattr(module, "__dict__", {}).get("__file__")
            if isinstance(file, str) and file.endswith(".py") and INSTALLED not in file:
                found.append(file)
    own = [file for file in found if not file.startswith(STANDARD)]
    real = {folder: os.path.realpath(folder) for folder in {*map(os.path.dirname, own)}}
    return {os.path.join(real[os.path.dirname(file)], os.path.basename(file)) for file in own}


def composed_from(cfg: Any, hydra: Any) -> set[str]:
    """Return the files of the user's that a config was composed from, or that it names."""
    runtime = hydra.runtime
    choices = [*runtime.choices.items(), ("", hydra.job.config_name)]
    names = [f"{str(group).partition('@')[0]}/{option}.yaml" for group, option in choices]
    ours = os.path.realpath(launch.CONF)
    candidates = [str(path) for path in stored.loaded]
    for source in runtime.config_sources:
        if source.schema == "file" and os.path.realpath(source.path) != ours:
            candidates += [f"{source.path}/{name.lstrip('/')}" for name in names]
    whole = kept.content(cfg, resolve=False)
    leaves = (value for _, value in kept.leaves(whole) if isinstance(value, str))
    candidates += [leaf for leaf in leaves if leaf.endswith(SUFFIXES) and "${" not in leaf]
    return {os.path.realpath(path) for path in candidates if os.path.isfile(path)}


def root_of(file: str) -> tuple[str, bool]:
    """Return the root that a file belongs to, and whether that is a git repository."""
    folders = [*map(str, Path(file).parents)]
    for folder in folders:
        if os.path.exists(f"{folder}/.git"):
            return folder, True
    here = os.getcwd()
    if here in folders:
        return here, False
    package = next(f for f in folders if not os.path.exists(f"{f}/__init__.py"))
    return package, False
