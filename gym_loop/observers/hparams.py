"""A row in TensorBoard's HPARAMS tab for each run: its config and its final evaluation."""

import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gym_loop import files
from gym_loop.config import kept
from gym_loop.loops import BaseLoop
from gym_loop.observers import Observer
from gym_loop.observers.tensorboard import PREFIX, framed
from gym_loop.runs import reading
from gym_loop.sums import as_float

SUFFIX = ".gym_loop.hparams"  # of the files that this observer writes and replaces
METRIC = "evaluation"
# What `tensorboard.plugins.hparams.metadata` has, whose import is a tenth of a short run.
PLUGIN, TAGS = "hparams", ("_hparams_/session_start_info", "_hparams_/session_end_info")
SHOWN = ("agent", "env", "loop", "seed")  # the parts of the config that can change a result


class HParams(Observer):
    """Writes one event file into the run's directory when the run ends.

    It lies in the run's directory itself, so that the tab names the row after the run. The
    hyperparameters are the config's leaves by their dotted keys: numbers and booleans as they are,
    all else as text.
    """

    def __init__(self) -> None:
        self.config: Any = {}
        self.began = time.time()
        self.loop: Any = None

    def open(self, cfg: DictConfig, directory: Path) -> None:
        self.config = kept.view(cfg)

    def begin(self, loop: BaseLoop) -> None:
        self.loop = loop
        files.remove_leftovers(loop.directory, SUFFIX)

    def close(self, error: BaseException | None) -> None:
        """Write the row, unless the run is to go on; replace that of an earlier launch."""
        if self.loop is None or self.loop.stop or isinstance(error, SystemExit | KeyboardInterrupt):
            return
        now = time.time()
        name = f"{PREFIX}{int(now):010d}.{socket.gethostname()}.{os.getpid()}{SUFFIX}"
        directory = self.loop.directory
        try:
            for old in files.named(directory, PREFIX, SUFFIX):
                old.unlink()
            files.write(directory / name, b"".join(map(framed, self._events(now, error))))
        except OSError as failure:
            if error is None:  # otherwise the run's own error is reported
                logging.getLogger(__name__).warning("%s", files.cannot_write(failure, directory))

    def _events(self, now: float, error: BaseException | None) -> list[bytes]:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.types_pb2 import DT_FLOAT
        from tensorboard.plugins.hparams import plugin_data_pb2
        from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS

        start, end = plugin_data_pb2.HParamsPluginData(), plugin_data_pb2.HParamsPluginData()
        start.session_start_info.start_time_secs = self.began
        leaves = reading.flat({key: self.config[key] for key in SHOWN if key in self.config})
        for key, value in leaves.items():
            field = start.session_start_info.hparams[key]
            if isinstance(value, bool):
                field.bool_value = value
            elif isinstance(value, int | float):
                field.number_value = as_float(value)
            else:
                field.string_value = reading.shown(value)
        end.session_end_info.end_time_secs = now
        end.session_end_info.status = STATUS_SUCCESS if error is None else STATUS_FAILURE
        version = Event(wall_time=now, file_version="brain.Event:2")
        event = Event(wall_time=now)
        for tag, data in zip(TAGS, (start, end), strict=True):
            value = event.summary.value.add(tag=tag)
            value.metadata.plugin_data.plugin_name = PLUGIN
            value.metadata.plugin_data.content = data.SerializeToString()
            value.tensor.dtype = DT_FLOAT
            value.tensor.tensor_shape.dim.add(size=0)
        metric = Event(wall_time=now, step=self.loop.steps)
        if self.loop.result is not None:
            metric.summary.value.add(tag=METRIC, simple_value=self.loop.result)
        return [message.SerializeToString() for message in (version, event, metric)]
