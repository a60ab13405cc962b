"""The tables of a run, `episodes.csv` and `evaluations.csv`: how they are written and read.

Reading is safe whatever lies in a directory: no link is followed out of it, only regular files are
opened, and no more is read than a run would write.
"""

import errno
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from gym_loop import files

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

EPISODES, EVALUATIONS = "episodes.csv", "evaluations.csv"
CLOCK = "seconds"  # the column that differs each time a run is repeated
# Column -> NumPy's type, and format of a value. `%a` gives the shortest digits that are read back
# as the same float.
FORMATS: dict[str, tuple[str, bytes]] = {
    "episode": ("i8", b"%d"),
    "at_episode": ("i8", b"%d"),
    "steps": ("i8", b"%d"),
    "length": ("i8", b"%d"),
    "return": ("f8", b"%a"),
    "terminated": ("?", b"%d"),
    "truncated": ("?", b"%d"),
    "seed": ("i8", b"%d"),
    CLOCK: ("f8", b"%.6f"),
}
FLOAT = ("f8", b"%a")  # of any other column
COLUMNS = {
    EPISODES: tuple(name for name in FORMATS if name != "at_episode"),
    EVALUATIONS: tuple(FORMATS),
}
COUNTS = {"episode", "at_episode", "steps", CLOCK}  # columns that are never negative or NaN
LARGEST = 1e15  # count of anything, or seconds
LARGEST_TABLE = 1 << 30  # bytes: of a larger table, nothing is read
CHUNK = 1 << 20  # bytes that are read at once; no row is as long

Row = dict[str, float]


class Writer(files.AppendOnly):
    """Appends to a table; the file appears with its first row.

    A row is in the file when `add` returns. When the file cannot be written, one warning is logged,
    and rows are kept until it can be.

    Args:
        directory: the run's.
        file: EPISODES or EVALUATIONS.
        size: bytes that the file is cut back to.
        more: further columns, of floats, at the end.
    """

    def __init__(self, directory: Path, file: str, size: int, more: Sequence[str] = ()) -> None:
        super().__init__(directory / file, size)
        names = *COLUMNS[file], *more
        self.header = ",".join(names).encode() + b"\n"
        self.row = b",".join(FORMATS.get(name, FLOAT)[1] for name in names) + b"\n"
        self.warned = False

    def add(self, rows: list[tuple[Any, ...]]) -> None:
        """Append rows of values, in the order of the table's columns, in one write."""
        data = b"".join([self.row % row for row in rows])
        self.append(data if self.size or not self.is_empty else self.header + data)
        if self.error and not self.warned:
            logging.getLogger(__name__).warning(
                "%s; training goes on, and rows are kept until they can be written",
                files.cannot_write(self.error, self.path),
            )
        self.warned = self.error is not None

    def sync(self) -> None:
        """Bring all rows to the disk.

        Raises:
            OSError: that cannot be done, or rows are gone from there.
        """
        super().sync()
        if not self.is_whole:
            raise OSError(errno.EIO, "somebody has removed, replaced or cut it", str(self.path))


