"""The best trials: confirmed with fresh seeds, and left as a run config."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from gym_loop import files
from gym_loop.compat.hydra_job import to_yaml
from gym_loop.mistake import Failure
from gym_loop.runs import manifest, reading
from gym_loop.search import jobs as progress
from gym_loop.search.study import OVERRIDES
from gym_loop.search.sweeper import name_of
from gym_loop.sweeps import table
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.launcher import SweepLauncher

FILE, FOLDER = "best.yaml", "confirm"
FINALISTS = 3


@dataclass
class Confirmation:
    """What was played with fresh seeds, to its end.

    Attributes:
        seeds: that the agent's defaults, which are played last, have finished.
        defaults: the directories of their jobs.
        results: of the jobs of each trial that has finished all of these seeds, by their
            directories, by the trial's number; the best trial in the search first.
    """

    seeds: list[int]
    defaults: list[Path]
    results: dict[int, dict[Path, float]]


@dataclass
class Best:
    """The best trial of a search.

    Attributes:
        trial: Optuna's.
        value: that it is the best by.
        said: what the value is.
        results: of its jobs that the value was computed from, by their directories.
    """

    trial: FrozenTrial
    value: float
    said: str
    results: dict[Path, float]

    def __str__(self) -> str:
        """Return `trial 17: mean evaluation of the seeds 0, 1, 2: 487.2`."""
        return f"trial {self.trial.number}: {self.said}: {self.value:.6g}"


def ranked(trials: Iterable[FrozenTrial], maximize: bool) -> list[FrozenTrial]:
    """Return the trials, the best first: complete ones, then those that have come farthest.

    Of trials with the same overrides, which share their jobs, only the first is returned.
    """
    found: dict[tuple[float, float, int], FrozenTrial] = {}
    for trial in trials:
        value = reached(trial)
        if value is not None and trial.state is not TrialState.FAIL:
            complete = trial.state is TrialState.COMPLETE
            place = -math.inf if complete else -float(trial.last_step or 0)
            found[place, -value if maximize else value, trial.number] = trial
    different: dict[tuple[str, ...], FrozenTrial] = {}
    for key in sorted(found):
        different.setdefault(tuple(found[key].user_attrs[OVERRIDES]), found[key])
    return list(different.values())


def reached(trial: FrozenTrial) -> float | None:
    """Return a trial's value, or the last one that it reached before it was paused."""
    if trial.value is not None:
        return trial.value
    step = trial.last_step
    value = None if step is None else trial.intermediate_values[step]
    return None if value is None or math.isnan(value) else value


def confirmation(
    directory: Path, order: Iterable[FrozenTrial], objective: str
) -> Confirmation | None:
    """Return what was confirmed of the search in `directory`; None where nothing was.

    Args:
        directory: the search's.
        order: its trials, as `ranked` returns them.
        objective: see `jobs.OBJECTIVES`.
    """
    results: dict[Path, float] = {}
    seeds = set[int]()
    for run in map(reading.Run, sorted((directory / FOLDER).glob("*/"))):
        known = progress.progress(run.directory, objective)
        if known.state == "finished" and known.values and isinstance(run.seed, int):
            results[run.directory] = known.values[-1]
            seeds.add(run.seed)

    def jobs_of(words: Sequence[str], seeds: Iterable[int]) -> list[Path]:
        return [directory / FOLDER / name_of(words, seed) for seed in seeds]

    fresh = [seed for seed in sorted(seeds) if jobs_of((), [seed])[0] in results]
    own = {trial.number: jobs_of(trial.user_attrs[OVERRIDES], fresh) for trial in order}
    confirmed = {
        number: {job: results[job] for job in jobs}
        for number, jobs in own.items()
        if results.keys() >= set(jobs)
    }
    return Confirmation(fresh, jobs_of((), fresh), confirmed) if fresh and confirmed else None


def middle(values: Iterable[float]) -> float:
    """Return the interquartile mean, by which `gym-loop report` ranks, too."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    return fmean(ordered[cut : len(ordered) - cut])


def best(
    directory: Path, trials: Iterable[FrozenTrial], maximize: bool, objective: str, seeds: str
) -> Best | None:
    """Return the best trial: of the confirmed ones if there are any, else of the complete ones.

    Args:
        directory: the search's.
        trials: all of them.
        maximize: whether more is better.
        objective: see `jobs.OBJECTIVES`.
        seeds: of the search, as its definition has them: `0,1,2`.
    """
    order = ranked(trials, maximize)
    if confirmed := confirmation(directory, order, objective):
        fresh = confirmed.seeds
        values = {number: middle(own.values()) for number, own in confirmed.results.items()}
        number = (max if maximize else min)(values, key=values.__getitem__)
        said = f"interquartile mean of {objective} over the fresh seeds {fresh[0]} to {fresh[-1]}"
        trial = next(trial for trial in order if trial.number == number)
        return Best(trial, values[number], said, confirmed.results[number])
    if not order or order[0].value is None:
        return None
    words = order[0].user_attrs[OVERRIDES]
    jobs = [directory / name_of(words, int(seed)) for seed in seeds.split(",")]
    ends = {job: progress.progress(job, objective).values[-1:] for job in jobs}
    results = {job: values[0] for job, values in ends.items() if values}
    return Best(order[0], order[0].value, f"mean {objective} of the seeds {seeds}", results)


def confirm(
    launcher: SweepLauncher,
    make: Callable[[int, Sequence[str], int], tuple[Job, DictConfig]],
    finalists: Sequence[FrozenTrial],
    seeds: Sequence[int],
) -> None:
    """Play the best trials and the agent's defaults with fresh seeds.

    The defaults are no trial: they need not lie in the space.

    Args:
        launcher: runs the jobs.
        make: returns a job for a number, overrides and a seed.
        finalists: the best trials.
        seeds: fresh ones.

    Raises:
        SystemExit: a job has not finished.
    """
    both: list[Job] = []
    for words in (*(trial.user_attrs[OVERRIDES] for trial in finalists[:FINALISTS]), []):
        for seed in seeds:
            job, config = make(len(both), words, seed)
            both.append(job)
            if job.state == "finished":
                job.state = "skipped"
            else:
                job.state = "new"
                launcher.take(job, config)
    missing = [job for job in both if job.state == "new"]
    launcher.table = table.Table
    code = launcher.execute(missing, len(both) - len(missing), len(both)) if missing else 0
    print(table.summary(launcher.directory / FOLDER, both))
    if code or any(job.state not in ("finished", "skipped") for job in both):
        print(f"continue with: gym-loop resume {launcher.directory}")
        raise SystemExit(code or 1)


def write(directory: Path, job: Path, best: Best) -> None:
    """Leave the config of a trial's job as a run config, `best.yaml`, in the search's directory."""
    content = dict(manifest.load(job)["config"])
    (content.get("observers") or {}).pop("pause", None)
    head = f"# The best is {best}. gym-loop train -c {FILE}\n"
    try:
        files.write(directory / FILE, head + to_yaml(content))
    except OSError as error:
        raise Failure(files.disk_full(error, directory)) from error
