"""Run all benchmarks, or those named, and print one Markdown table: `python -m benchmarks`."""

import argparse
import importlib
import re
import time
from pathlib import Path

from benchmarks import harness

PAGE = harness.ROOT / "docs" / "benchmarks.md"
MARKERS = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def main() -> None:
    """Print the table; with `--docs`, also put it into docs/benchmarks.md."""
    here = Path(__file__).parent
    known = sorted(file.stem for file in here.glob("[a-z]*.py") if "def rows(" in file.read_text())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--docs", action="store_true", help="quote the table in docs/benchmarks.md")
    options = parser.parse_args()
    if unknown := set(options.names) - set(known):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")

    began, found = time.perf_counter(), []
    print(f"{harness.machine()}\n\n{harness.HEADER}", flush=True)
    for name in options.names or known:
        for row in importlib.import_module(f"benchmarks.{name}").rows():
            found.append(str(row))
            print(row, flush=True)
    print(f"\n{time.perf_counter() - began:.0f} seconds")
    if options.docs:
        table = "\n".join((MARKERS[0], harness.machine(), "", harness.HEADER, *found, MARKERS[1]))
        pattern = re.compile(f"{MARKERS[0]}.*{MARKERS[1]}", re.DOTALL)
        PAGE.write_text(pattern.sub(lambda _: table, PAGE.read_text()))


if __name__ == "__main__":
    main()
