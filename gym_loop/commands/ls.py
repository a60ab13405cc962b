"""Show all runs: where each stands, and how well it does."""

import json
import math
import os
import re
import shutil
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from gym_loop import output, terminal
from gym_loop.commands import run_click
from gym_loop.mistake import Mistake, nearest
from gym_loop.runs import reading
from gym_loop.runs.reading import RunContent
from gym_loop.terminal import duration, short

COLOURS = {
    "pending": 34,
    "running": 36,
    "finished": 32,
    "stopped": 33,
    "paused": 33,
    "failed": 31,
    "dead": 31,
    "lost": 31,
    "damaged": 35,
}
NUMERIC = {"episodes", "steps", "return", "evaluation", "steps/s", "left"}
SORTED_BY = {  # columns, and the attributes of a run that are in them
    "evaluation": "evaluation",
    "return": "last_return",
    "episodes": "episodes",
    "steps": "steps",
    "steps/s": "steps_per_second",
}
LEAST = 12  # characters of an error that is cut to the width of the terminal
MOST_OF_RUN = 0.4  # of the terminal that paths may take; longer ones have lines of their own
EXPENDABLE = ("error", "steps/s", "steps", "left")


@click.command("ls", epilog="Example: gym-loop ls state=finished agent=ars --sort evaluation")
@click.argument("words", nargs=-1, metavar="[DIR | KEY=VALUE]...")
@click.option("--state", metavar="STATE", help="Only runs in this state.")
@click.option("--sort", metavar="COLUMN", help="The best, or the most, of a column comes first.")
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
def ls(
    words: tuple[str, ...],
    state: str | None,
    sort: str | None,
    as_json: bool,
    watch: bool,
    every: float,
) -> None:
    """Show all runs in and below each DIR (./outputs and ./multirun), newest first.

    Of a search's DIR alone, its trials.

    KEY=VALUE chooses runs by agent, env, seed or any key of their config: agent=ars. States are
    running, finished, failed, stopped, paused (by a search), dead (the process ended without a
    word) and damaged; of jobs that Slurm or Ray has, also pending and lost.
    """
    if watch and as_json:
        raise Mistake("--watch shows a table; leave out --json")
    if state is not None and state not in COLOURS:
        expected = ", ".join(COLOURS)
        raise Mistake(f"--state={state}{nearest(state, COLOURS, ';')} expected {expected}")
    filters = [w for w in words if "=" in w and not Path(w).is_dir()]
    directories = [w for w in words if w not in filters]
    filters += [f"state={state}"] if state else []
    is_plain = len(words) == 1 == len(directories) and not (state or as_json or watch)
    if is_plain and reading.is_search(words[0]):
        from gym_loop.search import report

        print(report.listing(Path(words[0]), sort))
        return
    if sort is not None and sort not in SORTED_BY:
        expected = ", ".join(SORTED_BY)
        raise Mistake(f"--sort {sort}{nearest(sort, SORTED_BY, ';')} expected {expected}")
    if watch:
        follow(directories, filters, every, sort)
        return
    runs = in_order(filtered(read(directories, {}), filters), sort)
    if as_json:
        print(json.dumps([as_json_object(run) for run in runs], indent=1))
        return
    print("\n".join(table_lines(runs, terminal.width())))
    for run in runs:
        for warning in run.warnings:
            print(f"warning: {short(run.directory)}: {warning}", file=sys.stderr)


def read(directories: list[str], known: dict[Path, RunContent]) -> list[RunContent]:
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
            run = RunContent(path)
            _ = run.last_rows, run.last_evaluation, run.last_sign
        known[path] = run
        runs.append(run)
    for place in submitted:
        from gym_loop.sweeps import listing

        try:
            runs += listing.ask_engines(place, runs)
        except Mistake as mistake:
            print(f"warning: {short(place)}: {mistake.message}", file=sys.stderr)
    return sorted(runs, key=lambda run: run.start, reverse=True)


