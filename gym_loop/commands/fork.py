"""Start a new run from a checkpoint of another, with a changed config."""

import shutil
from pathlib import Path
from typing import Any

import click

from gym_loop.commands import run_click
from gym_loop.mistake import Mistake

# What belongs to the parent alone; the rest is history that the fork shares.
OWN = (".hydra", ".lock", "*.log", "run.json", "checkpoints", "*_records", ".tmp-*", "multirun*")


@click.command("fork")
@click.argument("directory", type=Path)
@click.option("--at", type=int, metavar="EPISODE", help="The checkpoint; the newest one if absent.")
@click.argument("overrides", nargs=-1)
def fork(directory: Path, at: int | None, overrides: tuple[str, ...]) -> None:
    """Start a new run from a checkpoint of the run in DIRECTORY, with a changed config.

    The parent is left as it is. Loads a pickle: fork only what you trust.
    """
    from gym_loop import launch
    from gym_loop.runs import stored

    known = stored.load_run(directory)
    checkpoint = find(directory, at)
    name = stored.compose_with(known["config"], list(overrides))
    with stored.preparations(
        lambda cfg: check_limit(checkpoint, cfg),
        *launch.prepare,
        lambda cfg: plant(directory, checkpoint, cfg),
    ):
        launch.launch(list(overrides), name)


def find(directory: Path, at: int | None) -> Path:
    """Return the checkpoint after episode `at`, or the newest sound one.

    Raises:
        Mistake: there is none; the line says which there are.
    """
    from gym_loop.observers import checkpoints

    folder = directory / "checkpoints"
    sound = [p for p in sorted(folder.glob("episode-*")) if checkpoints.load_state(p) is not None]
    if not sound:
        raise Mistake(f"{directory} has no sound checkpoint to fork from")
    if at is None:
        return max(sound, key=checkpoints.episode)
    for path in sound:
        if checkpoints.episode(path) == at:
            return path
    known = ", ".join(str(n) for n in sorted(map(checkpoints.episode, sound)))
    raise Mistake(
        f"no checkpoint at episode {at}; there are: {known} (loop.keep_checkpoints keeps more)"
    )


def check_limit(checkpoint: Path, cfg: Any) -> None:
    """Check that the fork does not end before it begins."""
    from gym_loop.observers import checkpoints

    limit, count = cfg.loop.get("max_episodes"), checkpoints.episode(checkpoint)
    if isinstance(limit, int) and limit < count:
        raise Mistake(
            f"loop.max_episodes={limit} is fewer than the {count} before the fork; expected more, "
            "or an earlier checkpoint: --at EPISODE"
        )


def plant(parent: Path, checkpoint: Path, cfg: Any) -> None:
    """Copy the parent's history and one checkpoint into the new run's directory."""
    from gym_loop.observers import checkpoints
    from gym_loop.runs import claim, manifest

    directory = Path(cfg.hydra.run.dir)
    if directory.resolve() == parent.resolve() or manifest.read(directory):
        raise Mistake(f"{directory} holds a run already; choose another directory for the fork")
    shutil.copytree(parent, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*OWN))
    shutil.copytree(checkpoint, directory / "checkpoints" / checkpoint.name)
    origin = {"directory": str(parent.absolute()), "episode": checkpoints.episode(checkpoint)}
    if before := (manifest.read(parent) or {}).get("parent"):
        origin["parent"] = before
    content = {"state": "stopped", "parent": origin, "config": claim.task_config(cfg)}
    manifest.write(directory, content)


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(fork, arguments)
