"""Where a person watches: on a terminal or in a notebook, if anywhere."""

import builtins
import sys
from typing import Any


def is_watched() -> bool:
    """Return whether a person sees what is shown: stderr is a terminal, or this is a notebook."""
    return sys.stderr.isatty() or in_notebook()


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
