"""What it takes to play any episode again: its reset seed, its actions, its rewards."""

import logging
import math
from pathlib import Path
from typing import Any

from gym_loop import files
from gym_loop.mistake import Failure
from gym_loop.observers import Observer
from gym_loop.runs import traces

FULL = 150_000  # steps in a file: hundreds or thousands of episodes, few megabytes in memory
ARRAY = 4  # steps: what one counts whose action is an array, which takes more memory
BIG = 16  # numbers: an array of that many counts as another step
ALIKE = (1, -1)  # rewards that may be all there is; what equals one is the same in every type
SECONDS = 30.0  # of the run's clock after which an episode can be watched at the latest

log = logging.getLogger(__name__)


class Trace(Observer):
    """Writes `traces/train-000000.npz` and `traces/eval-000000.npz`, see `gym_loop.runs.traces`.

    Episodes are written when a file is full, with each checkpoint, now and then, and
    at the end; until it is full, a file is written again as a whole. So which episodes are in
    which file depends on nothing but the episodes, and on resume the files are cut back to the
    checkpoint by the episodes' numbers. Observations are not stored.
    """

    def __init__(self) -> None:
        self.training: _File | None = None
        self.evaluation: _File | None = None

    def begin(self, loop: Any) -> None:
        """Cut the traces back to what has been restored, and go on from there."""
        directory = loop.directory / traces.FOLDER
        files.remove_leftovers(directory)
        shape = getattr(loop.spaces(loop.env)[1], "shape", None)
        full = FULL // (ARRAY + math.prod(shape) // BIG) if shape else FULL
        training, evaluation = _File(directory, "train", full), _File(directory, "eval", full)
        training.cut(loop.episodes)
        evaluation.cut(loop.evaluated)
        if loop.parameters.get("trace", True):
            self.training, self.evaluation = training, evaluation

    def listens(self, event: str) -> bool:
        """Return whether there is anything to do: at an episode's end, when traces are kept."""
        return super().listens(event) and (event != "end_episode" or self.training is not None)

    def end_episode(self, loop: Any, episode: Any) -> None:
        """Take the episode; what takes longer is left for when the file is written.

        Lists are joined and not kept: memory that is used again at once is fast, and lists that
        live on are work for the garbage collector.
        """
        file = self.training if episode.training else self.evaluation
        if file is None:
            return
        if episode.index != file.next:  # of those played at once, a later one ended first
            file.waiting[episode.index] = episode
            return
        while episode:
            rewards = episode.rewards
            length = len(rewards)
            row = episode.index, episode.seed, length, episode.terminated, episode.truncated
            file.rows += row
            file.actions += episode.actions
            if file.rewards or rewards.count(file.reward) != length:
                file.take(rewards)
            file.steps += length
            file.next += 1
            if file.steps >= file.room or episode.seconds > file.due:
                file.due = episode.seconds + SECONDS
                self._write(file)
            episode = file.waiting and file.waiting.pop(file.next, None)

    def state_dict(self) -> dict[str, Any]:
        """Bring everything before the checkpoint to disk; its counters tell where to cut.

        No episode is waiting then: a checkpoint is written where every one that began has ended.

        Raises:
            OSError: the disk is full. A checkpoint without its traces would be no exact one.
        """
        for file in filter(None, (self.training, self.evaluation)):
            self._write(file, *files.DISK_FULL)
        return {}

    def close(self, error: BaseException | None) -> None:
        """Write what is not on disk yet.

        Raises:
            Failure: the disk is full, and the run would have ended well.
        """
        failed = None
        for file in filter(None, (self.training, self.evaluation)):
            file.warned |= error is not None  # of what the run has failed
            waiting, file.waiting = sorted(file.waiting.items()), {}
            for number, episode in waiting:
                file.next = number
                self.end_episode(None, episode)
            try:
                self._write(file, *files.DISK_FULL)
            except OSError as failure:
                failed = Failure(files.disk_full(failure, file.directory))
        if failed and error is None:
            raise failed

    def _write(self, file: "_File", *raised: int) -> None:
        """Write what there is; log one warning for any error but those with a number of `raised`.

        What a full disk did not take is kept, and tried again with the next episodes; for other
        errors that is so until the file is full.
        """
        try:
            file.write()
            if raised:  # by who counts on what is on the disk
                file.sync()
        except ValueError as error:
            self.training = self.evaluation = None
            traces.remove(file.directory)
            log.warning("%s cannot be kept: there will be no traces to replay", error)
        except OSError as error:
            if error.errno in raised:
                raise
            if not file.warned:
                text = files.disk_full(error, file.directory.parent)
                log.warning("%s; training goes on, and its traces may have gaps", text)
            file.warned = True
            if error.errno not in files.DISK_FULL:
                file.unwritten.clear()


class _File:
    """The file that is being filled with episodes of one kind.

    All is done in the loop's own thread: another one that writes slows it by a fifth, on two
    cores.
    """

    def __init__(self, directory: Path, kind: str, full: int) -> None:
        self.directory, self.kind, self.full = directory, kind, full
        self.arrays: dict[str, traces.Array] | None = None  # of the episodes gathered before
        self.unwritten: dict[str, dict[str, traces.Array]] = {}  # by the names of their files
        self.rows: list[int] = []  # of the others; see `traces.gather`
        self.actions: list[Any] = []
        self.rewards: list[float] = []  # empty as long as every one has been `reward`
        self.reward = math.nan
        self.steps = 0
        self.room = full  # for so many of their steps
        self.due = 0.0  # on the run's clock
        self.warned = self.unsynced = False
        self.next = 0  # the number of the episode to come
        self.waiting: dict[int, Any] = {}  # episodes by number, of which an earlier one runs

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
        except Failure as error:
            log.warning("%s; its episodes cannot be replayed", error)
            path.unlink()
            return
        self.arrays = traces.head(arrays, count)
        lengths = self.arrays["length"]
        if len(lengths) < len(arrays["length"]):
            files.write(path, traces.pack(self.arrays))
        if traces.of_earlier_version(self.arrays):
            self.arrays = None
            return
        if (end := int(self.arrays["episode"][-1]) + 1) < count:
            log.warning("%s ends before episode %d; expected %d of them", path, end, count)
        self.room -= int(lengths.sum())
        self._start_another_when_full()

    def take(self, rewards: list[float]) -> None:
        """Take an episode's rewards, which are not all the `reward` of those before."""
        first = rewards[0]
        if not self.steps and first in ALIKE and rewards.count(first) == len(rewards):
            self.reward = first
            return
        if not self.rewards:
            self.rewards = [self.reward] * self.steps
        self.rewards += rewards

    def write(self) -> None:
        """Replace the file by one with all episodes so far, if there are new ones.

        Raises:
            ValueError: their actions cannot be kept.
            OSError: the file cannot be written; it is as it was.
        """
        if self.rows:
            rewards = self.rewards or traces.uniform_reward(self.reward, self.steps)
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
        """Bring the names of what was written to the disk; the content is there already."""
        if self.unsynced:
            files.sync(self.directory)
            self.unsynced = False

    def _start_another_when_full(self) -> None:
        if self.room <= 0:
            self.arrays, self.room = None, self.full
