"""One CSV row for each episode, appended as it ends."""

from typing import Any

from gym_loop import files
from gym_loop.mistake import Failure
from gym_loop.observers import Observer
from gym_loop.runs import tables

TABLES = {"training": tables.EPISODES, "evaluation": tables.EVALUATIONS}


class Episodes(Observer):
    """Writes `episodes.csv` of training and `evaluations.csv` of evaluation.

    `steps` counts training steps, and `seconds` the run's clock, at the episode's end; `return`
    is undiscounted. In `evaluations.csv`, `episode` counts all evaluation episodes of the run and
    `at_episode` the training episodes that went before.
    """

    def __init__(self) -> None:
        self.sizes = dict.fromkeys(TABLES, 0)
        self.tables: dict[str, tables.Writer] = {}

    def begin(self, loop: Any) -> None:
        """Cut the tables back to what has been restored, and go on from there."""
        for name, file in TABLES.items():
            self.tables[name] = tables.Writer(loop.directory, file, self.sizes[name])

    def end_episode(self, loop: Any, episode: Any) -> None:
        """Append the episode's row."""
        outcome = episode.ret, episode.terminated, episode.truncated
        end = episode.steps, len(episode.rewards), *outcome, episode.seed, episode.seconds
        if episode.training:
            self.tables["training"].add((episode.number, *end))
        else:
            self.tables["evaluation"].add((episode.index, loop.episodes, *end))

    def state_dict(self) -> dict[str, Any]:
        """Bring the tables to the disk, and return how long they are, in bytes."""
        for table in self.tables.values():
            table.sync()
        return {name: table.size for name, table in self.tables.items()}

    def lacks(self, loop: Any, state: dict[str, Any]) -> str:
        """Name a table that is shorter than `state` says."""
        for name, file in TABLES.items():
            there, size = tables.size(loop.directory, file), state.get(name, 0)
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
