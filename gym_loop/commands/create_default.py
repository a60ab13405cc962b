"""Write a run config, every parameter at its default."""

import inspect
import re
from pathlib import Path
from typing import Any

import click

from gym_loop.commands import run_click
from gym_loop.mistake import Mistake, nearest

HEADER = """# A run config of gym_loop. Launch it: gym-loop train -c {name} [overrides]
# Directories are relative to the run's own; null means no limit.
"""
GROUPS = ("agent", "env", "loop")


@click.command(
    "create-default",
    epilog="Example: gym-loop create-default --env taxi --run-config run.yaml",
)
@click.option("--agent", default="gym_loop.agents.RandomAgent", metavar="CLASS", show_default=True)
@click.option("--loop", default="gym_loop.loops.DefaultLoop", metavar="CLASS", show_default=True)
@click.option(
    "--env",
    default="Pendulum-v1",
    metavar="ID",
    show_default=True,
    help="An id of gym's, LIBRARY:ID or a class.",
)
@click.option("--run-config", required=True, type=Path, metavar="FILE", help="Where to write it.")
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
def create_default(agent: str, loop: str, env: str, run_config: Path, force: bool) -> None:
    """Write a self-contained run config: agent, env and loop, every parameter at its default.

    CLASS is package.module:Class or path/to/file.py:Class; an option's name, such as q_learning or
    cartpole, will do, too.
    """
    from gym_loop import files, launch

    if run_config.exists() and not force:
        raise Mistake(f"{run_config} exists; choose another name, or --force to overwrite it")
    with launch.surroundings():  # classes are imported
        sections = [section_of(*pair) for pair in zip(GROUPS, (agent, env, loop), strict=True)]
    text = HEADER.format(name=run_config) + "".join(sections) + "seed: 0  # fixes everything\n"
    try:
        files.write(run_config, text)
    except OSError as error:
        raise Mistake(f"cannot write {run_config}: {files.reason(error)}") from None
    print(f"wrote {run_config}; launch it with: gym-loop train -c {run_config}")


def section_of(group: str, option: str) -> str:
    """Return the part of a run config that an option stands for, with comments.

    Raises:
        Mistake: there is no such option.
    """
    from gym_loop import envs
    from gym_loop.config import options

    content = config_of(group, option)
    if "make_gym" in content["_target_"]:
        gymnasium = "gymnasium" in content["_target_"]
        envs.check_id("gymnasium" if gymnasium else "gym", content["id"])
    comments = parameter_comments(options.load_class(content["_target_"], group))
    entries = (entry(group, name, value, comments.get(name)) for name, value in content.items())
    return f"{group}:\n{''.join(entries)}"


def config_of(group: str, option: str) -> dict[str, Any]:
    """Return the config of an option of conf/, of an environment's id, or of a class."""
    from omegaconf import OmegaConf

    from gym_loop.checks import wording
    from gym_loop.commands.help import confs
    from gym_loop.config import options

    for conf in reversed(confs()):  # the user's own comes before ours
        if (file := conf / group / f"{option}.yaml").is_file():
            content = OmegaConf.to_container(OmegaConf.load(file))
            assert isinstance(content, dict)
            made = options.default_parameters(options.load_class(content["_target_"], group))
            return {
                "_target_": content.pop("_target_"),
                **options.held(made),
                **content,
            }
    if group == "env" and ":" not in option:
        option = f"gym:{option}"
    if ":" in option:
        return options.option_config(group, option)
    if "." not in option:
        near = nearest(option, wording.options(group))
        raise Mistake(
            f"no {group} {option!r}{near}; expected an option, or a class as FILE.py:NAME"
        )
    defaults = options.default_parameters(options.load_class(option, group))
    return {"_target_": option, **options.held(defaults)}


def entry(group: str, name: str, value: Any, comment: str | None) -> str:
    """Return a parameter's lines, as the run config's reader takes them, with its comment."""
    from omegaconf import OmegaConf

    from gym_loop.compat.hydra_job import to_yaml
    from gym_loop.compat.omegaconf import plain

    text = to_yaml(plain(OmegaConf.create({group: {name: value}})))
    _, first, more = text.split("\n", 2)  # other separators are of the value
    if comment and more and not first.endswith(":"):  # a text of several lines
        return f"  # {comment}\n{first}\n{more}"
    return f"{first}  # {comment}\n{more}" if comment else f"{first}\n{more}"


def parameter_comments(target: Any) -> dict[str, str]:
    """Return the comment on each parameter.

    It is the help in a loop's table, else the docstring's first sentence on it: `name: sentence`.
    """
    table = getattr(target, "parameter_table", {})
    comments = {name: parameter.help for name, parameter in table.items()}
    methods = (getattr(target, "get_default_parameters", None), getattr(target, "__init__", None))
    for documented in (*methods, target):
        doc = inspect.getdoc(documented) or ""
        for name, text in re.findall(
            r"^ +(\w+)(?: \(.+?\))?: (.+(?:\n {8,}.+)*)", doc, re.MULTILINE
        ):
            comments[name] = re.split(r"(?<=[^.])\. ", " ".join(text.split()))[0].rstrip(".")
    return comments


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(create_default, arguments)
