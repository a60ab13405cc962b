"""What a search has found: its trials, the history of the best, parameters, the confirmation.

Reads the study's journal and run.json files; nothing is decided, repaired or unpickled.
"""

import contextlib
import functools
import importlib.util
import math
import textwrap
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from gym_loop.config import secrets
from gym_loop.mistake import Mistake, nearest
from gym_loop.runs import reading
from gym_loop.runs.reading import CONFIRMED
from gym_loop.search.jobs import OBJECTIVES, name_of, progress
from gym_loop.search.study import (
    DEFINITION,
    NAME,
    OVERRIDES,
    RUNGS,
    SEEDS,
    has_numbers,
    is_asked,
    unreadable,
)
from gym_loop.search.trials import STEPS, counted, is_launched, state_of
from gym_loop.sums import mean
from gym_loop.sweeps.table import columns
from gym_loop.terminal import printable, short

BINS = 4  # of a parameter's range
LEAST = 4  # complete trials, for importances
UNCONFIRMED = "Not confirmed: the best of many is lucky, too. hydra.sweeper.confirm=10 tells."


@dataclass
class Confirmation:
    """What was played with fresh seeds, to its end.

    Attributes:
        seeds: that the agent's defaults, which are played last, have finished.
        defaults: the results of their jobs, by their directories.
        results: of the jobs of each trial that has finished all of these seeds, by their
            directories, by the trial's number; the best trial in the search first.
    """

    seeds: list[int]
    defaults: dict[Path, float]
    results: dict[int, dict[Path, float]]

    @property
    def names(self) -> dict[Path, str]:
        """What each job plays: `trial 12` or `defaults`."""
        named = {f"trial {number}": own for number, own in self.results.items()}
        named["defaults"] = self.defaults
        return {job: name for name, own in named.items() for job in own}


@dataclass
class Best:
    """The best trial of a search.

    Attributes:
        trial: Optuna's.
        value: that it is the best by.
        said: what the value is.
        results: of its jobs that the value was computed from, by their directories.
        beside: how the agent's defaults do on the same seeds, "" where they were not played.
    """

    trial: FrozenTrial
    value: float
    said: str
    results: dict[Path, float]
    beside: str = ""

    def __str__(self) -> str:
        """Return `trial 17: mean evaluation of the seeds 0, 1, 2: 487.2`."""
        return f"trial {self.trial.number}: {self.said}: {self.value:.6g}{self.beside}"


