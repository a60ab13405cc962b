"""The observer that keeps `code/` in a run's directory."""

import contextlib
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from gym_loop import files, launch
from gym_loop.code import environment, reading, used
from gym_loop.code.store import FOLDER as SHARED
from gym_loop.code.store import Store, digest
from gym_loop.machine import cores
from gym_loop.observers import Observer
from gym_loop.observers.manifest import Manifest, ask_git
from gym_loop.runs import tables

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gym_loop.loops import BaseLoop

log = logging.getLogger(__name__)
# How many fields stand before the path in a line of `git status --porcelain=v2`.
FIELDS = {"1": 8, "2": 9, "u": 10}
NAMED = 5  # files of which a warning tells


class Code(Observer):
    """Keeps what it takes to run this again: the code, the packages, a description of the machine.

    A launch that continues a run with other code, or elsewhere, adds a folder `episode-000120`.
    """

    def __init__(self) -> None:
        self.files = set[str]()  # that have been kept, or need not be
        self.modules = set[str]()  # that had been imported when the run began
        self.folder: Path | None = None
        self.store = Store(None)

    def open(self, cfg: "DictConfig", directory: Path) -> None:
        """Remember the files that the config was composed from."""
        self.files = used.composed_from(cfg, HydraConfig.get())
        self.store = Store(shared_folder(directory))

    def begin(self, loop: "BaseLoop") -> None:
        """Keep what has been imported and read."""
        self.files |= used.imported()
        self.modules = {*sys.modules}
        manifests = [o for o in loop.observers.values() if isinstance(o, Manifest)]
        status = manifests[0].git_status if manifests else ask_git()()
        try:
            self._keep(loop, status)
        except OSError as error:
            what = "cannot keep what runs in code/: %s"
            log.warning(what, files.cannot_write(error, loop.directory / reading.FOLDER))

    def close(self, error: BaseException | None) -> None:
        """Add files that have been imported since."""
        new = used.imported(self.modules) - self.files
        new = {file for file in new if not file.startswith(f"{launch.PACKAGE}{os.sep}")}
        if self.folder is None or not new:
            return
        try:
            self._add(new)
        except OSError as failure:
            log.warning("%s", files.cannot_write(failure, self.folder))

    def _add(self, new: set[str]) -> None:
        """Add files to what has been kept; the diff was taken when the run began."""
        from gym_loop.code import sources

        assert self.folder
        added = sources.collect(new)
        contents = {n: c for n, c in added.files.items() if not n.endswith(reading.CHANGES)}
        if not contents and not added.description["left_out"]:
            return
        known = _description(self.folder)
        roots = {root["path"]: root for root in (*added.description["roots"], *known["roots"])}
        names = {root["name"]: roots[root["path"]]["name"] for root in added.description["roots"]}
        for name, content in contents.items():
            root, _, inside = name.partition("/")
            own = f"{names[root]}/{inside}"
            known["files"][own] = self.store.add(content)
            self.store.place(known["files"][own], self.folder / own, content)
        known["roots"] = [*roots.values()]
        known["left_out"] |= added.description["left_out"]
        known["path"] = [*dict.fromkeys((*known["path"], *added.description["path"]))]
        files.write_json(self.folder / reading.DESCRIPTION, known)

    def _keep(self, loop: "BaseLoop", status: dict[str, Any] | None) -> None:
        """Write `code/`, or link it to that of an earlier run of the same fingerprint."""
        mark = fingerprint(self.files, status)
        known, contents = self.store.known(mark), dict[str, bytes]()
        if known is None or known.get("named") != stats(known.get("named", ())):
            from gym_loop.code import sources  # an unchanged launch does without what it imports

            named = sources.named_in(self.files)
            kept = sources.collect(self.files | {file for file in named if os.path.isfile(file)})
            described = {"format": reading.FORMAT, **environment.describe(), **kept.description}
            if (package := sources.own_package(described["sources"])) is not None:
                kept.files[reading.PACKAGE] = package
            names = {name: self.store.add(content) for name, content in kept.files.items()}
            text = json.dumps({**described, "files": names}, indent=1).encode()
            kept.files[reading.DESCRIPTION] = text
            names[reading.DESCRIPTION] = self.store.add(text)
            contents = {names[name]: content for name, content in kept.files.items()}
            known = {"named": stats(named), "files": names}
            self.store.note(mark, known)
        names = known["files"]
        folder = self._newest(loop)
        if (folder / reading.DESCRIPTION).exists():
            own = names[reading.DESCRIPTION]
            now = json.loads(contents.get(own) or self.store.content(own))
            if _is_kept(folder, now):
                self.folder = folder
                return
            if loop.episodes:
                _warn_of_other_code(folder, now)
            else:
                remove(folder)  # every episode of that launch is played again
            if folder.exists():
                folder = loop.directory / reading.FOLDER / f"episode-{loop.episodes:06d}"
        self._write(folder, names, contents)
        self.folder = folder

    def _newest(self, loop: "BaseLoop") -> Path:
        """Return the folder of the launch that played the last episode; remove those of later ones.

        Later launches ended before their first checkpoint, and their episodes are played again.
        """
        files.remove_leftovers(loop.directory, reading.FOLDER)
        newest = loop.directory / reading.FOLDER
        for episode, name in reading.later(loop.directory).items():
            if episode >= loop.episodes:
                remove(loop.directory / name)
            else:
                newest = loop.directory / name
        return newest

    def _write(self, folder: Path, names: dict[str, str], contents: dict[str, bytes]) -> None:
        """Write a folder as a whole.

        Raises:
            OSError: it cannot be written, or there is one that holds something else.
        """
        unfinished = files.temporary(folder)
        try:
            for name, content in names.items():
                self.store.place(content, unfinished / name, contents.get(content))
            os.rename(unfinished, folder)
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


