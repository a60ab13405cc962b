"""What runs there are and where each stands, kept up to date by what changes on disk.

The first look reads every run as `gym-loop ls` does. Later ones list the directories that hold runs
and ask for the sizes and times of their files, and read again only those runs that have changed.
"""

import hashlib
import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gym_loop.loops.folders import folder_of
from gym_loop.runs import manifest, reading, tables
from gym_loop.runs.reading import RunContent, finite, shown
from gym_loop.runs.tables import EPISODES, EVALUATIONS
from gym_loop.serve import files
from gym_loop.serve.files import RefusedFileError, Stamp
from gym_loop.terminal import printable

WATCHED = (manifest.NAME, EPISODES, EVALUATIONS, "gym_loop.log", manifest.LOCK)
FRESH = 0.5  # seconds that a look is good for, however many ask
SHARE = 0.25  # of the time, at most, goes into looking
PATIENCE = 10.0  # seconds after which a run that says `running`, but is silent, is read again
LONGEST = 300  # characters of a value that are shown
MOST_KEYS = 1000  # of a config
MOST_INFO_KEYS = 50  # of a run
MOST_COMPARED = 12  # configs side by side
LOGDIRS = {"train": "logdir", "eval": "eval_logdir"}  # the loop's parameters


@dataclass
class Entry:
    """A run: where it lies, and what the table shows of it.

    `version` is the library's when the row changed last; `config` names one of its configs.
    """

    id: str
    directory: Path
    root: Path
    sweep: str = ""
    stamps: tuple[Stamp | None, ...] = ()
    read_at: float = 0.0
    version: int = 0
    config: str = ""
    row: dict[str, Any] = field(default_factory=dict)


