"""The code that a process has imported and that no package index has: commits, diffs, files.

It lies in roots: git repositories, else the folders that it was imported from. Of a repository its
commit is kept, the diff against it and, as they are, the files that it does not track; of any
other root, the files. What git ignores is never kept, nor what holds secrets by its name.
"""

import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gym_loop import launch
from gym_loop.code import masking, reading
from gym_loop.code.used import INSTALLED, SUFFIXES, root_of

LARGEST_FILE, LARGEST_DIFF = 1_000_000, 5_000_000  # bytes of what is kept
DIFF = (
    *("diff", "--binary", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv"),
    *("--ignore-submodules", "--src-prefix=a/", "--dst-prefix=b/", "HEAD"),
)
YAML_NAMED = re.compile(r"""["']([^"'\n]+\.ya?ml)["']""")


@dataclass
class Kept:
    """What is kept of the code: a description, as JSON holds it, and files by their names."""

    description: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


def collect(files: set[str]) -> Kept:
    """Return what is kept of `files` and of the repositories that they and this folder are in."""
    folders = {folder: root_of(f"{folder}/_") for folder in {*map(os.path.dirname, files)}}
    roots: dict[tuple[str, bool], list[str]] = {root_of(f"{os.getcwd()}/_"): []}
    for file in sorted(files):
        roots.setdefault(folders[os.path.dirname(file)], []).append(file)
    found = Kept({"roots": [], "path": _path(files), "left_out": {}, "masked": []})
    names: set[str] = set()
    for (root, is_repository), own in roots.items():
        name = base = re.sub(r"[^\w.-]", "_", os.path.basename(root)) or "root"
        while name in names:
            name = f"{base}-{len(names)}"
        names.add(name)
        repository = _Repository(root) if is_repository else None
        commit = repository.commit if repository else None
        found.description["roots"].append({"name": name, "path": root, "commit": commit})
        if repository:
            own = repository.keep(name, own, found)
        elif root == str(launch.PACKAGE.parent):
            own = []  # see `own_package`
        for file in own:
            _keep_file(Path(file), os.path.relpath(file, root), f"{name}/files", found)
    return found


def named_in(files: Iterable[str]) -> set[str]:
    """Return the YAML files that Python files name in a text, whether or not they are there.

    Relative names are taken as relative to the current folder, and to that of the Python file.
    """
    found = set()
    for file in files:
        if file.endswith(".py") and not file.startswith(str(launch.PACKAGE)):
            text = Path(file).read_text("utf-8", "replace") if os.path.isfile(file) else ""
            for name in YAML_NAMED.findall(text):
                paths = (os.path.join(folder, name) for folder in (".", os.path.dirname(file)))
                found |= {*map(os.path.realpath, paths)}
    return found


def _path(files: Iterable[str]) -> list[str]:
    """Return the folders of `sys.path` through which files are imported."""
    known = {os.path.realpath(folder or "."): None for folder in sys.path}
    own = {os.path.dirname(file) for file in files if file.endswith(".py")}
    above = {str(parent) for folder in own for parent in Path(folder, "_").parents}
    return [folder for folder in known if folder in above]


def _keep_file(file: Path, name: str, folder: str, found: Kept) -> None:
    """Keep one file, its secrets masked, as `name` in `folder`; or say why not."""
    reason = None
    try:
        if masking.named_like_a_secret(Path(name)):
            reason = "named like a secret"
        elif file.stat().st_size > LARGEST_FILE:
            reason = f"larger than {LARGEST_FILE:,} bytes"
        else:
            text = file.read_bytes().decode()
            hidden = masking.masked(file, text)
            found.files[f"{folder}/{name}"] = hidden.encode()
            if hidden != text:
                found.description["masked"].append(str(file))
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
    if reason:
        found.description["left_out"][str(file)] = reason


class _Repository:
    """A git repository, as it is now."""

    def __init__(self, root: str) -> None:
        self.root = root
        commit = self._git("rev-parse", "--verify", "-q", "HEAD").decode().strip()
        self.commit = commit or None

    def keep(self, name: str, files: list[str], found: Kept) -> list[str]:
        """Keep the diff; return those files that have to be kept whole."""
        ignored = self._names("check-ignore", "-z", "--stdin", given="\0".join(files))
        for file in ignored:
            found.description["left_out"][file] = "ignored by git"
        rest = [file for file in files if file not in ignored]
        if not self.commit:
            return rest
        untracked = self._paths("ls-files", "-z", "--others", "--exclude-standard")
        whole = [file for file in rest if file in untracked]
        states = iter(self._names(*DIFF, "--name-status", "-z"))
        changed = []
        for state, name_in_it in zip(states, states, strict=True):
            # Where a link has become a file, or a file a link, git removes one and adds the other.
            changed += [os.path.join(self.root, name_in_it)] * (2 if state == "T" else 1)
        parts = re.split(rb"^(?=diff --git )", self._git(*DIFF), flags=re.M)[1:] if changed else []
        clean = []
        for file, part in zip(changed, parts, strict=True):
            path = Path(file)
            if not (
                masking.named_like_a_secret(path.relative_to(self.root))
                or masking.mentions_a_secret(part.decode("latin"))
                or self._has_secret_of(path, part.decode(errors="replace"))
            ):
                clean.append(part)
            elif path.suffix in SUFFIXES and path.is_file():
                whole.append(file)  # which is then masked
            else:
                found.description["left_out"][file] = "its changes may hold a secret"
        diff = b"".join(clean)
        if len(diff) > LARGEST_DIFF:
            reason = f"changes larger than {LARGEST_DIFF:,} bytes"
            found.description["left_out"][self.root] = reason
        elif diff:
            found.files[f"{name}/{reading.CHANGES}"] = diff
        return whole

    def _has_secret_of(self, path: Path, part: str) -> bool:
        """Return whether a diff has a secret of its file's, as that is now or was committed.

        Its lines may not show the key above them that tells.
        """
        if path.suffix not in SUFFIXES:
            return False
        committed = self._git("show", f"{self.commit}:{path.relative_to(self.root)}")
        try:
            texts = [committed.decode(), path.read_text("utf-8") if path.is_file() else ""]
            lines = [line for text in texts for line in masking.hidden_lines(path, text)]
        except ValueError:  # it cannot be read, and what is in it is not known
            return True
        return any(line in part for line in lines)

    def _paths(self, *words: str) -> list[str]:
        return [os.path.join(self.root, name) for name in self._names(*words)]

    def _names(self, *words: str, given: str = "") -> list[str]:
        text = self._git(*words, given=given).decode(errors="surrogateescape")
        return [name for name in text.split("\0") if name]

    def _git(self, *words: str, given: str = "") -> bytes:
        command = ["git", "-C", self.root, "-c", "core.quotePath=false", *words]
        try:
            done = subprocess.run(command, input=given.encode(), capture_output=True, check=False)
        except OSError:  # git is not installed
            return b""
        return done.stdout


def own_package(sources: dict[str, str]) -> bytes | None:
    """Return this package as a zip file; None where it is a release, or a repository has it.

    Args:
        sources: of the packages that no index gave, as `environment.installed` returns them.
    """
    parent = launch.PACKAGE.parent
    source = sources.get("gym-loop", "")
    is_installed = f"{parent}{os.sep}".endswith(INSTALLED)
    if is_installed and (not source or "+" in source.partition(":")[0]):
        return None
    root, is_repository = root_of(str(launch.PACKAGE / "__init__.py"))
    if not is_installed and is_repository and _Repository(root).commit:
        return None
    files = {f"gym_loop/{p.relative_to(launch.PACKAGE)}": p for p in launch.PACKAGE.rglob("*")}
    files |= {f"gym_loop/conf/{p.relative_to(launch.CONF)}": p for p in launch.CONF.rglob("*")}
    files["gym_loop_files.py"] = parent / "gym_loop_files.py"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            if path.suffix in SUFFIXES and path.is_file():
                archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return content.getvalue()
