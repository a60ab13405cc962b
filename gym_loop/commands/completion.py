"""Make a shell complete the words of the command line."""

import ast
import importlib
import shlex
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from gym_loop.commands import help as overview
from gym_loop.commands import run_click

RUNS = 50  # directories that are offered
FLAGS = ("--multirun", "--cfg", "--help", "--hydra-help", "--info")
CLASSES = ("agent", "env", "loop")  # groups whose option may be a class
TAKES_RUNS = {
    "directory",
    "directories",
    "first",
    "second",
    "run",
    "words",
}  # arguments of commands
TAKES_OVERRIDES = {"overrides", "words"}
BOOLEANS = ("true", "false")

# A shell hands over the line up to the cursor, and gets words. Bash's own word begins behind the
# last `=` or `:`; only what follows it is to be replied.
SCRIPTS = {
    "bash": r"""_gym_loop() {
    local line="${COMP_LINE:0:COMP_POINT}" breaks="${COMP_WORDBREAKS//[^=:]/}" prefix="" reply
    local word="${line##*[[:space:]]}"
    [[ -n $breaks && $word == *[$breaks]* ]] && prefix="${word%"${word##*[$breaks]}"}"
    COMPREPLY=()
    while IFS= read -r reply; do
        COMPREPLY+=("${reply#"$prefix"}")
    done < <("$1" completion words -- "$line" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:/] ]] && compopt -o nospace
    return 0
}
complete -o default -F _gym_loop gym-loop""",
    "zsh": r"""_gym_loop() {
    local -a replies
    replies=("${(@f)$(gym-loop completion words -- "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    replies=("${(@)replies:#}")
    if (( $#replies )); then
        compadd -Q -S '' -a -- replies
    else
        _files
    fi
}
compdef _gym_loop gym-loop""",
    "fish": "complete -c gym-loop -a '(gym-loop completion words -- (commandline -cp))'",
}


@click.group("completion", epilog='Example, in ~/.bashrc: eval "$(gym-loop completion bash)"')
def completion() -> None:
    """Print what makes a shell complete the words of gym-loop."""


@completion.command("words")
@click.argument("line")
def words(line: str) -> None:
    """Print what the last word of LINE can become; this is what the shells call."""
    print("\n".join(complete(line)))


def _print_script(shell: str) -> click.Command:
    where = {"bash": "~/.bashrc", "zsh": "~/.zshrc, after compinit", "fish": "config.fish"}[shell]
    evaluated = "gym-loop completion fish | source" if shell == "fish" else "eval the output"
    help = f"Print the script for {shell}: {evaluated}, in {where}."
    return click.Command(shell, callback=lambda: print(SCRIPTS[shell]), help=help)


for shell in SCRIPTS:
    completion.add_command(_print_script(shell))


def complete(line: str) -> list[str]:
    """Return, sorted, what the last word of a command line up to the cursor can become."""
    try:
        typed = shlex.split(line)
    except ValueError:  # a quote that is still open
        typed = line.split()
    typed = typed[1:] + ([""] if line[-1:].isspace() else [])
    *before, word = typed or [""]
    found = candidates(before, word)
    return sorted({candidate for candidate in found if candidate.startswith(word)})


def candidates(before: list[str], word: str) -> Iterator[str]:
    """Yield what may follow the words `before`, among others what begins with `word`."""
    files = Path(__file__).parent.glob("[a-z]*.py")
    commands = {file.stem.replace("_", "-"): file.stem for file in files}
    takes = TAKES_OVERRIDES
    if not before:
        yield from commands
    elif before[0] in commands:
        command = _command(commands[before[0]], before[1:])
        arguments = [parameter for parameter in command.params if parameter.name]
        takes = {str(a.name) for a in arguments if isinstance(a, click.Argument)}
        for option in arguments:
            yield from option.opts if isinstance(option, click.Option) else ()
        if isinstance(command, click.Group):
            yield from command.commands
        runs_given = any("=" not in w and not w.startswith("-") for w in before[1:])
        if takes & TAKES_RUNS and (not runs_given or takes & {"second", "directories"}):
            yield from runs()
    else:
        yield from FLAGS
    if takes & TAKES_OVERRIDES:
        yield from overrides(before, word)


