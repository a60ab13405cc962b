import math
from itertools import combinations
from statistics import NormalDist

import numpy as np
import pytest

pytest.importorskip("scipy", reason='needs the extra: pip install "gym-loop[report]"')

from gym_loop.reports import statistics


def strata(scores):
    return [scores[:, column] for column in range(scores.shape[1])]


@pytest.fixture
def scores():
    rng = np.random.default_rng(3)
    return rng.normal(size=(10, 3)), rng.normal(0.5, 1, size=(8, 3)).round(1)


def test_interquartile_mean_and_improvement_equal_those_of_rliable(scores):
    metrics = pytest.importorskip(
        "rliable.metrics", reason='needs: pip install "gym-loop[statistics]"'
    )
    x, y = scores
    for one in (x, y, x[:, :1], x[:1], y[:3]):
        assert statistics.iqm(strata(one)) == pytest.approx(metrics.aggregate_iqm(one), rel=1e-12)
    for a, b in ((x, y), (y, x), (x[:, :1], y[:, :1]), (x[:2], y[:5]), (x, x + 0.0)):
        expected = metrics.probability_of_improvement(a, b)
        assert statistics.improvement(strata(a), strata(b)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:random_state is deprecated")
def test_the_intervals_agree_with_those_of_rliable_within_sampling_error(scores):
    library = pytest.importorskip(
        "rliable.library", reason='needs: pip install "gym-loop[statistics]"'
    )
    from rliable import metrics

    x, y = scores
    _, iqm = library.get_interval_estimates(
        {"x": x},
        lambda a: np.array([metrics.aggregate_iqm(a)]),
        reps=3000,
        random_state=np.random.RandomState(0),
    )
    assert statistics.iqm_interval(strata(x)) == pytest.approx(iqm["x"][:, 0], abs=0.04)
    _, better = library.get_interval_estimates(
        {"x": (x, y)},
        metrics.probability_of_improvement,
        reps=500,
        random_state=np.random.RandomState(0),
    )
    interval = statistics.improvement_interval(strata(x), strata(y))
    assert interval == pytest.approx(better["x"].ravel(), abs=0.025)


def test_resampling_stays_within_an_environment():
    """Were the strata mixed, resamples with more runs of the one would move the mean widely."""
    scores = [np.array([0.0, 0.0, 0.0, 0.0]), np.array([100.0, 100.0, 100.0, 100.0])]
    assert statistics.iqm_interval(scores) == (50, 50)


@pytest.mark.parametrize(("runs", "coverage"), [(3, 0.74), (10, 0.94)])
def test_the_interval_holds_the_true_value_as_often_as_is_written(monkeypatch, runs, coverage):
    monkeypatch.setattr(statistics, "RESAMPLES", 400)
    rng = np.random.default_rng(1)
    intervals = [statistics.iqm_interval([rng.normal(size=runs)], rng) for _ in range(700)]
    held = np.mean([low <= 0 <= high for low, high in intervals])
    assert held == pytest.approx(coverage, abs=0.05)


def test_one_run_has_no_interval():
    one, two = [np.array([1.0])], [np.array([1.0, 2.0])]
    assert statistics.iqm_interval(one) is None
    assert statistics.improvement_interval(one, two) is None
    assert statistics.mean_interval(np.ones((1, 5))) is None


def test_the_interval_is_that_of_all_resamples_when_they_do_not_fit_at_once(monkeypatch, scores):
    x, y = (strata(one) for one in scores)
    whole = statistics.iqm_interval(x), statistics.improvement_interval(x, y)
    monkeypatch.setattr(statistics, "CHUNK", 3000)
    parts = statistics.iqm_interval(x), statistics.improvement_interval(x, y)
    assert parts[0] == pytest.approx(whole[0], abs=0.05)
    assert parts[1] == pytest.approx(whole[1], abs=0.02)


def test_three_seeds_against_three_are_never_enough():
    """The bootstrap alone would say so: its interval is 1 to 1."""
    low, high = [np.array([1.0, 2.0, 3.0])], [np.array([7.0, 8.0, 9.0])]
    assert statistics.improvement_interval(high, low) == (1, 1)
    assert statistics.p_value(high, low) == pytest.approx(0.1)
    assert statistics.fewest_seeds() == 4


def test_the_test_is_false_as_often_as_it_says_over_several_environments():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(6, 2)), rng.normal(size=(7, 2))) for _ in range(600)]
    false = np.mean([statistics.p_value(strata(a), strata(b)) < 0.05 for a, b in pairs])
    assert false == pytest.approx(0.05, abs=0.027)  # three standard errors


