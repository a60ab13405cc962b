"""A report as text, for a terminal."""

import math
import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

SCORES = ("iqm", "median", "best")
NAMES = 5  # of groups that are told the same


def text(content: dict[str, Any], width: int | None = None, all_pairs: bool = False) -> str:
    """Return the report as lines of text.

    Args:
        content: what `comparison.compare` returned.
        width: characters of a line, at most; None: lines are not broken.
        all_pairs: say something of each pair, not only of the best group and the others.
    """
    lines = [f"{content['metric']}: {content['metric_is']}", "", *_table(content["groups"], width)]
    pairs, verdicts = content["pairs"], content["verdicts"]
    said = [verdict["sentence"] for verdict in verdicts]
    best = {verdict["best"] for verdict in verdicts}
    shown = [pair for pair in pairs if all_pairs or best & {*pair["groups"]}]
    paragraphs = [*said, "", *(pair["sentence"] for pair in shown)]
    if left := len(pairs) - len(shown):
        paragraphs.append(f"{left} more pair{'s' * (left > 1)}: --pairs, --html FILE, --json")
    notes = [f"{names}: {note}" for names, note in gathered(content["groups"], "name")]
    if notes or content["notes"]:
        paragraphs += ["", *content["notes"], *(f"note: {note}" for note in notes)]
    if not pairs and len(content["groups"]) > 1:
        note = "No two groups with scores share an environment: nothing to compare."
        paragraphs += ["", note]
    whole = "\n".join([*lines, "", *(broken(part, width) for part in paragraphs)]).rstrip()
    return re.sub("\n{3,}", "\n\n", whole)


def _table(groups: list[dict[str, Any]], width: int | None) -> list[str]:
    """Return the table of scores; names too long for a row of `width` stand above it."""
    scorers = {
        tuple(envs): aligned(
            group[name] for group in groups if group["envs"] == envs for name in SCORES
        )
        for envs in (group["envs"] for group in groups)
    }
    envs = {" ".join(group["envs"]) for group in groups}
    rows = [["group", "env", "seeds", "IQM", "95 % interval", "median", "best"]]
    for group in groups:
        score = scorers[tuple(group["envs"])]
        low, high = group["interval"] or (None, None)
        rows.append(
            [
                group["label"],
                " ".join(group["envs"]),
                str(group["seeds"]),
                score(group["iqm"]),
                f"{score(low)} to {score(high)}" if group["interval"] else "–",
                score(group["median"]),
                score(group["best"]),
            ]
        )
    if len(envs) == 1 or all(row[0] == row[1] for row in rows[1:]):
        rows = [[name, *rest] for name, _, *rest in rows]
    figures = 5  # columns that are numbers
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    above = width is not None and sum(sizes) + 2 * (len(sizes) - 1) > width
    lines = [f"on {envs.pop()}"] if len(envs) == 1 else []
    for row in rows:
        cells = [
            cell.rjust(size) if place >= len(row) - figures else cell.ljust(size)
            for place, (cell, size) in enumerate(zip(row, sizes, strict=True))
        ]
        if above:
            lines += [broken(row[0], width), "  ".join(["", *cells[1:]]).rstrip()]
        else:
            lines.append("  ".join(cells).rstrip())
    return lines


def broken(paragraph: str, width: int | None) -> str:
    """Return a paragraph in lines of at most `width`, broken between words alone."""
    if width is None or len(paragraph) <= width:
        return paragraph
    return textwrap.fill(
        paragraph,
        width,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def aligned(values: Iterable[float | None]) -> Callable[[float | None], str]:
    """Return how the numbers of one column are shown: all with the same number of decimals."""
    sizes = [abs(value) for value in values if value is not None and math.isfinite(value)]
    largest = max(sizes, default=0.0)
    whole = all(size == int(size) for size in sizes)
    decimals = 0 if whole else min(max(3 - math.floor(math.log10(largest)), 0), 6)

    def shown(value: float | None) -> str:
        if value is None:
            return "–"
        style = f",.{decimals}f" if abs(value) < 1e12 else ".5g"
        return format(value, style).replace("-", "−")

    return shown


def gathered(groups: list[dict[str, Any]], name: str) -> list[tuple[str, str]]:
    """Return (the groups' names, note) for each note of any of them."""
    notes: dict[str, list[str]] = {}
    for group in groups:
        for note in group["notes"]:
            notes.setdefault(note, []).append(group[name])
    return [
        (", ".join(names) if len(names) <= NAMES else f"{len(names)} groups", note)
        for note, names in notes.items()
    ]


def figure(value: float | None) -> str:
    """Return a figure as a table shows it."""
    return "–" if value is None else f"{value:.5g}".replace("-", "−")
