"""Video files, written frame by frame with an encoder in a process of its own."""

import contextlib
import errno
import fcntl
import functools
import os
import queue
import secrets
import shutil
import subprocess
import tempfile
import threading
import weakref
from pathlib import Path
from typing import IO, Any

from gym_loop import files
from gym_loop.observers.video.camera import VideoError, checked_frame

QUEUE_BYTES = 16_000_000  # of frames that wait for the encoder, at least one frame

# How the encoder writes each format. Both run in constant memory: x264 without lookahead, and a
# palette of each GIF frame's own, where one palette for all would keep every frame.
# One thread: two cost more processor time and are no faster at these sizes.
FORMATS = {
    ".mp4": "-c:v libx264 -preset ultrafast -crf 20 -threads 1 -pix_fmt yuv420p "
    "-movflags +faststart",  # so that a browser plays it before it has all of it
    ".gif": "",
}
# A GIF counts time in 1/100 s, and browsers slow down anything above 50 frames a second.
GIF_FPS = 50
GIF_PALETTE = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none"


def check_path(path: str | Path) -> Path:
    """Return `path` if a video can be written there.

    Raises:
        ValueError: unknown format, or a directory that does not exist or cannot be written.
    """
    path = Path(path)
    folder = path.parent
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise ValueError(f"unknown video format {path.suffix!r} of {path}; known are {known}")
    if not folder.is_dir():
        raise ValueError(f"cannot write {path}: there is no directory {folder}")
    if path.is_dir():
        raise ValueError(f"cannot write {path}: it is a directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write {path}: no permission to write in {folder}")
    try:  # root has every permission, and cannot write everywhere
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"cannot write {path}: {files.reason(error)}") from None
    return path


def remove_leftovers(directory: Path) -> None:
    """Delete the recordings that killed writers on this host left unfinished.

    The directory may be shared: those in the making stay, and all that has another name.
    """
    for leftover in directory.glob(f"{files.TEMPORARY}*"):
        is_dead = files.writer_lives(leftover) is False and not _is_being_written(leftover)
        if is_dead and leftover.suffix.lower() in FORMATS:
            leftover.unlink(missing_ok=True)


