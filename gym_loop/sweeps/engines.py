"""Sweeps beyond one machine: Ray and Slurm run the jobs, in the same directory."""

import contextlib
import functools
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from omegaconf import OmegaConf

from gym_loop.mistake import Mistake
from gym_loop.runs import manifest
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.job import Outcome, attempt, begin, reason_of
from gym_loop.sweeps.launcher import SweepLauncher
from gym_loop.sweeps.pool import stop_on_signals
from gym_loop.sweeps.table import REFRESH_SECONDS, Table

PATIENCE = 6.0  # seconds that a job waits for the process that was killed at it to end
SHOWN = 100  # jobs that are looked at to show those that run
Poll = Callable[[], list[tuple[Job, Callable[[], Outcome]]]]


class EngineLauncher(SweepLauncher):
    """Hands all jobs to an engine at once, and waits for what comes of them."""

    def __init__(self, module: str, extra: str, dry_run: bool) -> None:
        super().__init__(dry_run)
        self.engine = require(module, extra)

    def submit(self, jobs: Sequence[Job], common: bytes) -> tuple[Poll, Callable[[], None]]:
        """Hand over `jobs`.

        Returns a function that returns those jobs that have ended since it was last called, each
        with a function that returns or raises what came of it, and one that asks all to stop.
        """
        raise NotImplementedError

    def execute(self, jobs: Sequence[Job], total: int) -> int:
        """Run `jobs`; see the base class."""
        poll, cancel = self.submit(jobs, self.common())
        waiting = {job.name: job for job in jobs}
        cancelled = False
        with Table(total) as table, stop_on_signals() as stop:
            table.counts["skipped"] = total - len(jobs)
            while waiting:
                if stop.number and not cancelled:
                    cancelled = True
                    cancel()
                for job, outcome in poll():
                    table.end(settle(waiting.pop(job.name), outcome))
                near = list(waiting.values())[:SHOWN]
                table.show([job for job in near if (job.directory / "run.json").exists()])
                if time.monotonic() >= stop.deadline:  # an engine takes its time
                    break
        for job in waiting.values():
            job.state, job.reason = "stopped", "the engine was asked to stop it"
        return 128 + stop.number if stop.number else 0


class RayLauncher(EngineLauncher):
    """Runs jobs on a Ray cluster, or on one that it starts on this machine.

    Args:
        init: arguments of `ray.init`.
        remote: options of `ray.remote`: what a job needs, how often a killed one is tried again.
        dry_run: print the jobs with their states, and start nothing.
    """

    def __init__(self, init: Any, remote: Any, dry_run: bool = False) -> None:
        super().__init__("ray", "ray", dry_run)
        self.init: Any = OmegaConf.to_container(init, resolve=True)
        self.remote: Any = OmegaConf.to_container(remote, resolve=True)

    def submit(self, jobs: Sequence[Job], common: bytes) -> tuple[Poll, Callable[[], None]]:
        """Start one task for each job; see the base class."""
        ray = self.engine
        if not ray.is_initialized():
            try:
                ray.init(**self.init)
            except (ConnectionError, ValueError, TypeError) as error:
                raise Mistake(f"ray.init({self.init}): {error}") from None
        task = (
            ray.remote(**self.remote)(work_remotely) if self.remote else ray.remote(work_remotely)
        )
        shared = ray.put(common)
        waiting = {task.remote(take(job), shared): job for job in jobs}

        def poll() -> list[tuple[Job, Callable[[], Outcome]]]:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=REFRESH_SECONDS)
            return [(waiting.pop(ref), functools.partial(ray.get, ref)) for ref in ready]

        def cancel() -> None:
            for ref in waiting:
                ray.cancel(ref)  # interrupts it, as Ctrl-C does

        return poll, cancel


