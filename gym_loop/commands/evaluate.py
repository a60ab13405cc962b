"""Play episodes without learning, from RUN_DIR or -c FILE."""

import functools
from pathlib import Path

import click

from gym_loop.commands import run_click
from gym_loop.mistake import Mistake


@click.command("evaluate")
@click.option("-c", "--run-config", type=Path, metavar="FILE", help="Evaluate this run config.")
@click.argument("words", nargs=-1, metavar="[RUN_DIR] [OVERRIDES]...")
def evaluate(run_config: Path | None, words: tuple[str, ...]) -> None:
    """Play `loop.eval_episodes` episodes without learning, and print their returns.

    In RUN_DIR the agent of the newest checkpoint plays. Recordings go into the evaluation's
    directory; nothing else in RUN_DIR changes, and the run's curves get no points.
    """
    from gym_loop import launch
    from gym_loop.config import stored
    from gym_loop.config.kept import refuse_changed
    from gym_loop.runs import claim, manifest

    overrides, prepare = list(words), launch.prepare
    if run_config is not None:
        config = stored.load_file(run_config)
    elif words and ("=" not in words[0] or Path(words[0]).is_dir()):
        directory = Path(overrides.pop(0))
        known = manifest.load(directory)
        config = known["config"]
        if not (directory / "checkpoints").is_dir():
            raise Mistake(f"{directory} has no checkpoint to evaluate")
        # The directory belongs to its run: nothing is claimed, and Hydra's files stay as they are.
        prepare = [preparation for preparation in prepare if preparation is not claim.claim]
        prepare.append(lambda cfg: refuse_changed(known, cfg))
        overrides += [f"hydra.run.dir={stored.quoted(directory)}", "hydra.output_subdir=null"]
    else:
        raise Mistake(
            "expected a run's directory, or -c FILE; `gym-loop evaluate --help` shows how"
        )
    # Training is not shown or recorded, since there is none.
    config["loop"] |= {name: False for name in ("render", "record") if name in config["loop"]}
    config.pop("observers", None)
    overrides = ["observers=evaluation", *overrides]
    name = stored.compose_with(config, overrides)
    task = functools.partial(launch.run, evaluate=True)
    functools.update_wrapper(task, launch.run)
    with stored.preparations(*prepare):
        launch.launch(overrides, name, task)


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(evaluate, arguments)
