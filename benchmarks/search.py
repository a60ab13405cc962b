"""Steps until a search has found what one without pruning finds, beside Optuna's own loop.

On two objectives. "curves": learning curves over two parameters, three noisy seeds a trial, 27
evaluations a job. "ARS": runs of ARS on CartPole, each config of a grid played once with six seeds;
a search draws three of them, the others are fresh. All sides have the same sampler and the same
budget of steps, and play one job at a time. "Reached": the best complete trial so far, by fresh
seeds (without the noise), as good as the best that is left when the search without pruning has
spent the budget.

Hydra's plugin for Optuna does not install beside Optuna 5. Where HYDRA_OPTUNA_PYTHON names the
interpreter of an environment with hydra-optuna-sweeper, it searches on the curves, too.
"""

import csv
import functools
import importlib.util
import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.harness import Row, launch, show, skipped

SEARCHES, TRIALS, SEEDS, EVALUATIONS = 10, 20, 3, 27
ASKED, PART = 500, 50
GOAL_STEPS, GOAL_TIME = 1 / 2, 2.0
PLUGIN = "HYDRA_OPTUNA_PYTHON"
Found = list[tuple[int, float, float]]  # evaluations spent, measured value, value by fresh seeds


class Curves:
    """Learning curves over two parameters; the best rate learns slowest, as in reality."""

    name, evaluations = "curves", EVALUATIONS
    ranges: ClassVar = {"lr": (1e-5, 1e-1), "width": (8, 512)}  # logarithmic

    def distributions(self) -> dict[str, Any]:
        """Return the space, as Optuna has it."""
        from optuna.distributions import FloatDistribution

        return {k: FloatDistribution(*ends, log=True) for k, ends in self.ranges.items()}

    def fresh(self, params: dict[str, float], evaluation: int, search: int = 0) -> float:
        """Return the value without noise."""
        rate, width = math.log10(params["lr"]), math.log2(params["width"])
        final = 100 * math.exp(-((rate + 3) ** 2) / 0.8 - ((width - 6) ** 2) / 8)
        pace = 3 + 4 * max(-2 - rate, 0)
        return final * (1 - math.exp(-evaluation / pace))

    def measured(self, params: dict[str, float], evaluation: int, search: int) -> float:
        """Return the mean of the seeds, each with noise of its own that lasts."""
        values = []
        bits = np.float64([*params.values()]).view(np.uint32)
        for seed in range(SEEDS):
            own = np.random.default_rng([search, seed, *bits])
            luck, noise = own.normal(0, 6), own.normal(0, 3, self.evaluations + 1)
            values.append(self.fresh(params, evaluation) + luck + noise[evaluation])
        return statistics.fmean(values)


class Runs:
    """ARS on CartPole: configs of a grid, each played with twice as many seeds as a trial has.

    A config's value is the area under its evaluations: most of them come to 500 in the end.

    Pruning cannot pay here. What three seeds say of a config's rank at its end is next to nothing
    of what three others say (Spearman's rank correlation 0.14), and in five of six searches the
    very first trial is as good as the best that is left when the budget is spent.
    """

    name = "ARS on CartPole"
    grid: ClassVar = {
        "step_size": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
        "noise": (0.01, 0.03, 0.1, 0.3),
    }
    words = ("loop.max_steps=12000", "loop.steps_per_eval=1200", "loop.eval_episodes=4")

    def __init__(self, folder: Path) -> None:
        varied = [f"agent.{key}={','.join(map(str, own))}" for key, own in self.grid.items()]
        seeds = f"seed=range({2 * SEEDS})"
        place = "hydra.sweep.dir=grid"
        launch("-m", "agent=ars", "env=cartpole", *self.words, *varied, seeds, place, cwd=folder)
        self.values: dict[tuple[int, int, int], list[float]] = {}
        for file in folder.glob("grid/*/run.json"):
            config = json.loads(file.read_text())["config"]
            key = tuple(own.index(config["agent"][name]) for name, own in self.grid.items())
            with open(file.with_name("evaluations.csv")) as table:
                returns = [float(row["return"]) for row in csv.DictReader(table)]
            means = np.reshape(returns, (-1, 4)).mean(axis=1)
            self.values[(key[0], key[1], config["seed"])] = means.tolist()
        self.evaluations = max(map(len, self.values.values()))

    def distributions(self) -> dict[str, Any]:
        """Return the space: places in the grid."""
        from optuna.distributions import IntDistribution

        return {key: IntDistribution(0, len(own) - 1) for key, own in self.grid.items()}

    def fresh(self, params: dict[str, Any], evaluation: int, search: int) -> float:
        """Return the mean of the seeds that the search has not."""
        return self._mean(params, evaluation, self._seeds(search)[SEEDS:])

    def measured(self, params: dict[str, Any], evaluation: int, search: int) -> float:
        """Return the mean of the search's seeds."""
        return self._mean(params, evaluation, self._seeds(search)[:SEEDS])

    def _seeds(self, search: int) -> list[int]:
        return np.random.default_rng(search).permutation(2 * SEEDS).tolist()

    def _mean(self, params: dict[str, Any], evaluation: int, seeds: list[int]) -> float:
        rows = [self.values[params["step_size"], params["noise"], seed] for seed in seeds]
        return statistics.fmean(statistics.fmean(row[:evaluation]) for row in rows)


