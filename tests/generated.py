"""What is made of the code: conf/loop/, docs/keys.md and docs/commands.md.

`python -m tests.generated` writes them.
"""

import importlib
import textwrap
from pathlib import Path

import click

from gym_loop.commands.create_default import entry
from gym_loop.loops import parameters

ROOT = Path(__file__).parents[1]
CONFIG = """# Written by `python -m tests.generated` from gym_loop/loops/parameters.py.
_target_: {target}
# Directories are relative to the run's own; null means no limit.
"""
LOOPS = {
    "default": ("gym_loop.loops.DefaultLoop", parameters.DEFAULT),
    "vector": ("gym_loop.vector.loop.VectorLoop", parameters.VECTOR),
}
KEYS = """# Every key

Written by `python -m tests.generated`. `gym-loop --cfg job` shows a launch's config, with every
default of the classes that it names.

## loop

{table}
"""
# Sections of docs/keys.md that are files of conf/, as they are.
FILES = {
    "The whole": ["config.yaml"],
    "observers": ["observers/default.yaml"],
    "Launchers": [f"hydra/launcher/{name}.yaml" for name in ("pool", "ray", "slurm")],
    "Sweepers": [f"hydra/sweeper/{name}.yaml" for name in ("grid", "search")],
}
COMMANDS = """# Every command

Written by `python -m tests.generated`. `gym-loop GROUP=OPTION KEY=VALUE ...` launches a run, `-m` a
sweep. The rest are sub-commands.
"""


def config(target, table):
    """The option of a loop, each parameter with its comment."""
    lines = [entry("loop", name, each.default, each.help) for name, each in table.items()]
    return CONFIG.format(target=target) + textwrap.dedent("".join(lines))


def keys():
    """The page of keys: what DefaultLoop has, then what only VectorLoop has, and files of conf/."""
    rows = ["| `loop.` | default | | `resume` may change it |", "|---|---|---|---|"]
    for name in dict.fromkeys((*parameters.DEFAULT, *parameters.VECTOR)):
        each = parameters.ALL[name]
        default = entry("loop", name, each.default, None).partition(": ")[2].strip()
        text = each.help if name in parameters.DEFAULT else f"with `loop=vector`: {each.help}"
        rows.append(f"| `{name}` | {default} | {text} | {'yes' if each.resume else 'no'} |")
    page = KEYS.format(table="\n".join(rows))
    for section, names in FILES.items():
        page += f"\n## {section}\n"
        for name in names:
            text = (ROOT / "conf" / name).read_text().strip()
            page += f"\n`conf/{name}`:\n\n```yaml\n{text}\n```\n"
    return page


def command_help(name, command):
    """What `--help` of a command prints, and of the commands of a group."""
    context = click.Context(command, info_name=f"gym-loop {name}", max_content_width=80)
    page = f"\n## {name}\n\n```text\n{command.get_help(context)}\n```\n"
    for inner, each in getattr(command, "commands", {}).items():
        page += command_help(f"{name} {inner}", each).replace("\n## ", "\n### ", 1)
    return page


def commands():
    """The page of commands."""
    page = COMMANDS
    for file in sorted((ROOT / "gym_loop" / "commands").glob("[a-z]*.py")):
        module = importlib.import_module(f"gym_loop.commands.{file.stem}")
        name = file.stem.replace("_", "-")
        for each in vars(module).values():
            if isinstance(each, click.Command) and each.name == name:
                page += command_help(name, each)
    return page


def files():
    """The content of each file, as it should be."""
    content = {
        ROOT / "conf" / "loop" / f"{option}.yaml": config(target, table)
        for option, (target, table) in LOOPS.items()
    }
    docs = ROOT / "docs"
    return content | {docs / "keys.md": keys(), docs / "commands.md": commands()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