@functools.cache
def encoder() -> str:
    """Return the path of the encoder.

    Raises:
        VideoError: there is none.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        path = str(get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise VideoError(f"no video encoder: pip install imageio-ffmpeg ({error})") from error
    if not shutil.which(path):
        raise VideoError(f"no video encoder: {path} cannot be run (see IMAGEIO_FFMPEG_EXE)")
    return path


class VideoWriter:
    """Writes one video frame by frame, with an encoder that runs in a process of its own.

    The file is complete or absent: it has a hidden name beside `path` until it is whole, and then
    replaces `path` at once, or, with `is_new`, leaves alone what is there. End with `finish` and
    `wait`, `close`, or `abort`; as a context manager it closes, or aborts on an exception. The
    encoder ends when this process does.

    Args:
        path: ends in .mp4 (H.264, plays everywhere) or .gif.
        fps: frames a second; a GIF shows at most 50 and leaves out the others.

    Raises:
        ValueError: see `check_path`.
    """

    def __init__(self, path: str | Path, fps: float = 30.0) -> None:
        self.path, self.fps = check_path(path), float(fps)
        self.is_new = False  # whether it is to leave alone a file that is there by its end
        self._shape: tuple[int, ...] | None = None
        self._error: VideoError | None = None
        self._aborted = False
        self._thread: threading.Thread | None = None

    def write(self, frame: Any) -> None:
        """Take a copy of `frame`, uint8 (height, width, 3); wait when the encoder is behind.

        Raises:
            VideoError: the frame is of another kind or size, or the encoder has failed.
        """
        frame = checked_frame(frame)
        if self._shape is None:
            self._start(frame.shape)
        if frame.shape != self._shape:
            raise VideoError(
                f"cannot write {self.path}: the frame's shape changed from {self._shape} to "
                f"{frame.shape}"
            )
        if self._error:
            raise self._error
        self._queue.put(frame.tobytes())

    def finish(self) -> None:
        """End the frames, and return at once; the encoder finishes in the background."""
        if self._thread:
            self._queue.put(None)

    @property
    def done(self) -> bool:
        """Whether nothing is left to do, after `finish`."""
        return not (self._thread and self._thread.is_alive())

    def wait(self) -> None:
        """Wait, after `finish`, until the file is there. Without a frame, there is none.

        Raises:
            VideoError: the file could not be written.
        """
        if self._thread:
            self._thread.join()
        if self._error:
            raise self._error

    def close(self) -> None:
        """`finish` and `wait`."""
        self.finish()
        self.wait()

    def abort(self) -> None:
        """Stop; leave no file, and an older one at `path` untouched."""
        self._aborted = True
        if self._thread:
            self._process.kill()
            self.finish()
            self._thread.join()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.abort() if kind else self.close()

    def _start(self, shape: tuple[int, ...]) -> None:
        height, width, _ = shape
        unique = f"{secrets.token_hex(4)}-{self.path.name}"
        self._temporary = files.temporary(self.path.with_name(unique))
        command = [encoder(), "-loglevel", "error", "-nostdin", "-y"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-framerate", f"{self.fps:g}", "-i", "pipe:0"]
        suffix = self.path.suffix.lower()
        if suffix == ".gif":
            slower = f"fps={GIF_FPS}," if self.fps > GIF_FPS else ""
            command += ["-filter_complex", f"[0:v]{slower}{GIF_PALETTE}"]
        elif height % 2 or width % 2:
            command += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2"]  # what yuv420p can hold
        command += [*FORMATS[suffix].split(), str(self._temporary.absolute())]
        self._file = -1
        try:
            self._file = os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            _lock(self._file)
            self._complaints: IO[bytes] = tempfile.TemporaryFile()
            self._process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                start_new_session=True,  # Ctrl-C goes to the terminal's whole process group
            )
        except OSError as error:
            if self._file >= 0:
                os.close(self._file)
                with contextlib.suppress(OSError):
                    self._temporary.unlink(missing_ok=True)
            raise _unwritten(self.path, error) from error
        self._shape = shape
        self._queue: queue.Queue[bytes | None] = queue.Queue(
            max(1, QUEUE_BYTES // (height * width * 3))
        )
        # A daemon: a process that ends without `wait` must not hang.
        self._thread = threading.Thread(target=self._run, name=f"video {self.path}", daemon=True)
        _close_inputs_in_children()
        _running.add(self)
        self._thread.start()

    def _run(self) -> None:
        """Feed the encoder; then give the file its name, or keep the error for the caller."""
        data: bytes | None = b""
        try:
            with self._input:
                while (data := self._queue.get()) is not None:
                    view = memoryview(data)
                    while view:
                        view = view[self._input.write(view) :]
            if self._process.wait():
                raise self._failure()
            if not self._aborted:
                os.fsync(self._file)
                self._give_name()
                files.sync(self.path.parent)
        except BrokenPipeError:
            self._process.wait()
            self._error = self._failure()
        except OSError as error:
            self._error = _unwritten(self.path, error)
        except VideoError as error:
            self._error = error
        finally:
            _running.discard(self)
            self._process.kill()
            self._process.wait()
            with contextlib.suppress(OSError):  # the next recording there removes it
                self._temporary.unlink(missing_ok=True)
            os.close(self._file)
            self._complaints.close()
            while data is not None:  # `write` may be waiting for room
                data = self._queue.get()

    def _give_name(self) -> None:
        if self.is_new:
            try:
                os.link(self._temporary, self.path)  # the temporary name is removed at the end
                return
            except FileExistsError as error:
                why = f"{self.path} exists, and may be another run's: it is left alone"
                raise VideoError(why) from error
            except OSError:
                pass  # a filesystem without links
        os.replace(self._temporary, self.path)

    @property
    def _input(self) -> Any:
        return self._process.stdin

    def _failure(self) -> VideoError:
        """Return why the encoder ended: the first line that it wrote, or how it was killed."""
        self._complaints.seek(0)
        complaints = self._complaints.read(10_000).decode(errors="replace")
        for number in (errno.ENOSPC, *files.ADVICE):
            if os.strerror(number) in complaints:
                return _unwritten(self.path, OSError(number, os.strerror(number)))
        code = self._process.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        first = complaints.strip().partition("\n")[0]
        return VideoError(f"cannot write {self.path}: the encoder {how}{first and ': '}{first}")


def _unwritten(path: Path, error: OSError) -> VideoError:
    """Return the error that `path` could not be written, with its final name."""
    plain = OSError(error.errno, error.strerror)
    try:
        return VideoError(files.cannot_write(plain, path))
    except OSError:  # there is no directory any more whose free space could be told
        return VideoError(f"cannot write {path}: {files.reason(error)}")


# Writers whose encoder runs. A forked child must let go of the encoder's input, or the encoder
# would wait for the child's frames too, for as long as the child lives.
_running: weakref.WeakSet[VideoWriter] = weakref.WeakSet()


@functools.cache
def _close_inputs_in_children() -> None:
    """Have forked children of this process close the inputs of running encoders. Done once."""

    def close() -> None:
        for writer in list(_running):
            writer._input.close()
            os.close(writer._file)
        _running.clear()

    os.register_at_fork(after_in_child=close)


def _lock(descriptor: int) -> None:
    """Mark a file as being written, for as long as this process lives and has it open."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # a filesystem without locks: an unfinished file there looks like a leftover


def _is_being_written(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            _lock(file.fileno())
    except BlockingIOError:
        return True
    except OSError:
        pass  # gone, or not to be opened: then nobody is at it
    return False
