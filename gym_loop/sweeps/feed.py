"""The jobs that a launcher starts, as there is room for them."""

from collections import deque
from collections.abc import Iterable, Iterator

from gym_loop.runs import manifest
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.table import Table


class Feed:
    """The jobs of a sweep, which are known beforehand.

    Attributes:
        table: shows how the sweep is doing.
        is_open: whether a job may still come, if not now.
    """

    def __init__(self, jobs: Iterable[Job], table: Table) -> None:
        self.queue, self.table = deque(jobs), table

    @property
    def is_open(self) -> bool:
        """Whether a job may still come, if not now."""
        return bool(self.queue)

    def ready(self) -> Iterator[Job]:
        """Yield the jobs that can be started now; the next one is asked for when there is room."""
        for _ in range(len(self.queue)):
            job = self.queue.popleft()
            if manifest.is_locked(job.directory):
                self.hold(job)
            else:
                yield job

    def hold(self, job: Job) -> None:
        """Let `job` wait: another launch is running it."""
        job.state = "held"
        self.queue.append(job)

    def put_back(self, job: Job) -> None:
        """Let `job` wait: what it takes, such as a GPU, is not free."""
        self.queue.append(job)

    def end(self, job: Job) -> None:
        """Note that `job` has ended, in whatever way."""
        job.packed = b""
        self.table.end(job)
