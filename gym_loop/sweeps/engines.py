"""Sweeps beyond one machine: Ray and Slurm run the jobs, in the same directory."""

import contextlib
import importlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from omegaconf import OmegaConf

from gym_loop import files, launch
from gym_loop.mistake import Mistake, nearest
from gym_loop.runs import manifest
from gym_loop.sweeps import directory, ray_tasks, slurm, submitted
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.follow import Follower
from gym_loop.sweeps.job import Outcome, attempt, begin
from gym_loop.sweeps.launcher import SweepLauncher
from gym_loop.sweeps.pool import Stop, ended_elsewhere, stop_on_signals
from gym_loop.sweeps.submitted import Handed, Record
from gym_loop.sweeps.table import Table, number_of, summary
from gym_loop.sweeps.warm import set_up_hydra

PATIENCE = 6.0  # seconds that a job waits for the process that was killed at it to end


class EngineLauncher(SweepLauncher):
    """Submits jobs to an engine, which runs them though the launch may leave; waits for their ends.

    Args:
        engine: its name; see `submitted.ENGINES`.
        wait: False: submit and leave.
        n_jobs: how many jobs it has at a time, waiting or running; None: all that there are.
        dry_run: print the jobs with their states, and start nothing.
    """

    ends_with_launch = False  # whether the engine does

    def __init__(self, engine: str, wait: bool, n_jobs: int | None, dry_run: bool) -> None:
        super().__init__(dry_run)
        if type(wait) is not bool:
            raise Mistake(f"hydra.launcher.wait={wait}; expected true or false")
        if n_jobs is not None and (type(n_jobs) is not int or n_jobs < 1):
            raise Mistake(f"hydra.launcher.n_jobs={n_jobs}; expected at least 1, or null for all")
        if n_jobs and not wait:
            raise Mistake(
                "hydra.launcher.wait=false submits all jobs at once; expected it without "
                "hydra.launcher.n_jobs"
            )
        self.engine, self.wait, self.n_jobs = engine, wait, n_jobs

    def most_at_once(self) -> int:
        """Return how many jobs a submission may have."""
        raise NotImplementedError

    def submit_part(
        self, jobs: Sequence[Job], packed: Sequence[bytes], common: bytes, parts: int
    ) -> None:
        """Submit jobs with their configs as one of `parts`, and write them down in the record.

        Raises:
            Mistake: the engine refuses them.
        """
        raise NotImplementedError

    def submit(self, jobs: Sequence[Job]) -> set[str]:
        """Submit `jobs` in as few parts as there may be; return the names of those submitted.

        The record's lock is held. Only one part's configs are in memory. A job that cannot be
        composed any more, as its directory holds another run by now, has failed.

        Raises:
            Mistake: the engine refuses them; the line says how many it has taken.
        """
        size, common, names = self.most_at_once(), self.common(), set[str]()
        parts = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        for part in parts:
            ready, packed = [], []
            for job in part:
                try:
                    packed.append(self.packed(job))
                    ready.append(job)
                except Mistake as mistake:
                    job.state, job.reason = "failed", mistake.message
            try:
                if ready:
                    self.submit_part(ready, packed, common, len(parts))
            except Mistake as mistake:
                taken = f"; it has taken {len(names)} of {len(jobs)} jobs" if names else ""
                raise Mistake(f"{mistake.message}{taken}") from None
            names |= {job.name for job in ready}
        return names

    def hand_over(self, jobs: Sequence[Job]) -> dict[str, Handed]:
        """Submit those of `jobs` that no engine has, and return all that one has now.

        What another launch has brought to its end in the meantime is neither.
        """
        record = Record(self.directory)
        names = {job.name for job in jobs}
        with record.lock():
            known = {name: job for name, job in record.read().items() if name in names}
            said = submitted.where(self.directory, known)
            there = {
                name: known[name]
                for name in said
                if said[name].state != submitted.ENDED
                and not submitted.result_file(self.directory, known[name]).exists()
            }
            missing = [job for job in jobs if job.name not in there and not ended_elsewhere(job)]
            fresh = self.submit(missing) if missing else set()
            there |= {name: job for name, job in record.read().items() if name in fresh}
        if self.n_jobs is None:
            others = len(there) - len(fresh)
            already = f", {others} waiting or running already" if others else ""
            note(f"{self.directory}: {number_of(len(fresh))} submitted{already}")
        return there

    def execute(self, jobs: Iterable[Job | None], skipped: int, total: int) -> int:
        source = iter(jobs)
        follower = Follower(self.directory, lambda job: self.hand_over([job]).get(job.name))
        with self.table(total, skipped) as table, stop_on_signals() as stop:
            while not stop.number:
                room = None if self.n_jobs is None else self.n_jobs - len(follower.jobs)
                asked = itertools.takewhile(bool, source)  # up to the first None
                if new := [job for job in itertools.islice(asked, room) if job]:
                    self.add(follower, new, table)
                    if not self.wait:
                        break
                if not follower.jobs:
                    return 0
                poll(follower, table)
            if self.wait and self.ends_with_launch:
                submitted.module(self.engine).cancel(self.directory, follower.handed.values())
                while follower.jobs and time.monotonic() < stop.deadline:
                    poll(follower, table)
        if self.wait:
            return leave(follower, stop)
        print(how_to_look(self.directory))
        raise SystemExit(0)

    def add(self, follower: Follower, jobs: Sequence[Job], table: Table) -> None:
        """Hand `jobs` over, and follow them."""
        there = self.hand_over(jobs)
        for job in jobs:
            if job.name in there:
                follower.add(job, there[job.name])
            else:
                table.end(job)


