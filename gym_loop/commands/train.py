"""Launch the run config in a YAML file."""

from pathlib import Path

import click

from gym_loop.commands import run_click


@click.command("train", epilog="Example: gym-loop train -c run.yaml agent.lr=0.5")
@click.option("-c", "--run-config", required=True, type=Path, metavar="FILE", help="A run config.")
@click.option("-m", "--multirun", is_flag=True, help="Sweep over overrides with several values.")
@click.option("--cfg", type=click.Choice(["job", "hydra", "all"]), help="Show the config only.")
@click.argument("overrides", nargs=-1)
def train(run_config: Path, multirun: bool, cfg: str | None, overrides: tuple[str, ...]) -> None:
    """Launch the run config in FILE, as `gym-loop OVERRIDES` launches the one in conf/."""
    from gym_loop import launch
    from gym_loop.config import stored

    with launch.surroundings():  # composing imports the classes that the file names
        name = stored.compose_with(stored.load_file(run_config), list(overrides))
        flags = [*(["-m"] if multirun else []), *(["--cfg", cfg] if cfg else [])]
        launch.launch([*flags, *overrides], name)


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(train, arguments)
