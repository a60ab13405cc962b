"""Jobs as tasks of a Ray cluster, owned by an actor that stays there when the launch has left."""

import contextlib
import os
import pickle
import socket
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gym_loop import files
from gym_loop.mistake import Mistake
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.job import Outcome, reason_of
from gym_loop.sweeps.submitted import PENDING, RUNNING, Handed, Record, Where

NAME = "ray"
QUIET = {"log_to_driver": False, "configure_logging": False}
AT_ONCE = 1000  # tasks that the actor is sent in one call
IDLE_SECONDS = 60.0  # without a job, after which the actor ends


class Keeper:
    """The actor that owns a sweep's tasks: Ray ends a task with its owner.

    It writes each job's outcome into its submission's folder, and ends when there is nothing to do.
    """

    def __init__(self) -> None:
        self.tasks: dict[Any, tuple[str, Path]] = {}  # by the reference to its result
        self.nodes: dict[str, str] = {}  # of the jobs that have begun
        self.lock = threading.Lock()
        threading.Thread(target=self._follow, daemon=True).start()

    def submit(
        self, folder: Path, jobs: Mapping[str, bytes], common: bytes, remote: Mapping[str, Any]
    ) -> None:
        """Start a task for each job: an id and a packed config."""
        import ray

        task: Any = ray.remote(**remote)(play) if remote else ray.remote(play)
        shared, me = ray.put(common), ray.get_runtime_context().current_actor
        with self.lock:
            for name, packed in jobs.items():
                self.tasks[task.remote(packed, shared, me, name)] = (name, folder)

    def begun(self, name: str, node: str) -> None:
        """Note on which node a job runs."""
        self.nodes[name] = node

    def where(self) -> dict[str, str]:
        """Return the ids of the jobs that have not ended, each with its node or ""."""
        with self.lock:
            return {name: self.nodes.get(name, "") for name, _ in self.tasks.values()}

    def cancel(self, names: Collection[str]) -> None:
        """Take back what waits, and interrupt what runs, as Ctrl-C does."""
        import ray

        with self.lock:
            for task, (name, _) in self.tasks.items():
                if name in names:
                    ray.cancel(task)

    def _follow(self) -> None:
        import ray

        last = time.monotonic()
        while time.monotonic() - last < IDLE_SECONDS:
            time.sleep(0.25)
            with self.lock:
                tasks = list(self.tasks)
            if not tasks:
                continue
            last = time.monotonic()
            ready, _ = ray.wait(tasks, num_returns=len(tasks), timeout=0, fetch_local=False)
            for task in ready:
                name, folder = self.tasks[task]
                with contextlib.suppress(OSError):  # a full disk: the job is then lost
                    write(folder, name, outcome_of(ray, task))
                with self.lock:
                    del self.tasks[task]
        os._exit(0)


def play(packed: bytes, common: bytes, keeper: Any, name: str) -> Outcome:
    """Run a job; a task of Ray's."""
    from gym_loop.sweeps.engines import work_remotely

    keeper.begun.remote(name, socket.gethostname())
    return work_remotely(packed, common)


def outcome_of(ray: Any, task: Any) -> Outcome:
    """Return what came of a task that has ended."""
    try:
        outcome: Outcome = ray.get(task)
        return outcome
    except Exception as error:  # Ray's: the process is gone
        if type(error).__name__ == "TaskCancelledError":
            return Outcome("stopped", reason="cancelled")
        return Outcome("failed", reason=reason_of(error))


def write(folder: Path, name: str, outcome: Outcome) -> None:
    """Leave a job's outcome where submitit leaves it."""
    files.write(folder / f"{name}_0_result.pkl", pickle.dumps(("success", outcome)))


def connect(init: Mapping[str, Any]) -> Any:
    """Return Ray, connected.

    Raises:
        Mistake: there is no such cluster.
    """
    import ray

    if not ray.is_initialized():
        try:
            ray.init(**init)
        except (ConnectionError, ValueError, TypeError, RuntimeError) as error:
            raise Mistake(f"ray.init({dict(init)}): {reason_of(error)}") from None
    return ray


def actor_name(directory: Path) -> dict[str, Any]:
    """Return what names the actor that owns a sweep's tasks."""
    return {"name": f"gym_loop {directory.absolute()}", "namespace": "gym_loop"}


def submit(
    record: Record,
    jobs: Sequence[Job],
    packed: Sequence[bytes],
    common: bytes,
    init: Mapping[str, Any],
    remote: Mapping[str, Any],
) -> None:
    """Hand `jobs`, with their configs, to the sweep's actor; for the holder of the record's lock.

    Raises:
        Mistake: there is no cluster, or it refuses.
    """
    ray = connect(init)
    number = record.begin(NAME, str(init.get("address")), jobs)
    folder = record.folder(number)
    ids = [f"{number}.{place}" for place in range(len(jobs))]
    configs = dict(zip(ids, packed, strict=True))
    options = {**actor_name(record.directory), "num_cpus": 0, "max_concurrency": 4}
    # With the owner of tasks, Ray ends them: it is on the head node, without which there is no
    # cluster. By this resource, which `ray.cluster_resources()` lists, Ray's own libraries ask too.
    options["resources"] = {"node:__internal_head__": 0.001}
    for _ in range(2):  # one that has had nothing to do may be about to end
        actor = ray.remote(Keeper).options(lifetime="detached", get_if_exists=True, **options)
        try:
            ray.get(actor.remote().submit.remote(folder, configs, common, remote))
            break
        except ray.exceptions.RayActorError as error:
            failure = error
        except (ValueError, TypeError) as error:
            raise Mistake(f"ray.remote({dict(remote)}): {reason_of(error)}") from None
    else:
        raise Mistake(f"ray: {reason_of(failure)}")
    record.end(number, ids)


def keeper(directory: Path, jobs: Collection[Handed]) -> Any:
    """Return the actor that owns a sweep's tasks, connected to its cluster; None: it has ended."""
    address = next(iter(jobs)).cluster
    try:
        import ray

        if address == "None" and not ray.is_initialized():
            return None  # it was a cluster of the launch's own
        connect({"address": address, "logging_level": "ERROR", **QUIET})
        return ray.get_actor(**actor_name(directory))
    except (ImportError, Mistake, ValueError):
        return None


def where(directory: Path, handed: Collection[Handed]) -> dict[Handed, Where]:
    """Return where those jobs are that have not ended; a cluster that is gone has none."""
    actor = keeper(directory, handed)
    if actor is None:
        return {}
    import ray

    try:
        known: dict[str, str] = ray.get(actor.where.remote())
    except ray.exceptions.RayActorError:
        return {}
    return {
        job: Where(RUNNING, known[job.id]) if known[job.id] else Where(PENDING)
        for job in handed
        if job.id in known
    }


def outcome(at: Where) -> Outcome | None:
    """Return what came of a job that has ended without a result: the actor tells of no such."""
    return None


def last_word(directory: Path, job: Handed, at: Where | None) -> Outcome:
    """Return what came of a job of which no result is to be expected any more."""
    return Outcome("lost", reason="the process that owned it is gone, with its node or its cluster")


def cancel(directory: Path, jobs: Collection[Handed]) -> None:
    """Take back jobs that wait, and interrupt those that run."""
    actor = keeper(directory, jobs)
    if actor is not None:
        import ray

        ray.get(actor.cancel.remote({job.id for job in jobs}))


def find_ids(folder: Path, count: int) -> list[str]:
    """Return the ids of a submission's jobs whose launcher was killed as it submitted."""
    return [f"{folder.name}.{place}" for place in range(count)]
