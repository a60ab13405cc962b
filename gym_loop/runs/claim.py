"""Decides whether a launch may use a directory: for a new run, or to continue the run in it."""

import json
import os
import re
import shlex
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from gym_loop import files
from gym_loop.config import by_value, kept, secrets
from gym_loop.loops import parameters
from gym_loop.loops.folders import folder_of
from gym_loop.mistake import Mistake
from gym_loop.runs import checkpoints, manifest, tables
from gym_loop.terminal import short

# Parameters of the loop with which a run can be continued, whatever they were before.
RESUMABLE = {name for name, parameter in parameters.ALL.items() if parameter.resume}
RECORD_DIRS = ("record_dir", "eval_record_dir")  # of the loop
# What only a run leaves behind. A directory that holds one of these, but no run.json, is not ours.
RESULTS = (
    *(tables.EPISODES, tables.EVALUATIONS, "checkpoints", "traces"),
    *(parameters.ALL[name].default for name in RECORD_DIRS),
)
HYDRAS = ("config", "hydra", "overrides")  # files of the config, which Hydra writes
new_folders: list[Path] = []  # the run's directory and those above it that this launch makes
there_before: list[Path] = []  # of `written`


def claim(cfg: DictConfig) -> None:
    """Create the run's directory exclusively, or let the run in it go on.

    Raises:
        Mistake: the directory belongs to another config, or cannot be written.
        SystemExit: with code 0, when the run in it is finished.
    """
    if cfg.hydra.mode == RunMode.MULTIRUN:
        return  # the sweep as a whole claims the directory that holds its runs
    overrides: Any = OmegaConf.to_container(cfg.hydra.overrides, resolve=False)
    asked = any(word.partition("=")[0] == "hydra.run.dir" for word in overrides["hydra"])
    directory = Path(cfg.hydra.run.dir)
    folders = directory.absolute(), *directory.absolute().parents
    new_folders[:] = [folder for folder in folders if not folder.exists()]
    there_before[:] = [path for path in written(directory, cfg.hydra) if os.path.lexists(path)]
    if asked:
        if known := run_in(directory, cfg.loop):
            go_on(directory, known, cfg)
        directory.mkdir(parents=True, exist_ok=True)
        manifest.own_log(directory / f"{cfg.hydra.job.name}.log")
        return
    try:
        unique, count = directory, 0
        while True:
            try:
                unique.mkdir(parents=True)
                break
            except FileExistsError:  # two launches in one microsecond
                count += 1
                unique = directory.with_name(f"{directory.name}-{count}")
                new_folders[:] = [unique.absolute()]
    except OSError as error:
        raise Mistake(f"cannot create {directory}: {files.reason(error)}") from None
    with read_write(cfg.hydra.run):
        cfg.hydra.run.dir = str(unique)


def written(directory: Path, hydra: Any) -> list[Path]:
    """Return the files that a launch writes before its run begins; `hydra` is Hydra's config."""
    names = [manifest.NAME, manifest.LOCK, kept.FILE, f"{hydra.job.name}.log"]
    names += [f"{hydra.output_subdir}/{name}.yaml" for name in HYDRAS]
    return [directory.absolute() / name for name in names]


def run_in(directory: Path, loop: Mapping[Any, Any]) -> dict[str, Any] | None:
    """Return the run in `directory`, as `manifest.load` does; None: a new one can be put there.

    Args:
        directory: of the run; there may be none.
        loop: the loop's parameters.

    Raises:
        Mistake: it holds something else, or cannot be written.
    """
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise Mistake(f"{existing} is a file; expected a directory for the run")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise Mistake(f"cannot write into {existing}: no permission")
    if manifest.read(directory) is not None:
        return manifest.load(directory)
    if (directory / manifest.NAME).exists():
        raise Mistake(
            f"{directory} holds a {manifest.NAME} that is damaged: move the directory away, and "
            "the run begins anew, or choose another one"
        )
    results = [directory / name for name in RESULTS if os.path.lexists(directory / name)]
    results += [directory / kept.FILE] if kept.is_foreign(directory) else []
    for name in RECORD_DIRS:
        folder = (directory / folder_of(loop, name)).resolve()
        # Elsewhere, runs leave each other's films alone.
        if folder.is_relative_to(directory.resolve()):
            results += folder.glob("episode-*.mp4")
    if results:
        raise Mistake(
            f"{directory} holds {os.path.relpath(results[0], directory)} but no readable "
            f"{manifest.NAME}: not a run that can be continued; choose another hydra.run.dir"
        )
    return None


