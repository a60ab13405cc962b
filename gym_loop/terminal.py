"""Formats texts, paths and times for a person, and shows them on a terminal or in a notebook."""

import builtins
import math
import shutil
import sys
from pathlib import Path
from typing import Any, TextIO

from gym_loop.mistake import cut

SPOKEN = {"SIGINT": "Ctrl-C", "KeyboardInterrupt": "Ctrl-C"}  # what a person calls it


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a person watches what is written to `stream`; a program may have none."""
    return stream is not None and not getattr(stream, "closed", False) and stream.isatty()


def say(line: str) -> None:
    """Print a line, if there is still somewhere to print it to: what is done does not depend on it.

    An agent may have closed stdout, and the reader of a pipe may have left.
    """
    try:
        print(line)
    except UnicodeEncodeError:
        print(line.encode("ascii", "backslashreplace").decode())
    except (OSError, ValueError):
        pass


def width() -> int | None:
    """Return the columns of the terminal that stdout is, None where it is something else."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None


def short(path: Path) -> str:
    """Return `path` as one would type it here: relative to the current directory if below it.

    Of a run that works in its own directory (`hydra.job.chdir`), that is not where one types it.
    """
    try:
        here = Path.cwd()
    except OSError:  # it has been removed, or cannot be looked at
        return printable(path)
    return printable(path.relative_to(here) if here in path.parents else path)


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
    text = cut(as_text(value))
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def as_text(value: Any) -> str:
    """Return `str(value)`; `(too deep)` for JSON that is nested beyond the recursion limit."""
    try:
        return str(value)
    except RecursionError:
        return "(too deep)"


def is_watched() -> bool:
    """Return whether a person sees what is shown: stderr is a terminal, or this is a notebook."""
    return is_terminal(sys.stderr) or in_notebook()


def in_notebook() -> bool:
    """Return whether this process runs the cells of a Jupyter notebook."""
    if not hasattr(builtins, "get_ipython"):  # rich costs 30 ms
        return False
    from rich.console import Console

    return Console().is_jupyter


def live(**arguments: Any) -> Any:
    """Return rich's `Live` on stderr, or what stands for it in a notebook.

    Args:
        **arguments: of `rich.live.Live`, which a notebook does without.
    """
    from rich.console import Console
    from rich.live import Live

    return NotebookLive() if in_notebook() else Live(console=Console(stderr=True), **arguments)


class NotebookLive:
    """Shows a renderable of rich's in a cell's output, and replaces it by the next.

    Has those methods of `rich.live.Live` that are used here; that one needs widgets in a notebook.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, force_jupyter=False, width=100, height=25)
        self.shown: Any = None

    def start(self) -> None:
        """Take a place in the output."""
        from IPython import display

        show: Any = display.display
        self.shown = show({"text/plain": ""}, raw=True, display_id=True)

    def update(self, renderable: Any, refresh: bool = True) -> None:
        """Show `renderable` there, at once."""
        with self.console.capture() as capture:
            self.console.print(renderable)
        self.shown.update({"text/plain": capture.get().rstrip()}, raw=True)

    def stop(self) -> None:
        """Leave what is shown."""
