"""Sub-commands: one file each, whose `main(arguments)` receives the command line."""

import click

from gym_loop.mistake import Mistake, nearest


def run_click(command: click.Command, arguments: list[str]) -> None:
    """Run a click command; what it finds wrong in the arguments is a Mistake.

    Options that click does not know, such as a mistyped one, name the nearest it does.
    """
    try:
        command.main(arguments, prog_name=f"gym-loop {command.name}", standalone_mode=False)
    except click.NoSuchOption as error:
        known = [option for p in command.params for option in p.opts if option.startswith("-")]
        raise Mistake(f"no option {error.option_name}{nearest(error.option_name, known)}") from None
    except click.ClickException as error:
        message = error.format_message().rstrip(".")
        if message.startswith("Usage:"):  # the whole help, for a command with none of its own words
            words = ", ".join(getattr(command, "commands", ()))
            message = f"{command.name} lacks a word; expected one of: {words}"
        raise Mistake(f"{message}; `gym-loop {command.name} --help` shows how") from None
    except click.Abort:
        raise KeyboardInterrupt from None
