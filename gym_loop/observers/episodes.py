"""A CSV row for each episode, appended when it ends."""

import os
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gym_loop import files
from gym_loop.loops import BaseLoop, Episode
from gym_loop.loops.episode_batch import EpisodeBatch
from gym_loop.mistake import Mistake
from gym_loop.observers import Observer, infos
from gym_loop.runs import tables
from gym_loop.sums import total
from gym_loop.terminal import short


class Episodes(Observer):
    """Writes `episodes.csv` of training and `evaluations.csv` of evaluation.

    `steps` counts training steps, and `seconds` the run's clock, at the episode's end; `return`
    is undiscounted and the environment's own, below its wrappers. Where there are some,
    `agent_return` is what the agent was given. Each of `loop.info_keys` is a column as well.
    In `evaluations.csv`, `episode` counts all evaluation episodes of the run and `at_episode` the
    training episodes that went before.
    """

    def __init__(self) -> None:
        self.sizes = dict.fromkeys(infos.TABLES, 0)
        self.tables: dict[str, tables.Writer] = {}
        self.wrapped = False
        self.info_keys: list[str] = []
        self.missing = infos.MissingKeys([])
        self.loop: Any = None

    def open(self, cfg: DictConfig, directory: Path) -> None:
        """Refuse keys of info that cannot be names of columns, and what is no table.

        A table that is shared with a copy of the run becomes this one's own.

        Raises:
            Mistake: there is one.
        """
        for path in (directory / file for file in infos.TABLES.values()):
            if path.exists() and not path.is_file():
                raise Mistake(f"{short(path)} is no file; move it away, and the run begins anew")
            if path.is_symlink() and not path.exists():
                raise Mistake(f"{short(path)} is a link that leads nowhere: {os.readlink(path)}")
            files.make_own(path)
        taken = [*tables.FORMATS, "agent_return"]
        for key in cfg.loop.get("info_keys") or ():
            is_name = type(key) in (str, int) and re.fullmatch(r"[\w./-]+", str(key))
            if not is_name or str(key) in taken:
                raise Mistake(
                    f"loop.info_keys has {key!r}, which cannot name a column of its own; expected "
                    "letters, digits, '_', '-', '.' and '/', none of the table's columns, and each "
                    "once"
                )
            taken.append(str(key))

    def begin(self, loop: BaseLoop) -> None:
        """Cut the tables back to what has been restored, and go on from there."""
        self.wrapped = hasattr(loop.env, "bare_game") or getattr(loop.env, "wrapped", False)
        self.info_keys = infos.keys(loop)
        self.loop, self.missing = loop, infos.MissingKeys(self.info_keys)
        for name, file in infos.TABLES.items():
            more = (*(["agent_return"] if self.wrapped else []), *self.info_keys)
            self.tables[name] = tables.Writer(loop.directory, file, self.sizes[name], more)

    def end_episode(self, loop: BaseLoop, episode: Episode) -> None:
        # A wrapper may lose the seed: below it, an environment knows what it began with.
        seed = getattr(episode.env, "bare_game", episode).seed if self.wrapped else episode.seed
        outcome = episode.ret, episode.terminated, episode.truncated, seed, episode.seconds
        row: tuple[float, ...] = (episode.steps, len(episode.rewards), *outcome)
        if self.wrapped:
            row += (total(episode.rewards),)
        if self.info_keys:
            if self.missing.unseen:
                self.missing.look(episode.info)
            row += (*infos.values(self.info_keys, episode.info),)
        if episode.training:
            self.tables["training"].add([(episode.number, *row)])
        else:
            self.tables["evaluation"].add([(episode.index, loop.episodes, *row)])

    def end_episodes(self, loop: BaseLoop, episodes: EpisodeBatch) -> None:
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
        if self.info_keys:
            each = [infos.values(self.info_keys, info) for info in episodes.infos]
            if self.missing.unseen:
                list(map(self.missing.look, episodes.infos))
            columns += map(list, zip(*each, strict=True))
        self.tables["training"].add(list(zip(*columns, strict=True)))

    def state_dict(self) -> dict[str, Any]:
        """Bring the tables to the disk, and return how long they are, in bytes."""
        for table in self.tables.values():
            table.sync()
        return {name: table.size for name, table in self.tables.items()}

    def lacks(self, loop: BaseLoop, state: dict[str, Any]) -> str:
        """Name a table that is shorter than `state` says, or has no row's end there."""
        for name, file in infos.TABLES.items():
            there, size = tables.size(loop.directory, file), state.get(name, 0)
            if there < size:
                return f"{file} has {there} of {size} bytes"
            if not tables.is_row_end(loop.directory, file, size):
                return f"{file} has been edited: byte {size}, the last one then, ends no row now"
        return ""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember where to cut the tables."""
        self.sizes |= state

    def close(self, error: BaseException | None) -> None:
        """Bring the tables to the disk and close them.

        Raises:
            Failure: rows cannot be written, and the run would have ended well.
        """
        files.finish(((table.finish, table.path) for table in self.tables.values()), error)
        if self.info_keys:
            self.missing.warn(self.loop.directory, is_whole=error is None and not self.loop.stop)
