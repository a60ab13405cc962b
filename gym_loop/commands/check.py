"""Try a config out for ten seconds, before it runs for hours."""

import sys
import tempfile
from functools import partial
from pathlib import Path

import click

from gym_loop.commands import run_click
from gym_loop.mistake import Mistake


@click.command(
    "check",
    epilog="Example: gym-loop check agent=my_agent.py:MyAgent env=cartpole",
)
@click.option("-c", "--run-config", type=Path, metavar="FILE", help="Check this run config.")
@click.argument("overrides", nargs=-1)
def check(run_config: Path | None, overrides: tuple[str, ...]) -> None:
    """Check the config of OVERRIDES: environment, agent, checkpoints, replay, speed, disk.

    Nothing is left behind. The exit code is 1 when there is a cross on the list.
    """
    from gym_loop import launch
    from gym_loop.checks import preflight
    from gym_loop.checks.config import check_writable
    from gym_loop.config import stored

    words, target = [], Path("outputs")
    for word in overrides:
        if word.startswith("-"):
            raise Mistake(f"check takes overrides only, not {word!r}")
        key, _, value = word.partition("=")
        if key == "hydra.run.dir":
            target = Path(value)
        else:
            words.append(word)
    check_writable(target, lambda: f"hydra.run.dir is {target} (command line)")
    name, folders = "config", tempfile.TemporaryDirectory(prefix="gym-loop-check-")
    with launch.surroundings(), folders as folder:
        if run_config:
            name = stored.compose_with(stored.load_file(run_config), words)
        own = [f"hydra.run.dir={stored.quoted(Path(folder, 'run'))}", "hydra.output_subdir=null"]
        findings = launch.launch([*words, *own], name, partial(preflight.preflight, target=target))
    print(preflight.listing(findings))
    sys.exit(1 if any(finding.ok is False for finding in findings) else 0)


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(check, arguments)
