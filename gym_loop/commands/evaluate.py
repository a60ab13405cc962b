"""Play episodes without learning, from RUN_DIR or -c FILE."""

from pathlib import Path

import click

from gym_loop.commands import checkpoint_option, run_click
from gym_loop.mistake import Mistake


@click.command(
    "evaluate",
    epilog="Example: gym-loop evaluate outputs/a --checkpoint best loop.eval_episodes=100",
)
@click.option("-c", "--run-config", type=Path, metavar="FILE", help="Evaluate this run config.")
@checkpoint_option()
@click.argument("words", nargs=-1, metavar="[RUN_DIR] [OVERRIDES]...")
def evaluate(run_config: Path | None, checkpoint: str, words: tuple[str, ...]) -> None:
    """Play `loop.eval_episodes` episodes without learning, and print their returns.

    In RUN_DIR the agent of a checkpoint plays. Recordings go into the evaluation's directory;
    nothing else in RUN_DIR changes, and the run's curves get no points. Loads a pickle: evaluate
    only what you trust.
    """
    from gym_loop import relaunch

    if run_config is not None:
        relaunch.evaluate_file(run_config, words)
    elif words and ("=" not in words[0] or Path(words[0]).is_dir()):
        relaunch.evaluate(Path(words[0]), words[1:], checkpoint)
    else:
        raise Mistake(
            "expected a run's directory, or -c FILE; `gym-loop evaluate --help` shows how"
        )


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(evaluate, arguments)