class SlurmLauncher(EngineLauncher):
    """Runs jobs on Slurm through submitit: one array, each job requeued when it is preempted.

    Args:
        cluster: `slurm`, or submitit's `local` and `debug`.
        max_num_timeout: how often a job that reaches its time limit is requeued.
        parameters: of submitit's `AutoExecutor.update_parameters`; `slurm_` leads Slurm's own.
        dry_run: print the jobs with their states, and start nothing.
    """

    def __init__(
        self, cluster: str, max_num_timeout: int, parameters: Any, dry_run: bool = False
    ) -> None:
        super().__init__("submitit", "slurm", dry_run)
        self.cluster, self.max_num_timeout = cluster, max_num_timeout
        self.parameters: Any = OmegaConf.to_container(parameters, resolve=True)

    def submit(self, jobs: Sequence[Job], common: bytes) -> tuple[Poll, Callable[[], None]]:
        """Submit one array; see the base class."""
        logging.getLogger("submitit").setLevel(logging.WARNING)
        folder = os.path.abspath(self.directory / ".submitit" / "%j")
        try:
            executor = self.engine.AutoExecutor(
                folder, cluster=self.cluster, slurm_max_num_timeout=self.max_num_timeout
            )
            known = {name: value for name, value in self.parameters.items() if value is not None}
            executor.update_parameters(**known)
            submitted = executor.map_array(Requeued(common), [take(job) for job in jobs])
        except (RuntimeError, ValueError, NameError, OSError) as error:
            raise Mistake(f"{self.cluster}: {reason_of(error)}") from None
        waiting = dict(zip(submitted, jobs, strict=True))

        def poll() -> list[tuple[Job, Callable[[], Outcome]]]:
            time.sleep(REFRESH_SECONDS)
            ready = [handle for handle in waiting if handle.done()]
            return [(waiting.pop(handle), handle.result) for handle in ready]

        def cancel() -> None:
            for handle in waiting:
                handle.cancel()

        return poll, cancel


class Requeued:
    """A job that, told by submitit that its time is over, stops in order and is then requeued.

    The loop ends its episode and writes a checkpoint, from which the requeued job goes on exactly.
    Slurm tells so by SIGUSR1 or SIGUSR2, `slurm_signal_delay_s` before it kills.
    """

    def __init__(self, common: bytes) -> None:
        self.common = common
        self.told = 0

    def __call__(self, packed: bytes) -> Outcome:
        """Run the job; return what came of it, unless it is requeued."""
        # submitit handles the one that it has chosen; the other one would kill.
        theirs = [signal.signal(n, self.handle) for n in (signal.SIGUSR1, signal.SIGUSR2)]
        outcome = work_remotely(packed, self.common)
        requeue = next(filter(callable, theirs), None)
        if self.told and outcome.state == "stopped" and requeue:
            requeue(self.told, None)  # and leaves
        return outcome

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Let the loop stop, as on SIGTERM."""
        self.told = number
        os.kill(os.getpid(), signal.SIGTERM)

    def checkpoint(self, packed: bytes) -> Any:
        """Return what submitit is to submit again."""
        import submitit

        return submitit.helpers.DelayedSubmission(Requeued(self.common), packed)


def work_remotely(packed: bytes, common: bytes) -> Outcome:
    """Run a job in a process of an engine's, which may be on another machine."""
    config, task, context = begin(packed, common)
    home = config.hydra.runtime.cwd  # what the user's modules and paths are relative to
    if os.path.isdir(home):
        os.chdir(home)
        sys.path.insert(0, home)
    directory = Path(config.hydra.runtime.output_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        log = open(directory / f"{config.hydra.job.name}.log", "a", buffering=1)
    except OSError as error:
        return Outcome("failed", reason=f"cannot write {error.filename}: {error.strerror}")
    deadline = time.monotonic() + PATIENCE
    while manifest.is_locked(directory) and time.monotonic() < deadline:
        time.sleep(0.05)
    with log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        return attempt(config, task, context, directory)


def settle(job: Job, result: Callable[[], Outcome]) -> Job:
    """Write down how `job` ended."""
    try:
        outcome = result()
    except Exception as error:  # the engine's: the process is gone
        outcome = Outcome("failed", reason=reason_of(error))
        if type(error).__name__ == "TaskCancelledError":  # Ray's, of a job that we took back
            outcome = Outcome("stopped", reason="before it had started")
    job.state, job.result, job.reason = outcome.state, outcome.result, outcome.reason
    return job


def take(job: Job) -> bytes:
    """Return the job's packed config, which is then the engine's to keep."""
    packed, job.packed = job.packed, b""
    return packed


def require(module: str, extra: str) -> Any:
    """Return the module of an engine.

    Raises:
        Mistake: it is not installed; the line says how to.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Mistake(
            f'hydra/launcher={extra} needs {module} ({error}): pip install "gym-loop[{extra}]"'
        ) from None
