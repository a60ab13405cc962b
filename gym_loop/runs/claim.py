"""Whose directory is it: a new run, the same run again, or somebody else's?"""

import os
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from gym_loop.mistake import Mistake
from gym_loop.runs import manifest

# What only a run leaves behind. A directory that holds one of these, but no run.json, is not ours.
RESULTS = ("episodes.csv", "evaluations.csv", "checkpoints", "traces")
MISSING = "(absent)"


def claim(cfg: DictConfig) -> None:
    """Create the run's directory exclusively, or check that the run in it is this one.

    Raises:
        Mistake: the directory belongs to another config, or cannot be written.
        SystemExit: with code 0, when the run in it is finished.
    """
    if cfg.hydra.mode == RunMode.MULTIRUN:
        return  # the sweep as a whole claims the directory that holds its runs
    overrides: Any = OmegaConf.to_container(cfg.hydra.overrides.hydra, resolve=False)
    asked = any(word.partition("=")[0] == "hydra.run.dir" for word in overrides)
    directory = Path(cfg.hydra.run.dir)
    if asked:
        if is_finished(directory, task_config(cfg)):
            print(f"{directory} is finished. `gym-loop resume` with new limits extends it.")
            raise SystemExit(0)
        directory.mkdir(parents=True, exist_ok=True)
        return
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        unique, count = directory, 0
        while True:
            try:
                unique.mkdir()
                break
            except FileExistsError:  # two launches in one microsecond
                count += 1
                unique = directory.with_name(f"{directory.name}-{count}")
    except OSError as error:
        raise Mistake(f"cannot create {directory}: {error.strerror}") from None
    with read_write(cfg.hydra.run):
        cfg.hydra.run.dir = str(unique)


def task_config(cfg: DictConfig) -> dict[str, Any]:
    """Return the config without Hydra's own part, resolved, as run.json holds it."""
    own = {str(name): cfg[name] for name in cfg if name != "hydra"}  # `masked_copy` copies deeply
    return {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in own.items()
    }


def is_finished(directory: Path, config: Any) -> bool:
    """Return whether `directory` holds the finished run of `config`; False: it can be run there.

    Raises:
        Mistake: it holds something else, or cannot be written.
    """
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise Mistake(f"{existing} is a file; expected a directory for the run")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise Mistake(f"cannot write into {existing}: no permission")
    known = manifest.read(directory)
    if known is None:
        if (directory / manifest.NAME).exists():
            raise Mistake(
                f"{directory} holds a {manifest.NAME} that is damaged: choose another directory"
            )
        for name in RESULTS:
            if (directory / name).exists():
                raise Mistake(
                    f"{directory} holds {name} but no readable {manifest.NAME}: not a run that can "
                    "be continued; choose another hydra.run.dir"
                )
        return False
    if difference := first_difference(known.get("config"), config):
        key, then, now = difference
        raise Mistake(
            f"{directory} holds a run with {key}={then}, not {key}={now}; "
            f"choose another directory, or `gym-loop resume` or `gym-loop fork` it"
        )
    return bool(known["state"] == "finished")


def differences(then: Any, now: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Return (dotted key, value then, value now) for each leaf that differs between two configs."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            found
            for key in dict.fromkeys((*then, *now))
            for found in differences(
                then.get(key, MISSING), now.get(key, MISSING), f"{prefix}.{key}" if prefix else key
            )
        ]
    return [] if then == now else [(prefix, then, now)]


def first_difference(then: Any, now: Any) -> tuple[str, Any, Any] | None:
    """Return the first of `differences`, or None."""
    return next(iter(differences(then, now)), None)
