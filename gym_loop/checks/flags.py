"""Hydra's own flags, whose mistakes take one line as well."""

import argparse
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from gym_loop.mistake import Mistake, nearest


def one_line_parser() -> argparse.ArgumentParser:
    """Return Hydra's parser of flags, which raises a Mistake where it would print its usage."""
    parser = get_args_parser()
    known = [flag for action in parser._actions for flag in action.option_strings]

    def refuse(message: str) -> NoReturn:
        flag = message.rpartition(": ")[2].split()[0] if "unrecognized" in message else ""
        near = nearest(flag, known) if flag else ""
        if flag == "--dry-run":
            near = "; hydra.launcher.dry_run=true prints the jobs of a sweep and starts nothing"
        raise Mistake(f"{message}{near} (gym-loop --hydra-help shows the flags)")

    for action in parser._actions:
        if "--config-dir" in action.option_strings:
            action.type = directory
        elif {"--config-path", "--experimental-rerun"} & {*action.option_strings}:
            action.type = not_here
    parser.error = refuse  # type: ignore[method-assign]
    return parser


def directory(text: str) -> str:
    """Return `text`, which is to name a directory."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"no directory {text!r}")
    return text


def not_here(text: str) -> NoReturn:
    """Refuse a flag of Hydra's that would be ignored."""
    raise argparse.ArgumentTypeError("not taken here; use ./conf, --config-dir or `train -c FILE`")
