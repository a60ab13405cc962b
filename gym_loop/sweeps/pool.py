"""Sweeps on this machine: every job in a warm process of its own."""

import contextlib
import json
import math
import multiprocessing
import os
import re
import signal
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing import forkserver, resource_tracker
from types import FrameType
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from gym_loop import errors, files, terminal
from gym_loop.compat.hydra import USED_BY_A_JOB
from gym_loop.machine import THREADS, cores, signals_unblocked, variables_set
from gym_loop.mistake import Mistake
from gym_loop.observers.manifest import GIT, ask_git
from gym_loop.runs import manifest
from gym_loop.sweeps import warm
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.gpus import Slots, chosen
from gym_loop.sweeps.gpus import environment as gpu_environment
from gym_loop.sweeps.job import GRACE
from gym_loop.sweeps.launcher import SweepLauncher
from gym_loop.sweeps.processes import HANDLED, Processes
from gym_loop.sweeps.submitted import LOST
from gym_loop.sweeps.table import REFRESH_SECONDS, Table

LONGEST_VARIABLE = 100_000  # characters that an environment variable may surely have
# What every job imports.
BASE = (
    *("gym_loop.sweeps.processes", "gym_loop.loops", "gym_loop.agents", "gym_loop.envs"),
    *("tensorboard.compat.proto.event_pb2", "google_crc32c"),
    *("tensorboard.plugins.hparams.api_pb2", "tensorboard.plugins.hparams.plugin_data_pb2"),
    *USED_BY_A_JOB,
)


class PoolLauncher(SweepLauncher):
    """Runs jobs on this machine's cores, each in a process of its own, forked from a warm one.

    Args:
        n_jobs: how many run at a time; the number of cores when None.
        timeout: seconds that a job may take; it then stops as on a signal, and has failed.
        gpus: a list: each job gets one of these GPUs alone. `auto`: of all that there are, if its
            agent's `device` is there and not `cpu`. None: jobs see what this process sees.
        jobs_per_gpu: how many jobs a GPU takes.
        dry_run: print the jobs with their states, and start nothing.
    """

    def __init__(
        self,
        n_jobs: int | None = None,
        timeout: float | None = None,
        gpus: Any = None,
        jobs_per_gpu: int = 1,
        dry_run: bool = False,
    ) -> None:
        super().__init__(dry_run)
        if n_jobs is not None and (type(n_jobs) is not int or n_jobs < 1):
            raise Mistake(
                f"hydra.launcher.n_jobs={n_jobs}; expected at least 1, or null for the number of "
                f"cores ({cores()})"
            )
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise Mistake(f"hydra.launcher.timeout={timeout}; expected seconds above 0, or null")
        if type(jobs_per_gpu) is not int or jobs_per_gpu < 1:
            raise Mistake(f"hydra.launcher.jobs_per_gpu={jobs_per_gpu}; expected at least 1")
        self.n_jobs, self.timeout = n_jobs or cores(), timeout
        self.gpus: Any = OmegaConf.to_container(gpus) if isinstance(gpus, ListConfig) else gpus
        found = chosen(self.gpus)
        self.slots = Slots(found, jobs_per_gpu) if found else None

    def look(self, job: Job, config: DictConfig) -> None:
        """Find out how far `job` is, and whether it is to have a GPU; see the base class."""
        super().look(job, config)
        device = OmegaConf.select(config, "agent.device")
        job.takes_gpu = self.slots is not None and (
            self.gpus != "auto" or device not in (None, "cpu")
        )

    def look_ahead(self) -> None:
        """Start the process that jobs are forked from; it imports while jobs are checked."""
        if not self.dry_run:
            warm_up(dict.fromkeys((*BASE, *installed(self.targets))))

    def execute(self, jobs: Iterable[Job | None], skipped: int, total: int) -> int:
        source, queue = iter(jobs), deque[Job]()
        with (
            self.table(total, skipped) as table,
            stop_on_signals() as stop,
            Processes(self.common(), self.timeout) as processes,
        ):
            while True:
                if stop.number:
                    processes.stop(at_once=time.monotonic() >= stop.deadline)
                else:
                    self.start(queue, source, processes, table)
                if not processes.running and (stop.number or not queue):
                    break
                for job in processes.wait(REFRESH_SECONDS):
                    if job.state == "held":
                        queue.append(job)
                    else:
                        if stop.number:  # a job hears of Ctrl-C by a SIGTERM
                            name = signal.Signals(stop.number).name
                            name = terminal.SPOKEN.get(name, name)
                            job.reason = job.reason.replace("SIGTERM", name)
                        job.ran = job.state == "finished"
                        table.end(job)
                table.show([each.job for each in processes.running.values()])
        return 128 + stop.number if stop.number else 0

    def start(
        self, queue: deque[Job], source: Iterator[Job | None], processes: Processes, table: Table
    ) -> None:
        """Start jobs while there is room: those that had to wait, then new ones.

        Those that another launch is running, and those for which no GPU is free, wait in `queue`.
        """
        waiting, is_full = len(queue), False
        while len(processes.running) < self.n_jobs:
            if waiting:
                job, waiting = queue.popleft(), waiting - 1
            elif is_full or (new := next(source, None)) is None:
                return
            else:
                job = new
            if job.where not in (None, LOST):
                job.state = "held"  # an engine has it
                table.end(job)
            elif job.takes_gpu and is_full:
                queue.append(job)
            # Where it may not look it would wait without an end: the job says why it cannot run.
            elif manifest.is_locked(job.directory, unknown=False):
                job.state = "held"
                queue.append(job)
            elif ended_elsewhere(job):
                table.end(job)
            elif not self.start_one(job, processes, table):
                is_full = True
                queue.append(job)

    def start_one(self, job: Job, processes: Processes, table: Table) -> bool:
        """Start `job`; return whether there was a GPU for it, if it takes one."""
        slot = self.slots.take() if self.slots and job.takes_gpu else None
        if job.takes_gpu and slot is None:
            return False
        environment = {}
        if self.slots:
            gpu = slot[0] if slot else ""
            environment = gpu_environment(gpu)
            job.place = f"GPU {gpu}" if gpu else ""
        try:
            processes.start(job, self.packed(job), environment, slot and slot[1])
        except Mistake as mistake:
            job.state, job.reason = "failed", mistake.message
            table.end(job)
        except OSError as error:  # no memory or no process to be had
            job.state, job.reason = "failed", f"cannot be started: {files.reason(error)}"
            table.end(job)
        finally:
            if slot:
                slot[1].close()  # it is the job's now
        return True


