"""The files that a run uses: those that it has imported, and those that its config came from."""

import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from gym_loop import launch
from gym_loop.config import kept, stored

SUFFIXES = (".py", ".yaml", ".yml")
STANDARD = os.path.dirname(os.__file__) + os.sep
INSTALLED = "-packages/"  # site- and dist-

remembered: dict[str, str | None] = {}  # module -> its file; None: an installed one, or Python's


def remember() -> None:
    """Find the files of what is imported, once for all processes that are forked from this one."""
    own = _own(sys.modules)
    remembered.update({name: own.get(name) for name in sys.modules})


def imported(before: Collection[str] = ()) -> set[str]:
    """Return the Python files of modules that are neither installed nor Python's own.

    Args:
        before: names of modules that are left out.
    """
    names = sys.modules.keys() - before
    known = {file for name in names & remembered.keys() if (file := remembered[name])}
    return known | {*_own(names - remembered.keys()).values()}


def _own(modules: Iterable[str]) -> dict[str, str]:
    """Return the files of those modules that are neither installed nor Python's own."""
    own, packages = dict[str, str](), dict[str, bool]()
    for name in [*modules]:
        package = name.partition(".")[0]
        if package not in packages:
            packages[package] = is_installed(file_of(package))
        # What lies in an installed package is not looked at: those are most of all modules.
        if not packages[package] and (file := file_of(name)) and not is_installed(file):
            own[name] = file
    folders = {os.path.dirname(file) for file in own.values()}
    real = {folder: os.path.realpath(folder) for folder in folders}
    return {
        name: os.path.join(real[os.path.dirname(file)], os.path.basename(file))
        for name, file in own.items()
    }


def file_of(module: str) -> str | None:
    """Return the Python file of a module that has been imported; None: it has none."""
    file = getattr(sys.modules.get(module), "__dict__", {}).get("__file__")
    return file if isinstance(file, str) and file.endswith(".py") else None


def is_installed(file: str | None) -> bool:
    """Return whether a file is Python's own, or of an installed package."""
    return file is not None and (INSTALLED in file or file.startswith(STANDARD))


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