def go_on(directory: Path, known: dict[str, Any], cfg: DictConfig) -> None:
    """Let the run in `directory` go on with `cfg`.

    Raises:
        Mistake: `cfg` would change what has already happened, or the run is going on elsewhere.
        SystemExit: with code 0, when nothing is left to do.
    """
    name, keys = short(directory), check_past(directory, known, cfg, RESUMABLE)
    for key, count in (("max_episodes", known["episodes"]), ("max_steps", known["steps"])):
        limit = cfg.loop.get(key)
        if limit is not None and limit < count and f"loop.{key}" in keys:
            raise Mistake(
                f"loop.{key}={limit} is fewer than the {count} that {name} has; expected more"
            )
    if not keys and known["state"] == "finished":
        print(f"{name} is finished. `gym-loop resume` with new limits extends it.")
        raise SystemExit(0)
    if keys and manifest.is_locked(directory):
        raise Mistake(f"{name} is in use: another process is running it")


def check_past(
    directory: Path, known: dict[str, Any], cfg: DictConfig, free: Collection[str] = ()
) -> set[str]:
    """Check that `cfg` changes nothing that the run in `directory` has already used.

    Returns the dotted keys in which it differs.

    Args:
        directory: the run's.
        known: what `manifest.load` returns.
        cfg: the config now.
        free: keys of the loop that may change.

    Raises:
        Mistake: names the first value that has changed.
    """

    def past(key: str) -> bool:
        group, _, name = key.partition(".")
        return group in ("agent", "env", "eval_env", "seed") or (
            group == "loop" and name.partition(".")[0] not in free
        )

    name = short(directory)
    fork = f"`gym-loop fork {name}` starts another run from it"
    changes = [
        (key, then, now)
        for key, then, now in config_changes(known, cfg)
        if not (key.endswith("._target_") and is_moved_class(str(then), str(now)))
        # An observer that the run had not, as those that later versions have by default.
        and not (key.startswith("observers.") and then is kept.ABSENT)
    ]
    for key, then, now in changes:
        if past(key) or not free:
            was = f"without {key}" if then is kept.ABSENT else f"with {override(key, then)}"
            is_now, words = override(key, now), asked_for(key, cfg) or [override(key, now)]
            if not free and key.removeprefix("loop.") in RESUMABLE:  # a job that was extended
                raise Mistake(
                    f"{name} holds a run {was}; the sweep has {is_now}. "
                    "Move it out of the sweep, and the job runs anew"
                )
            if (kind := by_value.class_name(now)) and kind == by_value.class_name(then):
                was, is_now = f"with {kind} as it was before an edit", f"{kind} as it is now"
            raise Mistake(
                f"{name} holds a run {was}; {is_now} would change what has already happened. "
                f"Choose another directory{_or_fork(directory, words)}"
            )

    def otherwise(key: str) -> str:  # a job has the overrides of all jobs
        return f"{instead_of_changed(known, key) if free else ''}; {fork}"

    kept.refuse_changed(known, cfg, otherwise)
    keys = {key for key, *_ in changes}
    for key, _, then, now in kept.followers(known, cfg):
        if not past(key):
            continue
        follows = _following(key, then, now, keys)
        if key.startswith("agent.") and all(k.startswith(("loop.", "observers.")) for k in keys):
            note_schedule(follows)
        else:
            raise Mistake(f"{follows} would change what has already happened; {fork}")
    return keys


def instead_of_changed(known: dict[str, Any], key: str) -> str:
    """Return which override gives a key the value that a resolver had brought, if run.json says it.

    Args:
        known: what `manifest.load` returns.
        key: dotted.
    """
    value = kept.raw_at(known["shown"], tuple(key.split(".")))
    said = shlex.quote(override(key, value))
    return f", or say {said}" if kept.is_as_recorded(known, key, value) else ""


