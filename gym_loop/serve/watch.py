"""Films of episodes: played again on demand, in a process of its own, kept outside of the run.

Playing runs the code of the run's environment, so that nothing is played in a directory before
somebody has said that it is to be trusted.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gym_loop
from gym_loop import files
from gym_loop.reports import films
from gym_loop.runs.traces import Trace
from gym_loop.serve.library import Entry
from gym_loop.terminal import printable

MOST_BYTES = 1_000_000_000  # of films
AT_ONCE = 2  # processes that play
LIMIT = 900.0  # seconds, after which a process that plays is ended
KEY = re.compile(r"[0-9a-f]{32}")


def cache_directory() -> Path:
    """Return where films are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "gym-loop" / "films"


@dataclass
class Film:
    """A film in the making, or one that could not be made."""

    began: float = field(default_factory=time.monotonic)
    process: "subprocess.Popen[str] | None" = None
    error: str = ""


class Cinema:
    """Makes films, and keeps the latest.

    A film is `KEY.mp4`; `KEY.json` beside it says how the playing compared with the recording.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trusted: set[Path] = set()
        self._films: dict[str, Film] = {}
        self._lock = threading.Lock()
        self._turn = threading.Semaphore(AT_ONCE)
        self._closed = False

    def key(self, entry: Entry, kind: str, trace: Trace) -> str:
        """Return the key of a film: a digest of run, config, start and recording."""
        digest = hashlib.blake2s(digest_size=16)
        run = os.path.realpath(entry.directory), entry.row.get("start"), entry.config
        digest.update(repr((*run, kind, trace.episode, trace.seed)).encode(errors="replace"))
        digest.update(trace.rewards.tobytes())
        digest.update(repr(trace.actions).encode())
        return digest.hexdigest()

    def ask(self, entry: Entry, kind: str, trace: Trace) -> dict[str, Any]:
        """Return where a film stands: `trust` is lacking, `playing`, `ready` or `failed`.

        Starts to make it if nobody has.
        """
        if entry.root not in self.trusted:
            return {"state": "trust", "folder": printable(entry.root)}
        key = self.key(entry, kind, trace)
        with self._lock:
            if key not in self._films and self._known(key) is None:
                film = self._films[key] = Film()
                threading.Thread(
                    target=self._make, args=(film, key, entry, kind, trace.episode), daemon=True
                ).start()
        return self.state(key)

    def state(self, key: str) -> dict[str, Any]:
        """Return how far a film is, by its key."""
        with self._lock:
            film = self._films.get(key)
            if film is None:
                known = self._known(key) if KEY.fullmatch(key) else None
                if known is None:
                    return {"state": "failed", "reason": "no such film; press again"}
                return {"state": "ready", "film": key, **known}
            if film.error:
                del self._films[key]  # who presses again is to have another try
                return {"state": "failed", "reason": film.error}
            seconds = round(time.monotonic() - film.began, 1)
            return {"state": "playing", "film": key, "seconds": seconds}

    def path(self, key: str) -> Path | None:
        """Return the file of a film."""
        if not KEY.fullmatch(key):
            return None
        path = self.directory / f"{key}.mp4"
        return path if path.is_file() else None

    def close(self) -> None:
        """End all processes that still play."""
        with self._lock:
            self._closed = True
            for film in self._films.values():
                _end(film.process)

    def _known(self, key: str) -> dict[str, Any] | None:
        """Return what is known of a finished film, and note that it was asked for."""
        film, note = (self.directory / f"{key}{suffix}" for suffix in (".mp4", ".json"))
        try:
            difference = json.loads(note.read_text()).get("difference")
            os.utime(film)
        except (OSError, ValueError, AttributeError, RecursionError):  # it may be damaged
            return None
        return {"difference": str(difference or "")}

    def _make(self, film: Film, key: str, entry: Entry, kind: str, episode: int) -> None:
        with self._turn:
            try:
                film.error = self._play(film, key, entry, kind, episode)
            except OSError as error:
                film.error = f"cannot keep the film: {files.reason(error)}"
        if not film.error:
            with self._lock:
                self._films.pop(key, None)
            self._forget()

    def _play(self, film: Film, key: str, entry: Entry, kind: str, episode: int) -> str:
        """Make a film; return why there is none, or nothing."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Python looks for modules where it is started: in a directory with nothing in it.
        with tempfile.TemporaryDirectory(prefix=".playing-", dir=self.directory) as empty:
            video = Path(empty, "film.mp4")
            command = films.command(str(entry.directory), str(episode), video)
            command += ["--eval"] if kind == "eval" else []
            package = str(Path(gym_loop.__file__).parents[1])
            paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
            with self._lock:
                if self._closed:
                    return "the server is being ended"
                film.process = subprocess.Popen(
                    command,
                    cwd=empty,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
            try:
                out, err = film.process.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                _end(film.process)
                film.process.communicate()
                return f"the episode was not played within {LIMIT / 60:.0f} minutes"
            found = films.LINE.search(out)
            if not found or not video.is_file():
                code = film.process.returncode
                return films.why(err) or f"its process ended with exit code {code}"
            what = found[3]
            note = {"difference": "" if what == "as recorded" else printable(what)[:500]}
            files.write_json(self.directory / f"{key}.json", note)
            os.replace(video, self.directory / f"{key}.mp4")
        return ""

    def _forget(self) -> None:
        """Delete the films that nobody has asked for the longest, until the rest is small."""
        with self._lock:
            for left in self.directory.glob(".playing-*"):  # of a server that was killed
                if time.time() - left.stat().st_mtime > 2 * LIMIT:
                    shutil.rmtree(left, ignore_errors=True)
            known = []
            for path in self.directory.glob("*.mp4"):
                try:
                    found = path.stat()
                except OSError:
                    continue
                known.append((found.st_mtime, found.st_size, path))
            total = 0
            for _, size, path in sorted(known, reverse=True):
                total += size
                if total > MOST_BYTES:
                    path.unlink(missing_ok=True)
                    path.with_suffix(".json").unlink(missing_ok=True)


def _end(process: "subprocess.Popen[str] | None") -> None:
    """Kill a process and whatever it has started."""
    if process is None or process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
