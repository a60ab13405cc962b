"""Completing a sweep: all jobs it has ever been asked for, and what new overrides add."""

import os
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gym_loop.config import by_value, kept, options
from gym_loop.config.locate import look_in
from gym_loop.config.stored import quoted
from gym_loop.mistake import Mistake
from gym_loop.runs import reading
from gym_loop.sweeps import directory as sweeps

NAME = sweeps.NAME  # of the file that makes a directory a sweep


def is_sweep(directory: Path) -> bool:
    """Return whether a sweep lies in `directory`."""
    return (directory / sweeps.NAME).is_file()


def resume(directory: Path, overrides: list[str]) -> None:
    """Run what is missing of the sweep in `directory`, from where it was launched.

    The overrides take the place of recorded ones with the same key: `seed=range(16)`.

    Raises:
        Mistake: there is no sweep, or the overrides change what is fixed.
        SystemExit: with 1 when a job failed.
    """
    from gym_loop import launch

    known = sweeps.read(directory)
    if known is None:
        raise Mistake(f"{directory} is not a sweep: no {sweeps.NAME} in it")
    directory = directory.absolute()
    by_value.folders.append(directory / by_value.FOLDER)
    words = replaced(known.overrides, overrides)
    name = "config"
    content: Any = {}
    if known.config is not None:
        name = "sweep"
        try:
            content = OmegaConf.to_container(OmegaConf.create(known.config), resolve=False)
        except (yaml.YAMLError, OmegaConfBaseException) as error:
            text = " ".join(str(error).split())
            raise Mistake(f"cannot read config in {directory / sweeps.NAME}: {text}") from None
        options.in_memory[name] = content
    if Path(known.cwd).is_dir():  # which its paths are relative to, and its modules are in
        os.chdir(known.cwd)
        look_in(known.cwd)
    given = dict(map(reading.key_and_value, words))
    sections = [
        (kept.dotted(path), section["_target_"]) for path, section in kept.sections(content)
    ]
    in_config = {f"{key}._target_": target for key, target in sections if key not in given}
    check_files(in_config | given, known.fixed)
    sweeper = given.get("hydra/sweeper", "grid")
    if sweeper not in ("grid", "search"):
        # It would ask for new jobs, and need not be installed any more.
        more = [word for word in overrides if not word.startswith("hydra")]
        if more:
            raise Mistake(
                f"{directory} is a sweep of hydra/sweeper={sweeper}: resuming it completes its "
                f"jobs, and {more[0]} asks for others; launch those with -m"
            )
        theirs = re.compile(r"[+~]*hydra[/.]sweeper\b")
        words = [word for word in words if not theirs.match(word)]
        words += ["hydra/sweeper=grid", "hydra.sweeper.recorded=only"]
    elif sweeper == "grid" and not reading.is_search(directory):
        words.append("hydra.sweeper.recorded=true")
    launch.launch(["-m", *known.flags, *words, f"hydra.sweep.dir={quoted(directory)}"], name)


def check_files(values: Mapping[str, str], fixed: Collection[str]) -> None:
    """Check that there are the files of the classes that a sweep's config names.

    Args:
        values: of the config, and the overrides, by their keys.
        fixed: keys of overrides that all jobs share, in which a file may be another one now.

    Raises:
        Mistake: one is not there; the line says what to do.
    """
    for key, value in values.items():
        if key.partition("@")[0] not in options.GROUPS and not key.endswith("._target_"):
            continue
        for file in map(str.strip, re.findall(r"([^][(),\"']+\.py):", value)):
            if not any(Path(folder, file).expanduser().is_file() for folder in ("", *sys.path)):
                advice = "put it, or a link to it, there again"
                if key in fixed:
                    now = value.replace(file, f"path/to/{Path(file).name}")
                    advice = f"say where it is now: {key}={now}"
                raise Mistake(f"{key}={value}: {options.no_file(file, f'; {advice}')}")


def replaced(known: list[str], new: list[str]) -> list[str]:
    """Return the known overrides, those with the key of a new one replaced by it."""
    given = {reading.key_and_value(word)[0]: word for word in new}
    chosen = {key.replace("/", ".") for key in given if key.startswith("hydra/")}
    kept = []
    for word in known:
        key = reading.key_and_value(word)[0]
        if not any(key.startswith(f"{group}.") for group in chosen):  # options of what was chosen
            kept.append(given.pop(key, word))
    return [*kept, *given.values()]
