"""TensorBoard events, written with the protos of the `tensorboard` package."""

import contextlib
import functools
import logging
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any, BinaryIO

from google_crc32c import value as crc32c

from gym_loop.observers import Observer
from gym_loop.runs import files

PREFIX = "events.out.tfevents."
pack = struct.Struct("<I").pack
PAUSE = 0.05  # seconds of the run's clock between two writes


class TensorBoard(Observer):
    """Writes `train/return`, `train/length`, `agent/<metric>` and `eval/return` over steps.

    Episodes that follow each other quickly are written together: what is done once in a while is
    done with cold caches, at a third of its speed. What is kept of them until then is small, so
    that the memory of their steps is free, and warm, for the next one's.
    """

    def __init__(self) -> None:
        self.names: list[str] | None = None  # of the agent's metrics, as `ended` has them
        self.tags: tuple[str, ...] = ()
        self.ended: list[tuple[int, tuple[float, ...]]] = []  # steps and values, not written yet
        self.due = 0.0  # on the run's clock
        self.files: dict[str, EventFile] = {}
        self.state: dict[str, Any] = {}

    def begin(self, loop: Any) -> None:
        """Cut the events back to what has been restored."""
        for name in ("logdir", "eval_logdir"):
            folder = loop.directory / loop.parameters.get(name, f"./{name}")
            sizes = self.state.get(name, {})
            self.files[name] = EventFile(folder, sizes, loop.steps)

    def end_episode(self, loop: Any, episode: Any) -> None:
        """Remember a training episode, and write when it is time to."""
        if episode.training:
            metrics = episode.metrics
            if self.names is None or [*metrics] != self.names:
                self.write()
                self.names = [*metrics]
                self.tags = ("train/return", "train/length", *(f"agent/{n}" for n in metrics))
            values = episode.ret, len(episode.rewards), *map(float, metrics.values())
            self.ended.append((episode.steps, values))
            if episode.seconds >= self.due:
                self.due = episode.seconds + PAUSE
                self.write()

    def write(self) -> None:
        """Write one event for each training episode that has ended."""
        if self.ended:
            self.files["logdir"].add(self.tags, self.ended)
            self.ended.clear()

    def end_evaluation(self, loop: Any, episodes: list[Any]) -> None:
        """Write the mean return of an evaluation."""
        if episodes:
            mean = sum(episode.ret for episode in episodes) / len(episodes)
            self.files["eval_logdir"].add(("eval/return",), [(loop.steps, (mean,))])

    def state_dict(self) -> dict[str, Any]:
        """Return, for each directory, the size of each event file."""
        self.write()
        return {name: file.state_dict() for name, file in self.files.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember where to cut the event files."""
        self.state = state

    def close(self, error: BaseException | None) -> None:
        """Write what is left."""
        self.write()
        for file in self.files.values():
            file.close()


class EventFile:
    """An append-only file of events. One message is filled again and again: that is half the cost.

    A resumed run cuts its old files back and starts a new one, whose first event tells a
    TensorBoard that is watching to forget the steps that are played again.

    When it cannot be written, one warning is logged and events are dropped.
    """

    def __init__(self, folder: Path, sizes: dict[str, int], steps: int) -> None:
        self.folder, self.sizes, self.steps = folder, sizes, steps
        for path in folder.glob(f"{PREFIX}*"):
            size = sizes.get(path.name, 0)
            files.cut(path, size) if size else path.unlink()
        self.file: BinaryIO | None = None
        self.event: Any = None
        self.tags: tuple[str, ...] = ()
        self.scalars: list[Any] = []  # of the event, one for each tag
        self.broken = False

    def add(self, tags: tuple[str, ...], events: list[tuple[int, tuple[float, ...]]]) -> None:
        """Append events: each of a step, and a value for each of `tags`."""
        now = time.time()
        if self.broken or (self.file is None and not self._start(now)):
            return
        event, records = self.event, []
        event.wall_time = now
        if tags != self.tags:
            event.summary.Clear()
            self.tags, self.scalars = tags, [event.summary.value.add(tag=tag) for tag in tags]
        for event.step, values in events:
            for scalar, value in zip(self.scalars, values, strict=True):
                scalar.simple_value = value
            records.append(framed(event.SerializeToString()))
        self._write(b"".join(records))

    def state_dict(self) -> dict[str, int]:
        """Return the size in bytes of each event file."""
        return dict(self.sizes)

    def close(self) -> None:
        """Close the file, if it was ever opened."""
        if self.file:
            with contextlib.suppress(OSError):  # what could not be written was warned of
                self.file.close()

    def _start(self, now: float) -> bool:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        old = sorted(self.sizes)
        # Readers take the files in the order of their names.
        stamp = max(int(now), int(old[-1].split(".")[3]) + 1 if old else 0)
        name = f"{PREFIX}{stamp:010d}.{socket.gethostname()}.{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = open(self.folder / name, "ab")
        except OSError as error:
            self._break(error)
            return False
        self.name, self.sizes[name] = name, 0
        self._write(framed(Event(wall_time=now, file_version="brain.Event:2").SerializeToString()))
        if old:
            start = Event(wall_time=now, step=self.steps + 1)
            start.session_log.status = SessionLog.START
            self._write(framed(start.SerializeToString()))
        self.event = Event()
        return True

    def _write(self, records: bytes) -> None:
        try:
            self.file.write(records)  # type: ignore[union-attr]
            self.file.flush()  # type: ignore[union-attr]
            self.sizes[self.name] += len(records)
        except OSError as error:
            self._break(error)

    def _break(self, error: OSError) -> None:
        self.broken = True
        logging.getLogger(__name__).warning(
            "%s; training goes on without events", files.disk_full(error, self.folder)
        )


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
