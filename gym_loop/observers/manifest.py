"""run.json: what a run is, where it stands and how it ended."""

import contextlib
import json
import logging
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gym_loop import errors, files, machine
from gym_loop.compat import hydra_job
from gym_loop.config import by_value, kept, secrets, stored
from gym_loop.loops import BaseLoop
from gym_loop.mistake import Failure, Mistake
from gym_loop.observers import Observer
from gym_loop.runs import claim, manifest, planting
from gym_loop.runs.versions import versions
from gym_loop.terminal import printable

log = logging.getLogger(__name__)

# An environment variable with git's answer, asked once for all jobs of a sweep.
GIT = "GYM_LOOP_GIT"
LIMIT = 50  # warnings of a run that are listed


class Manifest(Observer):
    """Keeps `run.json`, `config.yaml` and the lock that lets only one process work in a directory.

    What this package warns of in a run's log is listed in `run.json` as well.

    Args:
        shown: dotted keys whose values readers see although they come from the environment;
            `kept.view` reads them in the config.
    """

    def __init__(self, shown: Sequence[str] = ()) -> None:
        self.content: dict[str, Any] = {}
        self.lock: manifest.Lock | None = None
        self.loop: Any = None
        self.git: Callable[[], dict[str, Any] | None] = lambda: None
        self.git_status: dict[str, Any] | None = None  # what `ask_git` has found
        self.writing = threading.RLock()  # a warning may come from another thread
        self.warnings = _Warnings(self)
        self.has_begun = False  # until then run.json tells of the launch before
        self.hidden: dict[str, str] = {}  # secret texts, and what is shown instead
        self.formatters: list[tuple[logging.Handler, logging.Formatter | None]] = []  # of the logs

    def open(self, cfg: DictConfig, directory: Path) -> None:
        """Lock the directory, and write the state `running` unless an earlier launch did so.

        What that one left is replaced once its checkpoint has been read: see `begin`.

        Raises:
            InUse: another process is running it.
            Finished: another process has finished it in the meantime.
        """
        self.directory, lock = directory, manifest.Lock(directory)
        known = manifest.read(directory) or {}
        self.new = "start" not in known
        # Of this launch alone: a later one of this process may find other files under these names.
        self.planted = [p for p in planting.planted if p.is_relative_to(directory.absolute())]
        planting.planted.clear()
        if "config" in known:
            before = manifest.load(directory)
            if known.get("state") == "finished" and not claim.config_changes(before, cfg):
                lock.release()
                log.info("%s was finished by another process", printable(directory))
                raise manifest.Finished(0)
            now = kept.sections(kept.content(cfg, resolve=False))
            stored.load_renamed(before["config"], {kept.dotted(p): s["_target_"] for p, s in now})
        self.lock = lock
        for name in (manifest.NAME, kept.FILE):
            files.remove_leftovers(directory, name)
        self.git = ask_git()
        program = "gym-loop" if sys.argv[0].endswith("gym-loop") else "python -m gym_loop"
        command = f"{program} {shlex.join(secrets.masked_words(sys.argv[1:]))}"
        # Not the current directory, which `hydra.job.chdir` may have changed.
        launched_in = Path(HydraConfig.get().runtime.cwd)
        self.cfg, self.launched_in = cfg, kept.base(known) if "cwd" in known else launched_in
        self.content = described(cfg, known, command, self.launched_in)
        self.hidden = kept.hidden_texts(cfg, self.content["config"])
        for handler in logging.getLogger().handlers if self.hidden else ():
            self.formatters.append((handler, handler.formatter))
            handler.setFormatter(_Hiding(self.hidden, handler.formatter))
        if self.new:
            self._keep_config()  # without it, nobody could continue what run.json told of
            self.has_begun = True
            manifest.write(directory, self.content)
        logging.getLogger("gym_loop").addHandler(self.warnings)
        log.debug("started: %s", command)

    def warn(self, text: str) -> None:
        """Add a warning, once, for others to see at once."""
        text = kept.without_secrets(text, self.hidden)
        if text not in self.content["warnings"] and len(self.content["warnings"]) < LIMIT:
            self.content["warnings"].append(text)
            if not self.has_begun:
                return
            with contextlib.suppress(OSError):  # a full disk is one of the things to warn of
                self._write()

    def restore(self, loop: BaseLoop) -> None:
        """End here in a process that a constructor has forked: it is not the run."""
        if self.lock:
            self.lock.loop = loop
            if not self.lock.descriptors:  # it is released in what this process forks
                manifest.end_child()

    def begin(self, loop: BaseLoop) -> None:
        """Write the state, with git's answer and the versions of what has been imported."""
        self.loop, before = loop, self.content.copy()
        self.git_status = self.git()
        self.content["git"] = _commit(self.git_status)
        if lineage := getattr(loop.agent, "lineage", None):
            self.content["init_from"] = lineage
        self._count()
        news = self.content | {name: before[name] for name in ("seconds", "peak_memory")}
        if not self.has_begun or news != before:
            if not self.has_begun:
                self._keep_config()
            self.has_begun = True
            self._write()

    def close(self, error: BaseException | None) -> None:
        """Write how the run ended, and unlock."""
        logging.getLogger("gym_loop").removeHandler(self.warnings)
        if self.lock is None:
            return
        stopped = self.loop is not None and self.loop.stop
        state = "stopped" if stopped else "finished"
        if isinstance(error, SystemExit | KeyboardInterrupt):
            state = "stopped"
            if errors.has_left_in_silence(error):
                log.error("the run has not come to its end: %s", errors.with_place(error))
            if isinstance(error, SystemExit) and errors.is_success(error.code):
                error.code = 1  # of an agent or an environment: the loop did not come to its end
            errors.set_reported(error)
        elif error is not None:  # also what is no Exception, as a panic in Rust, CancelledError
            state = "failed"
            log.error(errors.message(error))
            errors.set_reported(error)
            self.content["error"] = errors.in_words(errors.user_error(error))
        if isinstance(error, Mistake):
            state, self.content["error"] = "failed", error.message
        if text := self.content.get("error"):  # nothing is there where `open` was interrupted
            self.content["error"] = kept.without_secrets(text, self.hidden)
        self.content |= {"state": state, "end": _now()}
        log.debug("%s", state)
        try:
            if self.has_begun:
                self._write()
        except OSError as failure:
            if error is None:  # else the full disk is why the run has failed
                raise Failure(files.cannot_write(failure, self.directory)) from failure
        finally:
            self.lock.release()
            for handler, formatter in self.formatters:
                handler.setFormatter(formatter)
        refused = isinstance(error, Mistake) and self.new and self.loop is None
        if refused and HydraConfig.get().mode is not RunMode.MULTIRUN:  # a sweep names its logs
            self._remove()

    def state_dict(self) -> dict[str, Any]:
        """Return the memory that the run has had at most, in any of its launches."""
        return {"peak_memory": max(self.content.get("peak_memory", 0), machine.peak_memory())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Count the memory that a launch had which was killed after this checkpoint."""
        known = (self.content.get("peak_memory", 0), state.get("peak_memory", 0))
        self.content["peak_memory"] = max(known)

    def _keep_config(self) -> None:
        try:
            kept.write(self.directory, self.cfg, self.launched_in)
        except OSError as error:
            raise Failure(files.cannot_write(error, self.directory / kept.FILE)) from error
        if (self.directory / manifest.NAME).exists():  # then `run_job` has left Hydra's files alone
            hydra_job.save(HydraConfig.get(), self.cfg, self.directory)
        named = kept.sections(self.content["config"])
        by_value.keep((section["_target_"] for _, section in named), self.directory)

    def _remove(self) -> None:
        """Remove what this launch has written for a run that has not begun, and nothing else."""
        hydra = HydraConfig.get()
        for path in claim.written(self.directory, hydra):
            if path not in claim.there_before:
                path.unlink(missing_ok=True)
        for path in self.planted:
            if path.is_symlink() or not path.is_dir():
                path.unlink(missing_ok=True)
        folders = sorted(path for path in self.planted if path.is_dir())[::-1]
        for folder in (self.directory / str(hydra.output_subdir), *folders, *claim.new_folders):
            with contextlib.suppress(OSError):  # it holds something else, or is not there
                folder.rmdir()

    def _count(self) -> None:
        for name in ("steps", "episodes", "result"):
            self.content[name] = getattr(self.loop, name)
        self.content["seconds"] = round(self.loop.seconds, 3)
        self.content |= self.state_dict()
        self.content["ended_by"] = manifest.ended_by(self.loop)
        self.content["versions"] = versions()

    def _write(self) -> None:
        if self.loop is not None:
            self._count()
        with self.writing:
            manifest.write(self.directory, self.content)


def described(cfg: DictConfig, known: dict[str, Any], command: str, base: Path) -> dict[str, Any]:
    """Return what run.json says of a launch that begins; `known` is what it says of those before.

    Args:
        cfg: the config.
        known: empty for the first launch.
        command: of this launch; that of the first one is kept.
        base: what the paths of files in the config are relative to.
    """
    overrides: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    given = [*(known.get("overrides") or ()), *secrets.masked_words(overrides)]
    first = known.get("first_cwd") or known.get("cwd") or str(base)
    return {
        "format": manifest.FORMAT,
        "state": "running",
        "command": known.get("command", command),
        "overrides": [*{word.partition("=")[0]: word for word in given}.values()],
        "seed": cfg.seed,
        **kept.record(cfg, base),
        "versions": versions(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),  # null: all; "": none
        "start": known.get("start") or _now(),
        "end": None,
        "launches": known.get("launches", 0) + 1,
        "steps": known.get("steps", 0),
        "episodes": known.get("episodes", 0),
        "seconds": known.get("seconds", 0.0),
        "peak_memory": known.get("peak_memory", 0),  # bytes
        "result": None,
        "ended_by": None,
        "error": None,
        "warnings": known.get("warnings") or [],
        "git": _commit(json.loads(os.environ.get(GIT, "null"))),
        # What `code/` keeps has the paths of the first launch.
        **({"first_cwd": first} if first != str(base) else {}),
        **({"chdir": True} if HydraConfig.get().job.chdir else {}),
        **({"parent": known["parent"]} if "parent" in known else {}),
    }


class _Hiding(logging.Formatter):
    """Formats records as another formatter does, and hides secrets in them."""

    def __init__(self, hidden: dict[str, str], formatter: logging.Formatter | None) -> None:
        self.hidden, self.formatter = hidden, formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return kept.without_secrets(self.formatter.format(record), self.hidden)


class _Warnings(logging.Handler):
    """Hands warnings over to a manifest."""

    def __init__(self, owner: Manifest) -> None:
        super().__init__(logging.WARNING)
        self.owner = owner

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:  # an error is what the run ends with
            self.owner.warn(record.getMessage())


def ask_git() -> Callable[[], dict[str, Any] | None]:
    """Start git in the background; return a function that waits for the commit and the changes.

    The changes are lines of `git status --porcelain=v2`.
    """
    if known := os.environ.get(GIT):
        return lambda: json.loads(known)  # type: ignore[no-any-return]
    try:
        process = subprocess.Popen(
            ["git", "status", "--porcelain=v2", "--branch", "-z"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="surrogateescape",
        )
    except OSError:  # there is no git
        return lambda: None

    def answer() -> dict[str, Any] | None:
        lines = process.communicate()[0].split("\0")
        head = [line.removeprefix("# branch.oid ") for line in lines if line.startswith("#")]
        if not head or head[0] == "(initial)":
            return None
        changes = [line for line in lines if line and not line.startswith("#")]
        return {"commit": head[0], "changes": changes}

    return answer


def _commit(status: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what run.json says of git's answer."""
    return status and {"commit": status["commit"], "dirty": bool(status["changes"])}


def _now() -> str:
    return datetime.now().astimezone().isoformat()
