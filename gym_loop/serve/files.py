"""Reading files of directories that nobody vouches for: no links, no pipes, nothing endless."""

import os
import stat
import zipfile
from pathlib import Path

from gym_loop.runs import manifest, tables
from gym_loop.runs.tables import EPISODES, EVALUATIONS
from gym_loop.runs.traces import FOLDER
from gym_loop.terminal import printable

Stamp = tuple[int, int, int]  # of a file's content: inode, size, time of the last change

# The most bytes of each that are read: far more than a run writes in months.
LIMITS = {
    manifest.NAME: manifest.LARGEST,
    "sweep.json": 64_000_000,
    EPISODES: 500_000_000,
    EVALUATIONS: 500_000_000,
}
MOST_EVENTS = 500_000_000
MOST_UNPACKED = 1_000_000_000  # of a file of traces
LOG_TAIL = 60_000


class RefusedFileError(Exception):
    """A file that is not read; the message says why."""


def stamp(path: str | Path) -> Stamp | None:
    """Return the time, size and number of a file, which tell a change; None where it is absent.

    Raises:
        RefusedFileError: it is a link, no regular file, or larger than any run's.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return None
    name = os.path.basename(path)
    if stat.S_ISLNK(found.st_mode):
        raise RefusedFileError(f"{name} is a link, and links are not followed")
    if not stat.S_ISREG(found.st_mode):
        raise RefusedFileError(f"{name} is not a regular file")
    if found.st_size > LIMITS.get(name, MOST_EVENTS):
        raise RefusedFileError(f"{name} is too large to be shown: {found.st_size:,} bytes")
    return found.st_ino, found.st_size, found.st_mtime_ns


def check_folder(path: Path) -> None:
    """Check that a folder of a run is no link.

    Raises:
        RefusedFileError: it is.
    """
    if path.is_symlink():
        raise RefusedFileError(f"{path.name} is a link, and links are not followed")


def check_traces(run: Path, kind: str) -> None:
    """Check that a run's traces can be loaded without filling the memory.

    Raises:
        RefusedFileError: one is a link, or unpacks to more than any run's.
    """
    folder = run / FOLDER
    check_folder(folder)
    for path in sorted(folder.glob(f"{kind}-*.npz")):
        stamp(path)
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
        except (OSError, ValueError, zipfile.BadZipFile):
            continue  # whoever needs this file says what is wrong with it
        if size > MOST_UNPACKED:
            raise RefusedFileError(f"traces/{path.name} unpacks to {size:,} bytes; it is not read")


def tail(path: Path, size: int = LOG_TAIL) -> str:
    """Return the last lines of a text, at most `size` bytes; what cannot be printed is replaced."""
    if stamp(path) is None:
        return ""
    with tables.open_file(path.parent, path.name) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - size, 0))
        text = file.read(size).decode(errors="replace")
    if end > size:
        text = text.partition("\n")[2]
    return "\n".join(map(printable, text.expandtabs(4).split("\n")))


def size_on_disk(directory: Path, most: int = 20_000) -> tuple[int, int]:
    """Return the bytes and the number of files in a directory; of the first `most` files."""
    total = count = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            count += 1
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
        if count >= most:
            break
    return total, count