def _or_fork(directory: Path, words: list[str]) -> str:
    """Return how a fork of the run is asked for, or "" where it has nothing to begin from."""
    if next(checkpoints.sound(directory / checkpoints.FOLDER), None) is None:
        return ""
    name = short(directory)
    if not any(".pkl:" in word for word in words):
        return f", or: gym-loop fork {shlex.join([name, *words])}"
    # Only this process has the class.
    objects = (re.sub(r"[^][,=]+\.pkl:", "", word) for word in words)
    return f", or: gym_loop.fork({', '.join([repr(name), *objects])})"


def note_schedules(known: dict[str, Any], cfg: DictConfig, keys: Collection[str]) -> None:
    """Print a note for each value of the agent's that follows one of the loop's.

    Args:
        known: run.json of the run that is forked.
        cfg: the fork's config.
        keys: in which they differ.
    """
    sources = [key for key in keys if key.startswith("loop.")]
    loop = kept.content(cfg, resolve=False)["loop"]
    alone = OmegaConf.create(known["config"] | {"loop": loop})  # what follows the loop's keys
    for key, _, then, now in kept.followers(known, alone):
        if key.startswith("agent."):
            note_schedule(_following(key, then, now, sources))


def note_schedule(follows: str) -> None:
    """Print what a schedule over the run's length does when that has changed."""
    print(
        f"note: {follows}. A schedule over it goes on as if that had been said from the start, not "
        "as in a single run",
        file=sys.stderr,
    )


def _following(key: str, then: Any, now: Any, sources: Collection[str]) -> str:
    texts = secrets.shown(key, then), secrets.shown(key, now)
    return f"{key} follows {', '.join(sorted(sources))}: {texts[1]} instead of {texts[0]}"


def is_moved_class(then: str, now: str) -> bool:
    """Return whether a change of a class says where its file is now."""
    names = [text.rpartition(".py:")[2] for text in (then, now)]
    return ".py:" in now and names[0] == names[1]


def asked_for(key: str, cfg: DictConfig) -> list[str]:
    """Return the overrides, as they were given, that choose or change what is at `key`."""
    given: Any = OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
    names = [(word, word.lstrip("+~").partition("=")[0].partition("@")[0]) for word in given]
    return secrets.masked_words(
        [
            word
            for word, name in names
            if f"{key}.".startswith(f"{name}.")
            or f"{name}.".startswith(f"{key}.")
            or (name == "wrap" and ".wrappers" in key)
        ]
    )


def override(key: str, value: Any) -> str:
    """Return `KEY=VALUE` as one types it, secrets hidden."""
    if value is kept.ABSENT:
        return f"~{key}"
    return f"{key}={_typed(secrets.masked(value, tuple(key.split('.'))))}"


def _typed(value: Any) -> str:
    """Return a value in Hydra's grammar."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_typed(each)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    if not isinstance(value, str):
        return "null" if value is None else str(value).lower()
    plain = re.fullmatch(r"[A-Za-z_/][\w./:-]*|\$\{.*\}|\(hidden.*\)", value)
    if plain and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    return QuotedString(value, Quote.single).with_quotes()


def config_changes(known: dict[str, Any], cfg: DictConfig) -> list[tuple[str, Any, Any]]:
    """Return (dotted key, value then, value now) for each leaf in which `cfg` is not the run's.

    What stands in for an interpolation, and is what that had brought, is no difference.

    Args:
        known: what `manifest.load` returns.
        cfg: the config now.
    """
    then, now = known["config"], kept.content(cfg, resolve="digests" not in known)
    if "digests" not in known:  # of an older version: resolved, as JSON holds it
        then, now = known["resolved"], json.loads(json.dumps(now, default=str))
    return [
        (key, old, new)
        for key, old, new in leaves_that_differ(kept.completed(then), now)
        if not kept.is_as_recorded(known, key, new)
    ]


def leaves_that_differ(then: Any, now: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Return (dotted key, value then, value now) for each leaf that differs between two configs."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            found
            for key in dict.fromkeys((*then, *now))
            for found in leaves_that_differ(
                then.get(key, kept.ABSENT),
                now.get(key, kept.ABSENT),
                f"{prefix}.{key}" if prefix else str(key),
            )
        ]
    # True equals 1; nan, also in a list, is not equal to itself.
    same = then == now and isinstance(then, bool) is isinstance(now, bool)
    same = same or repr(then) == repr(now)
    return [] if same else [(prefix, then, now)]