def cells(directory: Path, file: str, strict: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return the names of a table's columns, and its whole rows as text.

    Args:
        directory: the run's.
        file: the table's name.
        strict: whether damage is an error; else, a byte that is not ASCII becomes U+FFFD, and an
            unfinished row at the end is left out.

    Raises:
        OSError: there is no table, or it cannot be read.
        ValueError: it is damaged, and `strict`.
    """
    errors = "strict" if strict else "replace"
    rows = [line.decode("ascii", errors).split(",") for line in lines(directory, file, strict)]
    return (rows[0], rows[1:]) if rows else ([], [])


def columns(
    directory: Path, file: str, names: Sequence[str] | None = None
) -> dict[str, list[float]]:
    """Return whole columns of a table, empty where it lacks one; damaged rows are left out.

    Args:
        directory: the run's.
        file: the table's name.
        names: of the columns; all that the table has if None.

    Raises:
        OSError: there is a table that cannot be read.
    """
    rows: list[tuple[float, ...]] = []
    try:
        table = lines(directory, file)
        header = _names(next(table, b""))
        names = header if names is None else names
        if set(names) <= set(header):
            width, places = len(header), [header.index(name) for name in names]
            for line in table:
                values = line.split(b",")
                if len(values) == width:
                    try:
                        rows.append(tuple([float(values[place]) for place in places]))
                    except ValueError:
                        continue
    except FileNotFoundError:
        pass  # no episode has ended yet
    names = COLUMNS[file] if names is None else names
    found = list(zip(*rows, strict=True)) or [()] * len(names)
    return {name: list(column) for name, column in zip(names, found, strict=True)}


def array(found: dict[str, list[float]]) -> "npt.NDArray[np.void]":
    """Return columns as a structured array, each column in its own type."""
    import numpy as np

    kinds = [(name, FORMATS.get(name, FLOAT)[0]) for name in found]
    table = np.zeros(max(map(len, found.values()), default=0), kinds)
    for name, values in found.items():
        table[name] = values
    return table


class Tail(NamedTuple):
    """The last rows of a table."""

    rows: list[Row]
    cut: bool  # the last row is not whole, and not in `rows`
    damaged: int  # rows that were left out


def tail(
    directory: Path, file: str, names: Sequence[str], size: int, most: int | None = None
) -> Tail:
    """Return the rows in the last `size` bytes of a table, at most the last `most` of them.

    Raises:
        OSError: there is no table, or it cannot be read.
        LookupError: it lacks one of the columns `names`.
    """
    with open_file(directory, file) as table:
        header = _names(table.readline(1000))
        end = table.seek(0, os.SEEK_END)
        table.seek(max(end - size, 0))
        found = table.read().split(b"\n")
    if not set(names) <= set(header):
        raise LookupError(f"{file} has no columns {', '.join(names)}")
    whole = found[1:-1]  # the first line is the header, or cut where we began to read
    whole = whole[-most:] if most else whole
    places, rows = [header.index(name) for name in names], []
    for line in whole:
        values = line.split(b",")
        try:
            if len(values) != len(header):
                continue
            row = {name: float(values[p]) for name, p in zip(names, places, strict=True)}
        except ValueError:
            continue
        if all(0 <= row[name] < LARGEST for name in COUNTS & row.keys()):
            rows.append(row)
    return Tail(rows, bool(found[-1]), len(whole) - len(rows))


def size(directory: Path, file: str) -> int:
    """Return the bytes of a table, 0 where there is none."""
    try:
        return (directory / file).lstat().st_size
    except OSError:
        return 0


def is_row_end(directory: Path, file: str, size: int) -> bool:
    """Return whether a row of a table, which has so many bytes or more, ends after `size` bytes."""
    if size == 0:
        return True
    with open_file(directory, file) as opened:
        opened.seek(size - 1)
        return opened.read(1) == b"\n"


def _names(header: bytes) -> list[str]:
    return header.decode("ascii", "replace").strip().split(",")


def lines(directory: Path, name: str, strict: bool = False) -> Iterator[bytes]:
    """Yield the whole lines of a file in a run's directory.

    Raises:
        OSError: it cannot be read, or is larger than any run's.
        ValueError: the last line is not whole, and `strict`.
    """
    with open_file(directory, name) as file:
        if os.fstat(file.fileno()).st_size > LARGEST_TABLE:
            raise OSError(errno.EFBIG, f"larger than {LARGEST_TABLE:,} bytes", name)
        rest = b""
        while chunk := file.read(CHUNK):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > CHUNK:
                raise OSError(errno.EINVAL, "not a table", name)
        if strict and rest:
            raise ValueError(f"the last row of {name} is cut")


def open_file(directory: Path, name: str | Path) -> BinaryIO:
    """Open a file of a run's directory to read its bytes.

    Raises:
        OSError: there is none; it leads out of the directory, which may itself be a link; or it is
            something else, such as a pipe that would never end.
    """
    path = inside(directory, name)
    if path is None:
        raise OSError(errno.EPERM, "it leads out of the run's directory", str(name))
    flags = os.O_NONBLOCK | os.O_NOFOLLOW
    file = open(path, "rb", opener=lambda name, more: os.open(name, flags | more))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def inside(directory: Path, name: str | Path) -> Path | None:
    """Return the path of `name` in a run's directory, links followed; None if it lies elsewhere."""
    try:
        base, path = os.path.realpath(directory), os.path.realpath(directory / name)
    except (OSError, ValueError):  # a NUL
        return None
    return Path(path) if Path(path).is_relative_to(base) else None
