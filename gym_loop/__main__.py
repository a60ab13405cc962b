"""`python -m gym_loop` and `gym-loop`: the sub-command that the first word names, or a launch."""

import gc
import os
import sys
from pathlib import Path

from gym_loop.imports import import_quickly
from gym_loop.mistake import Mistake, command_meant
from gym_loop.output import open_streams


def main() -> None:
    """Run the command line; exit 0, 1 for a run that failed, 2 for a mistake in the request."""
    open_streams()
    try:
        # A console script does not look here. The standard library comes first: no file hides it.
        installed = [*map(os.path.basename, sys.path), "site-packages"].index("site-packages")
        sys.path.insert(installed, os.getcwd())  # which may have been removed
        dispatch(*(sys.argv[1:] or ["--help"]))
        # The process ends: collecting what is left would be a tenth of a short run. After an error
        # it is collected: an environment that its traceback holds may tell of itself as leaked.
        gc.freeze()
    except (SystemExit, KeyboardInterrupt) as ended:
        sys.exit(ended.show() if isinstance(ended, Mistake) else getattr(ended, "code", 130))
    except BaseException as error:  # also a panic in Rust, or CancelledError
        launch = import_quickly("gym_loop.launch")
        launch.parts()
        sys.exit(launch.tell(error))


def dispatch(first: str, *rest: str) -> None:
    """Hand the command line over to the sub-command that `first` names, or launch."""
    files = (Path(__file__).parent / "commands").glob("[a-z]*.py")
    commands = {file.stem.replace("_", "-"): file.stem for file in files}
    if command := commands.get("help" if first in ("--help", "-h") else first):
        import_quickly(f"gym_loop.commands.{command}").main([*rest])
    elif first[:1].isalpha() and not {"=", "."} & {*first}:
        raise Mistake(f"no command {first!r}{command_meant(first, commands)} (see gym-loop --help)")
    else:
        import_quickly("gym_loop.launch").launch([first, *rest])


if __name__ == "__main__":
    main()
