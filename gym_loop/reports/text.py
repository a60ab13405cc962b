"""A report as text, for a terminal."""

from typing import Any

SENTENCES = 20  # that are printed; the rest is in the page and in the JSON
NAMES = 5  # of groups that are told the same


def text(content: dict[str, Any]) -> str:
    """Return the report as lines of text."""
    rows = [("group", "env", "seeds", "IQM", "95 % interval", "median", "best")]
    for group in content["groups"]:
        interval = group["interval"]
        rows.append(
            (
                group["label"],
                " ".join(group["envs"]),
                str(group["seeds"]),
                figure(group["iqm"]),
                f"{figure(interval[0])} to {figure(interval[1])}" if interval else "–",
                figure(group["median"]),
                figure(group["best"]),
            )
        )
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{content['metric']}: {content['metric_is']}", ""]
    for row in rows:
        cells = [
            cell.rjust(size) if place > 1 else cell.ljust(size)
            for place, (cell, size) in enumerate(zip(row, sizes, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    pairs = content["pairs"]
    lines += ["", *(pair["sentence"] for pair in pairs[:SENTENCES])]
    if len(pairs) > SENTENCES:
        lines.append(f"... and {len(pairs) - SENTENCES} more pairs (--html FILE, --json)")
    notes = [f"{names}: {note}" for names, note in gathered(content["groups"], "name")]
    if notes or content["notes"]:
        lines += ["", *content["notes"], *(f"note: {note}" for note in notes)]
    if not pairs and len(content["groups"]) > 1:
        lines += ["", "No two groups with scores share an environment: nothing to compare."]
    return "\n".join(lines)


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
    return "–" if value is None else f"{value:.5g}"
