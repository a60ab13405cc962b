"""Compare groups of runs, and say honestly which is better."""

import contextlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from gym_loop import files, terminal
from gym_loop.commands import run_click
from gym_loop.mistake import Mistake
from gym_loop.output import exit_if_lost


@click.command("report", epilog="Example: gym-loop report sweep --by agent,env --html page.html")
@click.argument("directories", nargs=-1, metavar="[DIR]...")
@click.option("--html", type=Path, metavar="FILE", help="Write one page that opens anywhere.")
@click.option(
    "--films", is_flag=True, help="Film each group's best run for the page: best, worst episode."
)
@click.option("--figure", type=Path, metavar="FILE", help="Draw the curves: .pdf, .png or .svg.")
@click.option("--by", default="", metavar="KEYS", help="Group by these alone: agent,env.")
@click.option("--metric", metavar="NAME", help="What is compared; `evaluation` if all have one.")
@click.option("--unfinished", is_flag=True, help="Score runs that have not finished, too.")
@click.option("--pairs", is_flag=True, help="Say something of each pair, not only of the best.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def report(
    directories: tuple[str, ...],
    html: Path | None,
    films: bool,
    figure: Path | None,
    by: str,
    metric: str | None,
    unfinished: bool,
    pairs: bool,
    as_json: bool,
) -> None:
    """Group runs that differ in nothing but the seed, and compare the groups.

    For each group: the interquartile mean of its runs' scores with a 95 % interval, median and
    best. For the best group and each other in its environment: the probability that a run of one
    beats a run of the other, and whether these seeds can tell. DIR is searched for runs (./outputs
    and ./multirun).

    Of searches (hydra/sweeper=search) it is told what their trials have found, the history of the
    best, each parameter against the result, and the confirmation; with an option other than --html,
    their runs are compared as any, those with fresh seeds as groups of their own.

    --films plays episodes again, and so runs the environments' code: only for runs that you trust.

    KEYS are agent, env and dotted config keys. NAME is evaluation, return, mean, best, auc,
    steps_per_second or one of the runs' loop.info_keys; the larger, the better.
    """
    from gym_loop.runs import reading

    chosen = figure or by or metric or unfinished or pairs or as_json
    if directories and all(map(reading.is_search, directories)) and not chosen:
        report_searches([Path(name) for name in directories], html, films)
        return
    if films and html is None:
        raise Mistake("--films go into the page: expected --html FILE beside it")
    check_page(html)
    check_target(figure)
    content = compared(directories, by, metric, unfinished)
    if html is not None:
        from gym_loop.reports import films as filmed
        from gym_loop.reports import page

        with writing(html):
            if films:
                filmed.make(content, html.absolute().with_name(f"{html.stem}-films"))
            files.write(html, page.page(content, html.absolute().parent))
    if figure is not None:
        from gym_loop.reports import figure as figures

        with writing(figure):
            figures.draw(content, figure)
    if as_json:
        print(json.dumps(content, indent=1, allow_nan=False))
    else:
        from gym_loop.reports import text

        print(text.text(content, terminal.width(), pairs))
        for warning in content["warnings"]:
            print(f"warning: {warning}", file=sys.stderr)


def report_searches(searches: list[Path], html: Path | None, films: bool) -> None:
    """Print what searches have found, and write the page of one."""
    from gym_loop.search import report as search

    if html is not None:
        if films or len(searches) > 1:
            what = "films are of runs that are compared" if films else "a page holds one search"
            raise Mistake(f"--html of a search: {what}; expected one DIR, such as {searches[0]}")
        check_page(html)
        from gym_loop.search import page

        with writing(html):
            files.write(html, page.of(searches[0]))
    print("\n\n".join(search.text(place, terminal.width()) for place in searches))


def compared(
    directories: Sequence[str], by: str, metric: str | None, unfinished: bool
) -> dict[str, Any]:
    """Return the comparison of the runs in and below `directories`; `by` has keys with commas.

    Raises:
        Mistake: SciPy is not installed, or see `comparison.compare`.
    """
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise Mistake('gym-loop report needs SciPy: pip install "gym-loop[report]"') from None
    from gym_loop.reports import comparison
    from gym_loop.runs import reading

    runs = [reading.RunContent(path) for path in reading.find(directories)]
    if any(run.confirmed for run in runs) and importlib.util.find_spec("optuna"):
        from gym_loop.search import report as search

        search.name_confirmed(runs)
    keys = [key.strip() for key in by.split(",") if key.strip()]
    return comparison.compare(runs, keys, metric, unfinished)


@contextlib.contextmanager
def writing(file: Path) -> Iterator[None]:
    """Print that the block has written a file; a file that cannot be written is a Mistake."""
    try:
        yield
    except OSError as error:
        raise Mistake(f"cannot write {error.filename or file}: {files.reason(error)}") from None
    print(f"wrote {file}", file=sys.stderr)


def check_page(file: Path | None) -> None:
    """Raise Mistake where no page can be written to a file, or no browser took it for one."""
    if file is not None and file.suffix.lower() not in (".html", ".htm"):
        line = f"--html {file}: expected a name that ends in .html"
        raise Mistake(f"{line}; --figure draws .pdf, .png or .svg")
    check_target(file)


def check_target(file: Path | None) -> None:
    """Raise Mistake where a file cannot be written."""
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise Mistake(f"cannot write {file}: no such directory, or it is one")


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(report, arguments)
    exit_if_lost()
