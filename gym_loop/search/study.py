"""The study of a search: Optuna's journal in the sweep's directory, shared by all launches.

For Optuna a paused trial is still running; it is told once, when all jobs of the trial have ended.
What it has reached until then are its intermediate values, by the number of the evaluation, and how
far its jobs are to be played is its attribute `goal`. So one journal holds all that is decided.
"""

import contextlib
import copy
import fcntl
import functools
import os
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from gym_loop import files
from gym_loop.mistake import Failure, Mistake
from gym_loop.runs import reading
from gym_loop.search.space import Space

NAME = "search"  # of the study in the file
FILE = reading.STUDY
DEFINITION = "gym_loop"  # the study's attribute that says what it is a study of
# What a pruner compares trials by. Some of Optuna's take a report's step as a resource, others as
# an instance: never both in one study.
RUNGS, EVALUATIONS, SEEDS = "hydra.sweeper.pruner's comparison", "by evaluation", "seed by seed"
SOURCE = "hydra.sweeper.space's file"  # with its digest
# A trial's attributes. One without a goal has been asked for by a process that was killed at it.
GOAL, OVERRIDES, WHY = "goal", "overrides", "why"
END = 0  # the goal of jobs that are played to their ends


class Lock:
    """Lets one process at a time use the journal; the system releases it when the process ends.

    It may be taken again by who holds it: Optuna does so whenever it writes.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.depth, self.descriptor = path, 0, -1

    def acquire(self) -> bool:
        """Wait for the lock, and cut off a last line that a power cut or a kill has torn.

        Raises:
            Mistake: the journal is no file.
        """
        while not self.depth and not self._take():
            os.close(self.descriptor)
        self.depth += 1
        return True

    def _take(self) -> bool:
        """Lock the journal; return whether the locked file is the one that lies there now."""
        if self.path.exists() and not self.path.is_file():
            raise Mistake(f"{self.path} is no file; expected a search's journal, or none yet")
        with _disk_errors_as_failure(self.path):
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        files.make_own(self.path)
        is_its = self.path.exists() and os.path.samestat(
            os.fstat(self.descriptor), self.path.stat()
        )
        if is_its:
            self._repair()
        return is_its

    def release(self) -> None:
        """Let others use the journal."""
        self.depth -= 1
        if not self.depth:
            os.close(self.descriptor)

    def _repair(self) -> None:
        size = end = os.fstat(self.descriptor).st_size
        block = 1 << 16
        while end and os.pread(self.descriptor, 1, end - 1) != b"\n":
            start = max(end - block, 0)
            found = os.pread(self.descriptor, end - start, start).rfind(b"\n")
            end = start + found + 1
        if end < size:
            os.ftruncate(self.descriptor, end)


class Journal(JournalFileBackend):
    """Optuna's journal; what the disk refuses is one line, and cut off when it is next locked."""

    def __init__(self, path: Path, lock: Lock) -> None:
        own: Any = lock  # the base class of Optuna's locks is private
        super().__init__(str(path), own)
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append to the journal.

        Raises:
            Failure: it cannot be written.
        """
        with _disk_errors_as_failure(self.path):
            super().append_logs(logs)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield what the journal has from a number on.

        Raises:
            Failure: it cannot be read.
        """
        with _disk_errors_as_failure(self.path, "read"):
            yield from super().read_logs(log_number_from)


@contextlib.contextmanager
def _disk_errors_as_failure(path: Path, what: str = "write") -> Iterator[None]:
    """Raise a Failure where the journal cannot be written or read."""
    try:
        yield
    except OSError as error:
        line = f"cannot {what} {path}: {error.strerror or error}"
        raise Failure(files.cannot_write(error, path) if what == "write" else line) from error


