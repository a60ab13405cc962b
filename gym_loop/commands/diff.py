"""Show what differs between two runs, and from which episode their results part."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from gym_loop.commands import run_click
from gym_loop.mistake import Mistake
from gym_loop.runs import reading
from gym_loop.runs.reading import Run, plain, short, shown

ABSENT = "(absent)"
TABLES = {"episodes.csv": "training", "evaluations.csv": "evaluation"}
CLOCK = "seconds"  # the column that differs each time


@click.command("diff")
@click.argument("first", type=Path, metavar="RUN")
@click.argument("second", type=Path, metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Show what differs between two runs: config, code, packages, and where results part."""
    runs = only(first), only(second)
    found = differences(*runs)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(lines(found, [short(run.directory) for run in runs])))
    for run in runs:
        for warning in run.warnings:
            print(f"warning: {short(run.directory)}: {warning}", file=sys.stderr)


def only(directory: Path) -> Run:
    """Return the run in `directory`.

    Raises:
        Mistake: there is none, or more than one.
    """
    paths = reading.find([directory])
    if len(paths) > 1:
        names = ", ".join(short(path) for path in sorted(paths)[:3])
        raise Mistake(f"{directory} holds {len(paths)} runs; name one of them: {names}, ...")
    return Run(paths[0])


def differences(first: Run, second: Run) -> dict[str, Any]:
    """Return what differs, as JSON can hold it."""
    runs = (first, second)
    versions = [run.manifest.get("versions") for run in runs]
    git = [run.manifest.get("git") for run in runs]
    return {
        "directories": [str(run.directory) for run in runs],
        "config": _between(*(reading.flat(run.config) if run.config else {} for run in runs)),
        "commit": _between(*({"commit": _commit(entry)} for entry in git)).get("commit"),
        "versions": _between(*(v if isinstance(v, dict) else {} for v in versions)),
        **{what: parting(first, second, table) for table, what in TABLES.items()},
    }


def _between(first: dict[str, Any], second: dict[str, Any]) -> dict[str, list[str]]:
    return {
        key: [shown(side[key]) if key in side else ABSENT for side in (first, second)]
        for key in dict.fromkeys((*first, *second))
        if key not in first or key not in second or first[key] != second[key]
    }


def _commit(git: Any) -> str:
    if not isinstance(git, dict):
        return "(no commit)"
    return plain(git.get("commit")) + (" with changes" if git.get("dirty") else "")


def parting(first: Run, second: Run, table: str) -> dict[str, Any]:
    """Return from which episode on a table of two runs differs, the clock aside.

    `from` is None when all that both have is equal; `rows` says how much each has.
    """
    tables = [_rows(run.directory, table) for run in (first, second)]
    (names, one), (others, two) = tables
    shared = [name for name in names if name in others and name != CLOCK]
    places = [[header.index(name) for name in shared] for header, _ in tables]
    found: dict[str, Any] = {"rows": [len(one), len(two)], "from": None, "values": {}}
    for number, (a, b) in enumerate(zip(one, two, strict=False)):
        cells = [
            [row[p] if p < len(row) else "" for p in own]
            for row, own in zip((a, b), places, strict=True)
        ]
        if cells[0] != cells[1]:
            found["from"] = number
            found["values"] = {
                name: [plain(x), plain(y)]
                for name, x, y in zip(shared, *cells, strict=True)
                if x != y
            }
            break
    return found


def _rows(directory: Path, table: str) -> tuple[list[str], list[list[str]]]:
    """Return a CSV file's header and its whole rows."""
    try:
        rows = [line.decode("ascii", "replace") for line in reading.lines(directory, table)]
    except OSError:
        return [], []
    return rows[0].split(",") if rows else [], [row.split(",") for row in rows[1:]]


def lines(found: dict[str, Any], names: list[str]) -> list[str]:
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
