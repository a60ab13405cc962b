"""Waiting for jobs that an engine has, by the launch that submitted them or by any other."""

import time
from collections.abc import Callable
from pathlib import Path

from gym_loop.mistake import Mistake
from gym_loop.runs import manifest
from gym_loop.sweeps import submitted
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.job import Outcome
from gym_loop.sweeps.submitted import ENDED, PENDING, RUNNING, Handed, Where
from gym_loop.sweeps.table import REFRESH_SECONDS

SHORTEST, LONGEST = 2.0, 30.0  # seconds between two questions to the engine
LATE = 15.0  # seconds that a result may take to be seen on a shared filesystem


class Follower:
    """Finds out which of the submitted jobs have ended, and what came of them.

    Args:
        directory: the sweep's.
        submit_again: hands a lost job over once more; without it, a lost job has failed.
    """

    def __init__(
        self, directory: Path, submit_again: Callable[[Job], Handed | None] | None = None
    ) -> None:
        self.directory, self.submit_again = directory, submit_again
        self.jobs: dict[str, Job] = {}
        self.handed: dict[str, Handed] = {}
        self.missing: dict[str, float] = {}  # since when a job has neither place nor result
        self.lost: set[str] = set()  # once already
        self.began, self.due = 0.0, 0.0  # when the newest job was added, and the next question

    def add(self, job: Job, handed: Handed) -> None:
        """Follow one more job; ask the engine at once, and often for a while."""
        self.jobs[job.name], self.handed[job.name] = job, handed
        job.where, self.began, self.due = Where(PENDING), time.monotonic(), 0.0
        self.missing.pop(job.name, None)  # of an earlier submission

    @property
    def running(self) -> list[Job]:
        """Those jobs that run."""
        return [job for job in self.jobs.values() if job.where and job.where.state == RUNNING]

    def poll(self) -> list[Job]:
        """Return the jobs that have ended since the last call, after a moment."""
        time.sleep(REFRESH_SECONDS)
        now = time.monotonic()
        if now >= self.due:
            self._ask(now)
        ended = []
        for name, job in list(self.jobs.items()):
            if job.where and job.where.state == PENDING:
                continue
            outcome = self._outcome(job, now)
            if outcome and outcome.state == "lost":
                outcome = self._lost(job, outcome)
            if outcome:
                job.state, job.result, job.reason = outcome.state, outcome.result, outcome.reason
                ended.append(job)
                del self.jobs[name], self.handed[name]
        return ended

    def _ask(self, now: float) -> None:
        self.due = now + min(max((now - self.began) / 20, SHORTEST), LONGEST)
        try:
            said = submitted.where(self.directory, self.handed)
        except Mistake:  # it does not answer now, and was heard of before
            return
        for name, job in self.jobs.items():
            job.where = said.get(name)
            job.place = job.where.node if job.where else ""
            if job.where and job.where.state != ENDED:
                self.missing.pop(name, None)
            else:
                self.missing.setdefault(name, now)

    def _outcome(self, job: Job, now: float) -> Outcome | None:
        handed = self.handed[job.name]
        known: Outcome | None = submitted.result(self.directory, handed)
        if known or job.name not in self.missing:
            return known
        if job.where:
            known = submitted.module(handed.engine).outcome(job.where)
        if known:
            return known
        if now - self.missing[job.name] < LATE:
            return None
        own = manifest.read(job.directory) or {}
        if own.get("state") == "finished":  # killed after its run
            return Outcome("finished", own.get("result"))
        return submitted.ending(self.directory, handed, job.where)

    def _lost(self, job: Job, outcome: Outcome) -> Outcome | None:
        """Submit a lost job again, once; return what came of it when it is lost for good."""
        if self.submit_again is None or job.name in self.lost:
            return Outcome("failed", reason=f"lost: {outcome.reason}")
        self.lost.add(job.name)
        self.missing.pop(job.name)
        if handed := self.submit_again(job):
            self.add(job, handed)
            return None
        return Outcome(job.state, job.result, job.reason)  # it has ended elsewhere
