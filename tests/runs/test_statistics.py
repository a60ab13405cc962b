import math
from statistics import NormalDist

import numpy as np
import pytest

pytest.importorskip("scipy", reason='needs the extra: pip install "gym-loop[report]"')

from gym_loop.runs import statistics


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
def test_as_many_seeds_as_are_named_show_the_difference_four_times_in_five(probability):
    from scipy.stats import mannwhitneyu

    count = statistics.seeds_needed(probability)
    shift = math.sqrt(2) * NormalDist().inv_cdf(probability)  # P(X > Y) of two normals
    rng = np.random.default_rng(0)
    a, b = rng.normal(shift, 1, size=(2000, count)), rng.normal(size=(2000, count))
    power = np.mean(mannwhitneyu(a, b, axis=1).pvalue < 0.05)
    assert 0.75 < power < 0.98


def test_seeds_that_no_one_could_play_are_not_named():
    assert statistics.seeds_needed(0.5) is None
    assert statistics.seeds_needed(0.501) is None
    assert statistics.seeds_needed(0.4) == statistics.seeds_needed(0.6)
    assert statistics.seeds_needed(0.7, comparisons=10) > statistics.seeds_needed(0.7)
    assert statistics.seeds_needed(1.0) >= statistics.fewest_seeds()


def test_p_values_are_corrected_as_holm_does():
    assert statistics.corrected([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert statistics.corrected([0.6, 0.7]) == [1, 1]
    assert statistics.corrected([]) == []