def overrides(before: list[str], word: str) -> Iterator[str]:
    """Yield `group=option`, `group.key=` and the values that can be told."""
    key, equals, value = word.partition("=")
    groups = overview.groups()
    if not equals:
        yield from (f"{group}=" for group in (*groups, "seed", "hydra.run.dir", "hydra.sweep.dir"))
        for group in CLASSES:
            if word.startswith(f"{group}."):
                yield from (f"{group}.{name}=" for name in parameters(group, before))
        return
    before_comma = value[: value.rfind(",") + 1]  # of a sweep
    if key in groups:
        values: Iterable[str] = groups[key]
        if key in CLASSES:
            values = [*values, *_classes(value.removeprefix(before_comma))]
    elif isinstance(parameters(key.partition(".")[0], before).get(key.partition(".")[2]), bool):
        values = BOOLEANS
    else:
        return
    yield from (f"{key}={before_comma}{value}" for value in values)


def parameters(group: str, before: list[str]) -> dict[str, Any]:
    """Return the keys, with their defaults, of the option that is chosen for a group."""
    import yaml

    chosen: str | None = None
    for primary in (conf / "config.yaml" for conf in overview.confs()):
        if chosen is None and primary.is_file():
            defaults = yaml.safe_load(primary.read_text()).get("defaults", [])
            chosen = next((d[group] for d in defaults if isinstance(d, dict) and group in d), None)
    chosen = next((w.partition("=")[2] for w in before if w.startswith(f"{group}=")), chosen)
    path, _, name = str(chosen).rpartition(":")
    if path.endswith(".py"):
        return _parameters_of_class(Path(path), name)
    for conf in overview.confs():
        file = conf / group / f"{path or chosen}.yaml"
        if file.is_file():
            content = yaml.safe_load(file.read_text())
            return {key: value for key, value in content.items() if not key.startswith("_")}
    return {}


def runs() -> Iterator[str]:
    """Yield run directories below the usual places."""
    from gym_loop.mistake import Mistake
    from gym_loop.runs import reading
    from gym_loop.terminal import short

    try:
        found = reading.find([])
    except Mistake:
        return
    yield from islice((short(path) for path in reversed(found)), RUNS)


def _command(stem: str, words: list[str]) -> click.Command:
    """Return the command in a module, or the one below it that the words name."""
    module = importlib.import_module(f"gym_loop.commands.{stem}")
    found = getattr(module, stem, None)
    if not isinstance(found, click.Command):
        return click.Command(stem)
    if isinstance(found, click.Group) and words and words[0] in found.commands:
        return found.commands[words[0]]
    return found


def _classes(value: str) -> Iterator[str]:
    """Yield `file.py:Class` for the files, or the classes of the one, that `value` begins."""
    path = Path(value.partition(":")[0])
    if ":" in value:
        for node in _tree(path):
            if isinstance(node, ast.ClassDef):
                yield f"{path}:{node.name}"
        return
    folder = path if value.endswith("/") else path.parent
    for file in sorted(folder.glob("[!._]*")):
        if file.suffix == ".py":
            yield f"{file}:"


def _parameters_of_class(path: Path, name: str) -> dict[str, Any]:
    """Return what `get_default_parameters` of a class returns, where it is a plain dict."""
    for node in _tree(path):
        if isinstance(node, ast.ClassDef) and node.name == name:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Dict):
                    keys = (k.value for k in inner.value.keys if isinstance(k, ast.Constant))
                    return {str(key): None for key in keys}
    return {}


def _tree(path: Path) -> list[ast.stmt]:
    try:
        return ast.parse(path.read_text()).body
    except (OSError, SyntaxError, ValueError):
        return []


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(completion, arguments)
