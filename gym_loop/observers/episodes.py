"""One CSV row for each episode, appended as it ends."""

import contextlib
import errno
import logging
import os
from pathlib import Path
from typing import Any

from gym_loop.observers import Observer
from gym_loop.runs import files

# Headers and rows. `%a` gives the shortest digits that are read back as the same float.
END = b"steps,length,return,terminated,truncated,seed,seconds\n"
END_ROW = b"%d,%d,%a,%d,%d,%d,%.6f\n"
TABLES = {
    "training": ("episodes.csv", b"episode," + END, b"%d," + END_ROW),
    "evaluation": ("evaluations.csv", b"episode,at_episode," + END, b"%d,%d," + END_ROW),
}


class Episodes(Observer):
    """Writes `episodes.csv` of training and `evaluations.csv` of evaluation.

    `steps` counts training steps, and `seconds` the run's clock, at the episode's end; `return`
    is undiscounted. In `evaluations.csv`, `episode` counts all evaluation episodes of the run and
    `at_episode` the training episodes that went before.
    """

    def __init__(self) -> None:
        self.sizes = dict.fromkeys(TABLES, 0)
        self.tables: dict[str, _Table] = {}

    def begin(self, loop: Any) -> None:
        """Cut the tables back to what has been restored, and go on from there."""
        for name, (file, header, row) in TABLES.items():
            self.tables[name] = _Table(loop.directory / file, header, row, self.sizes[name])

    def end_episode(self, loop: Any, episode: Any) -> None:
        """Append the episode's row."""
        outcome = episode.ret, episode.terminated, episode.truncated
        end = episode.steps, len(episode.rewards), *outcome, episode.seed, episode.seconds
        if episode.training:
            self.tables["training"].append((episode.number, *end))
        else:
            self.tables["evaluation"].append((episode.index, loop.episodes, *end))

    def state_dict(self) -> dict[str, Any]:
        """Return how long the tables are, in bytes."""
        return {name: table.size for name, table in self.tables.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember where to cut the tables."""
        self.sizes |= state

    def close(self, error: BaseException | None) -> None:
        """Close the files."""
        for table in self.tables.values():
            table.close()


class _Table:
    """A CSV file that appears with its first row; a row is in the file when `append` returns.

    When the file cannot be written, one warning is logged and rows are dropped.
    """

    def __init__(self, path: Path, header: bytes, row: bytes, size: int) -> None:
        files.cut(path, size)
        self.path, self.header, self.row, self.size = path, header, row, size
        self.file: Any = None  # unbuffered
        self.broken = False

    def append(self, values: tuple[Any, ...]) -> None:
        """Write one row."""
        if self.broken:
            return
        data = self.row % values
        try:
            if self.file is None:
                self.file = open(self.path, "ab", buffering=0)
                data = data if self.size else self.header + data
            if self.file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            self.size += len(data)
        except OSError as error:
            self.broken = True
            logging.getLogger(__name__).warning(
                "%s; training goes on without it", files.disk_full(error, self.path)
            )

    def close(self) -> None:
        """Close the file, if it was ever opened."""
        if self.file:
            with contextlib.suppress(OSError):
                self.file.close()
