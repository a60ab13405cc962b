"""Wait for the jobs of a sweep that an engine has."""

from pathlib import Path

import click

from gym_loop.commands import run_click


@click.command("wait", epilog="Example: gym-loop wait sweep")
@click.argument("directory", type=Path)
def wait(directory: Path) -> None:
    """Wait until the jobs of the sweep in DIRECTORY that Slurm or Ray has are all at their end.

    Exits with 0 when every job of the sweep is finished. Ctrl-C cancels nothing. Loads pickles
    that jobs have left: only for sweeps that you trust.
    """
    from gym_loop.sweeps import engines

    raise SystemExit(engines.wait(directory))


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(wait, arguments)