class Found:
    """The search in `directory`, as its journal tells.

    Raises:
        Mistake: the journal cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            storage = optuna.storages.JournalStorage(
                JournalFileBackend(str(directory / reading.STUDY))
            )
            self.study = optuna.load_study(study_name=NAME, storage=storage)
        except Exception as error:  # whatever Optuna raises at what lies there
            raise unreadable(directory / reading.STUDY, error) from None
        asked = ((t, is_asked(t)) for t in self.study.get_trials() if has_numbers(t))
        self.trials = [t for t, whole in asked if whole or t.state is TrialState.FAIL]
        self.maximize = self.study.direction.name == "MAXIMIZE"
        definition = self.study.user_attrs.get(DEFINITION, {})
        self.objective = str(definition.get("hydra.sweeper.objective"))
        if self.trials and self.objective not in OBJECTIVES:
            raise Mistake(f"{directory / reading.STUDY} is of no search that gym_loop has launched")
        self.seeds = str(definition.get("hydra.sweeper.seeds", "0"))
        self.rungs = "seeds" if definition.get(RUNGS) == SEEDS else "evaluations"

    def complete(self) -> list[FrozenTrial]:
        """Return the trials that have come to their end, in that order."""
        found = [trial for trial in self.trials if state_of(trial) == "complete"]
        return sorted(found, key=lambda trial: str(trial.datetime_complete))

    def ranked(self) -> list[FrozenTrial]:
        """Return the trials, the best first: complete ones, then those that have come farthest.

        Of trials with the same overrides, which share their jobs, only the first is returned.
        """
        found: list[tuple[float, float, int, FrozenTrial]] = []
        for trial in self.trials:
            value = reached(trial)
            if value is not None and trial.state is not TrialState.FAIL:
                complete = trial.state is TrialState.COMPLETE
                place = -math.inf if complete else -float(trial.last_step or 0)
                found.append((place, -value if self.maximize else value, trial.number, trial))
        different: dict[tuple[str, ...], FrozenTrial] = {}
        for *_, trial in sorted(found, key=lambda each: each[:3]):
            different.setdefault(tuple(trial.user_attrs[OVERRIDES]), trial)
        return list(different.values())

    def confirmation(self) -> Confirmation | None:
        """Return what was played with fresh seeds; None where nothing was, or some still lack."""
        folder = self.directory / CONFIRMED
        results: dict[Path, float] = {}
        seeds = set[int]()
        for run in map(reading.RunContent, sorted(folder.glob("*/"))):
            known = progress(run.directory, self.objective)
            if known.state == "finished" and known.values and isinstance(run.seed, int):
                results[run.directory] = known.values[-1]
                seeds.add(run.seed)
        fresh = [seed for seed in sorted(seeds) if folder / name_of((), seed) in results]
        confirmed: dict[int, dict[Path, float]] = {}
        for trial in self.ranked():
            jobs = [folder / name_of(trial.user_attrs[OVERRIDES], seed) for seed in fresh]
            if results.keys() >= {*jobs}:
                confirmed[trial.number] = {job: results[job] for job in jobs}
        if not fresh or not confirmed or seeds != {*fresh}:
            return None
        defaults = [folder / name_of((), seed) for seed in fresh]
        return Confirmation(fresh, {job: results[job] for job in defaults}, confirmed)

    @functools.cached_property
    def comparison(self) -> dict[str, Any] | None:
        """The comparison of the jobs with fresh seeds: trials and the agent's defaults, as groups.

        None: there are none.

        Raises:
            Mistake: SciPy is not installed.
        """
        confirmed = self.confirmation()
        if confirmed is None:
            return None
        if not importlib.util.find_spec("scipy"):
            raise Mistake('the confirmation needs SciPy: pip install "gym-loop[report]"')
        from gym_loop.reports import comparison

        runs = []
        for directory, name in confirmed.names.items():
            runs.append(reading.RunContent(directory))
            runs[-1].confirmed = name
        by = ["confirmed"]
        return comparison.compare(runs, by, metric=self.objective, maximize=self.maximize)

    def _beside(self, number: int, value: float, defaults: float) -> str:
        """Return what a confirmed trial's value is worth beside that of the agent's defaults."""
        said = f"; the agent's defaults reach {defaults:.6g} on the same seeds"
        tested, verdict = None, "cannot tell"
        with contextlib.suppress(Mistake):  # it needs SciPy
            tested = self.comparison
        if tested:
            names = [group["name"] for group in tested["groups"]]
            both = {names.index(f"trial {number}"), names.index("defaults")}
            of_both = (pair["verdict"] for pair in tested["pairs"] if {*pair["groups"]} == both)
            verdict = next(of_both, verdict)
        unsure = "these seeds cannot tell" if tested and verdict == "cannot tell" else ""
        if value == defaults or (value > defaults) != self.maximize:
            return f"{said}: not beaten{unsure and f' ({unsure})'}"
        words = {"better": "beaten", "perhaps better": "perhaps beaten"}
        told = words.get(verdict, unsure)
        return f"{said}{told and f': {told}'}"

    def best(self) -> Best | None:
        """Return the best trial: of the confirmed ones if there are any, else of the complete ones.

        Confirmed ones are ranked as `gym-loop report` ranks groups.
        """
        order = self.ranked()
        if confirmed := self.confirmation():
            each = confirmed.results.items()
            values = {number: interquartile_mean(own.values()) for number, own in each}
            means = {number: mean(own.values()) for number, own in each}
            order_of = max if self.maximize else min
            number = order_of(values, key=lambda number: (values[number], means[number]))
            first, last = confirmed.seeds[0], confirmed.seeds[-1]
            is_whole = last - first + 1 == len(confirmed.seeds)  # none has failed in between
            seeds = f"{first} to {last}" if is_whole else ", ".join(map(str, confirmed.seeds))
            said = f"interquartile mean of {self.objective} over the fresh seeds {seeds}"
            trial = next(trial for trial in order if trial.number == number)
            defaults = interquartile_mean(confirmed.defaults.values())
            beside = self._beside(number, values[number], defaults)
            return Best(trial, values[number], said, confirmed.results[number], beside)
        if not order or order[0].value is None:
            return None
        jobs = self.jobs(order[0])
        ends = {job: progress(job, self.objective).values[-1:] for job in jobs}
        results = {job: values[0] for job, values in ends.items() if values}
        said = f"mean {self.objective} of the seeds {self.seeds}"
        return Best(order[0], order[0].value, said, results)

    def unconfirmed(self) -> str:
        """Return a line on what no fresh seeds have confirmed; "" where the best trial was."""
        ranked, confirmed = self.ranked(), self.confirmation()
        if confirmed is None:
            told = f"Not confirmed to the end: gym-loop resume {short(self.directory)}"
            return told if (self.directory / CONFIRMED).is_dir() else ""
        if ranked[0].number in confirmed.results:
            return ""
        return (
            f"Trial {ranked[0].number}, the best by the seeds of the search, was not confirmed: "
            f"hydra.sweeper.confirm={len(confirmed.seeds)} does."
        )

    def counted(self) -> str:
        """Return `12 trials: 1 complete, 11 paused`."""
        return f"{len(self.trials)} trials: {counted(self.counts())}"

    def counts(self) -> Counter[str]:
        """Return how many trials are in each state."""
        return Counter(map(self.state, self.trials))

    def state(self, trial: FrozenTrial) -> str:
        """Return what a trial is, as `state_of`, or `stopped`: nothing plays it any more."""
        state = state_of(trial)
        if state != "running" or self._is_launched:
            return state
        there = (reading.RunContent(job) for job in self.jobs(trial) if job.exists())
        return state if any(run.state == state for run in there) else "stopped"

    @functools.cached_property
    def _is_launched(self) -> bool:
        return is_launched(self.directory)

    def jobs(self, trial: FrozenTrial) -> list[Path]:
        """Return the directories of a trial's jobs, those that are not there, too."""
        words = trial.user_attrs[OVERRIDES]
        return [self.directory / name_of(words, int(seed)) for seed in self.seeds.split(",")]

    def history(self) -> list[tuple[int, int, float]]:
        """Return (trials complete, trial's number, value) for each that was the best so far."""
        found: list[tuple[int, int, float]] = []
        for count, trial in enumerate(self.complete(), 1):
            value = trial.value or 0.0
            if not found or (value > found[-1][2] if self.maximize else value < found[-1][2]):
                found.append((count, trial.number, value))
        return found

    @functools.cached_property
    def importances(self) -> dict[str, float]:
        """Optuna's importances of the parameters (PED-ANOVA), if there are enough trials."""
        if len(self.complete()) < LEAST:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        try:
            with warnings.catch_warnings():  # where it cannot tell, it takes all for equal
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", UserWarning)
                return optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        except (ValueError, RuntimeError, Warning):  # no parameter that all of them have
            return {}

    @property
    def on_importances(self) -> str:
        """What the importances rest on, or why there are none, as a sentence."""
        count = len(self.complete())
        of = "1 complete trial" if count == 1 else f"{count} complete trials"
        if self.importances:
            return f"Importances are Optuna's (PED-ANOVA), of {of}."
        if count < LEAST:
            there = f"{count} of {len(self.trials)}"
            told = f"Importances need {LEAST} complete trials; so far: {there}."
            if not self.counts()["paused"]:
                return told
            return (
                f"{told} With hydra.sweeper.pruner=none, resume plays paused trials to their ends."
            )
        return f"Importances cannot be told from {of}."

    def parameters(self) -> dict[str, list[tuple[str, int, float, float]]]:
        """Return (values, trials, mean, best) for each choice or part of a parameter's range."""
        tables: dict[str, list[tuple[str, int, float, float]]] = {}
        points = defaultdict[str, list[tuple[Any, float]]](list)
        for trial in self.trials:
            if (value := reached(trial)) is not None:
                for name, own in trial.params.items():
                    points[name].append((own, value))
        for name, both in points.items():
            distribution = next(t.distributions[name] for t in self.trials if name in t.params)
            tables[name] = [
                (label, len(own), mean(own), max(own) if self.maximize else min(own))
                for label, own in binned(name, distribution, both)
            ]
        return tables


