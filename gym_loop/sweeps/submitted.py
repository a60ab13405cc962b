"""Which jobs of a sweep were handed to an engine, under which ids: submitted.jsonl.

Jobs are written down before the engine is told of them, and their ids once it has answered. Where
that answer was never written, as the launching process was killed, the engine finds the ids.
"""

import importlib
import json
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gym_loop import files
from gym_loop.mistake import Mistake
from gym_loop.runs import manifest, reading
from gym_loop.sweeps.directory import LARGEST, Job
from gym_loop.sweeps.job import Outcome

NAME, FOLDER = reading.SUBMITTED, ".submitit"
LOCK_SECONDS = 600.0  # that another launch may take to submit its jobs
PENDING, RUNNING, ENDED = "pending", "running", "ended"
ENGINES = {"slurm": "gym_loop.sweeps.slurm", "ray": "gym_loop.sweeps.ray_tasks"}


@dataclass(frozen=True)
class Handed:
    """A job that was handed to an engine.

    Attributes:
        engine: its name; see `ENGINES`.
        cluster: where the engine runs: submitit's cluster, or Ray's address.
        submission: the number of the submission, which has a folder in `.submitit`.
        id: what the engine calls the job.
        directory: the job's, relative to the sweep's.
    """

    engine: str
    cluster: str
    submission: int
    id: str
    directory: str


@dataclass(frozen=True)
class Where:
    """What an engine says of a job: `pending`, `running` or `ended`, and in its own words."""

    state: str
    node: str = ""
    said: str = ""

    def __str__(self) -> str:
        """Return `running on node7`."""
        return f"{self.state} on {self.node}" if self.node else self.state


LOST = Where("lost")
UNENDED = ("new", "running")  # states of a job whose process did not end in order


class Record:
    """The submissions of the sweep in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.path = directory, directory / NAME

    def lock(self) -> manifest.Lock:
        """Let one launch at a time ask, submit and write down."""
        (self.directory / FOLDER).mkdir(parents=True, exist_ok=True)
        return manifest.Lock(self.directory / FOLDER, LOCK_SECONDS)

    def read(self) -> dict[str, Handed]:
        """Return each job's newest submission, by the job's name.

        Raises:
            Mistake: the file holds something else.
        """
        found: dict[str, Handed] = {}
        try:
            for number, line in enumerate(self._lines()):
                engine, cluster, folder = (
                    str(line["engine"]),
                    str(line["cluster"]),
                    self.folder(number),
                )
                ids = line.get("ids")
                if ids is None:
                    jobs = len(line["jobs"])
                    ids = module(engine).find_ids(folder, jobs) if folder.is_dir() else []
                for (name, place), own in zip(line["jobs"].items(), ids, strict=False):
                    found[name] = Handed(engine, cluster, number, own, place)
        except (
            OSError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            RecursionError,
        ) as error:
            raise Mistake(f"cannot read {self.path}: {type(error).__name__}: {error}") from None
        return found

    def _lines(self) -> list[dict[str, Any]]:
        """Return the submissions in their order, each with its `ids` where they are known."""
        try:
            text = files.read(self.path, LARGEST)
        except FileNotFoundError:
            return []
        lines: list[dict[str, Any]] = []
        for word in text.splitlines(keepends=True):
            if not word.endswith(b"\n"):
                break  # a kill or a power cut has cut it
            line = json.loads(word)
            if "ids" in line:
                lines[line["submission"]]["ids"] = line["ids"]
            else:
                lines.append(line)
        return lines

    def folder(self, submission: int) -> Path:
        """Return the folder of a submission."""
        return self.directory.absolute() / FOLDER / str(submission)

    def begin(self, engine: str, cluster: str, jobs: Sequence[Job]) -> int:
        """Write down that `jobs` will be submitted, make their folder, and return the number."""
        number, top = len(self._lines()), self.directory.absolute()
        places = {job.name: os.path.relpath(job.directory.absolute(), top) for job in jobs}
        self._append({"submission": number, "engine": engine, "cluster": cluster, "jobs": places})
        self.folder(number).mkdir()
        return number

    def end(self, submission: int, ids: Sequence[str]) -> None:
        """Write down what the engine calls the jobs of a submission, in their order."""
        self._append({"submission": submission, "ids": list(ids)})

    def _append(self, line: dict[str, Any]) -> None:
        size = 0
        if self.path.exists():
            size = files.read(self.path, LARGEST).rfind(b"\n") + 1
        file = files.AppendOnly(self.path, size)
        try:
            file.append(json.dumps(line).encode() + b"\n")
            file.sync()
        finally:
            file.close()


def module(engine: str) -> Any:
    """Return the module of an engine: `where`, `outcome`, `last_word`, `cancel`, `find_ids`."""
    return importlib.import_module(ENGINES[engine])


def where(directory: Path, handed: Mapping[str, Handed]) -> dict[str, Where]:
    """Ask the engines of the sweep in `directory` for jobs; what they do not know is left out.

    Raises:
        Mistake: an engine cannot be asked.
    """
    found: dict[str, Where] = {}
    for engine in {job.engine for job in handed.values()}:
        own = {name: job for name, job in handed.items() if job.engine == engine}
        said = module(engine).where(directory, set(own.values()))
        found |= {name: said[job] for name, job in own.items() if job in said}
    return found


def find(directory: Path, jobs: Mapping[str, Job]) -> None:
    """Set `where` of those jobs, by name, that an engine has or has lost.

    Raises:
        Mistake: an engine cannot be asked.
    """
    known = Record(directory).read()
    handed = {name: known[name] for name, job in jobs.items() if name in known}
    handed = {name: own for name, own in handed.items() if jobs[name].state != "finished"}
    said = where(directory, handed)
    for name, own in handed.items():
        job, at = jobs[name], said.get(name)
        if at and at.state != ENDED:
            job.where = at
        elif job.state in UNENDED and not result_file(directory, own).exists():
            end = ending(directory, own, at)
            if end.state == "lost":
                job.where = LOST
            else:
                job.state, job.reason = end.state, end.reason


def ending(directory: Path, job: Handed, at: Where | None) -> Outcome:
    """Return what came of a job that has ended, or is not known, and has left no result."""
    engine = module(job.engine)
    end: Outcome = (at and engine.outcome(at)) or engine.last_word(directory, job, at)
    return end


def result_file(directory: Path, job: Handed) -> Path:
    """Return where a job leaves its outcome, as submitit names it."""
    return directory / FOLDER / str(job.submission) / f"{job.id}_0_result.pkl"


def result(directory: Path, job: Handed) -> Outcome | None:
    """Return what a job has left as its result, None if nothing yet; unpickles it."""
    try:
        kind, value = pickle.loads(result_file(directory, job).read_bytes())
    except FileNotFoundError:
        return None
    if kind == "success" and isinstance(value, Outcome):
        return value
    return Outcome("failed", reason=last_line(str(value)))


def last_line(text: str) -> str:
    """Return the last line of a text that says anything."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
