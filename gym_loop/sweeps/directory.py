"""A sweep's directory: a folder for each job, named by what varies, and sweep.json."""

import dataclasses
import hashlib
import itertools
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gym_loop import files
from gym_loop.config import secrets
from gym_loop.mistake import Mistake
from gym_loop.runs import claim, manifest
from gym_loop.runs.reading import key_and_value

NAME, FORMAT = "sweep.json", 1
LARGEST = 1 << 28  # bytes of a sweep.json: a million jobs have less
# What Hydra's own sweepers may have put into a new directory before the launcher is called.
NOT_OURS = ("multirun.yaml", manifest.LOCK)
LONGEST = 200  # bytes of a job's name; file systems take 255


@dataclass
class Job:
    """One run of a sweep: its overrides, its state and its outcome.

    `state` is `new`, what run.json says (`running`: its process was killed), and once the sweep
    has dealt with it `finished`, `skipped`, `stopped`, `failed`, or `held` by another launch.
    """

    name: str
    overrides: list[str]
    number: int
    directory: Path
    state: str = "new"
    result: Any = None  # what the job returned, or a finished run's recorded result
    reason: str = ""  # why it failed or stopped, in one line
    episodes: int | None = None  # to be played
    log: Path = Path()  # with all that the job logs and prints
    packed: bytes = b""  # the config, where the overrides alone do not make it
    launches: int = 0  # that its run had seen when the sweep was checked
    takes_gpu: bool = False  # one of the pool's
    ran: bool = False  # to its end, by this launch itself
    place: str = ""  # where it runs: a GPU, or an engine's node
    label: str = ""  # in the table of those that run, instead of the name
    where: Any = None  # what an engine says of it: a `submitted.Where`


@dataclass
class Sweep:
    """The content of sweep.json.

    Attributes:
        overrides: of the last launch, Hydra's own included.
        fixed: the overrides with one value, which every job shares.
        varied: the keys by which jobs differ, and are named.
        jobs: the overrides of every job that was ever asked for, by the job's name.
        config: the primary config where it is none of conf/'s, as YAML.
        flags: the flags of Hydra's that say where configs are, and which one is the primary one.
    """

    overrides: list[str]
    fixed: dict[str, str]
    varied: list[str]
    command: str = ""
    cwd: str = ""
    jobs: dict[str, list[str]] = field(default_factory=dict)
    config: str | dict[str, Any] | None = None  # a mapping: of an older version
    flags: list[str] = field(default_factory=list)
    format: int = FORMAT

    def name(self, overrides: Sequence[str]) -> str:
        """Return the name of the job with `overrides`: those that vary, or all when none does."""
        given = dict(key_and_value(word) for word in overrides)
        chosen = {key: value for key, value in given.items() if key in self.varied} or given
        earlier = job_name(chosen, hide=False)  # earlier versions hid nothing
        return earlier if earlier in self.jobs else job_name(chosen)

    def present(self, overrides: Sequence[str]) -> list[str]:
        """Return a job's overrides with the files of classes where they are said to be now."""
        words = []
        for word in overrides:
            key, then = key_and_value(word)
            now = self.fixed.get(key, then)
            words.append(f"{word.partition('=')[0]}={now}" if is_moved(then, now) else word)
        return words


def is_moved(then: str, now: str) -> bool:
    """Return whether a value names the class of another one, in a file that is there no more."""
    return (
        then != now
        and claim.is_moved_class(then, now)
        and not Path(then.rpartition(":")[0]).expanduser().exists()
    )


def job_name(overrides: Mapping[str, str], hide: bool = True) -> str:
    """Return `env=pendulum,seed=3`: the same for the same overrides, whatever their order.

    What a file's name cannot hold is percent-encoded, and too long a name ends in a digest. Where a
    value is secret, or holds a secret, a digest stands for it, unless that is not to be hidden.
    """
    words = sorted(f"{key}={value}" for key, value in overrides.items())
    if hide and (shown := secrets.masked_words(words)) != words:
        words = [
            word if own == word else f"{word.partition('=')[0]}={secrets.told_apart(word)}"
            for own, word in zip(shown, words, strict=True)
        ]
    name = quote(",".join(words), safe="=,:+@[](){}~!&; ").replace("~", "%7E") or "job"
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > LONGEST:
        name = f"{name[: LONGEST - 11]}~{hashlib.sha256(name.encode()).hexdigest()[:10]}"
    return name


