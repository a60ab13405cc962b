"""What the person at the keyboard is told of an exception."""

import os
import sys
import traceback
from pathlib import Path

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from gym_loop.mistake import Failure

# Read at import: the launcher sets the variable for Hydra's sake, and tells us by its absence here.
FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR") == "1"
PACKAGE = Path(__file__).parents[1]
NOT_THE_USERS = {"hydra", "omegaconf", "click", "importlib", "functools.py", "runpy.py"}


def report(error: Exception) -> int:
    """Print what went wrong, to stderr; return the exit code, 2 for a mistake in the request."""
    if not getattr(error, "reported", False):  # in the run's log, which the terminal shows as well
        print(f"gym-loop: {message(error)}", file=sys.stderr)
    request = isinstance(error, HydraException | OmegaConfBaseException)
    return 2 if explanation(error) or request else 1


def message(error: BaseException) -> str:
    """Return one line where the fault is not in the user's code, else their traceback."""
    if FULL_ERROR:
        return "".join(traceback.format_exception(error)).rstrip()
    return explanation(error) or user_traceback(error)


def explanation(error: BaseException) -> str | None:
    """Return the line that some part has for `error`."""
    from gym_loop import launch  # which imports this module by way of the plugin

    return next(filter(None, (explain(error) for explain in launch.explain)), None)


def user_traceback(error: BaseException) -> str:
    """Return the traceback from the user's own frame on; one line where there is no such frame."""
    while isinstance(error, InstantiationException) and error.__cause__:
        error = error.__cause__
    if isinstance(error, Failure):
        return str(error)
    frames = error.__traceback__
    while frames and not _is_the_users(Path(frames.tb_frame.f_code.co_filename)):
        frames = frames.tb_next
    if frames:
        return "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    return f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows the traceback)"


def _is_the_users(file: Path) -> bool:
    frozen = file.name.startswith("<frozen")
    return not (frozen or file.is_relative_to(PACKAGE) or NOT_THE_USERS & {*file.parts})
