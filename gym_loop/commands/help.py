"""Show what gym-loop can do."""

import ast
import textwrap
from pathlib import Path

from gym_loop import __version__

PACKAGE = Path(__file__).parents[1]
# As in launch, which imports Hydra; the help is to be there at once.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"

TEXT = """gym-loop {version}: launch reinforcement-learning experiments.

  gym-loop agent=random env=pendulum             train, evaluate, keep all of it
  gym-loop agent=my_agent.py:MyAgent             your own agent, with no YAML
  gym-loop env=gymnasium:CartPole-v1 seed=3      any environment, by its id
  gym-loop -m env=pendulum,cartpole seed=0,1,2   a sweep
  gym-loop -m hydra/sweeper=search 'agent.lr=interval(0,1)' ...   a search
  gym-loop agent=random --cfg job                show the config and do nothing

Options, from here and from ./conf (`group=option`; then `group.key=value`):
{options}

Commands (`gym-loop COMMAND --help`):
{commands}

Hydra's own flags (-m, --cfg, --info, ...): gym-loop --hydra-help"""


def main(arguments: list[str]) -> None:
    """Print the help. Nothing is imported that could make it slow."""
    print(TEXT.format(version=__version__, options=options(), commands=commands()))


def confs() -> list[Path]:
    """Return the directories that options are looked for in: ours, and the user's ./conf."""
    return list(dict.fromkeys((CONF.resolve(), Path("conf").resolve())))


def groups() -> dict[str, list[str]]:
    """Return the names of the options of each group, the user's first."""
    found: dict[str, dict[str, None]] = {}
    for conf in reversed(confs()):
        for file in sorted(conf.glob("[!.]*/**/*.yaml")):
            group, _, option = str(file.relative_to(conf).with_suffix("")).partition("/")
            if group != "hydra":
                found.setdefault(group, {})[option] = None  # the user's may have the name of ours
    return {group: [*names] for group, names in found.items()}


def options() -> str:
    """Return the options of each group, in three lines at most."""
    lines: list[str] = []
    for group, names in groups().items():
        told = textwrap.wrap(
            " ".join(names), 63, break_on_hyphens=False, max_lines=3, placeholder=" ..."
        )
        lines += textwrap.indent("\n".join(told), " " * 15).splitlines()
        lines[-len(told)] = f"  {group + '=':<13}{told[0]}"
    return "\n".join(lines)


def commands() -> str:
    """Return a line for each sub-command: the first line of its module's docstring."""
    lines = []
    for file in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        doc = ast.get_docstring(ast.parse(file.read_text())) or ""
        lines.append(f"  {file.stem.replace('_', '-'):<15} {doc.splitlines()[0]}")
    return "\n".join(lines)
