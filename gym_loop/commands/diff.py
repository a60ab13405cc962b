"""Show what differs between two runs, and where they part."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from gym_loop.commands import run_click
from gym_loop.mistake import Mistake
from gym_loop.output import exit_if_lost
from gym_loop.runs import parting, reading
from gym_loop.runs.reading import RunContent, shown
from gym_loop.terminal import printable, short

ABSENT = "(absent)"


@click.command("diff", epilog="Example: gym-loop diff outputs/a outputs/b")
@click.argument("first", type=Path, metavar="RUN")
@click.argument("second", type=Path, metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Show what differs between two runs: config, code, packages, and where results part."""
    runs = single_run(first), single_run(second)
    found = between_runs(*runs)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(as_lines(found, [short(run.directory) for run in runs])))
    for run in runs:
        for warning in run.warnings:
            print(f"warning: {short(run.directory)}: {warning}", file=sys.stderr)


def single_run(directory: Path) -> RunContent:
    """Return the run in `directory`.

    Raises:
        Mistake: there is none, or more than one.
    """
    paths = reading.find([directory])
    if len(paths) > 1:
        names = ", ".join(short(path) for path in sorted(paths)[:3])
        raise Mistake(f"{directory} holds {len(paths)} runs; name one of them: {names}, ...")
    return RunContent(paths[0])


def between_runs(first: RunContent, second: RunContent) -> dict[str, Any]:
    """Return what differs, as JSON can hold it."""
    runs = (first, second)
    versions = [run.manifest.get("versions") for run in runs]
    git = [run.manifest.get("git") for run in runs]
    return {
        "directories": [str(run.directory) for run in runs],
        "config": _changed(*(reading.flat(run.config) for run in runs)),
        "commit": _changed(*({"commit": _commit(entry)} for entry in git)).get("commit"),
        "in_git": any(isinstance(entry, dict) for entry in git),
        "versions": _changed(*(v if isinstance(v, dict) else {} for v in versions)),
        **_kept(first.directory, second.directory),
        **{
            what: parting.of_table(first.directory, second.directory, table)
            for table, what in parting.TABLES.items()
        },
    }


def _kept(first: Path, second: Path) -> dict[str, Any]:
    """Return what differs in what both runs have kept of their code, packages and machines."""
    try:
        from gym_loop.code import reading as code
    except ImportError:  # that part is not there
        return {}
    descriptions = code.describe(first), code.describe(second)
    if None in descriptions:
        return {}
    found: dict[str, dict[str, list[str]]] = {"versions": {}, "machine": {}}
    one, two = (description or {} for description in descriptions)
    for group, what, a, b in code.differences(one, two):
        found["versions" if group == "packages" else "machine"][what] = [a, b]
    return {**found, "files": code.files_that_differ(one, two)}


def _changed(first: dict[str, Any], second: dict[str, Any]) -> dict[str, list[str]]:
    return {
        key: [shown(side[key]) if key in side else ABSENT for side in (first, second)]
        for key in dict.fromkeys((*first, *second))
        if key not in first or key not in second or first[key] != second[key]
    }


def _commit(git: Any) -> str:
    if not isinstance(git, dict):
        return "(no commit)"
    return printable(git.get("commit")) + (" with changes" if git.get("dirty") else "")


def as_lines(found: dict[str, Any], names: list[str]) -> list[str]:
    """Return the differences for a terminal."""
    text = [f"- {names[0]}", f"+ {names[1]}", ""]
    for title, name in {"config": "config", "packages": "versions", "machine": "machine"}.items():
        if name not in found:
            continue
        text.append(f"{title}:" if found[name] else f"{title}: the same")
        for key, (one, two) in found[name].items():
            text += [f"  - {key}={one}", f"  + {key}={two}"]
    commit = found["commit"]
    same = "the same commit" if found["in_git"] else "neither was in a git repository"
    text.append(f"code: {f'{commit[0]} and {commit[1]}' if commit else same}")
    if found.get("files"):
        text.append(f"files that differ: {', '.join(found['files'])}")
    for what in parting.TABLES.values():
        part, rows = found[what], found[what]["rows"]
        if not any(rows):
            text.append(f"{what}: neither has episodes")
        elif part["from"] is not None:
            values = ", ".join(f"{k} {a} and {b}" for k, (a, b) in part["values"].items())
            text.append(f"{what}: the results part at episode {part['from']} ({values})")
            if part.get("step"):
                text.append(f"  {parting.told(part['step'])}")
        elif not all(rows):
            text.append(f"{what}: only one has episodes ({rows[0]} and {rows[1]})")
        elif rows[0] == rows[1]:
            text.append(f"{what}: the same in all {rows[0]} episodes")
        else:
            text.append(
                f"{what}: the same in all {min(rows)} that both have ({rows[0]} and {rows[1]})"
            )
    return text


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(diff, arguments)
    exit_if_lost()
