"""Show all runs: where each stands, and how well it does."""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from gym_loop import output, terminal
from gym_loop.commands import run_click
from gym_loop.mistake import Mistake, nearest
from gym_loop.runs import reading
from gym_loop.runs.reading import Run
from gym_loop.terminal import duration, short

COLOURS = {
    "pending": 34,
    "running": 36,
    "finished": 32,
    "stopped": 33,
    "failed": 31,
    "dead": 31,
    "lost": 31,
    "damaged": 35,
}
NUMERIC = {"episodes", "steps", "return", "evaluation", "steps/s", "left"}
LEAST = 8  # characters of a column that is cut to the width of the terminal
LEAST_OF_RUN = 24  # as long as there are columns to leave out
EXPENDABLE = ("steps/s", "left", "error", "steps", "agent", "env")


@click.command("ls")
@click.argument("words", nargs=-1, metavar="[DIR | KEY=VALUE]...")
@click.option("--state", metavar="STATE", help="Only runs in this state.")
@click.option("--json", "as_json", is_flag=True, help="For programs: a JSON list.")
@click.option("--watch", is_flag=True, help="Refresh the table until Ctrl-C.")
@click.option(
    "--every",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="How often.",
)
def ls(words: tuple[str, ...], state: str | None, as_json: bool, watch: bool, every: float) -> None:
    """Show all runs in and below each DIR (./outputs and ./multirun), newest first.

    Of a search's DIR alone, its trials.

    KEY=VALUE chooses runs by agent, env, seed or any key of their config: agent=ars. States are
    running, finished, failed, stopped, dead (the process ended without a word) and damaged; of
    jobs that Slurm or Ray has, also pending and lost.
    """
    if watch and as_json:
        raise Mistake("--watch shows a table; leave out --json")
    if state is not None and state not in COLOURS:
        expected = ", ".join(COLOURS)
        raise Mistake(f"--state={state}{nearest(state, COLOURS, ';')} expected {expected}")
    filters = [w for w in words if "=" in w and not Path(w).is_dir()]
    directories = [w for w in words if w not in filters]
    filters += [f"state={state}"] if state else []
    if watch:
        follow(directories, filters, every)
        return
    is_plain = len(words) == 1 == len(directories) and not (state or as_json)
    if is_plain and reading.is_search(words[0]):
        from gym_loop.search import report

        print(report.listing(Path(words[0])))
        return
    runs = filtered(read(directories, {}), filters)
    if as_json:
        print(json.dumps([as_json_object(run) for run in runs], indent=1))
        return
    print("\n".join(table_lines(runs, terminal.width())))
    for run in runs:
        for warning in run.warnings:
            print(f"warning: {short(run.directory)}: {warning}", file=sys.stderr)


def read(directories: list[str], known: dict[Path, Run]) -> list[Run]:
    """Return the runs, newest first; those in `known` that have ended are not read again."""
    runs = []
    submitted = list(reading.find_submitted(directories))
    try:
        paths = reading.find(directories)
    except Mistake:
        if not submitted:
            raise
        paths = []  # all jobs wait
    for path in paths:
        run = known.get(path)
        if run is None or run.state == "running" or _changed(run):
            run = Run(path)
            _ = run.last_rows, run.last_evaluation, run.last_sign
        known[path] = run
        runs.append(run)
    for place in submitted:
        from gym_loop.sweeps import listing

        try:
            runs += listing.locate(place, runs)
        except Mistake as mistake:
            print(f"warning: {short(place)}: {mistake.message}", file=sys.stderr)
    return sorted(runs, key=lambda run: run.start, reverse=True)


def _changed(run: Run) -> bool:
    try:
        return (run.directory / "run.json").stat().st_mtime > run.last_sign
    except OSError:
        return True


def filtered(runs: list[Run], filters: list[str]) -> list[Run]:
    """Return the runs for which every filter `KEY=VALUE` holds.

    Raises:
        Mistake: no run has such a key, or none is left.
    """
    for word in filters:
        key, _, value = word.partition("=")
        values = [_values(run, key) for run in runs]
        if not any(values):
            keys = {"agent", "env", "seed", "state"}.union(*(_leaves(run) for run in runs))
            raise Mistake(f"{word}: no run has {key!r}{nearest(key, keys)}")
        left = [run for run, own in zip(runs, values, strict=True) if value in own]
        if not left:
            others = sorted({own[0] for own in values if own})
            near = nearest(value, others, f"; there are: {', '.join(others[:10])}")
            raise Mistake(f"no runs found with {word}{near}")
        runs = left
    return runs


def _values(run: Run, key: str) -> list[str]:
    """Return the values of `key` that a filter may name, the usual one first."""
    if key == "state":
        return [run.state]
    if key in ("agent", "env") and run.config:
        node = run.config.get(key)
        target = str(node.get("_target_", "")) if isinstance(node, dict) else ""
        names = (getattr(run, key), run.overrides.get(key), target, target.rpartition(":")[2])
        return [name for name in (*names, target.rpartition(".")[2]) if name]
    leaves = _leaves(run)
    return [reading.shown(leaves[key])] if key in leaves else []