class Storage(optuna.storages.JournalStorage):
    """Shows paused trials to samplers as pruned ones, so that they learn from what was reached.

    In the journal they are running: what was told to be pruned could not go on.
    """

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials as samplers are to see them; see Optuna."""
        every = self.in_journal(study_id, deepcopy)
        if states is not None and TrialState.PRUNED not in states:
            return [trial for trial in every if trial.state in states and not is_paused(trial)]
        found = [as_pruned(trial) for trial in every]
        return [trial for trial in found if states is None or trial.state in states]

    def in_journal(self, study_id: int, deepcopy: bool = False) -> list[FrozenTrial]:
        """Return the trials as they are in the journal."""
        return super().get_all_trials(study_id, deepcopy=deepcopy)


def unreadable(path: Path, error: Exception) -> Mistake:
    """Return the mistake of a journal with which Optuna cannot do anything."""
    return Mistake(f"cannot read {path}: {type(error).__name__}: {error}")


def is_asked(trial: FrozenTrial) -> bool:
    """Return whether a trial has been asked for, and has all that goes with it."""
    words, goal = trial.user_attrs.get(OVERRIDES), trial.user_attrs.get(GOAL)
    return (
        type(goal) is int
        and goal >= 0
        and isinstance(words, list)
        and all(isinstance(word, str) for word in words)
    )


def has_numbers(trial: FrozenTrial) -> bool:
    """Return whether all that a trial has reached is a number, as it is unless it was edited."""
    reached = [*trial.intermediate_values.values(), *(trial.values or ())]
    return all(isinstance(value, int | float) for value in reached)


def is_paused(trial: FrozenTrial) -> bool:
    """Return whether a trial that has not ended has come as far as it is to be played."""
    is_running = trial.state is TrialState.RUNNING
    return is_running and trial.user_attrs.get(GOAL) in trial.intermediate_values


def as_pruned(trial: FrozenTrial) -> FrozenTrial:
    """Return a paused trial as a pruned one, any other as it is."""
    if not is_paused(trial):
        return trial
    shown = copy.copy(trial)
    shown.state, shown.datetime_complete = TrialState.PRUNED, trial.datetime_start
    return shown


class Study:
    """The study in `directory`, which is made if there is none.

    Args:
        directory: the sweep's.
        definition: what may not change from launch to launch, as texts by key.
        space: what a trial draws from.
        direction: `maximize` or `minimize`.
        sampler: returns Optuna's sampler for the trial of a number.

    Raises:
        Mistake: the study there is of something else, and the line says what differs; or it cannot
            be read.
    """

    def __init__(
        self,
        directory: Path,
        definition: Mapping[str, str],
        space: Space,
        direction: Any,
        sampler: Callable[[int], optuna.samplers.BaseSampler],
    ) -> None:
        self.directory, self.space, self.sampler = directory, space, sampler
        self.lock = Lock(directory / FILE)
        with self.locked():
            backend = Journal(directory / FILE, self.lock)
            create = functools.partial(optuna.create_study, direction=direction)
            try:
                self.storage = Storage(backend)
                names = [each.study_name for each in self.storage.get_all_studies()]
                make = optuna.load_study if NAME in names else create
                self.optuna = make(study_name=NAME, storage=self.storage)
            except (OSError, Failure):
                raise
            except Exception as error:  # whatever Optuna raises at what lies there
                raise unreadable(directory / FILE, error) from None
            self.id = self.storage.get_study_id_from_name(NAME)
            known = self.optuna.user_attrs.get(DEFINITION)
            definition = {RUNGS: EVALUATIONS, SOURCE: "", **definition}
            older = {RUNGS: EVALUATIONS, SOURCE: definition[SOURCE]}  # did not write these down
            if known is None:
                self.optuna.set_user_attr(DEFINITION, definition)
            elif (known := {**older, **known}) != definition:
                raise Mistake(f"{directory} {difference(known, definition)}")
            for trial in self.trials():
                is_told = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
                if not has_numbers(trial) or (is_told and not is_asked(trial)):
                    raise Mistake(
                        f"{directory / FILE} is damaged: trial {trial.number} is not whole"
                    )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let nobody else decide anything within the block."""
        self.lock.acquire()
        try:
            yield
        finally:
            self.lock.release()

    def trials(self) -> list[FrozenTrial]:
        """Return all trials that were asked for, by number; not to be changed."""
        every = self.storage.in_journal(self.id)
        return [trial for trial in every if trial.state is not TrialState.WAITING]

    def ask(self, goal: int) -> int:
        """Ask for a new trial, and return its number."""
        every = self.storage.in_journal(self.id)
        waiting = (trial.number for trial in every if trial.state is TrialState.WAITING)
        self.optuna.sampler = self.sampler(next(waiting, len(every)))
        trial = self.optuna.ask()
        self._complete(trial, goal)
        return trial.number

    def finish_asking(self, goal: int) -> None:
        """Complete the trials of which something lacks, as a process was killed while it asked."""
        for trial in self.trials():
            if trial.state is TrialState.RUNNING and not is_asked(trial):
                self.optuna.sampler = self.sampler(trial.number)
                self._complete(optuna.trial.Trial(self.optuna, self._id(trial.number)), goal)

    def _complete(self, trial: optuna.trial.Trial, goal: int) -> None:
        try:
            trial.set_user_attr(OVERRIDES, self.space.suggest(trial))
            trial.set_user_attr(GOAL, goal)
        except Mistake as mistake:
            self.fail(trial.number, mistake.message)

    def enqueue(self, points: Sequence[dict[str, Any]]) -> int:
        """Have points tried first, each once in the life of the study; return how many are new."""
        with self.locked():
            before = len(self.storage.in_journal(self.id))
            for point in points:
                self.optuna.enqueue_trial(point, skip_if_exists=True)
            return len(self.storage.in_journal(self.id)) - before

    def note(self, number: int, name: str, value: Any) -> None:
        """Set an attribute of a trial, such as its goal: how far its jobs are to be played."""
        self.storage.set_trial_user_attr(self._id(number), name, value)

    def report(self, number: int, step: int, value: float) -> None:
        """Note what a trial has reached."""
        self.storage.set_trial_intermediate_value(self._id(number), step, value)

    def tell(self, number: int, value: float) -> None:
        """Tell of a trial that has ended well."""
        self._tell(number, value, TrialState.COMPLETE)

    def fail(self, number: int, why: str) -> None:
        """Tell of a trial that has failed."""
        self.note(number, WHY, why)
        self._tell(number, None, TrialState.FAIL)

    def _tell(self, number: int, value: float | None, state: TrialState) -> None:
        self.optuna.sampler = self.sampler(number)
        try:
            self.optuna.tell(number, value, state)
        except RuntimeError:
            # A sampler with nothing left stops the study, which Optuna does not allow here.
            if not self.storage.get_trial(self._id(number)).state.is_finished():
                raise

    def is_pruned(self, pruner: optuna.pruners.BasePruner, number: int) -> bool:
        """Return whether one of Optuna's pruners would end a trial at what it has reached."""
        return pruner.prune(self.optuna, self.storage.get_trial(self._id(number)))

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.id, number)


def difference(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return the differences of two definitions, as the end of a sentence."""
    parts = []
    for key in dict.fromkeys((*then, *now)):
        was, new = then.get(key), now.get(key)
        if was != new:
            parts.append(f"{key} was {was or 'not varied'}, now {new or 'not varied'}")
    return (
        f"is a search of something else: {'; '.join(parts)}. Repeat it as it was, or choose "
        "another hydra.sweep.dir"
    )
