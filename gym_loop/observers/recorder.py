"""Videos of training and evaluation episodes, made while they are played."""

import logging
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from gym_loop.loops import BaseLoop, Episode
from gym_loop.loops.folders import folder_of
from gym_loop.observers import Observer
from gym_loop.streams import get_state, set_state

if TYPE_CHECKING:
    from gym_loop.observers.video import Camera, Frame, VideoError, VideoWriter

log = logging.getLogger(__name__)

MAX_ENCODERS = 2  # at work on earlier episodes while another one is recorded


class Recorder(Observer):
    """Records episodes into `record_dir/episode-000012.mp4`; wraps the environments of those.

    `record` and `record_every` choose training episodes; `eval_record` means all evaluation
    episodes, which are numbered through the run. Frames are streamed to an encoder. The first
    failure is a warning, and training goes on; each later episode is tried again, since the disk
    may have room by then, unless an environment could not draw: MuJoCo ends a process that asks it
    again.
    """

    def __init__(self) -> None:
        self.asked = False  # for a recording
        self.camera: Camera | None = None
        self.writer: VideoWriter | None = None  # of the episode that is being played
        self.closing: deque[VideoWriter] = deque()  # of earlier ones, oldest first
        self.able = True
        self.warned = False

    def listens(self, event: str) -> bool:
        """Return whether there is anything to do: at episodes only if some are to be recorded."""
        return super().listens(event) and (event == "begin" or self.asked)

    def begin(self, loop: BaseLoop) -> None:
        """Remove a killed run's unfinished videos; find the encoder before anything is played."""
        for prefix in ("", "eval_"):
            folder = _folder(loop, prefix)
            if folder.is_dir():
                from gym_loop.observers.video import remove_leftovers

                remove_leftovers(folder)
        self.asked = any(map(loop.parameters.get, ("record", "eval_record")))
        if self.asked:
            from gym_loop.observers.video import VideoError, encoder

            try:
                encoder()
            except VideoError as error:
                self.able = False
                self._warn(error)
        if self.able and loop.parameters.get("eval_record") and loop.parameters["eval_episodes"]:
            self._draw_one(loop)

    def _draw_one(self, loop: BaseLoop) -> None:
        """Draw a frame in another environment: the first evaluation may be hours away."""
        from gym_loop.observers.video import VideoError, render

        streams, env = get_state(), loop.make_eval_env()
        try:
            if env is not loop.env:
                env.reset(seed=0)
                render(env)
        except VideoError as error:
            self.able = False
            self._warn(error)
        finally:
            if env is not loop.env:
                env.close()
            set_state(streams)

    def begin_episode(self, loop: BaseLoop, episode: Episode) -> None:
        """Start to record the episode, if it is to be recorded."""
        prefix = "" if episode.training else "eval_"
        every = loop.parameters.get("record_every", 1) if episode.training else 1
        if not loop.parameters.get(f"{prefix}record") or episode.index % every or not self.able:
            return
        from gym_loop.observers.video import Camera, VideoError, VideoWriter, frames_per_second

        self._settle(MAX_ENCODERS - 1)
        folder = _folder(loop, prefix)
        path = folder / f"episode-{episode.index:06d}.mp4"
        own = path.resolve().is_relative_to(Path(loop.directory).resolve())
        if not own and path.exists():  # or this run's, of the same episode, before it was killed
            self._warn(VideoError(f"{path} exists, and may be another run's: it is left alone"))
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.writer = VideoWriter(path, frames_per_second(episode.env))
            self.writer.is_new = not own  # another run may film this episode now
        except (OSError, ValueError) as error:
            self._warn(VideoError(str(error)))
            return
        self.camera = Camera.watch(episode, self._receive)

    def end_episode(self, loop: BaseLoop, episode: Episode) -> None:
        """End the video; its encoder finishes during the next episodes."""
        self._unwatch()
        if self.writer:
            self.writer.finish()
            self.closing.append(self.writer)
            self.writer = None

    def close(self, error: BaseException | None) -> None:
        """Wait for the encoders; remove the video of an episode that did not end."""
        self._unwatch()
        if self.writer:
            self.writer.abort()
            self.writer = None
        self._settle(0)

    def _receive(self, frame: "Frame | VideoError") -> None:
        from gym_loop.observers.video import VideoError

        assert self.writer is not None
        try:
            if isinstance(frame, VideoError):
                self.able = False
                raise frame
            self.writer.write(frame)
        except VideoError as error:
            self._warn(error)
            self._unwatch()
            self.writer.abort()
            self.writer = None

    def _unwatch(self) -> None:
        if self.camera:
            self.camera.unwatch(self._receive)
            self.camera = None

    def _settle(self, most: int) -> None:
        """Wait for encoders, oldest first, until at most `most` are at work."""
        while self.closing and (self.closing[0].done or len(self.closing) > most):
            from gym_loop.observers.video import VideoError

            try:
                self.closing.popleft().wait()
            except VideoError as error:
                self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self.warned:
            log.warning("%s; training goes on without this recording", error)
        self.warned = True


def _folder(loop: BaseLoop, prefix: str) -> Path:
    return Path(loop.directory, folder_of(loop.parameters, f"{prefix}record_dir"))
