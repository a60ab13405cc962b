"""Start a new run from a checkpoint, with a changed config."""

from pathlib import Path

import click

from gym_loop.commands import checkpoint_option, run_click


@click.command("fork", epilog="Example: gym-loop fork outputs/a --checkpoint 200 agent.lr=0.01")
@click.argument("directory", type=Path)
@checkpoint_option("--at")
@click.argument("overrides", nargs=-1)
def fork(directory: Path, checkpoint: str, overrides: tuple[str, ...]) -> None:
    """Start a new run from a checkpoint of the run in DIRECTORY, with a changed config.

    The parent is left as it is. `--at` is the older name of `--checkpoint`. Loads a pickle: fork
    only what you trust.
    """
    from gym_loop import relaunch

    relaunch.fork(directory, checkpoint, overrides)


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(fork, arguments)
