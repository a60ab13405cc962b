"""Traces: each episode's reset seed, actions and rewards, from which it can be played again."""

import functools
import logging
import math
import os
from pathlib import Path
from typing import Any

from gym_loop import files
from gym_loop.loops import BaseLoop, Episode
from gym_loop.loops.episode_batch import EpisodeBatch
from gym_loop.mistake import Failure
from gym_loop.observers import Observer
from gym_loop.runs import traces
from gym_loop.terminal import printable

STEPS_PER_FILE = 150_000  # hundreds or thousands of episodes, a few megabytes in memory
# A step whose action is an array takes the room of STEPS_PER_ARRAY steps in a file, and of another
# one for each NUMBERS_PER_STEP numbers in it.
STEPS_PER_ARRAY, NUMBERS_PER_STEP = 4, 16
UNIFORM_REWARDS = (1, -1)  # kept as one number while all are equal; the same number in every dtype
# On the run's clock, so that a running run can be watched. A short one writes each file once.
SECONDS_TO_FIRST_WRITE, SECONDS_BETWEEN_WRITES = 1.0, 30.0

Row = tuple[int, ...]  # the values of `traces.PER_EPISODE`

log = logging.getLogger(__name__)


class Trace(Observer):
    """Writes `traces/train-000000.npz` and `traces/eval-000000.npz`, see `gym_loop.runs.traces`.

    A file is written when it is full, with each checkpoint, after a second, every 30 seconds and at
    the end; until it is full it is replaced as a whole. Which episodes are in which file depends on
    the episodes alone, and on resume the files are cut back to the checkpoint by the episodes'
    numbers.
    Observations are not stored.
    """

    def __init__(self) -> None:
        self.training: _File | None = None
        self.evaluation: _File | None = None
        self.wrapped = False

    def begin(self, loop: BaseLoop) -> None:
        """Cut the traces back to the restored checkpoint, and go on from there."""
        self.wrapped = hasattr(loop.env, "bare_game")
        directory = loop.directory / traces.FOLDER
        files.remove_leftovers(directory)
        shape = getattr(loop.spaces(loop.env)[1], "shape", None)
        full = STEPS_PER_FILE
        if shape:
            full //= STEPS_PER_ARRAY + math.prod(shape) // NUMBERS_PER_STEP
        due = loop.seconds + SECONDS_TO_FIRST_WRITE
        training, evaluation = (_File(directory, kind, full, due) for kind in ("train", "eval"))
        training.cut(loop.episodes)
        evaluation.cut(loop.evaluated)
        if loop.parameters.get("trace", True):
            self.training, self.evaluation = training, evaluation

    def listens(self, event: str) -> bool:
        """Return whether there is anything to do: at an episode's end, when traces are kept."""
        at_end = event in ("end_episode", "end_episodes")
        return super().listens(event) and (not at_end or self.training is not None)

    def end_episode(self, loop: BaseLoop, episode: Episode) -> None:
        """Append the episode's actions and rewards to those of its file; write now and then.

        The episode's lists are copied and not kept: the next episode reuses their memory, and the
        garbage collector has less to visit.
        """
        file = self.training if episode.training else self.evaluation
        if file:
            game: Any = episode
            if self.wrapped or not episode.training:  # what the bare environment played
                game = getattr(episode.env, "bare_game", episode)
            actions, rewards, terminated = game.actions, game.rewards, game.terminated
            truncated = game.truncated or not terminated
            row = episode.index, game.seed, len(rewards), terminated, truncated
            self._add(file, row, actions, rewards, episode.seconds)

    def end_episodes(self, loop: BaseLoop, episodes: EpisodeBatch) -> None:
        """Append training episodes of `loop=vector`."""
        numbers, seeds = episodes.numbers.tolist(), episodes.seeds.tolist()
        terminated, truncated = episodes.terminated.tolist(), episodes.truncated.tolist()
        games = episodes.games  # what the bare environments played
        played = [g.actions for g in games] if games else episodes.action_lists()
        gave = [g.rewards for g in games] if games else episodes.rewards
        if games:
            terminated = [g.terminated for g in games]
            truncated = [g.truncated or not g.terminated for g in games]
        for i, (actions, rewards) in enumerate(zip(played, gave, strict=True)):
            if file := self.training:  # until actions are of a kind that cannot be kept
                row = numbers[i], seeds[i], len(rewards), terminated[i], truncated[i]
                self._add(file, row, actions, rewards, episodes.seconds)

    def _add(
        self, file: "_File", row: Row, actions: list[Any], rewards: list[float], seconds: float
    ) -> None:
        """Append an episode, and those that waited for it; or let it wait for an earlier one."""
        if row[0] != file.next:  # of parallel episodes, a later one ended first
            file.waiting[row[0]] = row, actions, rewards
            return
        while True:
            file.rows += row
            file.actions += actions
            if rewards and (file.rewards or rewards.count(file.uniform_reward) != len(rewards)):
                file.take(rewards)
            file.steps += len(rewards)
            file.next += 1
            if file.steps >= file.room or seconds > file.due:
                file.due = seconds + SECONDS_BETWEEN_WRITES
                self._write(file)
            if file.next not in file.waiting:
                return
            row, actions, rewards = file.waiting.pop(file.next)

    def state_dict(self) -> dict[str, Any]:
        """Write everything before the checkpoint to the disk; its counters say where to cut.

        No episode is waiting: checkpoints are written when no episode runs.

        Raises:
            OSError: they cannot be written. A checkpoint without its traces would be no exact one.
        """
        for file in filter(None, (self.training, self.evaluation)):
            self._write(file, raises=True)
        return {}

    def close(self, error: BaseException | None) -> None:
        """Write what is not on the disk yet.

        Raises:
            Failure: that cannot be written, and the run would have ended well.
        """
        open_files = [*filter(None, (self.training, self.evaluation))]
        for file in open_files:
            file.warned |= error is not None  # the run's own error has been reported
            waiting, file.waiting = sorted(file.waiting.items()), {}
            for number, played in waiting:
                file.next = number
                self._add(file, *played, file.due)
        write = functools.partial(self._write, raises=True)
        files.finish(
            ((functools.partial(write, each), each.directory) for each in open_files), error
        )

    def _write(self, file: "_File", raises: bool = False) -> None:
        """Write the episodes so far; raise an error, or log the first one.

        What could not be written is kept, and tried again with the next episodes.
        """
        try:
            file.write()
            if raises:  # a checkpoint, which counts on what is on the disk
                file.sync()
        except ValueError as error:
            self.training = self.evaluation = None
            traces.remove(file.directory)
            log.warning("%s cannot be kept: there will be no traces to replay", error)
        except OSError as error:
            if raises:
                raise
            if not file.warned:
                text = files.cannot_write(error, file.directory.parent)
                log.warning(
                    "%s; training goes on, and traces are kept until they can be written", text
                )
            file.warned = True


