"""Continue a run or a sweep in its own directory."""

from pathlib import Path

import click

from gym_loop.commands import run_click
from gym_loop.mistake import Mistake


@click.command("resume")
@click.argument("directory", type=Path)
@click.argument("overrides", nargs=-1)
def resume(directory: Path, overrides: tuple[str, ...]) -> None:
    """Continue the run in DIRECTORY from its newest sound checkpoint, or complete a sweep.

    `loop.max_episodes=200` takes a run that finished at 100 on to 200, as if 200 had been asked
    for in the first place. Loads a pickle: resume only what you trust.
    """
    from gym_loop import launch
    from gym_loop.config import stored
    from gym_loop.runs import manifest
    from gym_loop.sweeps import resume as sweeps

    if sweeps.is_sweep(directory):
        sweeps.resume(directory, list(overrides))
        return
    if not manifest.read(directory):
        why = f"no {sweeps.NAME} and no readable {manifest.NAME} in it"
        why = why if directory.is_dir() else "no such directory"
        raise Mistake(f"{directory} is not a run, nor a sweep: {why}")
    name = stored.compose_with(manifest.load(directory)["config"], list(overrides))
    launch.launch([*overrides, f"hydra.run.dir={stored.quoted(directory)}"], name)


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(resume, arguments)
