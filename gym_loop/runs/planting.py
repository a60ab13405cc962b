"""Puts a checkpoint, and the history before it, into the directory of another run."""

import functools
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from gym_loop import files
from gym_loop.config import kept
from gym_loop.runs import checkpoints, claim, manifest

# What belongs to the parent of a fork alone; the rest is history that they share.
LEFT_OUT = (
    *(".hydra", ".lock", "*.log", "run.json", "config.yaml"),
    *("checkpoints", "code", "*_records", ".tmp-*", "multirun*"),
)


planted: list[Path] = []  # what this process has put into the newest fork's directory


def plant(parent: Path, checkpoint: Path, known: dict[str, Any], cfg: Any) -> None:
    """Copy one checkpoint, and the history before it, into the new run's directory.

    In another environment the history is another one: rows, events and traces stay behind.

    Args:
        parent: the run that the new one begins from.
        checkpoint: the parent's, beside the history before it.
        known: what `manifest.load` returns for the parent.
        cfg: the new run's config.
    """
    directory = Path(cfg.hydra.run.dir)
    there = {*directory.rglob("*")}
    changes = [key for key, *_ in claim.config_changes(known, cfg)]
    claim.note_schedules(known, cfg, changes)
    changes += [key for key, *_ in kept.followers(known, cfg)]
    for key, source in kept.changed(known):
        print(f"warning: {key} comes from {source}, which has changed since", file=sys.stderr)
        changes.append(key)
    groups = {key.partition(".")[0] for key in changes}
    if "env" not in groups:
        history = checkpoint.parents[1]
        ignore = functools.partial(_left_out, directory.resolve())
        shutil.copytree(history, directory, ignore=ignore, copy_function=_copy, dirs_exist_ok=True)
        files.let_owner_write([directory, *({*directory.rglob("*")} - there)])
    same = {f"same_{group}": group not in groups for group in ("env", "eval_env", "seed")}
    best = checkpoints.best_at(checkpoint)  # it goes on to be the best until there is a better one
    with_best = "env" not in groups and checkpoints.load_state(best) is not None
    for each in {checkpoint, best} if with_best else {checkpoint}:
        checkpoints.plant(each, directory / checkpoints.FOLDER / each.name, **same)
    evaluated = (checkpoints.read_state(checkpoint) or {}).get("evaluated", 0)
    number = checkpoints.episode(checkpoint)
    origin = {"directory": str(parent.absolute()), "episode": number, "evaluated": evaluated}
    if before := (manifest.read(parent) or {}).get("parent"):
        origin["parent"] = before
    base = Path(known["cwd"])  # where the parent's modules and files are found
    kept.write(directory, cfg, base)
    manifest.write(directory, {"state": "stopped", "parent": origin, **kept.record(cfg, base)})
    planted[:] = [path.absolute() for path in directory.rglob("*") if path not in there]


def _copy(source: str, target: str) -> None:
    """Copy a file, unless somebody else's lies there."""
    if not os.path.lexists(target):
        shutil.copy2(source, target)


def _left_out(fork: Path, folder: str, names: list[str]) -> set[str]:
    """Return what is not copied of a folder: the parent's alone, other runs, what has no copy.

    That is a pipe, a device, a link that leads nowhere, or one to a folder that it lies in. The
    fork is one of the other runs where the parent's directory was the current one.
    """
    left_out = set(shutil.ignore_patterns(*LEFT_OUT)(folder, names))
    for path in (Path(folder, name) for name in names):
        if (
            not (path.is_file() or path.is_dir())
            or (path.is_symlink() and Path(folder).resolve().is_relative_to(path.resolve()))
            or path.resolve() == fork
            or (path / manifest.NAME).is_file()
        ):
            left_out.add(path.name)
    return left_out