class _File:
    """The file that is being filled with episodes of one kind.

    It is written in the loop's own thread: a second thread slowed the loop by a fifth on two cores.
    """

    def __init__(self, directory: Path, kind: str, full: int, due: float) -> None:
        self.directory, self.kind, self.full = directory, kind, full
        self.arrays: dict[str, traces.Array] | None = None  # of the episodes gathered before
        self.unwritten: dict[str, dict[str, traces.Array]] = {}  # by the names of their files
        self.rows: list[int] = []  # of episodes not gathered yet; see `traces.gather`
        self.actions: list[Any] = []
        self.rewards: list[float] = []  # empty while each has been `uniform_reward`
        self.uniform_reward = math.nan
        self.steps = 0  # of episodes not gathered yet
        self.room = full  # steps that the file still takes
        self.due = due  # when it is written next, on the run's clock
        self.warned = self.unsynced = False
        self.next = 0  # the number of the episode to come
        # Ended while an earlier one runs, by number: row, actions, rewards.
        self.waiting: dict[int, tuple[Row, list[Any], list[float]]] = {}

    def cut(self, count: int) -> None:
        """Forget the episodes from number `count` on, and go on filling the file before them."""
        self.next = count
        known = traces.files(self.directory, self.kind)
        while known and known[-1][0] >= count:
            known.pop()[1].unlink()
        if not known:
            return
        path = known[-1][1]
        try:
            arrays = traces.load(path)
        except OSError as error:  # it may be whole, and another launch may read it
            raise Failure(f"cannot read {path}: {error.strerror or error}") from error
        except Failure as error:
            aside = path.with_name(f"{path.name}.damaged")
            log.warning("%s; its episodes cannot be replayed (now %s)", error, aside.name)
            os.replace(path, aside)
            return
        self.arrays = traces.head(arrays, count)
        lengths = self.arrays["length"]
        if len(lengths) < len(arrays["length"]):
            files.write(path, traces.pack(self.arrays))
        if traces.of_earlier_version(self.arrays):
            self.arrays = None
            return
        if (end := int(self.arrays["episode"][-1]) + 1) < count:
            log.warning(
                "%s ends before episode %d; expected %d of them", printable(path), end, count
            )
        self.room -= int(lengths.sum())
        self._start_another_when_full()

    def take(self, rewards: list[float]) -> None:
        """Append an episode's rewards, not all of which are the file's `uniform_reward`."""
        first = rewards[0]
        if not self.steps and first in UNIFORM_REWARDS and rewards.count(first) == len(rewards):
            self.uniform_reward = first
            return
        if not self.rewards:
            self.rewards = [self.uniform_reward] * self.steps
        self.rewards += rewards

    def write(self) -> None:
        """Replace the file by one with all episodes so far, if there are new ones.

        Raises:
            ValueError: their actions cannot be kept.
            OSError: the file cannot be written; it is as it was.
        """
        if self.rows:
            rewards = self.rewards or traces.uniform_reward(self.uniform_reward, self.steps)
            arrays = traces.gather(self.rows, self.actions, rewards)
            if self.arrays is not None:
                arrays = traces.join(self.arrays, arrays)
            self.room -= self.steps
            self.arrays, self.rows, self.actions, self.rewards = arrays, [], [], []
            self.steps = 0
            self.unwritten[traces.name(self.kind, int(arrays["episode"][0]))] = arrays
            self._start_another_when_full()
        for name in list(self.unwritten):
            self.directory.mkdir(exist_ok=True)
            files.write(self.directory / name, traces.pack(self.unwritten[name]))
            del self.unwritten[name]
            self.unsynced = True

    def sync(self) -> None:
        """Sync the directory, so that the names of written files are on the disk; contents are."""
        if self.unsynced:
            files.sync(self.directory)
            self.unsynced = False

    def _start_another_when_full(self) -> None:
        if self.room <= 0:
            self.arrays, self.room = None, self.full
