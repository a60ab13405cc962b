"""Launches from a config that is kept: resume, fork and evaluate, for the command line and Python.

What goes wrong is raised as `launch.launch` raises it, and so are the exits of stopped runs.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from gym_loop import launch
from gym_loop.config import kept, stored
from gym_loop.loops import BaseLoop, Episode
from gym_loop.mistake import Mistake
from gym_loop.observers import Observer
from gym_loop.runs import checkpoints, claim, manifest, planting
from gym_loop.sweeps import resume as sweeps


@launch.surroundings()
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
    known = manifest.load(directory)
    name = stored.compose_with(known["config"], list(overrides))
    own = [*_chdir(known), *overrides, f"hydra.run.dir={stored.quoted(directory)}"]
    launch.launch(own, name)


@launch.surroundings()
def fork(directory: Path, checkpoint: str | int, overrides: Sequence[str]) -> None:
    """Start a new run from a checkpoint of the run in `directory`, which is left as it is.

    Args:
        directory: the parent's.
        checkpoint: `latest`, `best`, or after how many episodes.
        overrides: the changes.

    Raises:
        Mistake: there is no such checkpoint, or the fork has no directory of its own.
    """
    known = manifest.load(directory)

    def start(*prepare: Callable[[Any], None]) -> None:
        name = stored.compose_with(known["config"], list(overrides))
        with stored.preparations(lambda cfg: _check_fork(directory, cfg), *prepare):
            launch.launch([*_chdir(known), *overrides], name)

    if checkpoints.find(directory, checkpoint) is None:
        _check(lambda end: start(*_without_claim(), end))
    with checkpoints.at(directory, checkpoint) as (parent, path):
        before = known if parent == directory else manifest.load(parent)
        start(
            lambda cfg: _check_limit(path, cfg),
            lambda cfg: _check_columns(before, cfg),
            *launch.prepare,
            lambda cfg: planting.plant(parent, path, before, cfg),
        )


@launch.surroundings()
def evaluate(directory: Path, overrides: Sequence[str], checkpoint: str | int = "latest") -> None:
    """Have the agent of a run's checkpoint play `loop.eval_episodes` episodes.

    Recordings go into the evaluation's directory; nothing else in `directory` changes.

    Args:
        directory: the run's.
        overrides: the changes.
        checkpoint: `latest`, `best`, or after how many episodes.

    Raises:
        Mistake: there is no run, or no such checkpoint.
    """
    known = manifest.load(directory)
    # The directory belongs to its run: nothing is claimed, and Hydra's files stay as they are.
    instead = functools.partial(claim.instead_of_changed, known)
    prepare = [*_without_claim(), lambda cfg: kept.refuse_changed(known, cfg, instead)]
    own = [*_chdir(known), *overrides, f"hydra.run.dir={stored.quoted(directory)}"]
    own.append("hydra.output_subdir=null")
    if checkpoints.find(directory, checkpoint) is None:
        _check(lambda end: _evaluate(known["config"], own, [*prepare, end]))
    with checkpoints.at(directory, checkpoint) as (_, path):
        saved = f"++observers.trained.checkpoint={stored.quoted(path)}"
        _evaluate(known["config"], [*own, saved], prepare)


@launch.surroundings()
def evaluate_file(file: Path, overrides: Sequence[str]) -> None:
    """Have a new agent of a run config play."""
    _evaluate(stored.load_file(file), list(overrides), launch.prepare)


class Returns(Observer):
    """Keeps the returns of the newest evaluation in this process; None: it was cut off."""

    newest: ClassVar[list[float] | None] = None

    def begin(self, loop: BaseLoop) -> None:
        if not loop.parameters.get("eval_episodes", 1):
            Returns.newest = []

    def end_evaluation(self, loop: BaseLoop, episodes: list[Episode]) -> None:
        Returns.newest = [episode.ret for episode in episodes]


def _evaluate(
    config: dict[str, Any], overrides: list[str], prepare: Sequence[Callable[[Any], None]]
) -> None:
    # Training is not shown, recorded or ended early, since there is none.
    idle = {"render": False, "record": False, "stop_at": None}
    config["loop"] |= {name: value for name, value in idle.items() if name in config["loop"]}
    if "${" in str(config):
        kept.import_classes(config)  # observers' files, too, may have resolvers
    config.pop("observers", None)
    kind = f"{__name__}:{Returns.__name__}"
    overrides = [*overrides, f"++observers.returns._target_={kind}"]
    overrides = ["observers=evaluation", *overrides]
    name = stored.compose_with(config, overrides)
    task = functools.partial(launch.run, evaluate=True)
    functools.update_wrapper(task, launch.run)
    Returns.newest = None
    with stored.preparations(*prepare):
        launch.launch(overrides, name, task)


def _chdir(known: dict[str, Any]) -> list[str]:
    """Return the override with which a run works in its own directory, if it did so before."""
    return ["hydra.job.chdir=true"] if known.get("chdir") else []


class _Checked(Exception):
    """Ends a launch of which the config has been found right."""


def _check(start: Callable[[Callable[[Any], None]], None]) -> None:
    """Check a launch before training is played again for it; `start` takes its last preparation."""

    def end(cfg: Any) -> None:
        raise _Checked

    with contextlib.suppress(_Checked):
        start(end)


def _without_claim() -> list[Callable[[Any], None]]:
    """Return the preparations of a launch but the one that claims the run's directory."""
    return [preparation for preparation in launch.prepare if preparation is not claim.claim]


def _check_fork(parent: Path, cfg: Any) -> None:
    """Check that the fork has a directory of its own."""
    directory = Path(cfg.hydra.run.dir)
    if directory.resolve() == parent.resolve() or manifest.read(directory):
        raise Mistake(f"{directory} holds a run already; choose another directory for the fork")


def _check_columns(parent: dict[str, Any], cfg: Any) -> None:
    """Check that the tables that the fork goes on with have its columns.

    Args:
        parent: what `manifest.load` returns for it.
        cfg: the fork's config.
    """
    changes = [key for key, *_ in claim.config_changes(parent, cfg)]
    if "loop.info_keys" in changes and not any(key.startswith("env.") for key in changes):
        own = parent["config"]["loop"].get("info_keys") or ()
        raise Mistake(
            "loop.info_keys cannot change in a fork, whose tables go on with its parent's columns; "
            f"expected loop.info_keys=[{','.join(map(str, own))}]"
        )


def _check_limit(checkpoint: Path, cfg: Any) -> None:
    """Check that the fork does not end before it begins."""
    limit, count = cfg.loop.get("max_episodes"), checkpoints.episode(checkpoint)
    if isinstance(limit, int) and limit < count:
        raise Mistake(
            f"loop.max_episodes={limit} is fewer than the {count} before the fork; expected more, "
            "or an earlier checkpoint: --checkpoint EPISODE"
        )
