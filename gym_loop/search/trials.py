"""The jobs that a study asks for, as a launcher has room for them."""

import fcntl
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig, open_dict, read_write
from optuna.trial import FrozenTrial, TrialState

from gym_loop.config import secrets
from gym_loop.mistake import Mistake
from gym_loop.runs import manifest, reading
from gym_loop.runs.manifest import PAUSED
from gym_loop.search import jobs
from gym_loop.search.jobs import Progress
from gym_loop.search.pausing import VARIABLE
from gym_loop.search.rungs import Entry, Rungs
from gym_loop.search.study import END, GOAL, OVERRIDES, Study, is_paused
from gym_loop.sums import mean
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.job import pack
from gym_loop.sweeps.table import Table

CLAIMS = ".claims"  # the file, in the search's directory
LAUNCHES = 1 << 40  # the byte that launches share
TRIES = 3  # of a job whose process is killed, in one launch
# How reasons begin for which none but a job's own code, or a library's, has ended its process.
CRASHES = (
    "left with exit code ",
    *(f"killed by SIG{name}" for name in ("SEGV", "ABRT", "FPE", "ILL")),
)
STEPS = "steps"  # a trial's attribute: of training, in all of its jobs
Make = Callable[[int, Sequence[str], int], tuple[Job, DictConfig]]


@dataclass
class Standing:
    """Where a search stands.

    Attributes:
        counts: of trials by what they are: complete, paused, failed, running.
        best: the best value of a complete trial.
        winner: its number.
        saved: the part of all steps that pausing has saved; None while it is not known.
    """

    counts: Counter[str] = field(default_factory=Counter)
    best: float | None = None
    winner: int | None = None
    saved: float | None = None

    def __str__(self) -> str:
        """Return `12 complete, 30 paused, 2 running; best 487.2 (trial 17)`."""
        text = counted(self.counts) or "none yet"
        if self.best is not None:
            text += f"; best {self.best:.6g} (trial {self.winner})"
        if self.saved:
            text += f"; {self.saved:.0%} of the steps saved"
        return text


class TrialTable(Table):
    """Shows the jobs that run, and how the trials are doing."""

    def __init__(self, total: int, trials: "Trials") -> None:
        super().__init__(total)
        self.trials = trials

    def end(self, job: Job) -> None:
        """Note that a job has ended, which is not yet the end of its trial."""
        self.trials.end(job)

    @property
    def done(self) -> int:
        """How many trials are not being played."""
        counts = self.trials.standing.counts
        return counts.total() - counts["running"]

    def status(self) -> str:
        """Return the number of trials in each state, and the best one."""
        return f"{self.total} trials: {self.trials.standing}"


@dataclass
class Due:
    """A job that has not come to its trial's goal.

    Attributes:
        number: of the job, in the search.
    """

    number: int
    trial: FrozenTrial
    seed: int
    directory: Path


class Claims:
    """Which launch is running which job: locks on a byte of a file each, which end with the launch.

    A job locks its own directory, but only once its process has come so far. A byte beyond those of
    all jobs is shared by the launches.

    Raises:
        Mistake: what lies there is no file.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise Mistake(f"{path} is no file; delete it")
        self.file = open(path, "a+b")
        fcntl.lockf(self.file, fcntl.LOCK_SH, 1, LAUNCHES)

    def take(self, number: int) -> bool:
        """Return whether the job of a number is now this launch's to run."""
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return False
        return True

    def release(self, number: int) -> None:
        """Leave the job of a number to any launch."""
        fcntl.lockf(self.file, fcntl.LOCK_UN, 1, number)