def reached(trial: FrozenTrial) -> float | None:
    """Return a trial's value, or the last one that it reached before it was paused."""
    if trial.value is not None:
        return trial.value
    step = trial.last_step
    value = None if step is None else trial.intermediate_values[step]
    return None if value is None or math.isnan(value) else value


def interquartile_mean(values: Iterable[float]) -> float:
    """Return the mean of the middle half; `reports.statistics` has it, too, but needs SciPy."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    return mean(ordered[cut : len(ordered) - cut])


def binned(
    name: str, distribution: Any, points: Sequence[tuple[Any, float]]
) -> list[tuple[str, list[float]]]:
    """Return the results by choice, or by equal parts of the range, logarithmic if it is."""
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        groups = [(choice(name, one), one) for one in distribution.choices]
        found = [(text, [v for own, v in points if own == one]) for text, one in groups]
        return [(text, own) for text, own in found if own]
    scale: Any = math.log if distribution.log else float
    back: Any = math.exp if distribution.log else float
    low, high = scale(distribution.low), scale(distribution.high)
    width = (high - low) / BINS or 1.0
    parts = defaultdict[int, list[float]](list)
    for own, value in points:
        parts[min(int((scale(own) - low) / width), BINS - 1)].append(value)
    return [
        (f"{back(low + width * n):.3g} to {back(low + width * (n + 1)):.3g}", parts[n])
        for n in sorted(parts)
    ]


def text(directory: Path, width: int | None = None) -> str:
    """Return the report on the search in `directory`, as lines of at most `width` characters."""
    found = Found(directory)
    lines = [f"{directory}: {found.counted()}", ""]
    if history := found.history():
        lines += [f"The best so far, by {found.objective}:", ""]
        rows: list[tuple[str, ...]] = [("complete", "trial", found.objective)]
        rows += [(str(count), str(number), f"{value:.6g}") for count, number, value in history]
        lines += [*columns(rows), ""]
    if best := found.best():
        lines.append(f"Best: {best}")
        params = best.trial.params
        lines += [f"  {key} = {choice(key, value)}" for key, value in params.items()]
        lines.append("")
    importances = found.importances
    for name, parts in found.parameters().items():
        share = f", importance {importances[name]:.2f}" if name in importances else ""
        lines += [f"{printable(name)}{share}:"]
        rows = [("value", "trials", "mean", "best")]
        rows += [(label, str(n), f"{own:.5g}", f"{top:.5g}") for label, n, own, top in parts]
        lines += [*columns(rows), ""]
    note = "Of a paused trial, what it had reached counts: it was played less than a complete one."
    note = f"{note} {found.on_importances}"
    lines.append(note if width is None else textwrap.fill(note, width))
    lines += ["", *confirmation_lines(found, width)]
    return "\n".join(lines).rstrip()


def confirmation_lines(found: Found, width: int | None) -> list[str]:
    """Return what fresh seeds say of the best trials and of the agent's defaults."""
    if found.comparison is None:
        return [found.unconfirmed() or UNCONFIRMED]
    from gym_loop.reports import text as reports

    said = [reports.broken(f"  {name}: {words}", width) for name, words in parameters_of(found)]
    head = "Confirmed with fresh seeds; defaults are the agent's:"
    told = reports.text(found.comparison, width)
    return [head, "", told, "", *said, "", found.unconfirmed()]


