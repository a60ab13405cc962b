"""Stop jobs of a sweep that were submitted to an engine."""

from pathlib import Path

import click

from gym_loop.commands import run_click


@click.command("cancel", epilog="Example: gym-loop cancel sweep seed=3")
@click.argument("directory", type=Path)
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
def cancel(directory: Path, jobs: tuple[str, ...]) -> None:
    """Stop the jobs of the sweep in DIRECTORY that Slurm or Ray has: all, or each JOB.

    What runs ends its episode and writes a checkpoint; what waits is taken back. `gym-loop resume`
    submits it all again.
    """
    from gym_loop.sweeps import engines

    raise SystemExit(engines.cancel(directory, jobs))


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(cancel, arguments)
