"""A CSV row for each episode, appended when it ends."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gym_loop import files
from gym_loop.mistake import Failure
from gym_loop.observers import Observer

if TYPE_CHECKING:
    from gym_loop.loops import BaseLoop, Episode
    from gym_loop.loops.episode_batch import EpisodeBatch

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

    def begin(self, loop: "BaseLoop") -> None:
        """Cut the tables back to what has been restored, and go on from there."""
        for name, (file, header, row) in TABLES.items():
            self.tables[name] = _Table(loop.directory / file, header, row, self.sizes[name])

    def end_episode(self, loop: "BaseLoop", episode: "Episode") -> None:
        """Append the episode's row."""
        outcome = episode.ret, episode.terminated, episode.truncated
        end = episode.steps, len(episode.rewards), *outcome, episode.seed, episode.seconds
        if episode.training:
            self.tables["training"].add([(episode.number, *end)])
        else:
            self.tables["evaluation"].add([(episode.index, loop.episodes, *end)])

    def end_episodes(self, loop: "BaseLoop", episodes: "EpisodeBatch") -> None:
        """Append the rows of training episodes in one write."""
        columns = (
            episodes.numbers.tolist(),
            [episodes.steps] * len(episodes),
            episodes.lengths.tolist(),
            episodes.returns.tolist(),
            episodes.terminated.tolist(),
            episodes.truncated.tolist(),
            episodes.seeds.tolist(),
            [episodes.seconds] * len(episodes),
        )
        self.tables["training"].add(list(zip(*columns, strict=True)))

    def state_dict(self) -> dict[str, Any]:
        """Bring the tables to the disk, and return how long they are, in bytes."""
        for table in self.tables.values():
            table.sync()
        return {name: table.size for name, table in self.tables.items()}

    def lacks(self, loop: "BaseLoop", state: dict[str, Any]) -> str:
        """Name a table that is shorter than `state` says."""
        for name, (file, *_) in TABLES.items():
            path, size = loop.directory / file, state.get(name, 0)
            there = path.stat().st_size if path.exists() else 0
            if there < size:
                return f"{file} has {there} of {size} bytes"
        return ""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember where to cut the tables."""
        self.sizes |= state

    def close(self, error: BaseException | None) -> None:
        """Bring the tables to the disk and close them.

        Raises:
            Failure: rows cannot be written, and the run would have ended well.
        """
        failed = None
        for table in self.tables.values():
            try:
                table.sync()
            except OSError as failure:
                failed = Failure(files.disk_full(failure, table.path))
            table.close()
        if failed and error is None:
            raise failed


class _Table(files.AppendOnly):
    """A CSV file that appears with its first row; a row is in the file when `add` returns.

    When the file cannot be written, one warning is logged, and rows are kept until it can be.
    """

    def __init__(self, path: Path, header: bytes, row: bytes, size: int) -> None:
        super().__init__(path, size)
        self.header, self.row = header, row
        self.warned = False

    def add(self, rows: list[tuple[Any, ...]]) -> None:
        """Append rows, in one write."""
        data = b"".join([self.row % row for row in rows])
        self.append(self.header + data if self.is_empty else data)
        if self.error and not self.warned:
            logging.getLogger(__name__).warning(
                "%s; training goes on, and rows are kept until they can be written",
                files.disk_full(self.error, self.path),
            )
        self.warned = self.error is not None