def parameters_of(found: Found) -> list[tuple[str, str]]:
    """Return the name of each group with fresh seeds, and its overrides or, of defaults, values."""
    confirmed = found.confirmation()
    if confirmed is None:
        return []
    words = {t.number: t.user_attrs[OVERRIDES] for t in found.trials if OVERRIDES in t.user_attrs}
    every = [words[number] for number in confirmed.results]
    keys = dict.fromkeys(reading.key_and_value(word)[0] for own in every for word in own)
    settings = reading.RunContent(next(iter(confirmed.defaults))).settings
    defaults = [f"{key}={reading.typed(settings[key])}" for key in keys if key in settings]
    named = [(f"trial {number}", words[number]) for number in confirmed.results]
    return [
        (name, printable(" ".join(secrets.masked_words(own))))
        for name, own in [*named, ("defaults", defaults)]
    ]


def name_confirmed(runs: Iterable[reading.RunContent]) -> None:
    """Have the runs with fresh seeds say which trial of their search they play, or the defaults."""
    fresh = [run for run in runs if run.confirmed]
    names: dict[Path, str] = {}
    for place in {run.directory.parent.parent for run in fresh}:
        with contextlib.suppress(Mistake):  # a study that cannot be read
            confirmed = Found(place).confirmation()
            names |= confirmed.names if confirmed else {}
    for run in fresh:
        run.confirmed = names.get(run.directory, run.confirmed)


