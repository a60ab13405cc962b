"""Puts back what a run has kept: the code in temporary worktrees, the packages, the variables."""

import csv
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gym_loop.code import environment, reading
from gym_loop.config import kept
from gym_loop.mistake import Mistake
from gym_loop.runs import manifest

TOOLS = {"pip", "uv"}  # that install packages, and are none that a run uses


class Again:
    """The code and the packages of a run, put back below `folder` until `remove` is called.

    Args:
        run: the run's directory.
        description: of its first launch, as `reading.describe` returns it.
        folder: an empty one. The code lies in it under the paths that it had.
    """

    def __init__(self, run: Path, description: dict[str, Any], folder: Path) -> None:
        self.run, self.description, self.folder = run.absolute(), description, folder
        self.worktrees: list[tuple[Path, Path]] = []  # repository and worktree
        self.python = sys.executable

    def path(self, original: str) -> Path:
        """Return where a file or folder of the run lies now.

        Raises:
            Mistake: the path is none that a run writes down.
        """
        parts = Path(original).parts
        if not os.path.isabs(original) or ".." in parts:
            raise Mistake(f"{self.run} holds a path that no run has written: {original}")
        return self.folder.joinpath("code", *parts[1:])

    def put_code_back(self) -> None:
        """Check out each repository's commit, apply the changes, and add the other files.

        Raises:
            Mistake: a commit is nowhere here, or git refuses.
        """
        roots = sorted(self.description["roots"], key=lambda root: len(root["path"]))
        for root in roots:
            kept, target = self.run / reading.FOLDER / root["name"], self.path(root["path"])
            target.mkdir(parents=True, exist_ok=True)
            if root["commit"]:
                repository = self._repository(root["path"], root["commit"])
                self.worktrees.append((repository, target))
                git(repository, "worktree", "add", "-q", "--detach", str(target), root["commit"])
                if (kept / reading.CHANGES).is_file():
                    git(target, "apply", "--whitespace=nowarn", str(kept / reading.CHANGES))
            if (kept / "files").is_dir():
                shutil.copytree(kept / "files", target, symlinks=True, dirs_exist_ok=True)
        if (package := self.run / reading.FOLDER / reading.PACKAGE).is_file():
            with zipfile.ZipFile(package) as archive:
                archive.extractall(self.folder / "package")

    def remove(self) -> None:
        """Remove the worktrees from their repositories."""
        for repository, target in self.worktrees:
            command = ["git", "-C", str(repository), "worktree", "remove", "--force", str(target)]
            subprocess.run(command, capture_output=True, check=False)

    def put_packages_back(self) -> str:
        """Have `python` be one with the run's packages; return in words which that is.

        Where the same are installed here, it is this one. Else a new environment gets links to
        those that are here in the same version, and the others are installed.

        Raises:
            Mistake: there is no such Python, or a package cannot be installed.
        """
        own = self.description["packages"], self.description.get("sources") or {}
        wanted, here = self._installable(*own), self._installable(*environment.installed())
        version = self.description["python"]
        if wanted == here and version == sys.version.split()[0]:
            return f"the {len(wanted)} packages that are installed here, and Python {version}"
        target = self.folder / "environment"
        tool = shutil.which("uv")
        self.python = str(target / "bin" / "python")
        self._make_environment(tool, target, version)
        linked = set[str]()
        if version.split(".")[:2] == sys.version.split(".")[:2]:
            site = next(target.glob("lib/python*/site-packages"))
            linked = link({n for n, v in wanted.items() if here.get(n) == v}, site)
        missing = {name: wanted[name] for name in wanted if name not in linked}
        if missing:
            self._install(tool, [self._requirement(*pair) for pair in missing.items()])
        new = ", ".join(f"{name} {version}" for name, version in list(missing.items())[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        by = "uv" if tool else "venv and pip"
        return f"made by {by}: Python {version}, {len(linked)} packages as they are here" + (
            f", installed: {new}{more}" if new else ""
        )

    def variables(self) -> dict[str, str]:
        """Return the environment variables for the run: its folders, its counts of threads."""
        own = {*environment.VARIABLES, "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in own and not name.startswith("GYM_LOOP_")
        }
        threads = self.description.get("threads") or {}
        kept |= {name: str(threads[name]) for name in environment.VARIABLES if name in threads}
        joined = joined_folders(self.run)
        folders = [self.path(folder) for folder in self.description["path"] if folder not in joined]
        package = self.folder / "package"
        folders = [*([package] if package.is_dir() else []), *folders]
        return kept | {"PYTHONPATH": os.pathsep.join(map(str, folders))}

    def _repository(self, path: str, commit: str) -> Path:
        """Return a repository here that has a commit."""
        candidates = [Path(path), Path.cwd(), self.run]
        for candidate in candidates:
            if candidate.is_dir() and _has(candidate, commit):
                return candidate
        looked = ", ".join(dict.fromkeys(map(str, candidates)))
        raise Mistake(
            f"no repository has the commit {commit[:12]} of {self.run}: looked in {looked}; start "
            "this in a clone that has it"
        )

    def _installable(self, packages: dict[str, str], sources: dict[str, str]) -> dict[str, str]:
        """Return the versions of packages without those of the code that is put back."""
        code = {name for name, source in sources.items() if source.startswith("editable ")}
        if (self.run / reading.FOLDER / reading.PACKAGE).is_file():
            code.add("gym-loop")
        left_out = code | TOOLS | {n for n, version in packages.items() if version == "unknown"}
        return {name: packages[name] for name in packages if name not in left_out}

    def _make_environment(self, tool: str | None, target: Path, version: str) -> None:
        minor = ".".join(version.split(".")[:2])
        same = version.split(".")[:2] == sys.version.split(".")[:2]
        python = sys.executable if same else shutil.which(f"python{minor}")
        if tool:
            run_tool([tool, "venv", "-q", "--python", python or version, str(target)])
        elif python:
            # Of pyenv's versions, what it has put on PATH starts the chosen ones alone.
            run_tool([python, "-m", "venv", "--without-pip", str(target)], PYENV_VERSION=minor)
        else:
            raise Mistake(
                f"{self.run} ran on Python {version}: no uv and no python{minor} on PATH to make "
                "an environment with"
            )

    def _requirement(self, name: str, version: str) -> str:
        """Return what pip is told for a package."""
        source = (self.description.get("sources") or {}).get(name, "")
        if source and (not source.startswith("file:") or os.path.exists(source[len("file://") :])):
            return f"{name} @ {source}"
        # A local version (2.13.0+cpu) is on no index of its own; pip takes it for the public one.
        return f"{name}=={version.partition('+')[0]}"

    def _install(self, tool: str | None, requirements: list[str]) -> None:
        if tool:
            command = [tool, "pip", "install", "-q", "--no-deps", "--python", self.python]
        else:
            command = [sys.executable, "-m", "pip", "--python", self.python, "install", "-q"]
            command += ["--no-deps", "--disable-pip-version-check", "--no-input"]
        run_tool([*command, *requirements])


def launched_in(run: Path) -> str:
    """Return where a run was launched first, as it was named then: it may have been moved since."""
    known = manifest.read(run) or {}
    return str(known.get("first_cwd") or known.get("cwd"))


def joined_folders(run: Path) -> set[str]:
    """Return the folders of the files that a run's config names.

    They join `sys.path` when a file is loaded, behind the standard library: a `random.py` may lie
    there.
    """
    targets = (section["_target_"] for _, section in kept.sections(kept.read(run) or {}))
    files = (file for file, colon, _ in (each.rpartition(":") for each in targets) if colon)
    return {
        os.path.realpath(os.path.join(launched_in(run), file, ".."))
        for file in files
        if file.endswith(".py")
    }


def link(names: set[str], site: Path) -> set[str]:
    """Link packages that are installed here into another environment's folder `site-packages`.

    A folder that belongs to one package is one link: links to all files would be tens of thousands.

    Returns the names of those whose files are known: some installers do not write them down.
    """
    owners: dict[str, set[str]] = {}  # of each folder here
    files: dict[str, tuple[str, list[str]]] = {}
    for package in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"] or "").lower()
        base = os.path.abspath(str(package.locate_file("")))
        rows = csv.reader((package.read_text("RECORD") or "").splitlines())
        inside = [row[0] for row in rows if row and not row[0].startswith(("..", "/"))]
        files.setdefault(name, (base, inside))  # what comes later on the path is not imported
        for folder in {folder for file in inside for folder in _folders(file)}:
            owners.setdefault(f"{base}/{folder}", set()).add(name)
    linked = {name for name in names if name in files and files[name][1]}
    for name in linked:
        base, inside = files[name]
        for file in inside:
            own = (f for f in _folders(file) if owners[f"{base}/{f}"] == {name})
            place = next(own, file)
            if not os.path.lexists(site / place):
                (site / place).parent.mkdir(parents=True, exist_ok=True)
                (site / place).symlink_to(f"{base}/{place}")
    return linked


def _folders(file: str) -> list[str]:
    """Return the folders that a file with a relative name lies in, the outermost first."""
    return [file[:place] for place, letter in enumerate(file) if letter == "/"]


def git(folder: Path, *words: str) -> None:
    """Run git in a folder.

    Raises:
        Mistake: it refuses; the line says why.
    """
    run_tool(["git", "-C", str(folder), *words])


def run_tool(command: Sequence[str], **variables: str) -> None:
    """Run a program to its end, with more environment variables than this process has.

    Raises:
        Mistake: it fails; the line has its last one.
    """
    try:
        env = os.environ | variables
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    except OSError as error:
        raise Mistake(f"cannot start {command[0]}: {error.strerror}") from None
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        said = next((line for line in lines if re.match("(error|fatal)", line, re.I)), "")
        name = " ".join(os.path.basename(command[0]).split())
        raise Mistake(f"{name}: {said or (lines or ['failed'])[-1]}")


def _has(folder: Path, commit: str) -> bool:
    command = ["git", "-C", str(folder), "cat-file", "-e", f"{commit}^{{commit}}"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
