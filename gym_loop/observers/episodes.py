"""One CSV row for each episode, appended as it ends."""

import contextlib
import logging
from pathlib import Path
from typing import Any, BinaryIO

from gym_loop.observers import Observer
from gym_loop.runs import files

TRAINING = "episode,steps,length,return,terminated,truncated,seed,seconds\n"
EVALUATION = "episode,at_episode,steps,length,return,terminated,truncated,seed,seconds\n"


class Episodes(Observer):
    """Writes `episodes.csv` of training and `evaluations.csv` of evaluation.

    `steps` counts training steps, and `seconds` the run's clock, at the episode's end; `return`
    is undiscounted. In `evaluations.csv`, `episode` counts all evaluation episodes of the run and
    `at_episode` the training episodes that went before.
    """

    def __init__(self) -> None:
        self.sizes = {"training": 0, "evaluation": 0}
        self.tables: dict[str, _Table] = {}

    def begin(self, loop: Any) -> None:
        """Cut the tables back to what has been restored, and go on from there."""
        self.tables = {
            "training": _Table(loop.directory / "episodes.csv", TRAINING, self.sizes["training"]),
            "evaluation": _Table(
                loop.directory / "evaluations.csv", EVALUATION, self.sizes["evaluation"]
            ),
        }

    def end_episode(self, loop: Any, episode: Any) -> None:
        """Append the episode's row."""
        tail = (
            f"{episode.steps},{episode.length},{episode.ret!r},{episode.terminated:d},"
            f"{episode.truncated:d},{episode.seed},{episode.seconds:.6f}\n"
        )
        if episode.training:
            self.tables["training"].append(f"{episode.number},{tail}")
        else:
            self.tables["evaluation"].append(f"{episode.index},{loop.episodes},{tail}")

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

    def __init__(self, path: Path, header: str, size: int) -> None:
        files.cut(path, size)
        self.path, self.header, self.size = path, header, size
        self.file: BinaryIO | None = None
        self.broken = False

    def append(self, row: str) -> None:
        """Write one row."""
        if self.broken:
            return
        try:
            if self.file is None:
                self.file = open(self.path, "ab")
            data = (row if self.size else self.header + row).encode("ascii")
            self.file.write(data)
            self.file.flush()
            self.size += len(data)
        except OSError as error:
            self.broken = True
            logging.getLogger(__name__).warning(
                "%s; training goes on without it", files.disk_full(error, self.path)
            )

    def close(self) -> None:
        """Close the file, if it was ever opened."""
        if self.file:
            with contextlib.suppress(OSError):  # a row that could not be written was warned of
                self.file.close()
