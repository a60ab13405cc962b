"""One job of a sweep, in a process of its own."""

import logging
import os
import pickle
import signal
import sys
import threading
import time
import zlib
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from hydra import version
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, setup_globals
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gym_loop import launch
from gym_loop.mistake import Failure, Mistake
from gym_loop.runs import manifest, reporting
from gym_loop.runs.hydra_job import run_job

GRACE = 3.0  # seconds from the request to stop until the process is killed
PATIENCE = GRACE + 3.0  # seconds to wait for a killed launch's job to leave the directory

log = logging.getLogger("gym_loop")


@dataclass
class Outcome:
    """How a job ended: `finished`, `skipped`, `stopped` or `failed`, what it returned, or why."""

    state: str
    result: Any = None
    reason: str = ""


def pack(content: Any) -> bytes:
    """Return `content` as bytes: a composed config is 4 KB."""
    return zlib.compress(pickle.dumps(content), 1)


def unpack(content: bytes) -> Any:
    """Return what was packed."""
    return pickle.loads(zlib.decompress(content))


def work(packed: bytes, common: bytes, lifeline: Any, timeout: float | None) -> Outcome:
    """Run a job; called in a new process.

    Args:
        packed: the job's config.
        common: what all jobs share: the task function and Hydra's context.
        lifeline: a pipe's end that is closed at its other end when the job is to stop: by the
            launching process, or by its death.
        timeout: seconds after which the job is to stop.
    """
    os.setpgid(0, 0)  # a Ctrl-C at the terminal reaches the launching process alone
    watchdog = Watchdog(lifeline, timeout)
    watchdog.start()
    config, task, context = begin(packed, common)
    directory = Path(config.hydra.runtime.output_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        redirect(directory / f"{config.hydra.job.name}.log")
    except OSError as error:
        return Outcome("failed", reason=f"cannot write {error.filename}: {error.strerror}")
    outcome = attempt(config, task, context, directory)
    if watchdog.timed_out and outcome.state != "finished":
        outcome = Outcome("failed", reason=over_time(timeout))
    sys.stdout.flush()
    sys.stderr.flush()
    return outcome


def begin(packed: bytes, common: bytes) -> tuple[DictConfig, Any, Any]:
    """Make this process one of the program's; return the job's config, task and context."""
    task, context, name, sys.argv = unpack(common)
    setup_globals()
    if launch.VERSION_BASE:
        version.setbase(launch.VERSION_BASE["version_base"])
    JobRuntime.instance().set("name", name)
    return unpack(packed), task, context


def attempt(config: DictConfig, task: Any, context: Any, directory: Path) -> Outcome:
    """Run `task` in `directory` unless that is done already; nothing is raised."""
    deadline = time.monotonic() + PATIENCE
    while manifest.is_locked(directory) and time.monotonic() < deadline:
        time.sleep(0.05)
    if (known := manifest.read(directory)) and known["state"] == "finished":
        return Outcome("skipped", known["result"])
    only_to_file(config)
    try:
        job = run_job(
            hydra_context=context,
            task_function=task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    except Mistake as mistake:
        log.error(mistake.message)
        return Outcome("failed", reason=mistake.message)
    except SystemExit as stop:
        return stopped(stop.code)
    except BaseException as error:
        return Outcome("failed", reason=one_line(error))
    if job.status is JobStatus.FAILED:
        failure: BaseException = job._return_value
        if not getattr(failure, "reported", False):
            log.error(reporting.message(failure))
        return Outcome("failed", reason=one_line(failure))
    try:
        pickle.dumps(job.return_value)
    except Exception as error:
        return Outcome("failed", reason=f"what it returned does not pickle: {one_line(error)}")
    return finished(job, directory)


def finished(job: JobReturn, directory: Path) -> Outcome:
    """Return how a job ended that has returned."""
    known = manifest.read(directory)
    if known and known["state"] == "stopped":
        return Outcome("stopped", reason=f"after {known['episodes']} episodes, as it was told to")
    return Outcome("finished", job.return_value)


def stopped(code: Any) -> Outcome:
    """Return how a job ended that raised SystemExit."""
    if isinstance(code, int) and code > 128:
        return Outcome("stopped", reason=f"stopped by {signal_name(code - 128)}")
    return Outcome("failed", reason=f"left with exit code {code}")


def over_time(timeout: float | None) -> str:
    """Return the reason of a job that was stopped by the watchdog."""
    return f"over its timeout of {timeout:g} s"


def signal_name(number: int) -> str:
    """Return `SIGTERM` for 15."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def one_line(error: BaseException) -> str:
    """Return what went wrong in one line."""
    while isinstance(error, InstantiationException) and error.__cause__:
        error = error.__cause__
    if explanation := reporting.explanation(error):
        return explanation
    line = " ".join(str(error).split())
    if line and isinstance(error, Failure):
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def only_to_file(config: DictConfig) -> None:
    """Take the terminal out of the job's logging: it belongs to the sweep."""
    logging_config = config.hydra.job_logging
    root = OmegaConf.select(logging_config, "root.handlers") if logging_config else None
    if root is not None:
        kinds = {name: logging_config.handlers[name].get("class") for name in root}
        with read_write(config.hydra), open_dict(config.hydra):
            logging_config.root.handlers = [
                name for name, kind in kinds.items() if kind != "logging.StreamHandler"
            ]


def redirect(path: Path) -> None:
    """Send all that is printed, also by native code, to the end of the file at `path`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.close(descriptor)


class Watchdog(threading.Thread):
    """Ends the job in order, and then by force, when its launch is over or its time is up."""

    def __init__(self, lifeline: Any, timeout: float | None) -> None:
        super().__init__(daemon=True)
        self.lifeline, self.timeout = lifeline, timeout
        self.timed_out = False

    def run(self) -> None:
        """Wait, ask, wait, kill."""
        self.timed_out = not connection.wait([self.lifeline], self.timeout)
        os.kill(os.getpid(), signal.SIGTERM)  # the loop stops at the end of the episode
        time.sleep(GRACE)
        os.killpg(0, signal.SIGKILL)  # with what the job itself has started