def listing(directory: Path, sort: str | None = None) -> str:
    """Return a line for each trial of the search in `directory`, the newest first.

    With `sort`, a column, those with the best or the most come first.

    Raises:
        Mistake: `sort` is none of the columns of numbers.
    """
    found = Found(directory)
    names = list(dict.fromkeys(name for trial in found.trials for name in trial.params))
    rows = [("trial", "state", found.objective, found.rungs, "steps", *names)]
    numbers: dict[str, Callable[[FrozenTrial], float | None]] = {
        found.objective: reached,
        found.rungs: lambda trial: trial.last_step,
        "steps": lambda trial: trial.user_attrs.get(STEPS),
    }
    if sort is not None and sort not in numbers:
        near = nearest(sort, numbers, ";")
        raise Mistake(f"--sort {sort}{near} of a search's trials, expected {', '.join(numbers)}")
    sign = -1 if sort == found.objective and not found.maximize else 1

    def rank(trial: FrozenTrial) -> tuple[float, int]:
        value = numbers[sort](trial) if sort else 0
        return (-math.inf if value is None else sign * value), trial.number

    for trial in sorted(found.trials, key=rank, reverse=True):
        value, last, steps = (number(trial) for number in numbers.values())
        rows.append(
            (
                str(trial.number),
                found.state(trial),
                "" if value is None else f"{value:.6g}",
                "" if last is None else str(last),
                "" if steps is None else str(steps),
                *(parameter(name, trial.params.get(name, "")) for name in names),
            )
        )
    return "\n".join(columns(rows))


def parameter(name: str, value: Any) -> str:
    """Return a parameter as a table shows it."""
    return f"{value:.4g}" if isinstance(value, float) else choice(name, value)


def choice(name: str, value: Any) -> str:
    """Return a value of a parameter as one would type it, or what stands for a secret."""
    return reading.shown(secrets.masked(value, (name,)))