def test_equal_scores_are_no_difference():
    same = [np.array([3.0, 3.0, 3.0])]
    assert statistics.p_value(same, same) == 1
    assert statistics.p_value(same * 2, same * 2) == 1
    assert statistics.improvement(same, same) == 0.5


@pytest.mark.parametrize("probability", [0.7, 0.8, 0.95])
@pytest.mark.parametrize(("comparisons", "environments"), [(1, 1), (1, 3), (28, 1)])
def test_as_many_seeds_as_are_named_show_the_difference_four_times_in_five(
    probability, comparisons, environments
):
    count = statistics.seeds_needed(probability, comparisons, environments)
    shift = math.sqrt(2) * NormalDist().inv_cdf(probability)  # P(X > Y) of two normals
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400, environments, count))
    p_values = np.array([statistics.p_value([*x], [*y]) for x, y in zip(a + shift, b, strict=True)])
    assert 0.7 < np.mean(p_values < 0.05 / comparisons) < 0.95


def test_seeds_that_no_one_could_play_are_not_named():
    assert statistics.seeds_needed(0.5) is None
    assert statistics.seeds_needed(0.501) is None
    assert statistics.seeds_needed(0.4) == statistics.seeds_needed(0.6)
    assert statistics.seeds_needed(0.7, comparisons=10) > statistics.seeds_needed(0.7)
    assert statistics.seeds_needed(1.0) >= statistics.fewest_seeds()


def test_p_values_are_corrected_as_holm_does():
    assert statistics.corrected([0.04, 0.01, 0.03], 3) == pytest.approx([0.06, 0.03, 0.06])
    assert statistics.corrected([0.6, 0.7], 2) == [1, 1]
    assert statistics.corrected([], 0) == []


def test_p_values_that_were_chosen_of_many_are_corrected_for_all_of_them():
    assert statistics.corrected([0.004, 0.001], 10) == pytest.approx([0.036, 0.01])


def dealt(x, y):
    """The p-value by counting every way to deal the scores, environment by environment."""
    distances, seen = np.zeros(1), 0.0
    for a, b in zip(x, y, strict=True):
        both, places = np.concatenate((a, b)), range(len(a) + len(b))
        wins = np.sign(both[:, None] - both[None, :])
        chosen = [list(own) for own in combinations(places, len(a))]
        rest = [[place for place in places if place not in own] for own in chosen]
        shares = [wins[np.ix_(one, two)].mean() for one, two in zip(chosen, rest, strict=True)]
        distances = (distances[:, None] + np.array(shares)).ravel()
        seen += np.sign(a[:, None] - b[None, :]).mean()
    return np.mean(abs(distances) >= abs(seen) - 1e-9)


@pytest.mark.parametrize("values", [2, 5, 1000])
def test_the_test_counts_every_way_to_deal_the_scores(values):
    """With few values there are ties; the normal approximation is off by a factor then."""
    rng = np.random.default_rng(values)
    for environments in (1, 2, 1, 2, 1, 2):
        n, m = rng.integers(2, 5, size=2)
        x = [rng.integers(values, size=n).astype(float) for _ in range(environments)]
        y = [rng.integers(values, size=m).astype(float) for _ in range(environments)]
        assert statistics.p_value(x, y) == pytest.approx(dealt(x, y), abs=1e-9)
        assert statistics.p_value(y, x) == pytest.approx(dealt(x, y), abs=1e-9)


def test_unlike_numbers_of_seeds_are_dealt_within_their_environment():
    x = [np.array([3.0, 1, 4, 1]), np.array([5.0, 9])]
    y = [np.array([2.0, 6]), np.array([5.0, 3, 5, 8])]
    assert statistics.p_value(x, y) == pytest.approx(dealt(x, y), abs=1e-9)


def test_two_environments_with_two_seeds_tell_as_little_as_they_can():
    low, high = [np.array([1.0, 2.0])] * 2, [np.array([3.0, 4.0])] * 2
    assert statistics.p_value(high, low) == pytest.approx(2 / 36)
    assert statistics.fewest_seeds(environments=2) == 3


def test_of_many_seeds_the_approximation_is_near_the_enumeration(monkeypatch):
    rng = np.random.default_rng(5)
    x, y = [rng.normal(0.4, 1, size=30).round(1)], [rng.normal(size=35).round(1)]
    exact = statistics.p_value(x, y)
    monkeypatch.setattr(statistics, "EXACT", 0)
    assert statistics.p_value(x, y) == pytest.approx(exact, rel=0.05)
