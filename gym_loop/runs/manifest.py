"""Reads, writes and locks run.json."""

import fcntl
import functools
import json
import logging
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gym_loop import files
from gym_loop.mistake import Mistake

if TYPE_CHECKING:
    from gym_loop.loops import BaseLoop

NAME, LOCK = "run.json", ".lock"
FORMAT = 1
LARGEST = 16_000_000  # bytes of a run.json: of more, nothing is read
PAUSED = "paused"  # what `ended_by` says of a job that a search has stopped early
_held: "list[Lock]" = []  # by this process

log = logging.getLogger(__name__)


class InUse(Mistake):
    """Another process works in a run's or a sweep's directory."""


class Finished(SystemExit):
    """A run was finished by another process, after this one had looked at it. Exit code 0."""


class Lock:
    """Lets one process at a time work in a directory, until it is released or the process ends.

    It is on the directory itself, so that it holds when somebody removes the file `.lock`; and on
    that file, as it is the one that counts on other machines.

    Args:
        directory: a run's or a sweep's.
        seconds: how long to wait for others; `ls` holds it for an instant when it looks.

    Attributes:
        loop: the one that runs in the directory, if any does.

    Raises:
        InUse: another process holds it.
        Mistake: there is no permission to.
    """

    def __init__(self, directory: Path, seconds: float = 0.2) -> None:
        self.descriptors: list[int] = []
        self.loop: Any = None
        _release_in_children()
        deadline = time.monotonic() + seconds
        while not self._take(directory):
            if time.monotonic() >= deadline:
                raise InUse(f"{directory} is in use: another process is running it")
            time.sleep(0.02)
        _held.append(self)

    def _take(self, directory: Path) -> bool:
        try:
            self.descriptors.append(os.open(directory, os.O_RDONLY))
            _lock(self.descriptors[-1], fcntl.LOCK_EX)
            file = directory / LOCK
            self.descriptors.append(os.open(file, os.O_RDWR | os.O_CREAT, 0o666))
            _lock(self.descriptors[-1], fcntl.LOCK_EX)
            return True
        except BlockingIOError:
            self.release()
            return False
        except OSError as error:
            self.release()
            raise Mistake(f"cannot lock {directory}: {files.reason(error)}") from None

    def release(self) -> None:
        """Let others work in the directory; a forked child only closes its copies of the files."""
        while self.descriptors:
            os.close(self.descriptors.pop())
        if self in _held:
            _held.remove(self)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@functools.cache
def _release_in_children() -> None:
    """Have forked children of this process release its locks, as they may outlive it; once.

    A child that comes back into a loop, as nobody has ended it, ends there: it is not the run.
    """

    def release() -> None:
        for lock in [*_held]:
            lock.release()
            if lock.loop is not None:
                lock.loop.notify = end_child

    os.register_at_fork(after_in_child=release)


def end_child(*_: Any) -> None:
    """End this process, which a run's agent or environment has forked."""
    text = "it came back into the loop, where it would write this run's files a second time"
    log.error(
        "process %d, forked by the agent or the environment, was ended: %s", os.getpid(), text
    )
    os._exit(1)


def _lock(descriptor: int, operation: int) -> None:
    """Lock an open file or directory, or raise BlockingIOError."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except OSError as error:
        # Not every filesystem can lock a directory.
        if isinstance(error, BlockingIOError) or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise


def ended_by(loop: "BaseLoop") -> str | None:
    """Return which limit ended a loop's training, or what stopped it; None while it goes on."""
    if loop.stop or loop.ended:
        return str(loop.stop or loop.ended)
    counts = {"max_episodes": loop.episodes, "max_steps": loop.steps}
    limits = ((name, loop.parameters.get(name)) for name in counts)
    return ", ".join(name for name, limit in limits if limit and counts[name] >= limit) or None


def read(directory: Path) -> dict[str, Any] | None:
    """Return the content of `directory`'s run.json, or None where there is no sound one."""
    try:
        with open(directory / NAME, "rb", opener=_open_at_once) as file:
            text = file.read(LARGEST + 1)
        content = json.loads(text) if len(text) <= LARGEST else None
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and "state" in content else None


