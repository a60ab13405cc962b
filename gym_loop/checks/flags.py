"""Parses Hydra's own flags; a mistake in them takes one line."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode

from gym_loop import __version__, launch
from gym_loop.checks import foreign
from gym_loop.compat import standard_library
from gym_loop.compat.hydra import parser as hydras_parser
from gym_loop.mistake import Mistake, nearest


def parse(words: list[str]) -> argparse.Namespace:
    """Return Hydra's flags and the overrides in a command line.

    Raises:
        Mistake: where Hydra's parser would print its usage.
    """
    args = one_line_parser().parse_intermixed_args(words)  # overrides on both sides of a flag
    args.multirun = args.multirun or (not args.cfg and sweeps(args))
    return args


def one_line_parser() -> argparse.ArgumentParser:
    """Return Hydra's parser of flags, which raises a Mistake where it would print its usage."""
    parser = hydras_parser()
    actions = standard_library.flags(parser)
    known = [flag for action in actions for flag in action.option_strings]

    def refuse(message: str) -> NoReturn:
        from gym_loop.loops import DefaultLoop

        flag = message.rpartition(": ")[2].split()[0] if "unrecognized" in message else ""
        near = foreign.ours(flag) or nearest(flag, known) if flag.startswith("--") else ""
        key = flag.removeprefix("--").partition("=")[0].replace("-", "_")
        if key in ("agent", "env", "loop", "seed"):
            near = f"; write {key}=..."
        elif key in DefaultLoop.get_default_parameters():
            near = f"; write loop.{key}=..."
        if flag == "--dry-run":
            near = "; hydra.launcher.dry_run=true prints the jobs of a sweep and starts nothing"
        raise Mistake(f"{message}{near} (gym-loop --hydra-help shows the flags)")

    for action in actions:
        if "--config-dir" in action.option_strings:
            action.type = directory
        elif {"--config-path", "--experimental-rerun"} & {*action.option_strings}:
            action.type = not_here
        elif "--version" in action.option_strings:
            action.version = f"gym_loop {__version__} (Hydra {hydra.__version__})"  # type: ignore[attr-defined]

    parser.error = refuse  # type: ignore[method-assign]
    return parser


def sweeps(args: argparse.Namespace) -> bool:
    """Return whether an override has several values, and the config says to sweep over them."""
    several = [word for word in args.overrides if "," in word or "(" in word]
    try:
        parsed = OverridesParser.create().parse_overrides(several) if several else []
    except HydraException:
        return False  # composing tells what is wrong
    if not any(override.is_sweep_override() for override in parsed):
        return False
    conf = Path(args.config_dir or launch.CONF).absolute()
    with hydra.initialize_config_dir(str(conf), **launch.VERSION_BASE):
        single: Any = GlobalHydra.instance().hydra
        mode = single.get_mode(args.config_name or "config", args.overrides)
    return mode is RunMode.MULTIRUN


def directory(text: str) -> str:
    """Return `text`, which is to name a directory."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"no directory {text!r}")
    return text


def not_here(text: str) -> NoReturn:
    """Refuse a flag of Hydra's that would be ignored."""
    raise argparse.ArgumentTypeError("not taken here; use ./conf, --config-dir or `train -c FILE`")
