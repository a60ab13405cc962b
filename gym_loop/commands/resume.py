"""Continue a run or a sweep in its own directory."""

from pathlib import Path

import click

from gym_loop.commands import run_click


@click.command("resume", epilog="Example: gym-loop resume outputs/a loop.max_episodes=400")
@click.argument("directory", type=Path)
@click.argument("overrides", nargs=-1)
def resume(directory: Path, overrides: tuple[str, ...]) -> None:
    """Continue the run in DIRECTORY from its newest sound checkpoint, or complete a sweep.

    `loop.max_episodes=200` takes a run that finished at 100 on to 200, as if 200 had been asked
    for in the first place. Loads a pickle: resume only what you trust.
    """
    from gym_loop import relaunch

    relaunch.resume(directory, overrides)


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(resume, arguments)
