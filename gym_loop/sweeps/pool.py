"""Sweeps on this machine: every job in a warm process of its own."""

import contextlib
import json
import multiprocessing
import os
import re
import signal
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing import forkserver
from types import FrameType
from typing import Any

from pebble import ProcessExpired, concurrent

from gym_loop.mistake import Mistake
from gym_loop.observers import manifest
from gym_loop.runs import reporting
from gym_loop.sweeps import job as jobs_process
from gym_loop.sweeps import warm
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.job import GRACE, Outcome, over_time, signal_name
from gym_loop.sweeps.launcher import SweepLauncher
from gym_loop.sweeps.table import REFRESH_SECONDS, Table

PROCESS = "gym_loop-job"  # the name of the jobs' processes
HANDLED = (signal.SIGINT, signal.SIGTERM)
# Libraries of linear algebra start a thread for every core, in every job, unless told otherwise.
THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)
# What every job imports.
BASE = (
    *("pebble", "gym_loop.sweeps.job", "gym_loop.loops", "gym_loop.agents", "gym_loop.envs"),
    *("tensorboard.compat.proto.event_pb2", "google_crc32c"),
    *("tensorboard.plugins.hparams.api_pb2", "tensorboard.plugins.hparams.plugin_data_pb2"),
    *("hydra._internal.instantiate._instantiate2", "hydra._internal.logging_config"),
)


class PoolLauncher(SweepLauncher):
    """Runs jobs on this machine's cores, each in a process of its own, forked from a warm one.

    Args:
        n_jobs: how many run at a time; the number of cores when None.
        timeout: seconds that a job may take; it then stops as on a signal, and has failed.
        dry_run: print the jobs with their states, and start nothing.
    """

    def __init__(
        self, n_jobs: int | None = None, timeout: float | None = None, dry_run: bool = False
    ) -> None:
        super().__init__(dry_run)
        if n_jobs is not None and (type(n_jobs) is not int or n_jobs < 1):
            raise Mistake(
                f"hydra.launcher.n_jobs={n_jobs}; expected at least 1, or null for the number of "
                f"cores ({cores()})"
            )
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise Mistake(f"hydra.launcher.timeout={timeout}; expected seconds above 0, or null")
        self.n_jobs, self.timeout = n_jobs or cores(), timeout

    def look_ahead(self) -> None:
        """Start the process that jobs are forked from; it imports while jobs are checked."""
        if not self.dry_run:
            warm_up(dict.fromkeys((*BASE, *installed(self.targets))))

    def execute(self, jobs: Sequence[Job], total: int) -> int:
        """Run `jobs`; see the base class."""
        context = multiprocessing.get_context("forkserver")
        common = self.common()
        reader, lifeline = context.Pipe(duplex=False)
        # The job's own watchdog is earlier, and leaves it time to write a checkpoint.
        by_force = None if self.timeout is None else self.timeout + GRACE + 2
        # Which of the two names pebble takes the context by is not the same in code and types.
        options: Any = {"context": context, "mp_context": context}
        start = concurrent.process(name=PROCESS, daemon=False, timeout=by_force, **options)(
            jobs_process.work
        )
        queue, running = deque(jobs), dict[Future[Outcome], Job]()
        with Table(total) as table, stop_on_signals(lifeline) as stop:
            table.counts["skipped"] = total - len(jobs)
            while running or (queue and not stop.number):
                while queue and len(running) < self.n_jobs and not stop.number:
                    job = queue.popleft()
                    job.started, before = time.monotonic(), {*processes()}
                    try:
                        future = start(job.packed, common, reader, self.timeout)
                    except OSError as error:  # no memory or no process to be had
                        job.state, job.reason = "failed", f"cannot be started: {error.strerror}"
                        table.end(job)
                    else:
                        running[future] = job
                        # None is new where it died at once.
                        job.pid = next(iter({*processes()} - before), 0)
                    job.packed = b""
                for future in wait(running, REFRESH_SECONDS, FIRST_COMPLETED).done:
                    table.end(self.settle(running.pop(future), future, bool(stop.number)))
                table.show(running.values())
                stop.enforce()
        reader.close()
        return 128 + stop.number if stop.number else 0

    def settle(self, job: Job, future: "Future[Outcome]", stopping: bool) -> Job:
        """Write down how `job` ended; `stopping`: the sweep has been told to.

        What it has started itself and left behind ends here.
        """
        end_group(job.pid)
        try:
            outcome = future.result()
        except ProcessExpired as error:
            outcome = Outcome("failed", reason=self.why(job, error.exitcode))
            if stopping and -error.exitcode in (signal.SIGKILL, *HANDLED):
                outcome = Outcome("stopped", reason="cut off within an episode")
        except TimeoutError:
            outcome = Outcome("failed", reason=over_time(self.timeout))
        except Exception as error:
            outcome = Outcome("failed", reason=jobs_process.one_line(error))
        job.state, job.result, job.reason = outcome.state, outcome.result, outcome.reason
        return job

    def why(self, job: Job, code: int) -> str:
        """Return the reason of a job whose process ended with exit code `code` in its midst."""
        if self.timeout is not None and time.monotonic() - job.started >= self.timeout:
            return over_time(self.timeout)
        number = -code if code < 0 else code if code in HANDLED else 0
        if number == signal.SIGKILL:
            return "killed by SIGKILL (by hand, or for want of memory)"
        return f"killed by {signal_name(number)}" if number else f"left with exit code {code}"


