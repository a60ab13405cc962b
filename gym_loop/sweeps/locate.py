"""Finding the class that a `_target_` names, be it in a file of the user's."""

import functools
import hashlib
import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any


def locate(target: str) -> Any:
    """Return what `package.module.Name`, `package.module:Name` or `path/to/file.py:Name` names.

    Raises:
        ImportError: the module cannot be imported.
        AttributeError: it has no such name.
    """
    module_name, _, name = target.rpartition(":" if ":" in target else ".")
    is_file = module_name.endswith(".py")
    module = load_file(module_name) if is_file else importlib.import_module(module_name)
    return functools.reduce(getattr, name.split("."), module)


def load_file(path: str) -> types.ModuleType:
    """Import the file at `path`, once, under a name of its own; its folder joins `sys.path`.

    The name is the file's own wherever that is free, so that what it defines unpickles elsewhere.
    """
    file = Path(path).expanduser().resolve(strict=True)
    name = file.stem
    known = sys.modules.get(name)
    if (known and known.__file__ != str(file)) or not name.isidentifier():
        name = f"{name}_{hashlib.sha1(str(file).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        if str(file.parent) not in sys.path:
            sys.path.append(str(file.parent))
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec and spec.loader
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