def in_order(runs: list[RunContent], column: str | None) -> list[RunContent]:
    """Return the runs, those with the highest value in a column first, those without one last."""
    if column is None:
        return runs

    def value(run: RunContent) -> float:
        known = reading.finite(getattr(run, SORTED_BY[column]))
        return -math.inf if known is None else known

    return sorted(runs, key=value, reverse=True)


def _changed(run: RunContent) -> bool:
    try:
        return (run.directory / "run.json").stat().st_mtime > run.last_sign
    except OSError:
        return True


def filtered(runs: list[RunContent], filters: list[str]) -> list[RunContent]:
    """Return the runs for which every filter `KEY=VALUE` holds.

    Raises:
        Mistake: no run has such a key, or none is left.
    """
    for word in filters:
        key, _, value = word.partition("=")
        values = [_values(run, key) for run in runs]
        if not any(values):
            keys = {"agent", "env", "seed", "state"}.union(*(reading.flat(r.config) for r in runs))
            raise Mistake(f"{word}: no run has {key!r}{nearest(key, keys)}")
        left = [run for run, own in zip(runs, values, strict=True) if value in own]
        if not left:
            others = sorted({own[0] for own in values if own})
            near = nearest(value, others, f"; there are: {', '.join(others[:10])}")
            raise Mistake(f"no runs found with {word}{near}")
        runs = left
    return runs


def _values(run: RunContent, key: str) -> list[str]:
    """Return the values of `key` that a filter may name, the usual one first."""
    if key == "state":
        return [run.state]
    if key in ("agent", "env", "loop") and run.config:
        node = run.config.get(key)
        target = str(node.get("_target_", "")) if isinstance(node, dict) else ""
        names = (getattr(run, key), run.overrides.get(key), target, target.rpartition(":")[2])
        return [name for name in (*names, target.rpartition(".")[2]) if name]
    leaves = reading.wrap(run.config) | reading.flat(run.config)
    if key not in leaves:
        return []
    known = reading.shown(leaves[key])
    return [known, re.sub('[" ]', "", known)]  # a list is typed as [a,b]


def as_json_object(run: RunContent) -> dict[str, Any]:
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
        "peak_memory": run.peak_memory,
        "seconds_left": reading.finite(run.seconds_left),
        "start": run.start,
        "last_sign": run.last_sign,
        "error": run.error,
        "warnings": run.warnings,
    }


def table_lines(runs: list[RunContent], columns: int | None) -> list[str]:
    """Return the table's lines, at most `columns` characters wide; None: not cut nor coloured.

    What all runs share is said above the table; each key that varies has a column. Paths are never
    cut, so that they can be copied.
    """
    settings = [_settings(run) for run in runs]
    # The loop's keys come last: they say less of a run than the agent's.
    keys = list(dict.fromkeys(key for own in settings for key in own))
    keys.sort(key=lambda key: key.startswith("loop."))
    known = [own for own in settings if own]  # a damaged run says nothing of what varies
    for run, own in zip(runs, settings, strict=True):
        if own:  # what the config has, however it was spelled
            leaves = {"loop": run.loop} | reading.wrap(run.config) | reading.flat(run.config)
            own |= {k: reading.brief(reading.shown(leaves[k])) for k in keys if k in leaves}
    shared = {key for key in keys if len({own.get(key) for own in known}) == 1}
    varying = _titles([key for key in keys if key not in shared])
    rows = [_row(run, own, varying) for run, own in zip(runs, settings, strict=True)]
    names = [n for n in rows[0] if n in ("run", "state") or any(row[n] for row in rows)]
    pairs = [f"{key}={known[0][key]}" for key in keys if key in shared]
    lines = textwrap.wrap(" ".join(["all:", *pairs]), columns or sys.maxsize) if pairs else []
    paths = [row["run"] for row in rows]
    if columns and max(map(len, paths)) > MOST_OF_RUN * columns:
        parent = os.path.commonpath([os.path.dirname(path) for path in paths])
        if parent not in ("", "/"):  # the start that all paths share is printed once
            lines.append(f"in {parent}/")
            paths = [os.path.relpath(path, parent) for path in paths]
    for row, path in zip(rows, paths, strict=True):
        row["run"] = path
    apart = bool(columns) and max(map(len, paths)) > MOST_OF_RUN * (columns or 0)
    if apart:
        names.remove("run")
    numeric = NUMERIC | {
        title for title in varying.values() if all(_is_number(row[title]) for row in rows)
    }
    sizes = fit(names, rows, columns)
    head = "  ".join(_cell(name, sizes[name], name in numeric) for name in sizes).rstrip()
    lines.append(f"\x1b[1m{head}\x1b[0m" if columns else head)
    for row in rows:
        cells = {name: _cell(row[name], sizes[name], name in numeric) for name in sizes}
        if columns:
            colour = COLOURS.get(row["state"].rstrip("!").split()[0], 0)
            cells["state"] = f"\x1b[{colour}m{cells['state']}\x1b[0m"
        lines += [row["run"]] * apart + ["  ".join(cells.values()).rstrip()]
    return lines