def load(directory: Path) -> dict[str, Any]:
    """Return the content of a run's run.json, with the config that is kept in place of its own.

    That is then called `shown`.

    The kept config is unresolved. The paths of its files are where these are now: in the directory
    of the launch, which joins `sys.path`, or else in the current one. A run of an older version
    kept only the resolved config.

    Raises:
        Mistake: there is no run in `directory`.
    """
    import gym_loop_files  # here, as what follows, since readers do without them
    from gym_loop.config import (
        by_value,
        kept,
        locate,
        stored,  # it imports the launcher, whose plugins import this module
    )
    from gym_loop.literal import literal

    known = read(directory)
    if known is None or not isinstance(known.get("config"), dict):
        where = f"no readable {NAME} in it" if directory.exists() else "no such directory"
        raise Mistake(f"{directory} is not a run: {where}{hint(directory)}")
    path, base = directory / kept.FILE, kept.base(known)
    if (content := kept.read(directory)) is None:
        if "digests" in known:
            raise Mistake(f"{directory} cannot be continued or repeated: no {kept.FILE} in it")
        path, known["resolved"] = directory / NAME, known["config"]
        content = literal(known["config"])
    stored.check_groups(content, f"config in {path}")
    if "seed" not in content:  # the last of its keys: the file was cut
        raise Mistake(f"config in {path} has no 'seed': it is damaged")
    if "resolved" not in known:
        _refuse_edited(directory, content, known["config"])
    for whole in (content, known.get("resolved") or {}):
        for _, section in kept.sections(whole):
            target = locate.present_name(section["_target_"])
            section["_target_"] = kept.absolute(target, base)
            then, now = target.rpartition(":")[0], Path(section["_target_"].rpartition(":")[0])
            gone = Path(os.path.normpath(Path(str(known.get("cwd")), then)))
            if then.endswith(".py") and now.is_file() and not gone.is_file():
                locate.present[gym_loop_files.module_name(gone)] = now.resolve()
    by_value.folders.append(directory / by_value.FOLDER)
    locate.look_in(str(base))
    return known | {"config": content, "shown": known["config"], "cwd": str(base)}


def _refuse_edited(directory: Path, now: dict[str, Any], then: dict[str, Any]) -> None:
    """Raise Mistake if the kept config has been edited where that would change what was played."""
    from gym_loop.config import kept
    from gym_loop.runs.claim import RESUMABLE, override

    for path, value, before in kept.edits(now, then):
        key = kept.dotted(path)
        if path[0] == "observers" or (path[0] == "loop" and path[1] in RESUMABLE):
            continue  # a launch that was killed between the two files may have changed it
        says, was = override(key, value), override(key, before)
        raise Mistake(
            f"{directory / kept.FILE} has been edited: it says {says}, and the run was launched "
            f"with {was}: that would change what has already happened. Put it back; then "
            f"`gym-loop fork {directory} {says}` starts another run"
        )


def hint(directory: Path) -> str:
    """Return the end of a mistake about a directory that is no run, but holds some; else ""."""
    holds_runs = any(directory.glob(f"*/{NAME}"))
    return f"; it holds runs: gym-loop best {directory} names the best" if holds_runs else ""


def _open_at_once(path: str, flags: int) -> int:
    """Open a file to read, without waiting for somebody to write if it is a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def write(directory: Path, content: dict[str, Any]) -> None:
    """Replace `directory`'s run.json."""
    files.write_json(directory / NAME, content)


def own_log(path: Path) -> None:
    """Have what is about to be logged go into no file but the run's own.

    Args:
        path: of its log; nothing has to be there. What a running process has open stays.

    Raises:
        Mistake: something else lies there.
    """
    if path.exists() and not path.is_file():
        raise Mistake(f"{path} is no file; move it away")
    if files.is_shared(path) and not is_locked(path.parent):
        files.make_own(path)


def is_locked(directory: Path, unknown: bool = True) -> bool:
    """Return whether a process on this machine is running the run in `directory`.

    `unknown` is the answer where there is no permission to look.
    """
    # A foreign directory may hold a link or a pipe of the file's name.
    for path, flags in ((directory, 0), (directory / LOCK, os.O_NOFOLLOW | os.O_NONBLOCK)):
        try:
            descriptor = os.open(path, os.O_RDONLY | flags)
        except PermissionError:
            return unknown
        except OSError:
            continue
        try:
            _lock(descriptor, fcntl.LOCK_SH)
        except OSError:
            return True
        finally:
            os.close(descriptor)
    return False