class Trials(Iterator[Job | None]):
    """The jobs of a study's trials, for a launcher; it tells the study what comes of them.

    The next job is None when there is nothing for now, as `SweepLauncher.execute` takes it.

    What runs where is not written down: each launch looks which jobs lack something, and are not
    locked by a process that runs them. So a launch takes over what a killed one has left.

    Args:
        study: the search's.
        rungs: decide which paused trials go on.
        make: returns the job, with its config, for a number, overrides and a seed.
        place: returns a job's directory, for overrides and a seed.
        seeds: of each trial.
        n_trials: to ask for, in all launches together.
        objective: one of `jobs.OBJECTIVES`.

    Attributes:
        open: whether a job may still come, if not now, as another launch is running one.
        given_up: jobs that this launch does not try again, by their directories, and why.
        crashed: jobs that have crashed in each try, by their directories, and how.
    """

    def __init__(
        self,
        study: Study,
        rungs: Rungs,
        make: Make,
        place: Callable[[Sequence[str], int], Path],
        seeds: Sequence[int],
        n_trials: int,
        objective: str,
    ) -> None:
        self.study, self.rungs, self.make, self.place = study, rungs, make, place
        self.seeds, self.n_trials, self.objective = seeds, n_trials, objective
        self.maximize = study.optuna.direction.name == "MAXIMIZE"
        self.open = True
        self.claims = Claims(study.directory / CLAIMS)
        self.running: set[Path] = set()  # directories of the jobs that this launch runs
        self.given_up: dict[Path, str] = {}
        self.crashed: dict[Path, str] = {}
        self.table = TrialTable(n_trials, self)
        self.kills = Counter[Path]()
        self.standing = Standing()
        self.states: list[str] = []  # of the trials, when they were counted
        self.repeated = False  # whether a trial was said to be the same as an earlier one
        with study.locked():
            study.finish_asking(rungs.first)
            self._take_revived()

    def __next__(self) -> Job | None:
        """Return a job that can be started now, or None; decide what is next if there is none."""
        with self.study.locked():
            self.study.finish_asking(self.rungs.first)
            while True:
                due, held = self._look()
                taken = next((each for each in due if self.claims.take(each.number)), None)
                if taken is not None:
                    if job := self._job(taken):
                        self.running.add(job.directory)
                        return job
                    self.claims.release(taken.number)
                    continue  # it has come to its goal by now, or its trial has failed
                held = held or bool(due)
                if not self._decide(idle=not (self.running or held or self.given_up)):
                    self.open = held
                    return None

    def _take_revived(self) -> None:
        """Have those paused trials count as complete whose jobs were all resumed by hand."""
        for trial in filter(is_paused, self.study.trials()):
            places = (self.place(trial.user_attrs[OVERRIDES], seed) for seed in self.seeds)
            known = (jobs.progress(place, self.objective) for place in places)
            if all(each.state == "finished" for each in known):
                whole = len(self.seeds) if self.rungs.by_seed else END
                self.study.note(trial.number, GOAL, whole)

    def end(self, job: Job) -> None:
        """Note that `job` has ended; what has come of it is read from its directory."""
        job.packed = b""
        self.running.discard(job.directory)
        self.claims.release(job.number)
        self.open = True
        known = jobs.progress(job.directory, self.objective)
        if job.state == "stopped" and known.ended_by != PAUSED:
            self._give_up(job.directory, job.reason)
        elif job.state == "failed" and not known.failed:
            # Killed, or out of memory or time; what its own code raised is the trial's failure,
            # and so is a crash that comes again and again.
            self.kills[job.directory] += 1
            is_crash, is_last = job.reason.startswith(CRASHES), self.kills[job.directory] >= TRIES
            if is_crash and is_last:
                self.crashed[job.directory] = job.reason
            elif is_last or (known.state == "stopped" and not is_crash):
                self._give_up(job.directory, job.reason)

    def _give_up(self, directory: Path, why: str) -> None:
        self.given_up[directory] = why
        self.table.say(f"not finished: {directory.name}: {why}")

    def _look(self) -> tuple[list[Due], bool]:
        """Tell the study what has come, and return the jobs that lack something.

        Also returns whether another launch is running any.
        """
        due = list[Due]()
        held = is_changed = False
        trials = self.study.trials()
        states = [state_of(trial) for trial in trials]
        for trial, state in zip(trials, states, strict=True):
            if state != "running":
                continue
            words = trial.user_attrs[OVERRIDES]
            seeds, goal = self._aim(trial)
            places = [self.place(words, seed) for seed in seeds]
            if self.running.issuperset(places):
                continue
            known = [jobs.progress(place, self.objective) for place in places]
            lacking = [n for n, each in enumerate(known) if not each.has_reached(goal)]
            running = [n for n in lacking if places[n] in self.running]
            ends = [
                each.failed or at in self.crashed for at, each in zip(places, known, strict=True)
            ]
            failed = next((n for n, has_failed in enumerate(ends) if has_failed), None)
            if failed is not None:
                if not running:
                    is_changed = True
                    error = self.crashed.get(places[failed]) or known[failed].error
                    self.study.fail(trial.number, error)
                    log = next(places[failed].glob("*.log"), places[failed])
                    self.table.say(f"failed: trial {trial.number}: {error}  log: {log}")
                continue
            if not lacking:
                is_changed = True
                self._tell(trial, known)
                continue
            for n in lacking:
                if places[n] in self.running or places[n] in self.given_up:
                    continue
                if places[n].exists() and manifest.is_locked(places[n], unknown=False):
                    held = True
                else:
                    number = trial.number * len(self.seeds) + n
                    due.append(Due(number, trial, seeds[n], places[n]))
        if is_changed:
            trials = self.study.trials()
            states = [state_of(trial) for trial in trials]
        if states != self.states:
            self.states = states
            self._count(trials)
        return due, held

    def _aim(self, trial: FrozenTrial) -> tuple[Sequence[int], int]:
        """Return the seeds that a trial is to be played with, and up to which evaluation."""
        goal = trial.user_attrs[GOAL]
        return (self.seeds[:goal], END) if self.rungs.by_seed else (self.seeds, goal)

    def _tell(self, trial: FrozenTrial, known: Sequence[Progress]) -> None:
        """Tell the study of a trial whose jobs have all come to its goal, or to their ends."""
        (_, goal), number = self._aim(trial), trial.number
        self.study.note(number, STEPS, sum(each.steps for each in known))
        longest = max(len(each.values) for each in known)
        if self.rungs.by_seed:
            reached = [value_after(each, longest) for each in known]
        else:
            last = longest if goal == END else min(goal, longest)
            reached = [mean(value_after(each, k) for each in known) for k in range(1, last + 1)]
        for step, value in enumerate(reached, 1):
            if step not in trial.intermediate_values:
                self.study.report(number, step, value)
        if len(known) == len(self.seeds) and all(each.state == "finished" for each in known):
            value = mean(value_after(each, longest) for each in known)
            if math.isnan(value):
                why = f"its {self.objective} is NaN"
                self.study.fail(number, why)
                self.table.say(f"failed: trial {number}: {why}")
            else:
                self.study.tell(number, value)

    def _decide(self, idle: bool) -> bool:
        """Promote a paused trial, or ask for a new one; return whether there is something to do."""
        trials = self.study.trials()
        entries = [entry_of(trial) for trial in trials if trial.state is not TrialState.FAIL]
        chosen = self.rungs.choose(entries, last=False)
        if chosen is None and len(trials) < self.n_trials:
            self._note_repeated(self.study.ask(self.rungs.first))
            return True
        if chosen is None and idle:
            chosen = self.rungs.choose(entries, last=True)
        if chosen is not None:
            number, goal = chosen
            self.study.note(number, GOAL, goal)
        return chosen is not None

    def _note_repeated(self, number: int) -> None:
        """Say once that a new trial has the overrides of an earlier one, whose jobs it shares."""
        words = {t.number: t.user_attrs.get(OVERRIDES) for t in self.study.trials()}
        own = words.pop(number)
        same = next((n for n, others in words.items() if others == own), None)
        if same is not None and own and not self.repeated:
            self.repeated = True
            shown = " ".join(secrets.masked_words(own))
            self.table.say(
                f"note: trial {number} is the same as trial {same} ({shown}) and takes its "
                "results: the space has few points; others may come again, too"
            )

    def _job(self, due: Due) -> Job | None:
        """Return the job; None if nothing is left of it, or it is refused and given up.

        A job that is refused before it has ever been started fails its trial.
        """
        trial = due.trial
        _, goal = self._aim(trial)
        if jobs.progress(due.directory, self.objective).has_reached(goal):
            return None  # another launch's job, which has ended a moment ago
        try:
            job, config = self.make(due.number, trial.user_attrs[OVERRIDES], due.seed)
        except Mistake as mistake:
            if due.directory.exists():  # the config was right once: it is not the trial's failure
                self._give_up(due.directory, mistake.message)
                return None
            self.study.fail(trial.number, mistake.message)
            self.table.say(f"failed: trial {trial.number}: {mistake.message}")
            return None
        job.state, job.label = "new", f"trial {trial.number}, seed {due.seed}"
        if goal != END:
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.job.env_set[VARIABLE] = str(goal)
        job.packed = pack(config)
        return job

    def _count(self, trials: Sequence[FrozenTrial]) -> None:
        """Bring `standing` up to date."""
        now, steps = Standing(), dict[str, list[int]](complete=[], paused=[])
        for trial, state in zip(trials, self.states, strict=True):
            now.counts[state] += 1
            if state in steps:
                steps[state].append(trial.user_attrs.get(STEPS, 0))
        complete = [t for t in trials if t.state is TrialState.COMPLETE]
        if complete:  # the first of several that are equal
            best = (max if self.maximize else min)(complete, key=lambda trial: trial.value or 0.0)
            now.best, now.winner = best.value, best.number
            whole = mean(steps["complete"])
            saved = sum(max(whole - own, 0) for own in steps["paused"])
            now.saved = saved / max(saved + sum(map(sum, steps.values())), 1)
        self.standing = now