def ended_elsewhere(job: Job) -> bool:
    """Return whether another launch has finished `job`, or failed at it, since it was checked."""
    known = manifest.read(job.directory) or {"state": "new"}
    if known["state"] == "finished":
        job.state, job.result = "skipped", known.get("result")
    elif known["state"] == "failed" and known.get("launches", 0) > job.launches:
        job.state, job.reason = "failed", str(known.get("error"))
    else:
        return False
    return True


class Stop:
    """A request to stop the sweep.

    Attributes:
        number: the signal's; 0: there was none.
        deadline: when what still runs is to be killed, of `time.monotonic`.
    """

    number, deadline = 0, math.inf

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; the second one leaves no time."""
        self.deadline = 0.0 if self.number else time.monotonic() + GRACE + 0.5
        self.number = self.number or number


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Take SIGINT and SIGTERM for requests to stop, until the end of the block."""
    stop = Stop()
    previous = {number: signal.signal(number, stop.handle) for number in HANDLED}
    try:
        with signals_unblocked(HANDLED):
            yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def warm_up(modules: Iterable[str]) -> None:
    """Start the process that jobs are forked from, which imports `modules` once for them all."""
    theirs = {
        # Libraries of linear algebra start a thread for every core, in every job, if not told.
        **{name: "1" for name in THREADS if name not in os.environ},
        warm.MODULES: ",".join(modules),
        GIT: json.dumps(ask_git()()),
        "PYTHONSAFEPATH": "1",  # a file here that is named like a standard module is not one
        "HYDRA_FULL_ERROR": str(int(errors.FULL_ERROR)),  # which Hydra is told by its launch
    }
    if len(theirs[GIT]) > LONGEST_VARIABLE:
        del theirs[GIT]  # each job asks git itself
    multiprocessing.set_forkserver_preload(["gym_loop.sweeps.warm"])
    with variables_set(theirs), signals_unblocked((signal.SIGCHLD, *HANDLED)):
        resource_tracker.ensure_running()  # what starts it would unblock the signal below
        # `warm` takes a Ctrl-C for none of its own; it has to come so far.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


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
