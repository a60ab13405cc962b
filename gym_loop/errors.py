"""What the person at the keyboard is told of an exception."""

import contextlib
import os
import sys
import traceback
import types
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from gym_loop import files
from gym_loop.mistake import Failure, Mistake, cut, in_a_line, summary_of
from gym_loop.terminal import short

# Read at import: `compat.hydra.show` sets the variable while Hydra answers a flag such as `--cfg`.
FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR") == "1"
PACKAGE = Path(__file__).parent
BY_VALUE = "<dynamic-code>"  # cloudpickle's file of a class that it has loaded
LOADER = PACKAGE.with_name("gym_loop_files.py")
STANDARD = Path(os.__file__).parent  # the standard library
INSTALLED = {"site-packages", "dist-packages"}
PASSING_ON = {"hydra", "omegaconf", "antlr4", "yaml", "click"}


def report(error: BaseException) -> int:
    """Print what went wrong, to stderr; return the exit code, 2 for a mistake in the request."""
    if getattr(error, "reported", False):  # by the run, in its log and on the terminal
        return 1
    print(f"gym-loop: {message(error)}", file=sys.stderr)
    request = isinstance(error, HydraException | OmegaConfBaseException)
    return 2 if explanation(error) or request else 1


def set_reported(error: BaseException) -> None:
    """Have `report` print nothing of an error that has been told of."""
    BaseException.__setattr__(error, "reported", True)  # also of a class that is frozen


def message(error: BaseException) -> str:
    """Return one line where the fault is not in the user's code, else their traceback.

    Each of its lines is cut where it is too long.
    """
    try:
        if FULL_ERROR:
            return "".join(traceback.format_exception(error)).rstrip()
        return _cut_lines(explanation(error) or user_traceback(error))
    except Exception:  # an object of the user's that cannot be shown
        return in_words(error)


def in_words(error: BaseException) -> str:
    """Return an exception's type and text, or its type where it has no text to show."""
    try:
        return _cut_lines("".join(traceback.format_exception_only(error)).strip())
    except Exception:
        return type(error).__name__


def explanation(error: BaseException) -> str | None:
    """Return the line that some part has for `error`."""
    from gym_loop import launch  # which imports this module by way of the plugin

    launch.parts()
    line = next(filter(None, (explain(error) for explain in launch.explain)), None)
    return in_a_line(line) if line else None


@contextlib.contextmanager
def mistakes_raised() -> Iterator[None]:
    """Raise a Mistake for an error that a part explains; unwrap others from Hydra's exceptions.

    Raises:
        Mistake: with the line that the command line shows.
    """
    try:
        yield
    except Exception as error:
        if line := explanation(error):
            raise Mistake(line) from error
        if (own := user_error(error)) is error:
            raise
        raise own from None


@contextlib.contextmanager
def no_success_by_leaving() -> Iterator[None]:
    """Raise a Failure where code that is not ours ends the process within the block.

    A script without `if __name__ == "__main__"` does so, when it is imported for its agent. Where
    a run has begun, its state tells of it.

    Raises:
        Failure: with the traceback from the user's own code on.
    """
    try:
        yield
    except SystemExit as error:
        if getattr(error, "reported", False) or not _is_raised_elsewhere(error):
            raise
        raise Failure(message(error)) from error


def is_success(code: object) -> bool:
    """Return whether the system takes an exit code for success: of a number it keeps 8 bits."""
    return code is None or (isinstance(code, int) and code & 0xFF == 0)


def is_failure(error: BaseException | None) -> bool:
    """Return whether a run has failed by an error, and was not stopped by a signal or its code."""
    stops = isinstance(error, SystemExit | KeyboardInterrupt) and not isinstance(error, Mistake)
    return error is not None and not stops


def has_left_in_silence(error: BaseException) -> bool:
    """Return whether code that is not ours ends the process, and gives no message."""
    if not isinstance(error, SystemExit) or not isinstance(error.code, int | None):
        return False
    return _is_raised_elsewhere(error)


def user_error(error: BaseException) -> BaseException:
    """Return the exception that Hydra's `instantiate` has wrapped in its own.

    Or the one that a frozen dataclass is, of which `contextlib` has tried to set the traceback.
    """
    while isinstance(error, InstantiationException) and error.__cause__:
        error = error.__cause__
    while isinstance(error, FrozenInstanceError) and error.__context__ is not None:
        error = error.__context__
    return error


def user_traceback(error: BaseException) -> str:
    """Return the traceback from the user's own frame on; one line where there is no such frame."""
    error = user_error(error)
    if isinstance(error, Failure):
        return str(error)
    frames = user_frames(error) or user_frames(error, libraries=True)
    if not frames:
        said = f"{summary_of(error)}{files.advice(error)}"
        return f"{said} (HYDRA_FULL_ERROR=1 shows the traceback)"
    for cause in (error.__cause__, error.__context__):
        if cause is not None:  # one that is frozen refuses attributes
            cause.with_traceback(user_frames(cause) or user_frames(cause, libraries=True))
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def with_place(error: BaseException) -> str:
    """Return an exception in one line, with the file and line of the user's that raised it."""
    reason, file, line = summary_of(error), None, None
    if isinstance(error, SyntaxError) and error.filename:
        reason, file, line = f"{type(error).__name__}: {error.msg}", error.filename, error.lineno
    elif frames := user_frames(error):
        file, line = frames.tb_frame.f_code.co_filename, frames.tb_lineno
    place = f" ({short(Path(file))}:{line})" if file else ""
    return f"{reason}{place}"


def user_frames(error: BaseException, libraries: bool = False) -> types.TracebackType | None:
    """Return the traceback from the first frame on that is the user's, or None.

    The user's is what is neither ours nor installed; with `libraries`, also what is installed, but
    for those that only pass calls on.
    """
    frames = error.__traceback__
    while frames and not _is_the_users(Path(frames.tb_frame.f_code.co_filename), libraries):
        frames = frames.tb_next
    return frames


def _cut_lines(text: str) -> str:
    return "\n".join(map(cut, text.split("\n")))


def _is_raised_elsewhere(error: BaseException) -> bool:
    """Return whether the user's code or a library of theirs has raised `error`, and not ours."""
    frames = user_frames(error) or user_frames(error, libraries=True)
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(frames)]
    return bool(files) and not Path(files[-1]).is_relative_to(PACKAGE)


def _is_the_users(file: Path, libraries: bool) -> bool:
    if file.name == BY_VALUE:
        return True
    if file.name.startswith("<") or file.is_relative_to(PACKAGE) or file == LOADER:
        return False
    if INSTALLED & {*file.parts}:
        return libraries and not PASSING_ON & {*file.parts}
    return not file.is_relative_to(STANDARD) and file.suffix != ""
