"""The checkpoints in a run's directory: which there are, and whether they are sound."""

import contextlib
import json
import logging
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c

from gym_loop import files
from gym_loop.mistake import Mistake, nearest
from gym_loop.terminal import printable

FOLDER = "checkpoints"
WORDS = ("latest", "best")
WRAPPERS = "wrappers.pkl"  # in a checkpoint, where wrappers learn
NAME = re.compile(r"episode-(\d{6,})")
CHUNK = 1 << 18  # bytes of a file that are read at once
LARGEST = 1 << 28  # bytes of the counters of a checkpoint: of more, nothing is read

log = logging.getLogger(__name__)


# Plays training again up to an episode; yields the run that had played it, and its checkpoint.
# `observers/plugin.py` sets it.
repeated: Callable[[Path, int], contextlib.AbstractContextManager[tuple[Path, Path]]] | None = None


@contextlib.contextmanager
def at(run: Path, which: str | int = "latest") -> Iterator[tuple[Path, Path]]:
    """Yield the run that has played up to a checkpoint, and the checkpoint.

    For a checkpoint from before a fork, that run is the parent. Where none is kept of an episode,
    training is played again up to it, in a directory that is deleted at the end of the block. Runs
    the user's code and unpickles: only for trusted runs.

    Args:
        run: its directory.
        which: `latest`, `best`, or after how many training episodes.

    Raises:
        Mistake: there is none; the line says which there can be.
    """
    if (path := find(run, which)) is not None:
        yield run, path
        return
    if repeated is None:
        raise Mistake(f"{run} has no checkpoint at episode {which}")
    with repeated(run, int(which)) as found:
        yield found


def find(run: Path, which: str | int = "latest") -> Path | None:
    """Return a sound checkpoint of a run; None where it has none of that episode.

    Args:
        run: its directory.
        which: `latest`, `best`, or after how many training episodes.

    Raises:
        Mistake: it has none at all, or `which` is none of these.
    """
    folder = run / FOLDER
    if str(which).isdecimal():
        path = folder / f"episode-{int(which):06d}"
        return path if load_state(path) is not None else None
    if which not in WORDS:
        raise Mistake(
            f"checkpoint {which!r}{nearest(str(which), WORDS, ';')} expected latest, best or the "
            "number of an episode"
        )
    if (newest := next(sound(folder), None)) is None:
        raise Mistake(f"{run} has no sound checkpoint")
    if which == "latest":
        return newest
    path = best_at(newest)
    if load_state(path) is None:
        raise Mistake(f"{run} has no best checkpoint: it was not evaluated during training")
    return path


def best_at(checkpoint: Path) -> Path:
    """Return where the best checkpoint was at the time of another one; it may be there no more."""
    kept = ((read_state(checkpoint) or {}).get("observers") or {}).get("checkpoints", {})
    return checkpoint.with_name(str(kept.get("best_name")))


def before(run: Path, number: int) -> Path | None:
    """Return the last sound checkpoint before episode `number`, or None."""
    return next((path for path in sound(run / FOLDER) if episode(path) < number), None)


def sound(directory: Path) -> Iterator[Path]:
    """Yield the sound checkpoints in `directory`, the newest first; warn of each damaged one."""
    for name in names(directory):
        if load_state(directory / name) is None:
            log.warning("%s is damaged; trying the one before it", printable(directory / name))
        else:
            yield directory / name


def load_state(path: Path) -> dict[str, Any] | None:
    """Return the counters in the checkpoint at `path`, or None when a checksum is wrong."""
    state = read_state(path)
    try:
        right = state and all(checksum_of(path / f) == s for f, s in state["files"].items())
    except OSError:
        return None
    return state if right else None


