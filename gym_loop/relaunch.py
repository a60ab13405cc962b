"""Launches from a config that is kept: resume, fork and evaluate, for the command line and Python.

What goes wrong is raised as `launch.launch` raises it, and so are the exits of stopped runs.
"""

import functools
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from gym_loop import launch
from gym_loop.config import kept, stored
from gym_loop.mistake import Mistake
from gym_loop.observers import Observer
from gym_loop.runs import checkpoints, claim, manifest
from gym_loop.sweeps import resume as sweeps

# Files of the parent that a fork does not get; it gets the rest as its own history.
OWN = (
    ".hydra",
    ".lock",
    "*.log",
    "run.json",
    "config.yaml",
    "checkpoints",
    "code",
    "*_records",
    ".tmp-*",
    "multirun*",
)


def resume(directory: Path, overrides: Sequence[str]) -> None:
    """Continue the run in `directory` from its newest sound checkpoint, or complete a sweep.

    Raises:
        Mistake: there is neither, or the overrides would change what has already happened.
    """
    if sweeps.is_sweep(directory):
        sweeps.resume(directory, list(overrides))
        return
    if not manifest.read(directory):
        why = f"no {sweeps.NAME} and no readable {manifest.NAME} in it"
        why = why if directory.is_dir() else "no such directory"
        raise Mistake(f"{directory} is not a run, nor a sweep: {why}")
    name = stored.compose_with(manifest.load(directory)["config"], list(overrides))
    launch.launch([*overrides, f"hydra.run.dir={stored.quoted(directory)}"], name)


def fork(directory: Path, at: int | None, overrides: Sequence[str]) -> None:
    """Start a new run from a checkpoint of the run in `directory`, which is left as it is.

    Args:
        directory: the parent's.
        at: after how many episodes; the newest checkpoint when None.
        overrides: the changes.

    Raises:
        Mistake: there is no such checkpoint, or the fork has no directory of its own.
    """
    launch.parts()
    known = manifest.load(directory)
    checkpoint = checkpoints.find(directory, "latest" if at is None else at)
    name = stored.compose_with(known["config"], list(overrides))
    with stored.preparations(
        lambda cfg: _check_fork(directory, checkpoint, cfg),
        *launch.prepare,
        lambda cfg: _plant(directory, checkpoint, known, cfg),
    ):
        launch.launch(list(overrides), name)


def evaluate(directory: Path, overrides: Sequence[str]) -> None:
    """Have the agent of a run's newest checkpoint play `loop.eval_episodes` episodes.

    Recordings go into the evaluation's directory; nothing else in `directory` changes.

    Raises:
        Mistake: there is no run, or it has no checkpoint.
    """
    launch.parts()
    known = manifest.load(directory)
    if not (directory / checkpoints.FOLDER).is_dir():
        raise Mistake(f"{directory} has no checkpoint to evaluate")
    # The directory belongs to its run: nothing is claimed, and Hydra's files stay as they are.
    prepare = [preparation for preparation in launch.prepare if preparation is not claim.claim]
    prepare.append(lambda cfg: kept.refuse_changed(known, cfg))
    own = [f"hydra.run.dir={stored.quoted(directory)}", "hydra.output_subdir=null"]
    _evaluate(known["config"], [*overrides, *own], prepare)


def evaluate_file(file: Path, overrides: Sequence[str]) -> None:
    """Have a new agent of a run config play."""
    launch.parts()
    _evaluate(stored.load_file(file), list(overrides), launch.prepare)


class Returns(Observer):
    """Keeps the returns of the newest evaluation in this process."""

    newest: ClassVar[list[float]] = []

    def end_evaluation(self, loop: Any, episodes: list[Any]) -> None:
        """Keep the returns."""
        Returns.newest[:] = [episode.ret for episode in episodes]


def _evaluate(
    config: dict[str, Any], overrides: list[str], prepare: Sequence[Callable[[Any], None]]
) -> None:
    # Training is not shown or recorded, since there is none.
    config["loop"] |= {name: False for name in ("render", "record") if name in config["loop"]}
    config.pop("observers", None)
    kind = f"{__name__}:{Returns.__name__}"
    overrides = [*overrides, f"++observers.returns._target_={kind}"]
    overrides = ["observers=evaluation", *overrides]
    name = stored.compose_with(config, overrides)
    task = functools.partial(launch.run, evaluate=True)
    functools.update_wrapper(task, launch.run)
    Returns.newest.clear()
    with stored.preparations(*prepare):
        launch.launch(overrides, name, task)


def _check_fork(parent: Path, checkpoint: Path, cfg: Any) -> None:
    """Check that the fork has a directory of its own, and does not end before it begins."""
    directory = Path(cfg.hydra.run.dir)
    if directory.resolve() == parent.resolve() or manifest.read(directory):
        raise Mistake(f"{directory} holds a run already; choose another directory for the fork")

    limit, count = cfg.loop.get("max_episodes"), checkpoints.episode(checkpoint)
    if isinstance(limit, int) and limit < count:
        raise Mistake(
            f"loop.max_episodes={limit} is fewer than the {count} before the fork; expected more, "
            "or an earlier checkpoint: --at EPISODE"
        )


def _plant(parent: Path, checkpoint: Path, known: dict[str, Any], cfg: Any) -> None:
    """Copy one checkpoint, and the history before it, into the new run's directory.

    In another environment the history is another one: rows, events and traces stay behind.
    """
    directory = Path(cfg.hydra.run.dir)
    changes = [key for key, *_ in claim.config_changes(known, cfg)]
    changes += [key for key, *_ in kept.followers(known, cfg)]
    for key, source in kept.changed(known):
        print(f"warning: {key} comes from {source}, which has changed since", file=sys.stderr)
        changes.append(key)
    groups = {key.partition(".")[0] for key in changes}
    if "env" not in groups:
        shutil.copytree(parent, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*OWN))
    checkpoints.plant(
        checkpoint,
        directory / checkpoints.FOLDER / checkpoint.name,
        same_env="env" not in groups,
        same_seed="seed" not in groups,
    )
    origin = {"directory": str(parent.absolute()), "episode": checkpoints.episode(checkpoint)}
    if before := (manifest.read(parent) or {}).get("parent"):
        origin["parent"] = before
    kept.write(directory, cfg, Path.cwd())
    manifest.write(directory, {"state": "stopped", "parent": origin, **kept.record(cfg)})