def poll(follower: Follower, table: Table) -> None:
    """Show what has ended, and what runs."""
    for job in follower.poll():
        table.end(job)
    table.show(follower.running)


def wait_for(follower: Follower, table: Table, stop: Stop) -> int:
    """Wait until all that is followed has ended, or until a signal; return the exit code."""
    while follower.jobs and not stop.number:
        poll(follower, table)
    return leave(follower, stop) if stop.number else 0


def leave(follower: Follower, stop: Stop) -> int:
    """Say what goes on when a signal has ended the wait; return the exit code."""
    for job in follower.jobs.values():
        job.state = "held"
    if follower.jobs:
        left = number_of(len(follower.jobs))
        note(f"left: nothing is cancelled, {left} not ended. {how_to_look(follower.directory)}")
    return 128 + stop.number


def how_to_look(directory: Path) -> str:
    """Return a line with the commands that show submitted jobs."""
    return (
        f"gym-loop ls {directory} shows the jobs, gym-loop wait {directory} waits for them, "
        f"gym-loop cancel {directory} stops them"
    )


def note(line: str) -> None:
    """Print a line for the person who launches."""
    print(line, file=sys.stderr, flush=True)


def submitted_jobs(place: Path) -> tuple[dict[str, Job], dict[str, Handed]]:
    """Return the jobs of the sweep in `place`, and those of them that an engine was given.

    Raises:
        Mistake: there is no sweep, none of its jobs was submitted, or an engine cannot be asked.
    """
    sweep = directory.read(place)
    if sweep is None:
        raise Mistake(f"{place} is not a sweep: no {directory.NAME} in it")
    handed = Record(place).read()
    if not handed:
        raise Mistake(
            f"no job of {place} was submitted to an engine: hydra/launcher=slurm and ray do so"
        )
    jobs = {}
    known = {**{name: [] for name in handed}, **sweep.jobs}  # a search's are not in sweep.json
    for number, (name, words) in enumerate(known.items()):
        job = Job(name, words, number, place / (handed[name].directory if name in handed else name))
        run = manifest.read(job.directory) or {}
        job.state, job.result = run.get("state", "new"), run.get("result")
        job.reason = str(run.get("error") or "").partition("\n")[0]
        job.log = job.directory / "gym_loop.log"
        jobs[name] = job
    submitted.find(place, jobs)
    return jobs, handed


def wait(place: Path) -> int:
    """Wait for the submitted jobs of the sweep in `place`; return the exit code.

    Raises:
        Mistake: see `submitted_jobs`.
    """
    jobs, handed = submitted_jobs(place)
    follower = Follower(place)
    for name, job in jobs.items():
        if job.where == submitted.LOST:
            job.state, job.reason = "failed", f"lost; gym-loop resume {place} submits it again"
        elif job.where or (name in handed and job.state in submitted.UNENDED):
            follower.add(job, handed[name])
    with Table(len(jobs)) as table, stop_on_signals() as stop:
        for job in jobs.values():
            if job.name not in follower.jobs:
                table.end(job)
        code = wait_for(follower, table, stop)
    print(summary(place, list(jobs.values())))
    done = all(job.state in ("finished", "skipped") for job in jobs.values())
    return code or int(not done)


def cancel(place: Path, chosen: Sequence[str]) -> int:
    """Stop submitted jobs of the sweep in `place`, and wait for their ends; return the exit code.

    They are those of the names or directories `chosen`, or all of them.

    Raises:
        Mistake: see `submitted_jobs`; or there is no such job.
    """
    jobs, handed = submitted_jobs(place)
    names = [os.path.basename(word.rstrip("/")) for word in chosen]
    for name in names:
        if name not in jobs:
            near = nearest(name, jobs, f"; it has {', '.join(list(jobs)[:5])}")
            raise Mistake(f"{place} has no job {name!r}{near}")
    nowhere = (None, submitted.LOST)
    there = {name: jobs[name] for name in names or jobs if jobs[name].where not in nowhere}
    for engine in {handed[name].engine for name in there}:
        own = [handed[name] for name in there if handed[name].engine == engine]
        submitted.module(engine).cancel(place, own)
    follower = Follower(place)
    for job in there.values():
        follower.add(job, handed[job.name])
    with Table(len(there)) as table, stop_on_signals() as stop:
        code = wait_for(follower, table, stop)
    print(summary(place, list(there.values())) if there else f"{place}: no job waits or runs")
    return code


