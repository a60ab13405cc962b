"""Start a new run from a checkpoint of another, with a changed config."""

import shutil
import sys
from pathlib import Path
from typing import Any

import click

from gym_loop.commands import run_click
from gym_loop.mistake import Mistake

# What belongs to the parent alone; the rest is history that the fork shares.
OWN = (
    ".hydra",
    ".lock",
    "*.log",
    "run.json",
    "config.yaml",
    "checkpoints",
    "*_records",
    ".tmp-*",
    "multirun*",
)


@click.command("fork")
@click.argument("directory", type=Path)
@click.option("--at", type=int, metavar="EPISODE", help="The checkpoint; the newest one if absent.")
@click.argument("overrides", nargs=-1)
def fork(directory: Path, at: int | None, overrides: tuple[str, ...]) -> None:
    """Start a new run from a checkpoint of the run in DIRECTORY, with a changed config.

    The parent is left as it is. Loads a pickle: fork only what you trust.
    """
    from gym_loop import launch
    from gym_loop.config import stored
    from gym_loop.runs import checkpoints, manifest

    known = manifest.load(directory)
    checkpoint = checkpoints.find(directory, "latest" if at is None else at)
    name = stored.compose_with(known["config"], list(overrides))
    with stored.preparations(
        lambda cfg: check(directory, checkpoint, cfg),
        *launch.prepare,
        lambda cfg: plant(directory, checkpoint, known, cfg),
    ):
        launch.launch(list(overrides), name)


def check(parent: Path, checkpoint: Path, cfg: Any) -> None:
    """Check that the fork has a directory of its own, and does not end before it begins."""
    from gym_loop.runs import checkpoints, manifest

    directory = Path(cfg.hydra.run.dir)
    if directory.resolve() == parent.resolve() or manifest.read(directory):
        raise Mistake(f"{directory} holds a run already; choose another directory for the fork")

    limit, count = cfg.loop.get("max_episodes"), checkpoints.episode(checkpoint)
    if isinstance(limit, int) and limit < count:
        raise Mistake(
            f"loop.max_episodes={limit} is fewer than the {count} before the fork; expected more, "
            "or an earlier checkpoint: --at EPISODE"
        )


def plant(parent: Path, checkpoint: Path, known: dict[str, Any], cfg: Any) -> None:
    """Copy one checkpoint, and the history before it, into the new run's directory.

    In another environment the history is another one: rows, events and traces stay behind.
    """
    from gym_loop.config import kept
    from gym_loop.runs import checkpoints, claim, manifest

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
        directory / "checkpoints" / checkpoint.name,
        same_env="env" not in groups,
        same_seed="seed" not in groups,
    )
    origin = {"directory": str(parent.absolute()), "episode": checkpoints.episode(checkpoint)}
    if before := (manifest.read(parent) or {}).get("parent"):
        origin["parent"] = before
    kept.write(directory, cfg, Path.cwd())
    manifest.write(directory, {"state": "stopped", "parent": origin, **kept.record(cfg)})


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(fork, arguments)
