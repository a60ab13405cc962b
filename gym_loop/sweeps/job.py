"""One job of a sweep, in a process of its own."""

import contextlib
import logging
import os
import pickle
import signal
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hydra.core.utils import JobRuntime, JobStatus
from omegaconf import DictConfig

from gym_loop import errors, files
from gym_loop.compat.hydra import failure_of
from gym_loop.compat.hydra_job import run_job
from gym_loop.config import by_value, kept
from gym_loop.mistake import Failure, Mistake, summary_of, text_of
from gym_loop.output import open_streams
from gym_loop.runs import manifest
from gym_loop.sweeps import warm

GRACE = 3.0  # seconds from the request to stop until the process is killed

log = logging.getLogger("gym_loop")


@dataclass
class Outcome:
    """How a job ended, what it returned, or why it did not.

    `state` is `finished`, `skipped`, `stopped`, `failed`, or `held` by another launch.
    """

    state: str
    result: Any = None
    reason: str = ""


def pack(content: Any) -> bytes:
    """Return `content` as bytes: a composed config is 4 KB."""
    return zlib.compress(pickle.dumps(content), 1)


def unpack(content: bytes) -> Any:
    """Return what was packed."""
    return pickle.loads(zlib.decompress(content))


def work(
    packed: bytes,
    common: bytes,
    groups: Connection,
    answer: Connection,
    environment: Mapping[str, str],
    lock: Connection | None,
) -> None:
    """Run a job; called in a new process.

    Args:
        packed: the job's config.
        common: what all jobs share: the task function and Hydra's context.
        groups: takes the number of this process, and of the group that it leads.
        answer: takes the job's outcome.
        environment: variables to set, before anything looks at them.
        lock: a locked file, held until this process and all that it has forked have ended.
    """
    own = os.getpid()
    os.environ.update(environment)
    os.setpgid(0, 0)  # a Ctrl-C at the terminal reaches the launching process alone
    for number in (signal.SIGINT, signal.SIGTERM):  # until its run begins; see `Signals`
        signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        groups.send(own)
    groups.close()
    try:
        outcome = run(packed, common)
    except BaseException as error:  # what is not caught elsewhere has to end this job alone
        outcome = Outcome("failed", reason=reason_of(error))
    if os.getpid() != own:  # of a process that the job has forked, which leaves by an exception
        os._exit(1)
    # Threads and processes that the job has started may keep this one from ending. A timer of the
    # kernel's needs no memory, of which a job may have left none: a thread would wait for ever.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    signal.setitimer(signal.ITIMER_REAL, GRACE)
    answer.send(outcome)


def run(packed: bytes, common: bytes) -> Outcome:
    """Run a job whose output goes to its log, and return its outcome."""
    open_streams()
    warm.enter_surroundings()
    config, task, context = begin(packed, common)
    directory = Path(config.hydra.runtime.output_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"{config.hydra.job.name}.log"
        manifest.own_log(file)
        redirect(file)
    except OSError as error:
        return Outcome("failed", reason=f"cannot write {error.filename}: {files.reason(error)}")
    return attempt(config, task, context, directory)


def begin(packed: bytes, common: bytes) -> tuple[DictConfig, Any, Any]:
    """Make this process one of the program's; return the job's config, task and context."""
    task, context, name, sys.argv, pickles = unpack(common)
    by_value.pickles.update(pickles)
    JobRuntime.instance().set("name", name)
    return unpack(packed), task, context


def attempt(config: DictConfig, task: Any, context: Any, directory: Path) -> Outcome:
    """Run `task` in `directory` unless that is done already; nothing is raised."""
    outcome = _attempt(config, task, context, directory)
    if outcome.state == "failed":  # the reason may be of the user's code, with the values it got
        hidden = kept.hidden_texts(config, kept.view(config))
        outcome.reason = kept.without_secrets(outcome.reason, hidden)
    return outcome


def _attempt(config: DictConfig, task: Any, context: Any, directory: Path) -> Outcome:
    if (known := manifest.read(directory)) and known["state"] == "finished":
        return Outcome("skipped", known["result"])
    try:
        job = run_job(
            hydra_context=context,
            task_function=task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    except manifest.InUse:
        return Outcome("held", reason="another launch is running it")
    except manifest.Finished:
        return Outcome("skipped", (manifest.read(directory) or {}).get("result"))
    except Mistake as mistake:
        log.error(mistake.message)
        return Outcome("failed", reason=mistake.message)
    except SystemExit as stop:
        if isinstance(stop.code, int) and stop.code - 128 in signal.valid_signals():
            return Outcome("stopped", reason=f"by {signal_name(stop.code - 128)}")
        return Outcome("failed", reason=f"left with exit code {text_of(stop)}")
    except BaseException as error:
        return Outcome("failed", reason=reason_of(error))
    if job.status is JobStatus.FAILED:
        failure = failure_of(job)
        if not getattr(failure, "reported", False):
            log.error(errors.message(failure))
        return Outcome("failed", reason=reason_of(failure))
    try:
        pickle.dumps(job.return_value)
    except Exception as error:
        return Outcome("failed", reason=f"what it returned does not pickle: {reason_of(error)}")
    known = manifest.read(directory)
    if known and known["state"] == "stopped":
        return Outcome("stopped", reason=f"after {known['episodes']} episodes, as it was told to")
    return Outcome("finished", job.return_value)


def signal_name(number: int) -> str:
    """Return `SIGTERM` for 15."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def reason_of(error: BaseException) -> str:
    """Return what went wrong in one line."""
    error = errors.user_error(error)
    if explanation := errors.explanation(error):
        return explanation
    return text_of(error) if isinstance(error, Failure) else summary_of(error)


def redirect(path: Path) -> None:
    """Send all that is printed, also by native code, to the end of the file at `path`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.close(descriptor)