def study_in(folder: str, search: int, objective: Any) -> Any:
    """Return a new study of the objective's space, as a search has it."""
    from gym_loop.search.space import Dimension, Dimensions, FixedSpaceSampler
    from gym_loop.search.study import Study

    space = Dimensions({k: Dimension(k, "", own) for k, own in objective.distributions().items()})

    def own(number: int) -> Any:  # draws what the others' draws, in less time
        return FixedSpaceSampler(space, seed_of(search, number))

    return Study(Path(folder), space.describe(), space, "maximize", own)


def seed_of(search: int, number: int) -> int:
    """Return the seed of the sampler for the trial of a number."""
    return 1000 * search + number


def sampler(search: int, number: int) -> Any:
    """Return the sampler of those other than ours."""
    import optuna

    return optuna.samplers.TPESampler(seed=seed_of(search, number))


def budget(objective: Any) -> int:
    """Return how many evaluations a search may spend."""
    return TRIALS * SEEDS * objective.evaluations


def ours(objective: Any, search: int) -> Found:
    """Spend the budget as `pruner=asha` does."""
    from gym_loop.search.rungs import Halving
    from gym_loop.search.study import GOAL
    from gym_loop.search.trials import entry_of

    found: Found = []
    spent = 0
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(folder, search, objective)
        rungs = Halving(maximize=True)
        reached: dict[int, int] = {}
        while spent < budget(objective):
            trials = study.trials()
            chosen = rungs.choose([entry_of(trial) for trial in trials], last=False)
            if chosen:
                study.set_goal(*chosen)
                number = chosen[0]
            else:
                number = study.ask(rungs.first)
            trial = study.trials()[number]
            goal = trial.user_attrs[GOAL] or objective.evaluations
            goal = min(goal, objective.evaluations)
            spent += SEEDS * (goal - reached.get(number, 0))
            reached[number] = goal
            value = objective.measured(trial.params, goal, search)
            study.report(number, goal, value)
            if goal == objective.evaluations:
                study.tell(number, value)
                found.append((spent, value, objective.fresh(trial.params, goal, search)))
    return found


def optunas(pruner: str, options: dict[str, int], objective: Any, search: int) -> Found:
    """Spend the budget as Optuna's own loop does."""
    import optuna

    found: Found = []
    kind = getattr(optuna.pruners, pruner)
    study = optuna.create_study(direction="maximize", pruner=kind(**options))
    spent = number = 0
    while spent < budget(objective):
        study.sampler = sampler(search, number)
        trial, number = study.ask(objective.distributions()), number + 1
        params = trial.params
        for evaluation in range(1, objective.evaluations + 1):
            spent += SEEDS
            value = objective.measured(params, evaluation, search)
            trial.report(value, evaluation)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, value)
            last = objective.evaluations
            found.append((spent, value, objective.fresh(params, last, search)))
    return found


def reached(found: Found, target: float) -> float:
    """Return how many evaluations were spent when the best was as good as `target`."""
    best = (-math.inf, -math.inf)
    for spent, value, without_noise in found:
        best = max(best, (value, without_noise))
        if best[1] >= target:
            return spent
    return math.inf


def quartile(ratios: list[float], part: int) -> float:
    """Return a quartile of sorted ratios, which may be infinite: no mean of two of them."""
    return ratios[round(part * (len(ratios) - 1) / 4)]