def read_state(path: Path) -> dict[str, Any] | None:
    """Return the counters of the checkpoint at `path`, whose other files are not looked at.

    None: there is no sound one by this name.
    """
    try:
        content = files.read(path / "state.json", LARGEST).decode()
        known, _, text = content.partition("\n")
        if checksum([text.rstrip("\n").encode()]) != known:
            return None
        state: dict[str, Any] = json.loads(text)
        return state if state["episodes"] == episode(path) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write the counters of the checkpoint at `path`, with their checksum."""
    text = json.dumps(state, indent=1)
    (path / "state.json").write_text(f"{checksum([text.encode()])}\n{text}\n")


def plant(
    checkpoint: Path, path: Path, same_env: bool, same_eval_env: bool, same_seed: bool
) -> None:
    """Copy a checkpoint to `path`, in the directory of a fork.

    Args:
        checkpoint: the parent's.
        path: where the fork begins.
        same_env: whether the environment goes on; else what observers have kept is of another
            one, and is left out.
        same_eval_env: whether that of evaluation goes on.
        same_seed: whether the streams go on.
    """
    state = load_state(checkpoint)
    assert state is not None
    shutil.copytree(checkpoint, path)
    files.let_owner_write([path, *path.rglob("*")])
    same = {"same_env": same_env, "same_eval_env": same_eval_env, "same_seed": same_seed}
    # The parent may have begun with this checkpoint, in another environment than its own parent.
    state |= {name: each and state.get(name, True) for name, each in same.items()}
    if not same_env:
        state["observers"] = {}
    elif load_state(best_at(checkpoint)) is None:
        state["observers"].pop("checkpoints", None)
    write_state(path, state)


def learnt(checkpoint: Path) -> list[Any]:
    """Return what wrappers had learnt: an item for each environment; empty where none learns.

    Unpickles: only for runs that are trusted.
    """
    file = checkpoint / WRAPPERS
    found: list[Any] = pickle.loads(file.read_bytes()) if file.is_file() else []
    return found


def names(directory: Path) -> list[str]:
    """Return the checkpoints' names, the newest first; other names are left out."""
    found = [p for p in files.named(directory, "episode-") if NAME.fullmatch(p.name)]
    return [
        path.name
        for path in sorted(found, key=episode, reverse=True)
        if path.is_dir() and not path.is_symlink()
    ]


def episode(path: Path) -> int:
    """Return how many training episodes went before the checkpoint at `path`."""
    return int(path.name.partition("-")[2])


def checksum(parts: Iterable[bytes]) -> str:
    """Return a checksum that shows accidents, not malice: SHA-256 takes 20 times as long."""
    checksum = 0
    for part in parts:
        checksum = google_crc32c.extend(checksum, part)
    return f"{checksum:08x}"


def checksum_of(path: Path) -> str:
    """Return a file's checksum; it may be larger than what is left of the memory."""
    files.check_regular(path)
    with open(path, "rb", buffering=0) as file:
        return checksum(iter(lambda: file.read(CHUNK), b""))


def point(link: Path, name: str) -> str:
    """Make `link` a symbolic link to `name`, atomically; return "", or why there is none.

    Where the run was copied by a program that does not keep links, a copy of the checkpoint or a
    file with its name lies there and is replaced. Anything else stays.
    """
    if link.is_symlink() and os.readlink(link) == name:
        return ""
    unfinished = files.temporary(link)
    try:
        unfinished.unlink(missing_ok=True)
        unfinished.symlink_to(name)
        if link.is_dir() and not link.is_symlink() and _is_copy(link):
            files.remove(link)
        if link.is_symlink() or not link.exists() or _is_name(link):
            unfinished.replace(link)
            return ""
        unfinished.unlink()
        return "is no link to a checkpoint, and stays as it is"
    except OSError as error:
        if error.errno in files.DISK_FULL:
            raise
        return f"cannot be made a link to {name} ({error.strerror})"


def _is_copy(folder: Path) -> bool:
    """Return whether `folder` is a copy of a checkpoint beside it."""
    try:
        text = files.read(folder / "state.json", LARGEST).decode()
        state = json.loads(text.partition("\n")[2])
        original = folder.with_name(f"episode-{state['episodes']:06d}")
        alike = text == (original / "state.json").read_text() and load_state(original)
        parts = ({p.relative_to(each) for p in each.rglob("*")} for each in (folder, original))
        return bool(alike) and next(parts) == next(parts)
    except (OSError, ValueError, LookupError):
        return False


def _is_name(file: Path) -> bool:
    """Return whether `file` holds a checkpoint's name: a link that was unpacked as a file."""
    with contextlib.suppress(OSError, ValueError):
        files.check_regular(file)
        return file.stat().st_size < 100 and bool(NAME.fullmatch(file.read_text().strip()))
    return False
