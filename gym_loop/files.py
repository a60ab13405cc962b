"""Files that others read appear whole: a temporary name beside them, fsync, rename."""

import contextlib
import errno
import json
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gym_loop.machine import process_exists
from gym_loop.mistake import Failure

# In the same directory, so that the rename stays on one filesystem; hidden, so that a glob for
# results does not see it.
TEMPORARY = ".tmp-"
OWN = re.compile(rf"{re.escape(TEMPORARY)}gym_loop-(\d+)@([^@]+)@.+", re.DOTALL)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# What limits this process wherever it writes, and what is to be done about a directory.
OF_PROCESS = {
    errno.EFBIG: "`ulimit -f`, or the file system, allows no larger file",
    errno.EMFILE: "`ulimit -n` allows this process no more open files",
    errno.ENFILE: "all programs of this machine together have too many files open",
}
ADVICE = OF_PROCESS | {
    errno.EDQUOT: "delete some of your own files",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTEMPTY: "another program has put files there",
    errno.EROFS: "choose a directory on another one",
}
RETRY = 1.0  # seconds until records that could not be written are tried again
sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


def temporary(path: Path) -> Path:
    """Return a hidden name beside `path` that says which program, process and host made it."""
    return path.with_name(f"{TEMPORARY}gym_loop-{os.getpid()}@{socket.gethostname()}@{path.name}")