class Stop:
    """A request to stop the sweep, and how far it has come."""

    def __init__(self, lifeline: Any) -> None:
        self.lifeline, self.number, self.deadline = lifeline, 0, float("inf")

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Ask all jobs to stop; the second signal kills them."""
        if self.number:
            self.deadline = 0.0
            return
        self.number, self.deadline = number, time.monotonic() + GRACE + 0.5
        self.lifeline.close()

    def enforce(self) -> None:
        """Kill what should long have stopped."""
        if time.monotonic() >= self.deadline:
            for pid in processes():
                end_group(pid)


def processes() -> Iterator[int]:
    """Yield the id of each job's process."""
    for process in multiprocessing.active_children():
        if process.name == PROCESS and process.pid:
            yield process.pid


def end_group(pid: int) -> None:
    """Kill a job's process, and all that it has started, where they are still there."""
    if pid:  # 0 would be our own group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def stop_on_signals(lifeline: Any) -> Iterator[Stop]:
    """Handle SIGINT and SIGTERM until the end of the block, and then let go of all jobs."""
    stop = Stop(lifeline)
    previous = {number: signal.signal(number, stop.handle) for number in HANDLED}
    try:
        yield stop
    finally:
        lifeline.close()
        for number, handler in previous.items():
            signal.signal(number, handler)


def warm_up(modules: Iterable[str]) -> None:
    """Start the process that jobs are forked from, which imports `modules` once for them all."""
    for name in THREADS:
        os.environ.setdefault(name, "1")
    theirs = {
        warm.MODULES: ",".join(modules),
        manifest.GIT: json.dumps(manifest.ask_git()()),
        "PYTHONSAFEPATH": "1",  # a file here that is named like a standard module is not one
        "HYDRA_FULL_ERROR": str(int(reporting.FULL_ERROR)),  # which Hydra is told by its launch
    }
    ours = {name: os.environ.get(name) for name in theirs}
    os.environ.update(theirs)
    multiprocessing.set_forkserver_preload(["gym_loop.sweeps.warm"])
    try:
        forkserver.ensure_running()
    finally:
        for name, value in ours.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def installed(targets: Iterable[str]) -> Iterator[str]:
    """Yield the modules of those targets that are installed.

    The user's own files are left to the jobs: a generator made when such a file is imported would
    be the same in every job.
    """
    places = tuple(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    for target in targets:
        module = target.rpartition(":" if ":" in target else ".")[0]
        top = sys.modules.get(module.partition(".")[0])
        file = getattr(top, "__file__", None) or ""
        if module.replace(".", "_").isidentifier() and (
            file.startswith(places) or module.startswith("gym_loop.")
        ):
            yield module
        if library := re.fullmatch(r"gym_loop\.envs\.make_(gym|gymnasium)", target):
            yield from (library[1], f"{library[1]}.envs.classic_control")
            if library[1] == "gym":
                yield "gym_loop.envs.gym_numpy"


def cores() -> int:
    """Return the number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
