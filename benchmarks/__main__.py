"""Run all benchmarks, or those named, and print one Markdown table: `python -m benchmarks`."""

import argparse
import importlib
import re
import time
from pathlib import Path

from benchmarks import harness

PAGE = harness.ROOT / "docs" / "benchmarks.md"


def main() -> None:
    """Print a table; with `--docs`, also put the rows of each script into docs/benchmarks.md."""
    here = Path(__file__).parent
    known = sorted(file.stem for file in here.glob("[a-z]*.py") if "def rows(" in file.read_text())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--docs", action="store_true", help="quote the rows in docs/benchmarks.md")
    parser.add_argument(
        "--again", action="store_true", help="with --docs: beside those that are quoted there"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(known):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    if options.again and not options.docs:
        parser.error("--again is for --docs")

    began = time.perf_counter()
    print(f"{harness.machine()}\n\n{harness.HEADER}", flush=True)
    for name in options.names or known:
        found: list[harness.Row] = []
        for row in importlib.import_module(f"benchmarks.{name}").rows():
            found.append(row)
            print(row, flush=True)
        if options.docs:
            quote(name, found, options.again)
    print(f"\n{time.perf_counter() - began:.0f} seconds")


def quote(name: str, rows: list[harness.Row], again: bool) -> None:
    """Put the rows of a script between its markers on the page.

    Args:
        name: of the script, which the markers have.
        rows: in their order.
        again: keep what is there, and add to each line what was measured this time.
    """
    page = PAGE.read_text()
    marked = re.search(rf"(?s)(?<=<!-- {name} -->)\n.*\n(?=<!-- /{name} -->)", page)
    if not marked:
        print(f"{name}: {PAGE} has no place for it")
        return
    lines = [harness.machine(), "", *harness.HEADER.split("\n"), *map(str, rows)]
    if again:
        more = [" again |", "---|", *(f" {row.measured} |" for row in rows)]
        more = [f"; again {harness.machine()}", "", *more]
        lines = [old + new for old, new in zip(marked[0].strip().splitlines(), more, strict=True)]
    PAGE.write_text("\n".join([page[: marked.start()], *lines, page[marked.end() :]]))


if __name__ == "__main__":
    main()
