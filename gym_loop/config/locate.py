"""The class or function that a config's `_target_` names, in a module or in a user's file."""

import functools
import importlib
import io
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import gym_loop_files
from gym_loop.config import by_value

# Modules of ours, by the names that earlier versions have written into configs and pickles.
MOVED = {
    f"gym_loop.{before}": f"gym_loop.{now}"
    for before, now in {
        "envs.envpool": "vector.envpool",
        "envs.vector": "vector.envs",
        "loops.vector_loop": "vector.loop",
    }.items()
}
# Modules of ours that had more than they have now, and where the rest is.
PARTED = {
    f"gym_loop.{module}": [f"gym_loop.{part}" for part in parts]
    for module, parts in {
        "envs.wrappers": ("envs.tape", "envs.learnt"),
        "vector.envs": ("vector.copies", "vector.library"),
    }.items()
}
# Files that are gone, by the names of their modules, and where a run's directory says they are now.
present: dict[str, Path] = {}


def locate(target: str) -> Any:
    """Return what `package.module.Name`, `package.module:Name` or `path/to/file.py:Name` names.

    Raises:
        ImportError: the module cannot be imported.
        AttributeError: it has no such name.
    """
    module_name, _, name = present_name(target).rpartition(":" if ":" in target else ".")
    if by_value.is_file(module_name):
        return by_value.load(module_name)
    is_file = module_name.endswith(".py")
    module = load_file(module_name) if is_file else importlib.import_module(module_name)
    return functools.reduce(getattr, name.split("."), module)


def present_name(target: str) -> str:
    """Return `target` with the name that its module has now, if that is one of ours."""
    module_name, separator, name = target.rpartition(":" if ":" in target else ".")
    return f"{MOVED.get(module_name, module_name)}{separator}{name}"


class Unpickler(pickle.Unpickler):
    """Finds classes of ours in the modules where they are now."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what `name` is in `module`."""
        module = MOVED.get(module, module)
        for place in PARTED.get(module, ()):
            part = importlib.import_module(place)
            if hasattr(part, name):
                return getattr(part, name)
        return super().find_class(module, name)


def unpickle(pickled: bytes) -> Any:
    """Return what was pickled, by this version or by an earlier one."""
    return Unpickler(io.BytesIO(pickled)).load()


def look_in(folder: str) -> None:
    """Search `folder`, too, for modules and files by relative paths, after all other folders."""
    if folder not in sys.path:
        sys.path.append(folder)


def load_file(path: str) -> types.ModuleType:
    """Import the file at `path`, once; its folder joins `sys.path`.

    A relative path is looked for in the current directory, then as modules are, along `sys.path`.
    Its classes are pickled under a name that depends on the file's path alone. A file that has
    been imported by name (`import my_agent`) is the same module.
    """
    places = (Path(folder, path).expanduser() for folder in ("", *sys.path))
    file = next(filter(Path.is_file, places), Path(path).expanduser()).resolve(strict=True)
    module = importlib.import_module(gym_loop_files.module_name(file))
    # What was pickled before a project was moved has the former names.
    sys.modules.update({name: module for name, now in present.items() if now == file})
    return module