def _leaves(run: Run) -> dict[str, Any]:
    return reading.flat(run.config) if run.config else {}


def as_json_object(run: Run) -> dict[str, Any]:
    """Return what the table shows of a run, and a little more, as JSON can hold it."""
    return {
        "directory": str(run.directory),
        "state": run.state,
        "node": run.node,
        "agent": run.agent,
        "env": run.env,
        "seed": run.seed,
        "overrides": run.overrides,
        "episodes": run.episodes,
        "steps": run.steps,
        "return": reading.finite(run.last_return),
        "evaluation": reading.finite(run.evaluation),
        "steps_per_second": run.steps_per_second,
        "seconds": run.seconds,
        "seconds_left": reading.finite(run.seconds_left),
        "start": run.start,
        "last_sign": run.last_sign,
        "error": run.error,
        "warnings": run.warnings,
    }


def table_lines(runs: list[Run], columns: int | None) -> list[str]:
    """Return the table's lines, cut to `columns` characters; None: neither cut nor coloured."""
    shared = [set(run.overrides.items()) for run in runs]
    common = set.intersection(*shared) if len(runs) > 1 else set()
    rows = []
    for run in runs:
        different = (
            f"{key}={value}"
            for key, value in run.overrides.items()
            if key not in ("agent", "env") and (key, value) not in common
        )
        left = run.seconds_left
        ended = "!" if run.warnings else ""
        rows.append(
            {
                "run": short(run.directory),
                "state": run.state + (f" on {run.node}" if run.node else "") + ended,
                "agent": run.agent,
                "env": run.env,
                "overrides": " ".join(different),
                "episodes": str(run.episodes),
                "steps": str(run.steps),
                "return": _number(run.last_return),
                "evaluation": _number(run.evaluation),
                "steps/s": _number(run.steps_per_second, ".0f"),
                "left": "" if left is None else duration(left),
                "error": (run.error or "") if run.state == "failed" else "",
            }
        )
    names = [
        n for n in rows[0] if n not in ("overrides", "left", "error") or any(r[n] for r in rows)
    ]
    sizes = _sizes(names, rows)
    lines = []
    if columns and sum(sizes.values()) > (columns := columns - 2 * (len(names) - 1)):
        parent = os.path.commonpath([os.path.dirname(row["run"]) for row in rows])
        if parent not in ("", "/"):  # the start that all paths share is printed once
            lines.append(f"in {parent}/")
            for row in rows:
                row["run"] = os.path.relpath(row["run"], parent)
            sizes = _sizes(names, rows)
        for name in EXPENDABLE:
            if fit(dict(sizes), columns, LEAST_OF_RUN):
                break
            if name in sizes:
                names.remove(name)
                del sizes[name]
                columns += 2
        fit(sizes, columns, LEAST_OF_RUN) or fit(sizes, columns, LEAST)
    head = "  ".join(_cell(name, name, sizes[name]) for name in names).rstrip()
    lines.append(f"\x1b[1m{head}\x1b[0m" if columns else head)
    for row in rows:
        cells = [_cell(name, row[name], sizes[name]) for name in names]
        if columns:
            cells[1] = (
                f"\x1b[{COLOURS.get(row['state'].rstrip('!').split()[0], 0)}m{cells[1]}\x1b[0m"
            )
        lines.append("  ".join(cells).rstrip())
    return lines


def _sizes(names: list[str], rows: list[dict[str, str]]) -> dict[str, int]:
    return {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}


def fit(sizes: dict[str, int], columns: int, least_of_run: int) -> bool:
    """Narrow the widest columns of text until all are at most `columns` wide, if that can be."""
    least = {name: LEAST for name in sizes if name not in NUMERIC and name != "state"}
    least["run"] = least_of_run
    while sum(sizes.values()) > columns:
        widest = max(least, key=lambda name: sizes[name] - least[name])
        if sizes[widest] <= least[widest]:
            return False
        sizes[widest] -= 1
    return True


def _cell(name: str, text: str, size: int) -> str:
    if name in NUMERIC:
        return text.rjust(size)
    if len(text) <= size:
        return text.ljust(size)
    # Paths differ at their ends.
    return f"…{text[1 - size :]}" if name == "run" else f"{text[: size - 1]}…"


def _number(value: float | None, style: str = ".6g") -> str:
    return "" if value is None else format(value, style)


def follow(directories: list[str], filters: list[str], every: float) -> None:
    """Refresh the table until Ctrl-C, or until nobody reads the output."""
    known: dict[Path, Run] = {}
    on_terminal = terminal.is_terminal(sys.stdout)
    try:
        while 1 not in output.lost:
            lines = table_lines(filtered(read(directories, known), filters), terminal.width())
            if on_terminal:
                size = shutil.get_terminal_size()
                rest = len(lines) - (size.lines - 1)
                if rest > 0:
                    lines[size.lines - 2 :] = [f"… and {rest + 1} more"]
                print("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J", end="")
            else:
                print("\n".join([*lines, ""]))
            sys.stdout.flush()
            time.sleep(every)
    except KeyboardInterrupt:
        return


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(ls, arguments)
