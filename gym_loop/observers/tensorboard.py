"""TensorBoard events, written with the protos of the `tensorboard` package."""

import functools
import logging
import os
import re
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google_crc32c import value as crc32c

from gym_loop import files
from gym_loop.loops import BaseLoop, Episode
from gym_loop.loops.episode_batch import EpisodeBatch
from gym_loop.loops.folders import folder_of
from gym_loop.observers import Observer, infos
from gym_loop.runs import manifest
from gym_loop.sums import as_float
from gym_loop.terminal import printable

PREFIX = "events.out.tfevents."
pack = struct.Struct("<I").pack
SECONDS_BETWEEN_WRITES = 0.25  # on the run's clock
SECONDS_BETWEEN_SPEEDS = 1.0
NOTHING: tuple[list[str], list[float]] = ([], [])  # that an info has told

log = logging.getLogger(__name__)


class TensorBoard(Observer):
    """Writes `train/return`, `train/length`, `agent/<metric>`, `eval/return` and `eval/length`.

    And `time/steps_per_second`, that of training, once a second.

    Each of `loop.info_keys` is a curve of training and of evaluation, such as `eval/is_success`.

    Events of quick episodes are written together, four times a second: writing each on its own
    takes three times as long, with cold caches. Until then only steps and values are kept, so that
    the next episode reuses the memory of the last one's steps.

    Values are float32, as TensorBoard keeps them; the x-axis is the run's count of training steps.
    """

    def __init__(self) -> None:
        self.names: tuple[list[str], Sequence[str]] | None = None  # of metrics, infos in `ended`
        self.tags: tuple[str, ...] = ()
        self.ended: list[tuple[int, tuple[float, ...]]] = []  # steps and values, not written yet
        self.due = 0.0  # on the run's clock
        self.timed = 0, 0.0  # steps and seconds from which the next speed is measured
        self.trained_until = 0.0
        self.files: dict[str, EventFile] = {}
        self.state: dict[str, Any] = {}
        self.info_keys: list[str] = []

    def begin(self, loop: BaseLoop) -> None:
        """Cut the event files back to the restored checkpoint."""
        self.info_keys = infos.keys(loop)
        mark = mark_of(loop.directory)
        by_folder: dict[Path, EventFile] = {}  # logdir and eval_logdir may be one
        for name in ("logdir", "eval_logdir"):
            folder = loop.directory / folder_of(loop.parameters, name)
            if folder not in by_folder:
                by_folder[folder] = EventFile(folder, {}, loop.steps, mark)
            self.files[name] = by_folder[folder]
            self.files[name].sizes |= self.state.get(name, {})
        for folder, file in by_folder.items():
            cut_back(folder, file.sizes, loop)
        self.timed, self.trained_until = (loop.steps, loop.seconds), loop.seconds

    def end_episode(self, loop: BaseLoop, episode: Episode) -> None:
        if episode.training:
            told = infos.known(self.info_keys, episode.info) if self.info_keys else NOTHING
            length = len(episode.rewards)
            self._remember(episode.steps, episode.ret, length, episode.metrics, *told)
            self._write_when_due(episode.steps, episode.seconds)

    def end_episodes(self, loop: BaseLoop, episodes: EpisodeBatch) -> None:
        returns, lengths = episodes.returns.tolist(), episodes.lengths.tolist()
        each = zip(returns, lengths, episodes.metrics, episodes.infos, strict=True)
        for ret, length, metrics, info in each:
            told = infos.known(self.info_keys, info) if self.info_keys else NOTHING
            self._remember(episodes.steps, ret, length, metrics, *told)
        self._write_when_due(episodes.steps, episodes.seconds)

    def _remember(
        self,
        steps: int,
        ret: float,
        length: int,
        metrics: dict[str, float],
        told: Sequence[str],
        numbers: Sequence[float],
    ) -> None:
        names = [*metrics], told
        if names != self.names:
            self.write()  # events of other metrics have other tags
            agent = (f"agent/{name}" for name in metrics)
            self.tags = ("train/return", "train/length", *agent, *(f"train/{n}" for n in told))
            self.names = names
        own = map(as_float, metrics.values()) if metrics else ()
        self.ended.append((steps, (ret, length, *own, *numbers)))

    def _write_when_due(self, steps: int, seconds: float) -> None:
        self.trained_until = seconds
        if seconds >= self.due:
            self.due = seconds + SECONDS_BETWEEN_WRITES
            self.write()
            known, began = self.timed
            if seconds - began >= SECONDS_BETWEEN_SPEEDS:
                speed = (steps - known) / (seconds - began)
                self.files["logdir"].add(("time/steps_per_second",), [(steps, (speed,))])
                self.timed = steps, seconds

    def write(self) -> None:
        """Write one event for each training episode that has ended."""
        if self.ended:
            self.files["logdir"].add(self.tags, self.ended)
            self.ended.clear()

    def end_evaluation(self, loop: BaseLoop, episodes: list[Episode]) -> None:
        """Write the mean return and length of an evaluation; its time is none of training's."""
        if episodes:
            count = len(episodes)
            ret = sum(episode.ret for episode in episodes) / count
            length = sum(len(episode.rewards) for episode in episodes) / count
            more = infos.means(self.info_keys, episodes)
            tags = ("eval/return", "eval/length", *(f"eval/{name}" for name in more))
            self.files["eval_logdir"].add(tags, [(loop.steps, (ret, length, *more.values()))])
        steps, began = self.timed
        self.timed = steps, began + loop.seconds - self.trained_until
        self.trained_until = loop.seconds

    def state_dict(self) -> dict[str, Any]:
        """Bring all events to the disk; return, for each directory, the size of each file."""
        self.write()
        return {name: file.state_dict() for name, file in self.files.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember where to cut the event files."""
        self.state = state

    def close(self, error: BaseException | None) -> None:
        """Write what is left.

        Raises:
            Failure: that cannot be written, and the run would have ended well.
        """
        self.write()
        files.finish(((file.finish, file.folder) for file in self.files.values()), error)


def mark_of(run: Path) -> str:
    """Return the end of the names of a run's event files: 16 hexadecimal digits.

    The first 8 are a checksum of the time at which the run first began: a run that was moved or
    copied knows its files by them. The last 8 are a checksum of its directory: they tell a copy's
    files from those of its original when both write to one folder.
    """
    start = (manifest.read(run) or {}).get("start")
    return f"{crc32c(str(start).encode()):08x}{crc32c(os.fsencode(os.path.abspath(run))):08x}"


def cut_back(folder: Path, sizes: dict[str, int], loop: BaseLoop) -> None:
    """Cut a run's event files in `folder` back to `sizes`, and delete those that it began later.

    Files of other programs and runs stay. Outside of the run's directory, those stay, too, that the
    original wrote before this run was copied or forked from it.

    Args:
        folder: it may be shared with other runs and other programs.
        sizes: by the files' names; a file that is shorter, or gone, is warned of.
        loop: of the run.
    """
    there = {path.name: path for path in files.named(folder, PREFIX)}
    if not there and not sizes:
        return
    run = loop.directory
    parent = ((manifest.read(run) or {}).get("parent") or {}).get("directory")
    marks = [mark_of(Path(each)) for each in (run, parent) if each]
    is_inside = folder.resolve().is_relative_to(run.resolve())
    if is_inside:
        own = re.compile(rf".*\.({'|'.join(mark[:8] for mark in marks)})[0-9a-f]{{8}}")
    else:
        own = re.compile(rf".*\.{re.escape(socket.gethostname())}\.\d+\.{marks[0]}")
    for name, path in there.items():
        if name in sizes and (is_inside or own.fullmatch(name)):
            files.cut(path, sizes[name])
        elif own.fullmatch(name):
            path.unlink()
    short = [n for n, s in sizes.items() if n not in there or there[n].stat().st_size < s]
    if short:
        text = "%s: %s is gone or shorter than at the checkpoint; events before step %d are missing"
        log.warning(text, printable(folder), ", ".join(short), loop.steps)


class EventFile:
    """Appends events to a new file.

    One protobuf message is filled again for each event, which halves the cost. A resumed run's
    first event tells a TensorBoard that is open to forget the steps that are played again.

    When the file cannot be written, one warning is logged, and events are kept until it can be.
    """

    def __init__(self, folder: Path, sizes: dict[str, int], steps: int, mark: str) -> None:
        self.folder, self.sizes = folder, sizes  # in bytes, of the files of earlier launches, too
        self.steps, self.mark = steps, mark
        self.file: files.AppendOnly | None = None
        self.event: Any = None
        self.tags: tuple[str, ...] = ()
        self.scalars: list[Any] = []  # of the event, one for each tag
        self.warned = False

    def add(self, tags: tuple[str, ...], events: list[tuple[int, tuple[float, ...]]]) -> None:
        """Append events: each of a step, and a value for each of `tags`."""
        now = time.time()
        records = [] if self.file else self._start(now)
        event = self.event
        event.wall_time = now
        if tags != self.tags:
            event.summary.Clear()
            self.tags, self.scalars = tags, [event.summary.value.add(tag=tag) for tag in tags]
        for event.step, values in events:
            for scalar, value in zip(self.scalars, values, strict=True):
                scalar.simple_value = value
            records.append(framed(event.SerializeToString()))
        assert self.file is not None
        self.file.append(b"".join(records))
        error = self.file.error
        if error and not self.warned:
            text = files.cannot_write(error, self.folder)
            log.warning("%s; training goes on, and events are kept until they can be written", text)
        self.warned = error is not None

    def state_dict(self) -> dict[str, int]:
        """Bring the events to the disk; return the size in bytes of each file.

        Raises:
            OSError: they cannot be written.
        """
        if self.file:
            self.file.sync()
            self.sizes[self.file.path.name] = self.file.size
            self._look()
        return dict(self.sizes)

    def finish(self) -> None:
        """Bring the events to the disk, as `state_dict` does, and close the file."""
        if self.file:
            self.file.finish()
            self._look()

    def _look(self) -> None:
        """Warn if events are gone, and write those to come into another file."""
        if self.file and not self.file.is_whole:
            path = self.file.path
            log.warning(
                "somebody has removed, replaced or cut %s: events are missing", printable(path)
            )
            self.file.close()
            self.file, self.tags = None, ()
            self.sizes.pop(path.name, None)

    def _start(self, now: float) -> list[bytes]:
        """Choose the new file's name; return its first records."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        # Readers take the files in the order of their names.
        stamp = max([int(now), *(int(name.split(".")[3]) + 1 for name in self.sizes)])
        origin = f"{socket.gethostname()}.{os.getpid()}.{self.mark}"
        while (path := self.folder / f"{PREFIX}{stamp:010d}.{origin}").exists():
            stamp += 1  # one process may do much within a second
        self.file, self.event = files.AppendOnly(path, 0), Event()
        first = [Event(wall_time=now, file_version="brain.Event:2")]
        if self.sizes:
            first.append(Event(wall_time=now, step=self.steps + 1))
            first[1].session_log.status = SessionLog.START
        return [framed(event.SerializeToString()) for event in first]


def framed(data: bytes) -> bytes:
    """Frame an event as TFRecord does: length, its checksum, data, its checksum."""
    return b"".join((_head(len(data)), data, _masked(data)))


@functools.cache
def _head(size: int) -> bytes:
    length = struct.pack("<Q", size)
    return length + _masked(length)


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return pack(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
