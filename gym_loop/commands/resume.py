"""Continue a run or a sweep in its own directory."""

from pathlib import Path
from typing import Any

import click

from gym_loop.commands import run_click
from gym_loop.mistake import Mistake

# What a run can be continued with: nothing of it changes what has already happened.
FREE = {
    *("max_episodes", "max_steps", "max_time", "eval_episodes", "episodes_per_eval", "on_nan"),
    *("render", "record", "record_every", "eval_render", "eval_record", "keep_checkpoints"),
    *("episodes_per_checkpoint", "time_per_checkpoint"),
}


@click.command("resume")
@click.argument("directory", type=Path)
@click.argument("overrides", nargs=-1)
def resume(directory: Path, overrides: tuple[str, ...]) -> None:
    """Continue the run in DIRECTORY from its newest sound checkpoint, or complete a sweep.

    `loop.max_episodes=200` takes a run that finished at 100 on to 200, as if 200 had been asked
    for in the first place. Loads a pickle: resume only what you trust.
    """
    from gym_loop import launch
    from gym_loop.checks.limits import lift_default_limit
    from gym_loop.runs import manifest, stored
    from gym_loop.sweeps import resume as sweeps

    if sweeps.is_sweep(directory):
        sweeps.resume(directory, list(overrides))
        return
    if not manifest.read(directory):
        why = f"no {sweeps.NAME} and no readable {manifest.NAME} in it"
        why = why if directory.is_dir() else "no such directory"
        raise Mistake(f"{directory} is not a run, nor a sweep: {why}")
    known = stored.load_run(directory)
    name = stored.compose_with(known["config"], list(overrides))
    with stored.preparations(
        lift_default_limit,
        lambda cfg: extend(directory, known, cfg, list(overrides)),
        *launch.prepare,
    ):
        launch.launch([*overrides, f"hydra.run.dir={stored.quoted(directory)}"], name)


def extend(directory: Path, known: dict[str, Any], cfg: Any, overrides: list[str]) -> None:
    """Let the run in `directory` go on with `cfg`.

    Raises:
        Mistake: `cfg` would change what has already happened, or the run is going on elsewhere.
    """
    from gym_loop.runs import claim, manifest

    config = claim.task_config(cfg)
    changes = claim.differences(known["config"], config)
    for key, then, now in changes:
        group, _, name = key.partition(".")
        if group in ("agent", "env", "seed") or (group == "loop" and name not in FREE):
            raise Mistake(
                f"{key}={now} would change what has already happened ({key}={then}); "
                f"start another run from here: gym-loop fork {directory} {key}={now}"
            )
    for key, count in (("max_episodes", known["episodes"]), ("max_steps", known["steps"])):
        limit = config["loop"].get(key)
        if limit is not None and limit < count and any(k == f"loop.{key}" for k, *_ in changes):
            raise Mistake(
                f"loop.{key}={limit} is fewer than the {count} that {directory} has; expected more"
            )
    if changes:
        said = {word.partition("=")[0]: word for word in [*known["overrides"], *overrides]}
        known |= {"config": config, "overrides": list(said.values()), "state": "stopped"}
        with manifest.Lock(directory):
            manifest.write(directory, known)


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(resume, arguments)
