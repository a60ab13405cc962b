"""Steps until a search has found what one without pruning finds, beside Optuna's own loop.

On a synthetic objective: learning curves over two parameters, three noisy seeds a trial, 27
evaluations a job. All sides have the same sampler and the same budget of steps, and play one job at
a time. "Reached": the best complete trial so far, without the noise, as good as the best that is
left when the search without pruning has spent the budget; that is what fresh seeds would say.
"""

import functools
import importlib.util
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Row, show, skipped

SEARCHES, TRIALS, SEEDS, EVALUATIONS = 10, 20, 3, 27
BUDGET = TRIALS * SEEDS * EVALUATIONS  # evaluations, each of the same number of steps
ASKED, PART = 500, 50
GOAL_STEPS, GOAL_TIME = 1 / 2, 2.0
RANGES = {"lr": (1e-5, 1e-1), "width": (8, 512)}  # of the parameters, logarithmic
Found = list[tuple[int, float, float]]  # evaluations spent, measured value, value without noise


def curve(params: dict[str, float], evaluation: int) -> float:
    """Return the value without noise: the best rate learns slowest, as in reality."""
    rate, width = math.log10(params["lr"]), math.log2(params["width"])
    final = 100 * math.exp(-((rate + 3) ** 2) / 0.8 - ((width - 6) ** 2) / 8)
    pace = 3 + 4 * max(-2 - rate, 0)
    return final * (1 - math.exp(-evaluation / pace))


def measured(params: dict[str, float], evaluation: int, search: int) -> float:
    """Return the mean of the seeds, each with noise of its own that lasts."""
    values = []
    for seed in range(SEEDS):
        own = np.random.default_rng([search, seed, *np.float64([*params.values()]).view(np.uint32)])
        luck, noise = own.normal(0, 6), own.normal(0, 3, EVALUATIONS + 1)
        values.append(curve(params, evaluation) + luck + noise[evaluation])
    return statistics.fmean(values)


def study_in(folder: str, search: int) -> Any:
    """Return a new study of the synthetic objective's space, as a search has it."""
    import optuna

    from gym_loop.search.space import Dimension, Grid
    from gym_loop.search.study import Study

    kind = optuna.distributions.FloatDistribution
    space = Grid({k: Dimension(k, "", kind(*ends, log=True)) for k, ends in RANGES.items()})
    own = functools.partial(sampler, search)
    return Study(Path(folder), space.describe(), space, "maximize", own)


def sampler(search: int, number: int) -> Any:
    """Return the sampler that all sides have."""
    import optuna

    return optuna.samplers.TPESampler(seed=1000 * search + number)


def ours(search: int) -> Found:
    """Spend the budget as `pruner=asha` does."""
    from gym_loop.search.rungs import Halving
    from gym_loop.search.study import GOAL
    from gym_loop.search.trials import entry_of

    found: Found = []
    spent = 0
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(folder, search)
        rungs = Halving(maximize=True)
        reached: dict[int, int] = {}
        while spent < BUDGET:
            trials = study.trials()
            chosen = rungs.choose([entry_of(trial) for trial in trials], last=False)
            if chosen:
                study.set_goal(*chosen)
                number = chosen[0]
            else:
                number = study.ask(rungs.first)
            trial = study.trials()[number]
            goal = min(trial.user_attrs[GOAL], EVALUATIONS)
            spent += SEEDS * (goal - reached.get(number, 0))
            reached[number] = goal
            value = measured(trial.params, goal, search)
            study.report(number, goal, value)
            if goal == EVALUATIONS:
                study.tell(number, value)
                found.append((spent, value, curve(trial.params, goal)))
    return found


def optunas(pruner: str, options: dict[str, int], search: int) -> Found:
    """Spend the budget as Optuna's own loop does."""
    import optuna

    found: Found = []
    kind = getattr(optuna.pruners, pruner)
    study = optuna.create_study(direction="maximize", pruner=kind(**options))
    spent = number = 0
    while spent < BUDGET:
        study.sampler = sampler(search, number)
        trial, number = study.ask(), number + 1
        params = {k: trial.suggest_float(k, *ends, log=True) for k, ends in RANGES.items()}
        for evaluation in range(1, EVALUATIONS + 1):
            spent += SEEDS
            value = measured(params, evaluation, search)
            trial.report(value, evaluation)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, value)
            found.append((spent, value, curve(params, EVALUATIONS)))
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
        study = study_in(folder, 0)
        for number in range(ASKED):
            began = time.process_time()
            study.ask(1)
            study.report(number, 1, float(number % 7))
            study.tell(number, float(number % 7))
            seconds.append(time.process_time() - began)
    # The first ten are drawn at random, without a model.
    return statistics.median(seconds[10 : 10 + PART]), statistics.median(seconds[-PART:])


def rows() -> Iterator[Row]:
    """Yield the rows: steps, then the time that a trial takes besides its jobs."""
    if importlib.util.find_spec("optuna") is None:
        yield skipped("steps to the best", "Optuna's own loop", "", "optuna is not installed")
        return
    halving = {"min_resource": 1, "reduction_factor": 3}
    sides: dict[str, Callable[[int], Found]] = {
        "no pruning": functools.partial(optunas, "NopPruner", {}),
        "Optuna's own loop, successive halving": functools.partial(
            optunas, "SuccessiveHalvingPruner", halving
        ),
        "Optuna's own loop, median": functools.partial(optunas, "MedianPruner", {}),
    }
    spent: dict[str, list[float]] = {name: [] for name in ("ours", *sides)}
    for search in range(SEARCHES):
        found = {"ours": ours(search)} | {name: side(search) for name, side in sides.items()}
        _, target = max((value, without_noise) for _, value, without_noise in found["no pruning"])
        for name, own in found.items():
            spent[name].append(reached(own, target))
    for name in sides:
        ratios = sorted(
            a / b for a, b in zip(spent["ours"], spent[name], strict=True) if b < math.inf
        )
        what = f"steps to the best of {TRIALS} trials, {len(ratios)} searches"
        if len(ratios) < 4:
            yield skipped(what, name, "", "it was not reached often enough")
            continue
        low, middle, high = (quartile(ratios, part) for part in (1, 2, 3))
        missed = sum(math.isinf(each) for each in spent["ours"])
        goal = f"{GOAL_STEPS:g}" if name == "no pruning" else ""
        said = (
            f"{middle:.2f} ({low:.2f} to {high:.2f}); {missed} of {SEARCHES} not within the budget"
        )
        yield Row(what, name, goal, said, middle <= GOAL_STEPS if goal else None)
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