def _settings(run: RunContent) -> dict[str, str]:
    """Return what was chosen for a run: agent, environment and overrides; nothing if damaged."""
    if not run.config:
        return {}
    return {"agent": run.agent, "env": run.env} | {
        key: reading.brief(value)
        for key, value in run.overrides.items()
        # Observers change no result.
        if key not in ("agent", "env") and key.partition(".")[0] != "observers"
    }


def _titles(keys: list[str]) -> dict[str, str]:
    """Return the head of each key's column: its last word where no other has the same."""
    last = {key: key.rpartition(".")[2] for key in keys}
    counts = Counter(last.values())
    return {key: word if counts[word] == 1 else key for key, word in last.items()}


def _row(run: RunContent, settings: dict[str, str], varying: dict[str, str]) -> dict[str, str]:
    left = run.seconds_left
    return {
        "run": short(run.directory),
        "state": run.state + (f" on {run.node}" if run.node else "") + "!" * bool(run.warnings),
        **{title: settings.get(key, "") for key, title in varying.items()},
        "episodes": str(run.episodes),
        "steps": str(run.steps),
        "return": _number(run.last_return),
        "evaluation": _number(run.evaluation),
        "steps/s": _number(run.steps_per_second, ".0f"),
        "left": "" if left is None else duration(left),
        "error": (run.error or "") if run.state == "failed" else "",
    }


def _is_number(text: str) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return False
    return True


def fit(names: list[str], rows: list[dict[str, str]], columns: int | None) -> dict[str, int]:
    """Return the width of each column that is shown: as many as `columns` characters hold.

    An error is cut, then columns are left out: those that say least, then keys from the last on.
    """
    sizes = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    if columns is None:
        return sizes
    keys = [n for n in names if n not in NUMERIC and n not in ("run", "state", *EXPENDABLE)]
    for name in (*EXPENDABLE, *reversed(keys)):
        over = sum(sizes.values()) + 2 * (len(sizes) - 1) - columns
        if over <= 0:
            break
        if name == "error" and sizes.get(name, 0) - over >= LEAST:
            sizes[name] -= over
            break
        sizes.pop(name, None)
    return sizes


def _cell(text: str, size: int, numeric: bool) -> str:
    if numeric:
        return text.rjust(size)
    return text.ljust(size) if len(text) <= size else f"{text[: size - 1]}…"


def _number(value: float | None, style: str = ".6g") -> str:
    return "" if value is None else format(value, style)


def follow(directories: list[str], filters: list[str], every: float, sort: str | None) -> None:
    """Refresh the table until Ctrl-C, or until nobody reads the output."""
    known: dict[Path, RunContent] = {}
    on_terminal = terminal.is_terminal(sys.stdout)
    try:
        while 1 not in output.lost:
            runs = in_order(filtered(read(directories, known), filters), sort)
            lines = table_lines(runs, terminal.width())
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
    output.exit_if_lost()
