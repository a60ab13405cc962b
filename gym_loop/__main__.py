"""`python -m gym_loop` and `gym-loop`: the sub-command that the first word names, or a launch."""

import importlib
import os
import sys
from pathlib import Path

from gym_loop.mistake import Mistake, nearest

COMMANDS = Path(__file__).parent / "commands"


def main() -> None:
    """Run the command line; exit 0, 1 for a run that failed, 2 for a mistake in the request."""
    if os.getcwd() not in sys.path:  # where a console script does not look
        sys.path.insert(0, os.getcwd())
    argv = sys.argv[1:] or ["--help"]
    try:
        dispatch(argv[0], argv[1:])
    except Mistake as mistake:
        print(f"gym-loop: {mistake.message}", file=sys.stderr)
        sys.exit(mistake.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from gym_loop.launch import report

        sys.exit(report(error))


def dispatch(first: str, rest: list[str]) -> None:
    """Hand the command line over to the sub-command that `first` names, or launch."""
    commands = {file.stem.replace("_", "-"): file.stem for file in COMMANDS.glob("[a-z]*.py")}
    name = "help" if first in ("--help", "-h") and "help" in commands else first
    if name in commands:
        importlib.import_module(f"gym_loop.commands.{commands[name]}").main(rest)
    elif first[0].isalpha() and "=" not in first:
        raise Mistake(
            f"no command {first!r}{nearest(first, commands)} "
            f"Expected an override such as env=pendulum, or one of: {', '.join(sorted(commands))}"
        )
    else:
        from gym_loop.launch import launch

        launch([first, *rest])


if __name__ == "__main__":
    main()
