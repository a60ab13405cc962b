"""What a person is shown: texts, paths and times, and how wide their terminal is."""

import math
import shutil
import sys
from pathlib import Path
from typing import Any, TextIO

LONGEST = 4000  # characters of a text that is shown


def is_terminal(stream: TextIO) -> bool:
    """Return whether a person watches what is written to `stream`."""
    return stream.isatty()


def width() -> int | None:
    """Return the columns of the terminal that stdout is, None where it is something else."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None


def short(path: Path) -> str:
    """Return `path` as one would type it here: relative to the current directory if below it."""
    here = Path.cwd()
    return printable(path.relative_to(here) if path.is_relative_to(here) else path)


def duration(seconds: float) -> str:
    """Return a time in its two largest units: 45s, 3m20s, 2h05m, 4d06h; "" if it is not finite."""
    if not math.isfinite(seconds):
        return ""
    total = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if total >= size:
            return f"{total // size}{unit}{total % size // part:02d}{smaller}"
    return f"{total // 60}m{total % 60:02d}s" if total >= 60 else f"{total}s"


def printable(value: Any) -> str:
    """Return `str(value)`, cut to 4000 characters; control characters are replaced by U+FFFD."""
    text = text_of(value)
    text = f"{text[:LONGEST]}…" if len(text) > LONGEST else text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def text_of(value: Any) -> str:
    """Return `str(value)`; `(too deep)` for JSON that is nested beyond the recursion limit."""
    try:
        return str(value)
    except RecursionError:
        return "(too deep)"
