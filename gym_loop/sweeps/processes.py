"""The processes of a sweep's jobs on this machine: each ends with all that it has started."""

import contextlib
import errno
import math
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from types import ModuleType

from gym_loop.machine import process_exists
from gym_loop.runs import manifest
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.job import GRACE, Outcome, reason_of, signal_name, work

HANDLED = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Running:
    """A job that runs.

    Attributes:
        answer: a file, to which the job sends its outcome. A pipe would hold up a job whose
            outcome is large, and this process when a job dies while it sends.
        deadline: when it is asked to stop, or killed if it has been; of `time.monotonic`.
    """

    job: Job
    process: BaseProcess
    answer: connection.Connection
    deadline: float
    asked: bool = False  # to stop
    timed_out: bool = False

    def stop(self) -> None:
        """Ask the job to stop at the end of its episode."""
        if not self.asked:
            self.asked, self.deadline = True, time.monotonic() + GRACE
            self.process.terminate()

    def kill(self) -> None:
        """Kill the job, if it is there, and what it has started and left behind."""
        self.process.kill()
        end_group(self.process.pid or 0)


class Processes:
    """Starts jobs, each in a process of its own, and returns those that have ended.

    A context: after it nothing of the jobs is left, nor when this process is killed in it.

    Args:
        common: what all jobs share; see `SweepLauncher.common`.
        timeout: seconds that a job may take.
    """

    def __init__(self, common: bytes, timeout: float | None) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.common, self.timeout = common, timeout
        self.running: dict[int, Running] = {}  # by the sentinel of the process

    def __enter__(self) -> "Processes":
        reader, self.groups = self.context.Pipe(duplex=False)
        self.guard = self.context.Process(target=guard, args=(reader,))
        begin(self.guard)
        reader.close()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(at_once=True)
        self.groups.close()
        self.guard.join()

    def start(
        self,
        job: Job,
        packed: bytes,
        environment: Mapping[str, str],
        lock: connection.Connection | None = None,
    ) -> None:
        """Start a process for `job`.

        Args:
            job: what is to be run.
            packed: its config.
            environment: variables that the process has besides those of this one.
            lock: a locked file that the process is to hold open until it ends.

        Raises:
            OSError: there is no memory, process or file to be had.
        """
        with tempfile.TemporaryFile() as file:
            answer = connection.Connection(os.dup(file.fileno()))
        arguments = (packed, self.common, self.groups, answer, environment, lock)
        process = self.context.Process(target=work, args=arguments)
        try:
            begin(process)
        except OSError:
            answer.close()
            raise
        deadline = time.monotonic() + (math.inf if self.timeout is None else self.timeout)
        self.running[process.sentinel] = Running(job, process, answer, deadline)

    def wait(self, seconds: float) -> list[Job]:
        """Return the jobs that have ended, with what came of them, after `seconds` at most."""
        # Not on a pipe, which what a dead job has forked may hold.
        ready = connection.wait(list(self.running), seconds)
        ended = [sentinel for sentinel in self.running if sentinel in ready]
        for sentinel, each in self.running.items():
            if sentinel not in ended and time.monotonic() >= each.deadline:
                if each.asked:
                    each.kill()
                else:
                    each.timed_out = True
                    each.stop()
        return [self._end(self.running.pop(sentinel)) for sentinel in ended]

    def stop(self, at_once: bool = False) -> None:
        """Ask all jobs to stop at the end of their episodes, or kill them."""
        for each in self.running.values():
            each.kill() if at_once else each.stop()

    def _end(self, ended: Running) -> Job:
        ended.process.join()
        ended.kill()
        with contextlib.suppress(OSError):  # the guard has been killed
            self.groups.send(-(ended.process.pid or 0))
        outcome = outcome_of(ended, self.timeout)
        ended.process.close()
        ended.answer.close()
        job = ended.job
        job.state, job.result, job.reason = outcome.state, outcome.result, outcome.reason
        return job


def begin(process: BaseProcess) -> None:
    """Start a process.

    Raises:
        OSError: there is no memory, process or file to be had.
    """
    try:
        with main_module_left_out():
            process.start()
    except EOFError:  # what it was to be forked from could not fork, and has died of it
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None


@contextlib.contextmanager
def main_module_left_out() -> Iterator[None]:
    """Have a process that is started within the block not import the program's main module.

    `multiprocessing` does so for what is pickled by that module's name. A script that launches a
    sweep at its top would launch it again in every job.
    """
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def outcome_of(ended: Running, timeout: float | None) -> Outcome:
    """Return what came of a job whose process has ended."""
    os.lseek(ended.answer.fileno(), 0, os.SEEK_SET)
    outcome: Outcome | None = None
    try:
        sent = ended.answer.recv_bytes()
    except (EOFError, OSError):  # it died before it had sent all; perhaps after its run
        known = manifest.read(ended.job.directory)
        if known and known["state"] == "finished":
            outcome = Outcome("finished", known["result"])
    else:
        try:
            outcome = pickle.loads(sent)
        except Exception as error:  # of the user's class
            return Outcome("failed", reason=reason_of(error))
    if ended.timed_out and not (outcome and outcome.state == "finished"):
        return Outcome("failed", reason=f"over its timeout of {timeout:g} s")
    if outcome:
        return outcome
    code = ended.process.exitcode or 0
    if ended.asked and -code in (signal.SIGKILL, *HANDLED):
        return Outcome("stopped", reason="cut off within an episode")
    number = -code if code < 0 else code if code in HANDLED else 0
    if number in HANDLED:  # within a run, they stop it
        return Outcome("stopped", reason=f"cut off by {signal_name(number)}, before its run began")
    if number == signal.SIGKILL:
        return Outcome("failed", reason="killed by SIGKILL (by hand, or for want of memory)")
    reason = f"killed by {signal_name(number)}" if number else f"left with exit code {code}"
    return Outcome("failed", reason=reason)


def end_group(pid: int) -> None:
    """Kill what is left of the group of processes that a job's process leads."""
    if pid:  # 0 would be our own group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def guard(reader: connection.Connection) -> None:
    """End all jobs when the launching process dies; runs in a process of its own.

    A job cannot do that itself: native code that it is within may hold up all of its threads.

    Args:
        reader: brings the id of a job's process when it starts, sent by the job, and the negative
            of it when it has ended; and its own end when there is nobody left to send.
    """
    os.setpgid(0, 0)  # a Ctrl-C at the terminal is the launching process's
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    groups = set[int]()
    with contextlib.suppress(EOFError):
        while True:
            pid = reader.recv()
            groups.add(pid) if pid > 0 else groups.discard(-pid)
    for pid in groups:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)  # the loop stops at the end of the episode
    deadline = time.monotonic() + GRACE
    while any(process_exists(-group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in groups:
        end_group(pid)