def value_after(known: Progress, step: int) -> float:
    """Return what a job had reached after evaluation `step`, or at its end if that was before."""
    return known.values[min(step, len(known.values)) - 1] if known.values else math.nan


def entry_of(trial: FrozenTrial) -> Entry:
    """Return a trial as `Rungs` take it."""
    goal = trial.user_attrs[GOAL]
    return Entry(trial.number, goal, trial.intermediate_values, is_paused(trial))


def is_launched(directory: Path) -> bool:
    """Return whether another process is running the search in `directory`, as far as one can see.

    Jobs that an engine has been given go on without it. A launch itself asks only when it is over:
    closing the file ends a process's own locks.
    """
    if (directory / reading.SUBMITTED).exists():
        return True
    if not (directory / CLAIMS).is_file():
        return False
    try:
        with open(directory / CLAIMS, "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LAUNCHES)
    except FileNotFoundError:
        return False
    except OSError:  # one has locked it, or there is no permission to look
        return True
    return False


def counted(states: Counter[str]) -> str:
    """Return `12 complete, 30 paused, 2 running` for the count of trials in each state."""
    order = ("complete", "paused", "running", "stopped", "failed")
    return ", ".join(f"{states[name]} {name}" for name in order if states[name])


def state_of(trial: FrozenTrial) -> str:
    """Return what a trial is: complete, paused, running or failed."""
    if trial.state is TrialState.RUNNING:
        return "paused" if is_paused(trial) else "running"
    return "complete" if trial.state is TrialState.COMPLETE else "failed"
