"""Sub-commands: one file each, whose `main(arguments)` receives the command line."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from gym_loop.machine import end_with
from gym_loop.mistake import Mistake, nearest

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def checkpoint_option(*names: str) -> Callable[[Any], Any]:
    """Return the option that chooses a run's checkpoint, under `names` as well."""
    return click.option(
        "--checkpoint",
        *names,
        "checkpoint",
        default="latest",
        show_default=True,
        metavar="WHICH",
        help="latest | best | an episode's number; training is played again where none is kept.",
    )


class _Parsed(click.Context):
    """Has click return what a command is to do.

    Within click, an EOFError or a click.exceptions.Exit of an agent's would be taken for click's.
    """

    def invoke(self, callback: Any, /, *args: Any, **kwargs: Any) -> Any:
        return functools.partial(callback, *args, **kwargs)


def run_click(command: click.Command, arguments: list[str]) -> None:
    """Run a click command; what it finds wrong in the arguments is a Mistake.

    Options that click does not know, such as a mistyped one, name the nearest it does.
    """
    for each in (command, *getattr(command, "commands", {}).values()):
        each.context_class = _Parsed
    name = f"gym-loop {command.name}"
    try:
        task = command.main(arguments, prog_name=name, standalone_mode=False)
    except click.NoSuchOption as error:
        known = [option for p in command.params for option in p.opts if option.startswith("-")]
        raise Mistake(f"no option {error.option_name}{nearest(error.option_name, known)}") from None
    except click.ClickException as error:
        message = error.format_message().rstrip(".")
        if message.startswith("Usage:"):  # the whole help, for a command with none of its own words
            words = ", ".join(getattr(command, "commands", ()))
            message = f"{command.name} lacks a word; expected one of: {words}"
        raise Mistake(f"{message}; `gym-loop {command.name} --help` shows how") from None
    if callable(task):  # not after --help
        task()


def exit_on_signals() -> None:
    """Have SIGINT, SIGTERM and SIGHUP end this process with 128 and their number, in order.

    What was begun is ended, and no further signal cuts that short. One that is ignored, as by
    `nohup`, stays so.
    """
    handled = [each for each in ENDING if signal.getsignal(each) is not signal.SIG_IGN]

    def leave(number: int, frame: object) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for number in handled:
        signal.signal(number, leave)


def run_process(command: Sequence[str], limit: float | None = None, **options: Any) -> int:
    """Run a command and return its exit code; whatever happens, nothing of it is left running.

    Args:
        command: the program and its words.
        limit: seconds that it may take; None: any time.
        **options: of `subprocess.Popen`.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    # A session of its own: a signal to its process group reaches all that it has started.
    own = functools.partial(end_with, os.getpid())
    process = subprocess.Popen(
        command,
        start_new_session=True,
        preexec_fn=own,  # noqa: PLW1509  # commands that run others have no threads
        **options,
    )
    try:
        return process.wait(limit)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