def read(directory: Path) -> Sweep | None:
    """Return the sweep that lies in `directory`, or None when it is new or empty.

    Raises:
        Mistake: it is something else.
    """
    path = directory / NAME
    if not directory.exists():
        existing = next(parent for parent in directory.absolute().parents if parent.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            why = "no permission" if existing.is_dir() else f"{existing} is a file"
            raise Mistake(f"cannot create {directory}: {why}")
        return None
    if not directory.is_dir():
        raise Mistake(f"{directory} is a file; expected a directory for the sweep")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise Mistake(f"cannot write into {directory}: no permission")
    if not path.exists():
        for entry in sorted(directory.iterdir()):
            if entry.name not in NOT_OURS and not entry.name.startswith(files.TEMPORARY):
                raise Mistake(
                    f"{directory} is not a sweep: it holds {entry.name}, but no {NAME}; "
                    "a sweep begins in a new or empty directory"
                )
        return None
    try:
        content = json.loads(files.read(path, LARGEST))
        if content["format"] > FORMAT:
            raise Mistake(f"{path} was written by a newer gym_loop (format {content['format']})")
        sweep = Sweep(**content)
        _check(sweep)
        return sweep
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise Mistake(f"cannot read {path}: {error}") from None


def _check(sweep: Sweep) -> None:
    """Raise a ValueError unless each part of a sweep is of its kind, and UTF-8 can hold it."""
    jobs, fixed = sweep.jobs, sweep.fixed
    right = isinstance(jobs, dict) and isinstance(fixed, dict)
    lists = [sweep.overrides, sweep.varied, *(jobs.values() if right else ())]
    if not right or not all(isinstance(words, list) for words in lists):
        raise ValueError("it is damaged")
    words = [*itertools.chain(*lists), *fixed.values(), sweep.command, sweep.cwd]
    if not all(isinstance(word, str) for word in words):
        raise ValueError("it is damaged")
    json.dumps(vars(sweep), ensure_ascii=False).encode()


def write(directory: Path, sweep: Sweep) -> None:
    """Replace sweep.json."""
    files.write_json(directory / NAME, vars(sweep))


def merge(known: Sweep | None, asked: Sweep, directory: Path) -> Sweep:
    """Return the sweep that `asked` makes of what is `known`.

    Raises:
        Mistake: they differ in what is fixed; the line says in what.
    """
    if known is None:
        return asked
    # A single value for what varies is one more job, or one that is there.
    fixed = {key: value for key, value in asked.fixed.items() if key not in known.varied}
    differences = []
    for key in dict.fromkeys((*known.fixed, *fixed)):
        then, now = known.fixed.get(key), fixed.get(key)
        if key in asked.varied:
            was = _told(key, then).replace("=", " was ", 1)
            differences.append(f"{was} for every job, and is now varied")
        elif then != now and not (then and now and is_moved(then, now)):
            is_now = _told(key, now) if now is not None else "none"
            differences.append(f"{_told(key, then)} then, {is_now} now")
    if differences:
        raise Mistake(
            f"{directory} is a sweep with other fixed overrides: {'; '.join(differences)}. "
            "Repeat them as they were, or choose another hydra.sweep.dir (gym-loop fork "
            f"{directory}/JOB goes on from one of its runs)"
        )
    varied = list(dict.fromkeys((*known.varied, *asked.varied)))
    sweep = dataclasses.replace(asked, fixed=fixed, varied=varied)
    sweep.jobs = {name: sweep.present(words) for name, words in known.jobs.items()}
    return sweep


def _told(key: str, value: str | None) -> str:
    """Return `KEY=VALUE` for a message, secrets hidden."""
    return f"no {key}" if value is None else secrets.masked_words([f"{key}={value}"])[0]


def asked(task_overrides: Sequence[str], hydra_overrides: Sequence[str]) -> Sweep:
    """Return the sweep that a command asks for, from its overrides as they were given."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    fixed: dict[str, str] = {}
    varied: dict[str, None] = {}
    for override in OverridesParser.create().parse_overrides(list(task_overrides)):
        key = override.get_key_element().lstrip("+~")
        if override.is_sweep_override():
            fixed.pop(key, None)
            varied[key] = None
        else:
            varied.pop(key, None)
            fixed[key] = key_and_value(f"={override.get_value_element_as_str()}")[1]
    ours = ("hydra.mode", "hydra.sweep.dir", "hydra.launcher.dry_run", "hydra.sweeper.recorded")
    kept = [word for word in hydra_overrides if key_and_value(word)[0] not in ours]
    command = shlex.join(["gym-loop", *sys.argv[1:]])
    return Sweep([*task_overrides, *kept], fixed, list(varied), command, os.getcwd())