def asking() -> tuple[float, float]:
    """Return the processor seconds that asking for and telling a trial takes: first ones, last."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(folder, 0, Curves())
        for number in range(ASKED):
            began = time.process_time()
            study.ask(1)
            study.report(number, 1, float(number % 7))
            study.tell(number, float(number % 7))
            seconds.append(time.process_time() - began)
    # The first ten are drawn at random, without a model.
    return statistics.median(seconds[10 : 10 + PART]), statistics.median(seconds[-PART:])


def plugins(python: str, objective: Any, search: int) -> tuple[Found, float]:
    """Spend the budget as Hydra's plugin does; return the seconds of each trial, too."""
    ends = {k: f"tag(log, interval({a}, {b}))" for k, (a, b) in Curves.ranges.items()}
    words = [f"+{key}={value}" for key, value in ends.items()]
    words += ["hydra/sweeper=optuna", "hydra/sweeper/sampler=tpe", "hydra.sweeper.n_jobs=1"]
    words += [f"hydra.sweeper.n_trials={TRIALS}", f"hydra.sweeper.sampler.seed={search}"]
    words += ["hydra.sweeper.direction=maximize", f"+search={search}", "hydra.sweep.dir=s"]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run(
            [python, str(Path(__file__).with_name("search_plugin.py")), "-m", *words],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            check=True,
            capture_output=True,
        )
        seconds = (time.perf_counter() - began) / TRIALS
        lines = Path(folder, "told.jsonl").read_text().splitlines()
    found: Found = []
    for count, line in enumerate(lines, 1):
        params = json.loads(line)
        value = objective.measured(params, objective.evaluations, search)
        spent = count * SEEDS * objective.evaluations
        found.append((spent, value, objective.fresh(params, objective.evaluations, search)))
    return found, seconds


def compared(objective: Any) -> Iterator[Row]:
    """Yield a row against each other way to search."""
    halving = {"min_resource": 1, "reduction_factor": 3}
    kinds = {
        "no pruning": ("NopPruner", {}),
        "Optuna's own loop, successive halving": ("SuccessiveHalvingPruner", halving),
        "Optuna's own loop, median": ("MedianPruner", {}),
    }
    sides: dict[str, Callable[[int], Found]] = {
        name: functools.partial(optunas, kind, options, objective)
        for name, (kind, options) in kinds.items()
    }
    python = os.environ.get(PLUGIN)
    if python and isinstance(objective, Curves):
        sides["Hydra's plugin"] = lambda search: plugins(python, objective, search)[0]
    spent: dict[str, list[float]] = {name: [] for name in ("ours", *sides)}
    for search in range(SEARCHES):
        found = {"ours": ours(objective, search)}
        found |= {name: side(search) for name, side in sides.items()}
        _, target = max((value, fresh) for _, value, fresh in found["no pruning"])
        for name, own in found.items():
            spent[name].append(reached(own, target))
    for name in sides:
        ratios = sorted(
            a / b for a, b in zip(spent["ours"], spent[name], strict=True) if b < math.inf
        )
        what = f"{objective.name}: steps to the best of {TRIALS} trials, {len(ratios)} searches"
        if len(ratios) < 4:
            yield skipped(what, name, "", f"reached there in {len(ratios)} of {SEARCHES} only")
            continue
        low, middle, high = (quartile(ratios, part) for part in (1, 2, 3))
        missed = sum(math.isinf(each) for each in spent["ours"])
        goal = f"{GOAL_STEPS:g}" if name == "no pruning" else ""
        said = (
            f"{middle:.2f} ({low:.2f} to {high:.2f}); {missed} of {SEARCHES} not within the budget"
        )
        yield Row(what, name, goal, said, middle <= GOAL_STEPS if goal else None)


def rows() -> Iterator[Row]:
    """Yield the rows: steps, then the time that a trial takes besides its jobs."""
    if importlib.util.find_spec("optuna") is None:
        yield skipped("steps to the best", "Optuna's own loop", "", "optuna is not installed")
        return
    yield from compared(Curves())
    if PLUGIN not in os.environ:
        yield skipped("steps to the best", "Hydra's plugin", "", f"{PLUGIN} is not set")
    with tempfile.TemporaryDirectory() as folder:
        yield from compared(Runs(Path(folder)))
    first, last = asking()
    yield Row(
        f"ask and tell, the last of {ASKED} trials",
        f"trials 10 to {10 + PART}",
        f"{GOAL_TIME:g}",
        f"{last / first:.2f} ({first * 1000:.1f} ms, then {last * 1000:.1f} ms)",
        last / first <= GOAL_TIME,
    )


if __name__ == "__main__":
    show(rows())
