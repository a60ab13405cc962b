"""Show what differs between two runs, and from which episode their results part."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from gym_loop.commands import run_click
from gym_loop.mistake import Mistake
from gym_loop.runs import reading, tables
from gym_loop.runs.reading import Run, shown
from gym_loop.terminal import printable, short

ABSENT = "(absent)"
TABLES = {tables.EPISODES: "training", tables.EVALUATIONS: "evaluation"}


@click.command("diff")
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


def single_run(directory: Path) -> Run:
    """Return the run in `directory`.

    Raises:
        Mistake: there is none, or more than one.
    """
    paths = reading.find([directory])
    if len(paths) > 1:
        names = ", ".join(short(path) for path in sorted(paths)[:3])
        raise Mistake(f"{directory} holds {len(paths)} runs; name one of them: {names}, ...")
    return Run(paths[0])


def between_runs(first: Run, second: Run) -> dict[str, Any]:
    """Return what differs, as JSON can hold it."""
    runs = (first, second)
    versions = [run.manifest.get("versions") for run in runs]
    git = [run.manifest.get("git") for run in runs]
    return {
        "directories": [str(run.directory) for run in runs],
        "config": _changed(*(reading.flat(run.config) if run.config else {} for run in runs)),
        "commit": _changed(*({"commit": _commit(entry)} for entry in git)).get("commit"),
        "versions": _changed(*(v if isinstance(v, dict) else {} for v in versions)),
        **{what: parting(first, second, table) for table, what in TABLES.items()},
    }


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


def parting(first: Run, second: Run, table: str) -> dict[str, Any]:
    """Return from which episode on a table of two runs differs, the clock aside.

    `from` is None when all that both have is equal; `rows` says how much each has.
    """
    found_in = [_cells(run, table) for run in (first, second)]
    (names, one), (others, two) = found_in
    shared = [name for name in names if name in others and name != tables.CLOCK]
    places = [[header.index(name) for name in shared] for header, _ in found_in]
    found: dict[str, Any] = {"rows": [len(one), len(two)], "from": None, "values": {}}
    for number, (a, b) in enumerate(zip(one, two, strict=False)):
        cells = [
            [row[p] if p < len(row) else "" for p in own]
            for row, own in zip((a, b), places, strict=True)
        ]
        if cells[0] != cells[1]:
            found["from"] = number
            found["values"] = {
                name: [printable(x), printable(y)]
                for name, x, y in zip(shared, *cells, strict=True)
                if x != y
            }
            break
    return found


def _cells(run: Run, table: str) -> tuple[list[str], list[list[str]]]:
    try:
        return tables.cells(run.directory, table)
    except OSError:
        return [], []


def as_lines(found: dict[str, Any], names: list[str]) -> list[str]:
    """Return the differences for a terminal."""
    text = [f"- {names[0]}", f"+ {names[1]}", ""]
    for title, section in (("config", found["config"]), ("packages", found["versions"])):
        text.append(f"{title}: {'the same' if not section else ''}".rstrip())
        for key, (one, two) in section.items():
            text += [f"  - {key}={one}", f"  + {key}={two}"]
    commit = found["commit"]
    text.append(f"code: {f'{commit[0]} and {commit[1]}' if commit else 'the same commit'}")
    for what in TABLES.values():
        part, rows = found[what], found[what]["rows"]
        if not any(rows):
            text.append(f"{what}: neither has episodes")
        elif part["from"] is not None:
            values = ", ".join(f"{k} {a} and {b}" for k, (a, b) in part["values"].items())
            text.append(f"{what}: the results part at episode {part['from']} ({values})")
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
