"""Files that others read appear whole: a temporary name beside them, fsync, rename."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

# In the same directory, so that the rename stays on one filesystem; hidden, so that a glob for
# results does not see it; one prefix, so that leftovers of a kill can be told from results.
TEMPORARY = ".tmp-"


def write(path: Path, data: bytes | str) -> None:
    """Replace the content of `path` at once: a reader sees the old or the new, never a part.

    After a power cut, too; which of the two it is then is for the filesystem to say.

    Raises:
        OSError: the old content is then untouched.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Replace `path` with `content` as indented JSON."""
    write(path, json.dumps(content, indent=1, default=str) + "\n")


def sync(*paths: Path) -> None:
    """Bring files, or the names in directories, to the disk so that they survive a power cut."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(directory: Path) -> None:
    """Delete what a killed writer left half-written in `directory`."""
    for leftover in directory.glob(f"{TEMPORARY}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def remove(directory: Path) -> None:
    """Delete a directory so that nobody ever sees a part of it."""
    doomed = directory.with_name(f"{TEMPORARY}{os.getpid()}-old-{directory.name}")
    directory.rename(doomed)
    shutil.rmtree(doomed)


def cut(path: Path, size: int) -> None:
    """Cut an append-only file back to `size` bytes; it stays absent when it is."""
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def disk_full(error: OSError, path: Path) -> str:
    """Return one line that names what could not be written, and the space that is left."""
    free = shutil.disk_usage(path if path.is_dir() else path.parent).free
    what = f"cannot write {error.filename or path}: {error.strerror or error}"
    return f"{what}; {free / 1e6:.1f} MB are free"
