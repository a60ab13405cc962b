"""The best trials: confirmed with fresh seeds, and left as a run config."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from gym_loop import files
from gym_loop.compat.hydra_job import to_yaml
from gym_loop.mistake import Failure
from gym_loop.runs import manifest
from gym_loop.search import jobs as progress
from gym_loop.search.study import OVERRIDES, Study
from gym_loop.sweeps import table
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.launcher import SweepLauncher

FILE, FOLDER = "best.yaml", "confirm"
FINALISTS = 3


@dataclass
class Candidate:
    """A set of parameters.

    Attributes:
        words: its overrides; none for the agent's defaults.
        value: the objective, mean over seeds.
        trial: its number; None for the defaults.
    """

    words: list[str]
    value: float
    trial: int | None = None


def ranked(study: Study) -> list[Candidate]:
    """Return the trials, the best first: complete ones, then those that have come farthest."""
    sign = -1 if study.optuna.direction.name == "MAXIMIZE" else 1
    found: list[tuple[float, float, int, Candidate]] = []
    for trial in study.trials():
        value = reached(trial)
        if value is not None and trial.state is not TrialState.FAIL:
            complete = trial.state is TrialState.COMPLETE
            place = -math.inf if complete else -float(trial.last_step or 0)
            own = Candidate(trial.user_attrs[OVERRIDES], value, trial.number)
            found.append((place, sign * value, trial.number, own))
    return [candidate for *_, candidate in sorted(found, key=lambda each: each[:3])]


def reached(trial: FrozenTrial) -> float | None:
    """Return a trial's value, or the last one that it reached before it was paused."""
    if trial.value is not None:
        return trial.value
    step = trial.last_step
    value = None if step is None else trial.intermediate_values[step]
    return None if value is None or math.isnan(value) else value


def confirm(
    launcher: SweepLauncher,
    make: Callable[[int, Sequence[str], int], tuple[Job, DictConfig]],
    finalists: Sequence[Candidate],
    seeds: Sequence[int],
    objective: str,
) -> list[Candidate]:
    """Play the best trials and the agent's defaults with fresh seeds; return them with new values.

    The defaults are no trial: they need not lie in the space.

    Args:
        launcher: runs the jobs.
        make: returns a job for a number, overrides and a seed.
        finalists: the best trials.
        seeds: fresh ones.
        objective: see `jobs.OBJECTIVES`.

    Raises:
        SystemExit: a job has not finished.
    """
    chosen = [*finalists[:FINALISTS], Candidate([], 0.0)]
    every: list[list[Job]] = []
    for candidate in chosen:
        every.append([])
        for seed in seeds:
            job, config = make(len(every) * len(seeds), candidate.words, seed)
            every[-1].append(job)
            if job.state == "finished":
                job.state = "skipped"
            else:
                job.state = "new"
                launcher.take(job, config)
    both = [job for own in every for job in own]
    missing = [job for job in both if job.state == "new"]
    launcher.table = table.Table
    code = launcher.execute(missing, len(both) - len(missing), len(both)) if missing else 0
    print(table.summary(launcher.directory / FOLDER, both))
    if code or any(job.state not in ("finished", "skipped") for job in both):
        print(f"continue with: gym-loop resume {launcher.directory}")
        raise SystemExit(code or 1)
    for candidate, own in zip(chosen, every, strict=True):
        reached = [progress.progress(job.directory, objective).values for job in own]
        candidate.value = fmean(values[-1] for values in reached)
    return chosen


def write(directory: Path, job: Path, best: Candidate, said: str) -> None:
    """Leave the config of a trial's job as a run config, `best.yaml`, in the search's directory."""
    content = dict(manifest.load(job)["config"])
    (content.get("observers") or {}).pop("pause", None)
    head = f"# Trial {best.trial}: {said} {best.value:.6g}. gym-loop train -c {FILE}\n"
    try:
        files.write(directory / FILE, head + to_yaml(content))
    except OSError as error:
        raise Failure(files.disk_full(error, directory)) from error