def write(path: Path, data: bytes | str) -> None:
    """Replace the content of `path` at once: a reader sees the old or the new, never a part.

    After a power cut, too; which of the two it is then is for the filesystem to say.

    Raises:
        OSError: the old content is then untouched.
    """
    unfinished = temporary(path)
    try:
        with open(unfinished, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Replace `path` with `content` as indented JSON."""
    write(path, json.dumps(content, indent=1, default=str) + "\n")


def read(path: Path, largest: int) -> bytes:
    """Return the content of a file, which links may lead to.

    Raises:
        OSError: it is no regular file, such as a pipe that would never end, or has more bytes than
            `largest`.
    """
    flags = os.O_NONBLOCK  # nobody may ever write to a pipe
    with open(path, "rb", opener=lambda name, more: os.open(name, flags | more)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if status.st_size > largest:
            raise OSError(errno.EFBIG, f"larger than {largest:,} bytes", str(path))
        return file.read()


def let_owner_write(paths: Iterable[Path]) -> None:
    """Let the owner write: a copy of what is read-only is read-only, too."""
    for path in paths:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


def check_regular(path: Path) -> None:
    """Raise an OSError unless `path` is a regular file: reading a pipe might never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def sync(*paths: Path) -> None:
    """Bring files, or the names in directories, to the disk so that they survive a power cut."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def new_folder(target: Path) -> Path:
    """Return a new hidden folder beside `target`, to be filled before it gets that name.

    Folders that killed processes of this host left of the same target are deleted.
    """
    for leftover in named(target.parent, TEMPORARY, f"@{target.name}"):
        if writer_lives(leftover) is False:
            shutil.rmtree(leftover, ignore_errors=True)
    folder = temporary(target)
    folder.mkdir(parents=True)
    return folder


def writer_lives(path: Path) -> bool | None:
    """Return whether the process lives that made this temporary name; None: on another host.

    False for a name of this process's own: it has no write begun when it asks.
    """
    match = OWN.fullmatch(path.name)
    if match is None or match[2] != socket.gethostname():
        return None
    return int(match[1]) != os.getpid() and process_exists(int(match[1]))


def named(directory: Path, beginning: str, end: str = "") -> list[Path]:
    """Return what has a name with this beginning and end; nothing where there is no directory.

    `Path.glob` would compile a regular expression for each new pattern, ten in a job of a sweep.

    Raises:
        OSError: the directory is there and cannot be read, but for want of permission.
    """
    try:
        names = os.listdir(directory) if directory.is_dir() else []
    except PermissionError:
        return []
    return [directory / n for n in names if n.startswith(beginning) and n.endswith(end)]


def remove_leftovers(directory: Path, name: str = "") -> None:
    """Delete what killed processes of a run left half-written in `directory`.

    The caller holds the run's lock, so that a writer on another host is dead, too.

    Args:
        directory: it belongs to the run alone.
        name: of what was being written; all that this program has begun if empty.
    """
    for leftover in named(directory, TEMPORARY, name):
        if not OWN.fullmatch(leftover.name) or writer_lives(leftover):
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def remove(directory: Path) -> None:
    """Delete a directory so that nobody ever sees a part of it."""
    doomed = temporary(directory.with_name(f"old-{directory.name}"))
    directory.rename(doomed)
    shutil.rmtree(doomed)


def is_shared(path: Path) -> bool:
    """Return whether `path` is a file that has other names, or a link to a file."""
    return path.is_file() and (path.is_symlink() or path.stat().st_nlink > 1)


def make_own(path: Path) -> None:
    """Put a copy in the place of a shared file.

    So copies of a run may share files (`cp -al`, `cp -s`, a backup's): what is about to be written
    to in one of them stays as it is in the others.
    """
    if is_shared(path):
        unfinished = temporary(path)
        try:
            shutil.copyfile(path, unfinished)
            sync(unfinished)  # a checkpoint counts on what was in the file that this one replaces
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


def cut(path: Path, size: int) -> None:
    """Cut an append-only file, from now on this run's own, back to `size` bytes."""
    make_own(path)
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def advice(error: BaseException) -> str:
    """Return "; " and what helps where the system refuses, "" where its own words have to do."""
    if not isinstance(error, OSError) or error.errno not in ADVICE:
        return ""
    in_own_words = error.strerror != os.strerror(error.errno)  # as of a file that we refuse to read
    return "" if in_own_words else f"; {ADVICE[error.errno]}"


def reason(error: OSError) -> str:
    """Return what the system says of an error, and what helps."""
    return f"{error.strerror or error}{advice(error)}"


def cannot_write(error: OSError, path: Path) -> str:
    """Return one line that names what could not be written, why, and the space if that may be it.

    Libraries that give no number may have found the disk full.
    """
    line = f"cannot write {error.filename or path}: {reason(error)}"
    if error.errno not in (None, errno.ENOSPC):
        return line
    there = next(p for p in (path, *path.absolute().parents) if p.is_dir())
    return f"{line}; {shutil.disk_usage(there).free / 1e6:.1f} MB are free"


def finish(
    finishing: Iterable[tuple[Callable[[], Any], Path]], error: BaseException | None
) -> None:
    """Call for each file what writes its rest and closes it, also when another one's has failed.

    Raises:
        Failure: a file cannot be written, and the run has not ended with an `error` already.
    """
    failed = None
    for write_rest, path in finishing:
        try:
            write_rest()
        except OSError as failure:
            failed = Failure(cannot_write(failure, path))
    if failed and error is None:
        raise failed


class AppendOnly:
    """A file to which records are appended. Only whole ones stay, and none is lost.

    Records that cannot be written, as on a full disk, are kept and written before later ones.

    Attributes:
        size: bytes of the records that have been written.
        error: why the last ones have not been; None: all have.
    """

    def __init__(self, path: Path, size: int) -> None:
        cut(path, size)
        self.path, self.size, self.synced = path, size, size
        self.error: OSError | None = None
        self._waiting: list[bytes] = []
        self._retry_at = 0.0
        self._descriptor = -1
        self._part = 0  # bytes at the file's end of a record that could not be written whole
        self._is_new = False  # its name is not on the disk yet

    @property
    def is_empty(self) -> bool:
        """Whether there is no record yet."""
        return not (self.size or self._waiting)

    @property
    def is_whole(self) -> bool:
        """Whether all records are where the file's name leads, for as much as its size tells.

        Somebody may have removed, replaced or cut it, or closed the descriptor.
        """
        try:
            return not self.size or os.stat(self.path).st_size >= self.size
        except OSError:
            return False

    def append(self, record: bytes) -> None:
        """Write a record, and what waits; `error` tells whether that could be done."""
        if self._descriptor >= 0 and not self._waiting:  # as nearly always: it is to be quick
            try:  # `contextlib.suppress` takes as long as the rest
                written = os.write(self._descriptor, record)
            except OSError:
                written = 0  # it is tried again, and then told of
            if written == len(record):
                self.size += written
                return
            self._part = written
        self._waiting.append(record)
        if self.error is None or time.monotonic() >= self._retry_at:
            with contextlib.suppress(OSError):
                self._write()

    def sync(self) -> None:
        """Bring all records to the disk, so that they survive a power cut.

        Raises:
            OSError: that cannot be done.
        """
        if self._waiting:
            self._write()
        if self.size > self.synced:
            sync_data(self._descriptor)
            if self._is_new:
                sync(self.path.parent)
                self._is_new = False
            self.synced = self.size

    def finish(self) -> None:
        """Bring all records to the disk, as `sync` does, and close the file."""
        try:
            self.sync()
        finally:
            self.close()

    def close(self) -> None:
        """Close the file, if it was ever opened."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self) -> None:
        data = b"".join(self._waiting)
        try:
            if self._descriptor < 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._is_new = not self.path.exists()
                # At the end, wherever that is: where somebody has cut the file, no gap is left.
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._descriptor = os.open(self.path, flags, 0o666)
            self._remove_part()
            while self._part < len(data):  # the second call tells why the first wrote a part
                self._part += os.write(self._descriptor, data[self._part :])
        except OSError as error:
            error.filename = error.filename or str(self.path)
            self.error, self._retry_at = error, time.monotonic() + RETRY
            with contextlib.suppress(OSError):  # it is tried again before the next write
                self._remove_part()
            raise
        self.size, self._part = self.size + len(data), 0
        self._waiting.clear()
        self.error = None

    def _remove_part(self) -> None:
        if self._part:
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - self._part)
            self._part = 0
