"""Which trials go on."""

import random

import pytest

pytest.importorskip("optuna", reason="needs the extra search")

from gym_loop.search.rungs import Entry, Halving, Judged, Rungs
from gym_loop.search.study import END


def paused(number, **values):
    reached = {int(rung[1:]): value for rung, value in values.items()}
    return Entry(number, max(reached), reached, paused=True)


def test_the_best_third_of_a_rung_goes_on_as_soon_as_it_is_known():
    halving = Halving(maximize=True)
    entries = [paused(0, r1=5.0), paused(1, r1=7.0)]
    assert halving.choose(entries, last=False) is None
    entries.append(paused(2, r1=6.0))
    assert halving.choose(entries, last=False) == (1, 3)
    entries[1].goal, entries[1].paused = 3, False
    assert halving.choose(entries, last=False) is None  # one of three is on its way
    entries += [paused(n, r1=float(n)) for n in (3, 4, 8)]
    assert halving.choose(entries, last=False) == (8, 3)


def test_less_is_better_where_it_is_minimized_and_nan_never_is():
    entries = [paused(0, r1=float("nan")), paused(1, r1=2.0), paused(2, r1=1.0)]
    assert Halving(maximize=False).choose(entries, last=False) == (2, 3)
    assert Halving(maximize=True).choose(entries, last=False) == (1, 3)


def test_higher_rungs_come_first():
    entries = [paused(n, r1=9.0, r3=float(n)) for n in range(3)] + [paused(5, r1=10.0)]
    assert Halving(maximize=True).choose(entries, last=False) == (2, 9)


def test_a_search_of_few_trials_has_a_winner():
    halving = Halving(maximize=True)
    entries = [paused(0, r1=1.0), paused(1, r1=2.0)]
    assert halving.choose(entries, last=True) == (1, 3)
    entries[1] = paused(1, r1=2.0, r3=4.0)
    assert halving.choose(entries, last=True) == (1, 9)
    entries[1] = Entry(1, 9, {1: 2.0, 3: 4.0, 5: 5.0})  # has ended
    assert halving.choose(entries, last=True) is None


def test_what_another_pruner_has_paused_between_rungs_goes_to_the_next():
    assert Halving(maximize=True).choose([paused(0, r1=1.0, r2=1.0)], last=False) == (0, 3)
    assert Rungs().choose([paused(0, r1=1.0)], last=False) == (0, END)


def test_each_trial_is_judged_once_at_each_evaluation():
    asked = []

    def prunes(number):
        asked.append(number)
        return number == 0

    judged = Judged(prunes)
    entries = [paused(0, r1=1.0), paused(1, r1=2.0)]
    assert judged.choose(entries, last=False) == (1, 2)
    entries[1] = Entry(1, 2, {1: 2.0})
    assert judged.choose(entries, last=False) is None
    assert asked == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_most_steps_go_to_the_best_of_many(seed):
    """Plays 81 trials whose values never change: of each rung, the best third has gone on."""
    values = random.Random(seed).sample(range(1000), 81)
    halving, entries = Halving(maximize=True), []
    while True:
        chosen = halving.choose(entries, last=len(entries) == len(values))
        if chosen is not None:
            number, goal = chosen
            entries[number].values[goal] = values[number]
            entries[number].goal = goal
            entries[number].paused = goal < 81
        elif len(entries) < len(values):
            entries.append(paused(len(entries), r1=values[len(entries)]))
        else:
            break
    for rung in (1, 3, 9, 27):
        there = sorted((e for e in entries if rung in e.values), key=lambda e: -values[e.number])
        best = there[: len(there) // 3]
        assert all(entry.goal > rung for entry in best)
    winner = entries[values.index(max(values))]
    assert winner.goal == max(entry.goal for entry in entries) == 81


def test_a_pruner_of_optunas_may_wrap_another():
    optuna = pytest.importorskip("optuna", reason="needs the extra search")
    from gym_loop.search.optunas import pruner_of

    inner = {"_target_": "optuna.pruners.ThresholdPruner", "lower": 5.0}
    outer = {"_target_": "optuna.pruners.PatientPruner", "wrapped_pruner": inner, "patience": 1}
    study = optuna.create_study(direction="maximize")
    pruned = []
    for values in ([9, 4, 3, 2], [9, 8, 7, 6], [1, 2, 3, 4]):  # falls below, falls, is below
        trial = study.ask()
        for step, value in enumerate(values, 1):
            trial.report(value, step)
        pruned.append(pruner_of(outer).prune(study, study.get_trials()[-1]))
    assert pruned == [True, False, False]