def _description(folder: Path) -> Any:
    """Return what a launch has written of what it kept in `folder`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    try:
        return json.loads(files.read(folder / reading.DESCRIPTION, reading.LARGEST))
    except RecursionError as error:
        raise ValueError(str(error)) from None


def _is_kept(folder: Path, now: dict[str, Any]) -> bool:
    """Return whether the launch before has used the same, and perhaps more files."""
    try:
        then = _description(folder)
        commits = [{r["path"]: r["commit"] for r in each["roots"]} for each in (then, now)]
        diffs = [{n for n in each["files"] if n.endswith(".diff")} for each in (then, now)]
        return (
            now["files"].items() <= then["files"].items()
            and commits[1].items() <= commits[0].items()
            and diffs[0] == diffs[1]
            and not [*reading.differences(then, now)]
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False  # what the launch before has kept is damaged, and tells nothing


def _warn_of_other_code(folder: Path, now: dict[str, Any]) -> None:
    """Warn of the files that are not what the launch before has used."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # damaged: it tells nothing
        then = _description(folder)
        if others := reading.files_that_differ(then, now):
            log.warning("goes on with other code than before: %s", ", ".join(others[:NAMED]))


def remove(folder: Path) -> None:
    """Remove what a launch has kept in `folder`, and nothing else that may lie there."""
    try:
        names = _description(folder)["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in (*names, reading.DESCRIPTION):
        if tables.inside(folder, Path(name).parent):
            (folder / name).unlink(missing_ok=True)
            for parent in Path(name).parents:
                with contextlib.suppress(OSError):  # it holds something else
                    (folder / parent).rmdir()


def shared_folder(directory: Path) -> Path | None:
    """Return the folder in which runs share what they keep: in `outputs`, for example.

    That of a sweep elsewhere is in its directory; a single run elsewhere shares nothing.
    """
    directory, here = directory.absolute(), Path.cwd()
    if directory.is_relative_to(here) and len(parts := directory.relative_to(here).parts) > 1:
        return here / parts[0] / SHARED
    hydra = HydraConfig.get()
    return Path(hydra.sweep.dir).absolute() / SHARED if hydra.mode is RunMode.MULTIRUN else None


def fingerprint(own: set[str], status: dict[str, Any] | None) -> str:
    """Return a text that changes when what has to be kept does; it takes a millisecond.

    That is of the files `own`, which have been imported or read, and of git's `status` here.
    """
    # What git does not track counts only where it has been imported.
    changes = [line for line in (status or {}).get("changes", ()) if not line.startswith("?")]
    changed = [line.split(" ", FIELDS.get(line[0], 0))[-1] for line in changes]
    root, _ = used.root_of(os.path.join(os.getcwd(), "_"))
    tracked = stats(os.path.join(root, name) for name in changed)
    installed = stats(folder for folder in environment.folders() if folder != os.getcwd())
    machine = environment.cpu(), cores(), environment.cuda(), environment.threads()
    git = (status or {}).get("commit"), changes, tracked
    described = (os.getcwd(), git, stats(own), installed, machine, reading.FORMAT)
    return digest(repr(described).encode("utf-8", "surrogateescape"))


def stats(paths: Any) -> dict[str, list[int] | None]:
    """Return time and size of each file or folder; None for what is not there."""
    found: dict[str, list[int] | None] = {}
    for path in sorted(paths):
        try:
            known = os.stat(path)
            found[path] = [known.st_mtime_ns, known.st_size]
        except OSError:
            found[path] = None
    return found