class Library:
    """The runs in and below some directories. Thread-safe.

    Attributes:
        roots: the directories.
        entries: the runs by their ids.
        configs: the distinct configs, seeds and observers aside: id -> key -> value as text.
        sweeps: the sweeps' directories by their ids, with name and number of jobs.
    """

    def __init__(self, roots: list[Path]) -> None:
        self.roots = roots
        self.entries: dict[str, Entry] = {}
        self.configs: dict[str, dict[str, str]] = {}
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.version = 0
        self.era = 0  # counts the changes after which a page has to ask for everything again
        self.columns: list[str] = []
        self.constants: dict[str, str] = {}
        self._by_path: dict[str, Entry] = {}
        self._sweep_stamps: dict[str, Stamp | None] = {}
        self._lock = threading.Lock()
        self._due = 0.0

    def refresh(self) -> None:
        """Look for what has changed, unless somebody has just looked."""
        with self._lock:
            began = time.monotonic()
            if began < self._due:
                return
            self._look()
            took = time.monotonic() - began
            self._due = time.monotonic() + max(FRESH, took / SHARE)

    def changes(self, era: int, since: int) -> dict[str, Any]:
        """Return what has changed since a page's version, or all of it if its `era` is over."""
        self.refresh()
        with self._lock:
            whole = era != self.era
            rows = [e.row for e in self.entries.values() if whole or e.version > since]
            used = {row["config"] for row in rows}
            content = {
                "era": self.era,
                "version": self.version,
                "whole": whole,
                "runs": rows,
                "configs": {
                    name: {k: v for k, v in config.items() if k not in self.constants}
                    for name, config in self.configs.items()
                    if name in used
                },
                "sweeps": self.sweeps,
                "now": time.time(),
            }
            if whole:
                content |= {"columns": self.columns, "constants": self.constants}
            return content

    def get(self, name: str) -> Entry | None:
        """Return the run with this id, unless a link has taken its directory's place."""
        if name not in self.entries:
            self.refresh()
        entry = self.entries.get(name)
        if entry is None:
            return None
        below = entry.root.resolve() / entry.directory.relative_to(entry.root)
        return entry if entry.directory.resolve() == below else None

    def differences(self, entries: list[Entry]) -> dict[str, Any]:
        """Return a table of the keys in which configs differ: `heads`, `rows` of key and values.

        Runs that differ in the seed alone share a column.
        """
        groups: dict[str, list[Entry]] = {}
        for entry in entries:
            groups.setdefault(entry.config, []).append(entry)
        heads, configs = [("Key", "")], list[dict[str, str]]()
        for name, own in list(groups.items())[:MOST_COMPARED]:
            more = f" and {len(own) - 1} more" if own[1:] else ""
            heads.append((f"{own[0].row['name']}{more}", ""))
            configs.append(self.configs.get(name, {}))
        keys = sorted({key for config in configs for key in config})
        rows = [(key, [config.get(key, "–") for config in configs]) for key in keys]
        return {"heads": heads, "rows": [row for row in rows if len({*row[1]}) > 1]}

    def _look(self) -> None:
        found: dict[str, tuple[Path, str]] = {}  # the run's directory -> root, sweep
        for root in self.roots:
            self._walk(str(root), root, found)
        gone = self._by_path.keys() - found.keys()
        for path in gone:
            del self.entries[self._by_path.pop(path).id]
        self.version += 1
        changed = False
        for path, (root, sweep) in found.items():
            entry = self._by_path.get(path)
            if entry is None:
                entry = Entry(_id(path), Path(path), root, sweep)
                self._by_path[path] = self.entries[entry.id] = entry
            before = entry.config
            self._update(entry)
            changed |= entry.config != before
        if changed or gone:
            self._compare_configs()
            self.era += bool(gone)

    def _walk(self, root: str, given: Path, found: dict[str, tuple[Path, str]]) -> None:
        """Add the runs in and below `root`; links to directories are not followed."""
        pending = [(root, "")]
        while pending:
            directory, sweep = pending.pop()
            known = self._by_path.get(directory)
            # One that is damaged may have become another folder.
            if known and directory != root and known.row.get("state") != "damaged":
                found.setdefault(directory, (given, sweep))
                continue
            try:
                with os.scandir(directory) as entries:
                    inside = list(entries)
            except OSError:
                continue
            names = {entry.name for entry in inside}
            if names & reading.MARKS:
                found.setdefault(directory, (given, sweep))
                continue
            if "sweep.json" in names:
                sweep = self._read_sweep(directory, given)
            pending += [
                (entry.path, sweep)
                for entry in inside
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]

    def _read_sweep(self, directory: str, root: Path) -> str:
        """Return the id of the sweep in `directory`, with its sweep.json read if it is new."""
        name, path = _id(directory), os.path.join(directory, "sweep.json")
        try:
            stamp = files.stamp(path)
            if name in self.sweeps and self._sweep_stamps.get(name) == stamp:
                return name
            with tables.open_file(Path(directory), "sweep.json") as file:
                content = json.loads(file.read())
            jobs = content.get("jobs") if isinstance(content, dict) else None
            # A search writes down no jobs: it asks for them one by one.
            total = len(jobs) if isinstance(jobs, dict) and jobs else None
        except (OSError, ValueError, RecursionError, RefusedFileError):
            stamp, total = None, None
        self._sweep_stamps[name] = stamp
        self.sweeps[name] = {"name": _name(Path(directory), root, self.roots), "jobs": total}
        return name

    def _update(self, entry: Entry) -> None:
        """Read a run again if anything of it has changed."""
        refused, stamps = [], list[Stamp | None]()
        base = str(entry.directory)
        for name in WATCHED:
            try:
                stamps.append(files.stamp(f"{base}/{name}"))
            except RefusedFileError as error:
                stamps.append(None)
                refused.append(str(error))
        now = time.monotonic()
        silent = entry.row.get("state") == "running" and now - entry.read_at > PATIENCE
        if entry.row and not silent and entry.stamps == tuple(stamps):
            return
        entry.stamps, entry.read_at = tuple(stamps), now
        row, config = self._row(entry, refused)
        if row != entry.row:
            entry.row, entry.config, entry.version = row, config, self.version

    def _row(self, entry: Entry, refused: list[str]) -> tuple[dict[str, Any], str]:
        """Return what the table shows of a run, and the id of its config."""
        row: dict[str, Any] = {
            "id": entry.id,
            "name": _name(entry.directory, entry.root, self.roots),
            "sweep": entry.sweep,
            "config": "",
            "state": "damaged",
            "warnings": refused,
        }
        if refused:
            return row, ""
        try:
            run = RunContent(entry.directory)
            loop = run.config.get("loop")
            named = loop if isinstance(loop, dict) else {}
            row["config"] = self._config(run)
            row |= {
                "state": run.state[:LONGEST],
                "agent": run.agent[:LONGEST],
                "env": run.env[:LONGEST],
                "seed": None if run.seed is None else printable(run.seed)[:LONGEST],
                "episodes": run.episodes,
                "of": finite(named.get("max_episodes")),
                "eval_episodes": run.eval_episodes,
                "logdirs": {
                    kind: printable(folder_of(named, name))[:LONGEST]
                    for kind, name in LOGDIRS.items()
                },
                "info_keys": [key[:LONGEST] for key in run.info_keys[:MOST_INFO_KEYS]],
                "steps": run.steps,
                "return": finite(run.last_return),
                "evaluation": finite(run.evaluation),
                "rate": finite(run.steps_per_second),
                "seconds": finite(run.seconds),
                "left": finite(run.seconds_left),
                "start": finite(run.start),
                "error": (run.error or "")[:LONGEST],
                "warnings": [text[:LONGEST] for text in run.warnings[:50]],
            }
        except Exception as error:  # whatever lies there, the others' rows are shown
            row |= {"config": "", "state": "damaged"}
            row["warnings"] = [
                f"cannot be read: {printable(error)[:LONGEST] or type(error).__name__}"
            ]
        return row, row["config"]

    def _config(self, run: RunContent) -> str:
        """Return the id of a run's config, "" of none; those that differ in the seed have one."""
        leaves = reading.wrap(run.config) | run.settings
        if not leaves:
            return ""
        text = json.dumps(leaves, sort_keys=True, default=str)
        name = hashlib.blake2s(text.encode(errors="replace"), digest_size=8).hexdigest()
        if name not in self.configs:
            self.configs[name] = {
                printable(key)[:LONGEST]: shown(value)[:LONGEST]
                for key, value in list(leaves.items())[:MOST_KEYS]
            }
        return name

    def _compare_configs(self) -> None:
        """Find out by which keys the runs differ, and what all of them share.

        Parameters that only one agent, environment or wrapper has are compared among its own runs:
        that another has none of them is no news.
        """
        used = {entry.config for entry in self.entries.values() if entry.config}
        self.configs = {name: self.configs[name] for name in used}
        keys = dict.fromkeys(key for config in self.configs.values() for key in config)
        columns, constants = [], {}
        for key in keys:
            kinds: dict[str | None, set[str | None]] = {}
            for config in self.configs.values():
                kinds.setdefault(_kind_of(key, config), set()).add(config.get(key))
            if len(values := set().union(*kinds.values())) == 1:
                constants[key] = values.pop() or ""
            elif any(len(own) > 1 for own in kinds.values()):
                columns.append(key)
        groups = ("agent", "env", "wrap", "loop")
        columns.sort(key=lambda k: (groups.index(g) if (g := k.split(".")[0]) in groups else 9, k))
        if (columns, constants) != (self.columns, self.constants):
            self.columns, self.constants = columns, constants
            self.era += 1


def _kind_of(key: str, config: dict[str, str]) -> str | None:
    """Return what a key's values are compared among: the runs of an agent, for instance."""
    group, _, name = key.partition(".")
    if name.startswith("wrappers."):  # `wrap` says who has it
        return str(key in config)
    if group == "agent" and name != "_target_":
        return config.get("agent._target_")
    if group == "env" and name not in ("_target_", "id"):
        return f"{config.get('env._target_')} {config.get('env.id')}"
    return None


def _id(path: str) -> str:
    return hashlib.blake2s(os.fsencode(os.path.realpath(path)), digest_size=8).hexdigest()


def _name(directory: Path, root: Path, roots: list[Path]) -> str:
    """Return how a run is called: its path below the root, and the root's name among several."""
    below = directory.relative_to(root)
    inner = "" if below == Path() else str(below)
    if not inner or len(roots) > 1:
        inner = str(Path(root.name) / inner)
    return printable(inner)