class RayLauncher(EngineLauncher):
    """Runs jobs on a Ray cluster, or on one that it starts on this machine; see the base class.

    `init` are arguments of `ray.init`; `remote` are options of `ray.remote`: what a job needs, and
    how often a killed one is tried again.
    """

    def __init__(
        self,
        init: Any,
        remote: Any,
        wait: bool = True,
        n_jobs: int | None = None,
        dry_run: bool = False,
    ) -> None:
        super().__init__(ray_tasks.NAME, wait, n_jobs, dry_run)
        require("ray", ray_tasks.NAME)
        self.init: Any = OmegaConf.to_container(init, resolve=True)
        self.remote: Any = OmegaConf.to_container(remote, resolve=True)
        self.ends_with_launch = OmegaConf.select(init, "address") is None
        if not wait and self.ends_with_launch:
            raise Mistake(
                "hydra.launcher.wait=false: a cluster of the launch's own ends with it; expected "
                "one that is there: hydra.launcher.init.address=auto"
            )

    def most_at_once(self) -> int:
        return ray_tasks.AT_ONCE

    def submit_part(
        self, jobs: Sequence[Job], packed: Sequence[bytes], common: bytes, parts: int
    ) -> None:
        record = Record(self.directory)
        ray_tasks.submit(record, jobs, packed, common, self.init, self.remote)


class SlurmLauncher(EngineLauncher):
    """Runs jobs on Slurm through submitit, in arrays; a job is requeued when it is preempted.

    See the base class, and `slurm.submit`. In `parameters`, `slurm_` leads Slurm's own.
    """

    def __init__(
        self,
        cluster: str,
        max_num_timeout: int,
        parameters: Any,
        wait: bool = True,
        n_jobs: int | None = None,
        dry_run: bool = False,
    ) -> None:
        super().__init__(slurm.NAME, wait, n_jobs, dry_run)
        require("submitit", slurm.NAME)
        slurm.check(cluster)
        self.cluster, self.max_num_timeout = cluster, max_num_timeout
        self.parameters: Any = OmegaConf.to_container(parameters, resolve=True)

    def most_at_once(self) -> int:
        return slurm.max_array_size() if self.cluster == "slurm" else 1

    def submit_part(
        self, jobs: Sequence[Job], packed: Sequence[bytes], common: bytes, parts: int
    ) -> None:
        record, parameters = Record(self.directory), dict(self.parameters)
        if at_once := parameters.get("slurm_array_parallelism"):
            parameters["slurm_array_parallelism"] = max(at_once // parts, 1)
        slurm.submit(record, jobs, packed, common, self.cluster, self.max_num_timeout, parameters)


class Requeued:
    """A job that, told by submitit that its time is over, stops in order and is then requeued.

    The loop ends its episode and writes a checkpoint, from which the requeued job goes on exactly.
    Slurm tells so by SIGUSR1 or SIGUSR2, `slurm_signal_delay_s` before it kills.

    Args:
        common: the file that holds what all jobs share.
    """

    def __init__(self, common: Path) -> None:
        self.common = common
        self.told = 0

    def __call__(self, packed: bytes) -> Outcome:
        """Run the job; return what came of it, unless it is requeued."""
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":
            os.setpgid(0, 0)  # a Ctrl-C at the terminal reaches the launching process alone
        # submitit handles the one that it has chosen; the other one would kill.
        theirs = [signal.signal(n, self.handle) for n in (signal.SIGUSR1, signal.SIGUSR2)]
        outcome = work_remotely(packed, self.common.read_bytes())
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


@launch.surroundings()
def work_remotely(packed: bytes, common: bytes) -> Outcome:
    """Run a job in a process of an engine's, which may be on another machine."""
    set_up_hydra()
    config, task, context = begin(packed, common)
    home = config.hydra.runtime.cwd  # what the user's modules and paths are relative to
    if os.path.isdir(home):
        os.chdir(home)
        sys.path.insert(0, home)
    directory = Path(config.hydra.runtime.output_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{config.hydra.job.name}.log"
        manifest.own_log(path)
        log = open(path, "a", buffering=1)
    except OSError as error:
        return Outcome("failed", reason=f"cannot write {error.filename}: {files.reason(error)}")
    deadline = time.monotonic() + PATIENCE
    while manifest.is_locked(directory) and time.monotonic() < deadline:
        time.sleep(0.05)
    printed = contextlib.redirect_stdout(log), contextlib.redirect_stderr(log)
    with log, printed[0], printed[1]:
        return attempt(config, task, context, directory)


def require(module: str, extra: str) -> None:
    """Check that the package that an engine needs is installed.

    Raises:
        Mistake: it is not; the line says what to install.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise Mistake(
            f'hydra/launcher={extra} needs {module} ({error}): pip install "gym-loop[{extra}]"'
        ) from None
