"""The Python files that a config names by their path, as modules: `gym_loop_files.PATH`.

The name of such a module is the file's whole path, percent-encoded. A class is pickled under the
name of its module, so that this name depends on nothing but the file. Every process that unpickles
the class finds the file by it, also a worker that is started anew and has not imported gym_loop.
"""

import ast
import hashlib
import importlib.util
import itertools
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote

_joined: list[str] = []  # folders of files, which have joined `sys.path`
__path__: list[str] = []  # makes this module a package; `Finder` finds the modules in it


def module_name(file: Path) -> str:
    """Return the name of the module of `file`, an absolute path without links."""
    return f"{__name__}.{quote(str(file)).replace('.', '%2E')}"


class Finder:
    """Finds the file that a module's name holds."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return how the module `name` is loaded, or None where it is no file's."""
        package, _, quoted = name.rpartition(".")
        if package != __name__:
            return None
        file = Path(unquote(quoted))
        if not file.is_absolute():
            raise ImportError("a file named by its path is in no package: import by absolute names")
        if known := imported_by_name(file) or (None if file.is_file() else moved(file)):
            return ModuleSpec(name, Known(known))  # type: ignore[arg-type]
        return importlib.util.spec_from_file_location(name, file, loader=File(name, str(file)))


class File(SourceFileLoader):
    """Loads a file; what lies beside it can be imported by name, and so can the file itself."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the file."""
        file = Path(self.path)
        if str(file.parent) not in sys.path:
            sys.path.append(str(file.parent))
            _joined.append(str(file.parent))
        check_what_it_imports(file)
        names = other_names(file)
        sys.modules.update(dict.fromkeys(names, module))
        try:
            super().exec_module(module)
        except BaseException:
            for name in names:
                sys.modules.pop(name, None)
            raise


def check_what_it_imports(file: Path) -> None:
    """Refuse a file that would import what lies beside another one instead of beside itself.

    Raises:
        ImportError: the folders of both have a module of that name, with other content.
    """
    others = [os.path.realpath(folder) for folder in _joined if folder != str(file.parent)]
    for name in _imported(file) if others else ():
        places = file.parent / f"{name}.py", file.parent / name / "__init__.py"
        beside = next((p.relative_to(file.parent) for p in places if p.is_file()), None)
        known = sys.modules.get(name) or PathFinder.find_spec(name)
        found = os.path.realpath(getattr(known, "__file__", getattr(known, "origin", None)) or "")
        if (
            beside
            and found in [os.path.realpath(f"{other}/{beside}") for other in others]
            and Path(found).read_bytes() != (file.parent / beside).read_bytes()
        ):
            raise ImportError(
                f"`import {name}` in {file} gives {found}, not the one beside it: "
                "in one process a name is one module; rename one of the two"
            )


def _imported(file: Path) -> set[str]:
    """Return the first parts of the modules' names that a file imports; none if it has errors."""
    try:
        nodes = [*ast.walk(ast.parse(file.read_bytes()))]
    except (SyntaxError, ValueError):
        return set()
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level}
    return {name.partition(".")[0] for name in found}


class Known:
    """Gives a module that has been loaded another name."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is."""
        module.__spec__ = self.spec


def imported_by_name(file: Path) -> ModuleType | None:
    """Return the module that `import NAME` has made of `file`, if it has been imported so."""
    known = sys.modules.get(file.stem)
    own = getattr(known, "__file__", None)
    return known if own and os.path.realpath(own) == str(file) else None


def other_names(file: Path) -> list[str]:
    """Return under which other names the module of `file` is to be known.

    Its plain one, where `import NAME` would find this file, and the one that gym_loop 0.1 pickled
    its classes under where that was taken.
    """
    names = [f"{file.stem}_{hashlib.sha1(str(file).encode()).hexdigest()[:8]}"]
    free = file.stem.isidentifier() and file.stem not in sys.modules
    if free and file.stem not in sys.stdlib_module_names:
        folders = [folder for folder in sys.path if os.path.realpath(folder) != str(file.parent)]
        other = PathFinder.find_spec(file.stem, folders)
        if other is None or other.origin is None:  # `torch.py` is not PyTorch
            names.append(file.stem)
    return names


def moved(file: Path) -> ModuleType | None:
    """Return the loaded module whose path ends most like that of `file`, which is gone.

    None where no file has its name, or two are alike: this is for projects that were moved.
    """
    found: dict[int, set[ModuleType]] = {}  # a module may have several names
    for name in [name for name in sys.modules if name.startswith(f"{__name__}.")]:
        other = Path(unquote(name.rpartition(".")[2]))
        pairs = zip(reversed(file.parts), reversed(other.parts), strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        found.setdefault(same, set()).add(sys.modules[name])
    most = max(found, default=0)
    return found[most].pop() if most and len(found[most]) == 1 else None


sys.meta_path.append(Finder)
