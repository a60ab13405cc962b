"""A CSV row for each episode, appended when it ends."""

from typing import TYPE_CHECKING, Any

from gym_loop import files
from gym_loop.loops.returns import total
from gym_loop.mistake import Failure
from gym_loop.observers import Observer
from gym_loop.runs import tables

if TYPE_CHECKING:
    from gym_loop.loops import BaseLoop, Episode
    from gym_loop.loops.episode_batch import EpisodeBatch

TABLES = {"training": tables.EPISODES, "evaluation": tables.EVALUATIONS}


class Episodes(Observer):
    """Writes `episodes.csv` of training and `evaluations.csv` of evaluation.

    `steps` counts training steps, and `seconds` the run's clock, at the episode's end; `return`
    is undiscounted and the environment's own, below its wrappers; where there are some,
    `agent_return` is what the agent was given. In `evaluations.csv`, `episode` counts all
    evaluation episodes of the run and `at_episode` the training episodes that went before.
    """

    def __init__(self) -> None:
        self.sizes = dict.fromkeys(TABLES, 0)
        self.tables: dict[str, tables.Writer] = {}
        self.wrapped = False

    def begin(self, loop: "BaseLoop") -> None:
        """Cut the tables back to what has been restored, and go on from there."""
        self.wrapped = hasattr(loop.env, "bare_game") or getattr(loop.env, "wrapped", False)
        for name, file in TABLES.items():
            more = ("agent_return",) if self.wrapped else ()
            self.tables[name] = tables.Writer(loop.directory, file, self.sizes[name], more)

    def end_episode(self, loop: "BaseLoop", episode: "Episode") -> None:
        """Append the episode's row."""
        outcome = episode.ret, episode.terminated, episode.truncated
        more = [total(episode.rewards)] if self.wrapped else []
        end = episode.steps, len(episode.rewards), *outcome, episode.seed, episode.seconds, *more
        if episode.training:
            self.tables["training"].add([(episode.number, *end)])
        else:
            self.tables["evaluation"].add([(episode.index, loop.episodes, *end)])

    def end_episodes(self, loop: "BaseLoop", episodes: "EpisodeBatch") -> None:
        """Append the rows of training episodes in one write."""
        columns: list[list[Any]] = [
            episodes.numbers.tolist(),
            [episodes.steps] * len(episodes),
            episodes.lengths.tolist(),
            episodes.returns.tolist(),
            episodes.terminated.tolist(),
            episodes.truncated.tolist(),
            episodes.seeds.tolist(),
            [episodes.seconds] * len(episodes),
            *([episodes.agent_returns.tolist()] if self.wrapped else []),
        ]
        self.tables["training"].add(list(zip(*columns, strict=True)))

    def state_dict(self) -> dict[str, Any]:
        """Bring the tables to the disk, and return how long they are, in bytes."""
        for table in self.tables.values():
            table.sync()
        return {name: table.size for name, table in self.tables.items()}

    def lacks(self, loop: "BaseLoop", state: dict[str, Any]) -> str:
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
