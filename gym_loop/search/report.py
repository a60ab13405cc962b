"""What a search has found: its trials, the history of the best, parameters, the confirmation.

Reads the study's journal and run.json files; nothing is decided, repaired or unpickled.
"""

import math
import textwrap
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from gym_loop.mistake import Mistake, nearest
from gym_loop.runs import reading
from gym_loop.search import best as bests
from gym_loop.search.best import Best, Confirmation, reached
from gym_loop.search.study import DEFINITION, GOAL, NAME, RUNGS, SEEDS
from gym_loop.search.trials import STEPS, state_of
from gym_loop.sweeps.table import columns
from gym_loop.terminal import printable

BINS = 4  # of a parameter's range
LEAST = 4  # complete trials, for importances
UNCONFIRMED = "Not confirmed: the best of many is lucky, too. hydra.sweeper.confirm=10 tells."


class Found:
    """A search, as its journal tells.

    Args:
        directory: the sweep's.

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
        except (OSError, ValueError, KeyError) as error:
            raise Mistake(f"cannot read {directory / reading.STUDY}: {error}") from None
        self.trials = [trial for trial in self.study.get_trials() if GOAL in trial.user_attrs]
        self.maximize = self.study.direction.name == "MAXIMIZE"
        definition = self.study.user_attrs.get(DEFINITION, {})
        self.objective = str(definition.get("hydra.sweeper.objective", "value"))
        self.seeds = str(definition.get("hydra.sweeper.seeds", "0"))
        self.rungs = "seeds" if definition.get(RUNGS) == SEEDS else "evaluations"

    def complete(self) -> list[FrozenTrial]:
        """Return the trials that have come to their end, in that order."""
        found = [trial for trial in self.trials if state_of(trial) == "complete"]
        return sorted(found, key=lambda trial: str(trial.datetime_complete))

    def ranked(self) -> list[FrozenTrial]:
        """Return the trials, the best by the seeds of the search first."""
        return bests.ranked(self.trials, self.maximize)

    def confirmation(self) -> Confirmation | None:
        """Return what was played with fresh seeds."""
        return bests.confirmation(self.directory, self.ranked(), self.objective)

    def best(self) -> Best | None:
        """Return the best trial: of the confirmed ones if there are any."""
        return bests.best(self.directory, self.trials, self.maximize, self.objective, self.seeds)

    def unconfirmed(self) -> str:
        """Return a line on the best trial in the search where others alone were confirmed."""
        ranked, confirmed = self.ranked(), self.confirmation()
        if confirmed is None or ranked[0].number in confirmed.results:
            return ""
        return (
            f"Trial {ranked[0].number}, the best by the seeds of the search, was not confirmed: "
            f"hydra.sweeper.confirm={len(confirmed.seeds)} does."
        )

    def counted(self) -> str:
        """Return `12 trials: 1 complete, 11 paused`."""
        states = [state_of(trial) for trial in self.trials]
        order = ("complete", "paused", "running", "failed")
        counts = ", ".join(f"{states.count(name)} {name}" for name in order if name in states)
        return f"{len(states)} trials: {counts}"

    def is_better(self, value: float, than: float | None) -> bool:
        """Return whether one value is better than another, or the first one."""
        return than is None or (value > than if self.maximize else value < than)

    def history(self) -> list[tuple[int, int, float]]:
        """Return (trials complete, trial's number, value) for each that was the best so far."""
        found: list[tuple[int, int, float]] = []
        for count, trial in enumerate(self.complete(), 1):
            value = trial.value or 0.0
            if self.is_better(value, found[-1][2] if found else None):
                found.append((count, trial.number, value))
        return found

    def importances(self) -> dict[str, float]:
        """Return Optuna's importances of the parameters (PED-ANOVA), if there are enough trials."""
        if len(self.complete()) < LEAST:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        try:
            return optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        except (ValueError, RuntimeError):  # no parameter that all of them have
            return {}

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
                (label, len(own), fmean(own), max(own) if self.maximize else min(own))
                for label, own in binned(distribution, both)
            ]
        return tables


def binned(distribution: Any, points: Sequence[tuple[Any, float]]) -> list[tuple[str, list[float]]]:
    """Return the results by choice, or by equal parts of the range, logarithmic if it is."""
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        groups = [(reading.typed(choice), choice) for choice in distribution.choices]
        found = [(text, [v for own, v in points if own == choice]) for text, choice in groups]
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
        lines += [f"  {key} = {printable(reading.typed(v))}" for key, v in params.items()]
        lines.append("")
    importances = found.importances()
    for name, parts in found.parameters().items():
        share = f", importance {importances[name]:.2f}" if name in importances else ""
        lines += [f"{printable(name)}{share}:"]
        rows = [("value", "trials", "mean", "best")]
        rows += [(label, str(n), f"{mean:.5g}", f"{top:.5g}") for label, n, mean, top in parts]
        lines += [*columns(rows), ""]
    note = "Of a paused trial, what it had reached counts: it was played less than a complete one."
    if importances:
        note += " Importances are Optuna's, of the complete trials (PED-ANOVA)."
    lines.append(note if width is None else textwrap.fill(note, width))
    lines += ["", *confirmation(found, width)]
    return "\n".join(lines).rstrip()


def confirmation(found: Found, width: int | None) -> list[str]:
    """Return what fresh seeds say of the best trials and of the agent's defaults."""
    compared = comparison_of(found)
    if compared is None:
        return [UNCONFIRMED]
    from gym_loop.reports import text as reports

    content, defaults = compared
    head = f"Confirmed with fresh seeds; the agent's defaults are {defaults}:"
    if width is not None:
        head = textwrap.fill(head, width, break_on_hyphens=False)
    return [head, "", reports.text(content, width), "", found.unconfirmed()]


def comparison_of(found: Found) -> tuple[dict[str, Any], str] | None:
    """Return the comparison of the jobs with fresh seeds, and the name of the agent's defaults.

    None: there are none.

    Raises:
        Mistake: SciPy is not installed.
    """
    confirmed = found.confirmation()
    if confirmed is None:
        return None
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise Mistake('the confirmation needs SciPy: pip install "gym-loop[report]"') from None
    from gym_loop.reports import comparison

    places = [place for own in (*confirmed.results.values(), confirmed.defaults) for place in own]
    runs = map(reading.Run, places)
    content = comparison.compare(runs, metric=found.objective, maximize=found.maximize)
    defaults = {
        content["groups"][run["group"]]["label"]
        for run in content["runs"]
        if Path(run["directory"]) in confirmed.defaults and run["group"] is not None
    }
    return content, ", ".join(defaults)


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
                state_of(trial),
                "" if value is None else f"{value:.6g}",
                "" if last is None else str(last),
                "" if steps is None else str(steps),
                *(shown(trial.params.get(name, "")) for name in names),
            )
        )
    return "\n".join(columns(rows))


def shown(value: Any) -> str:
    """Return a parameter as a table shows it."""
    return f"{value:.4g}" if isinstance(value, float) else printable(reading.typed(value))
