"""What engines say of a sweep's jobs, for those who list runs."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gym_loop.mistake import Mistake
from gym_loop.runs.reading import RunContent
from gym_loop.sweeps import directory, submitted
from gym_loop.sweeps.directory import Job


class SubmittedRun(RunContent):
    """The row of a job that was submitted and has left no run yet."""

    def __init__(self, place: Path, overrides: list[str], state: str) -> None:
        self.content = {"state": state, "overrides": overrides}
        super().__init__(place)
        self.state = state
        self.warnings = []

    def _read_manifest(self) -> dict[str, Any]:
        return self.content


def ask_engines(place: Path, runs: Iterable[RunContent]) -> list[RunContent]:
    """Set state and node of those `runs` that an engine has, or has lost; return rows for the rest.

    These are the jobs of the sweep in `place` that have left no run yet.

    Raises:
        Mistake: its record cannot be read, or an engine does not answer.
    """
    sweep = directory.read(place)
    if sweep is None:
        raise Mistake(f"{place} is not a sweep: no {directory.NAME} in it")
    there = {os.path.realpath(run.directory): run for run in runs}
    top = os.path.realpath(place)
    jobs: dict[str, Job] = {}
    found: dict[str, RunContent | None] = {}
    for name, handed in submitted.Record(place).read().items():
        path = os.path.realpath(place / handed.directory)
        if not path.startswith(top + os.sep):
            continue
        found[name] = run = there.get(path)
        words = sweep.jobs.get(name, [])  # those of a search are not in sweep.json
        jobs[name] = Job(name, words, 0, place / handed.directory)
        jobs[name].state = run.manifest.get("state", "new") if run else "new"
    submitted.find(place, jobs)
    rows: list[RunContent] = []
    for name, job in jobs.items():
        run = found[name]
        state = job.where.state if job.where else job.state
        if run is None:
            # Without a run, it failed before that had begun.
            run = SubmittedRun(job.directory, job.overrides, "failed" if state == "new" else state)
            rows.append(run)
        elif job.where or state != run.manifest.get("state"):
            run.state = state
        run.node = job.where.node if job.where else ""
    return rows
