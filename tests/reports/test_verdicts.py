"""Simulated experiments: how often a report's verdicts are right."""

import math

import numpy as np
import pytest

pytest.importorskip("scipy", reason='needs the extra: pip install "gym-loop[report]"')

from benchmarks import verdicts
from gym_loop.reports import statistics


@pytest.mark.parametrize(
    ("agents", "environments", "seeds", "pooled"),
    [(2, 1, 5, False), (4, 3, 10, False), (2, 3, 3, True), (4, 3, 5, True)],
)
@pytest.mark.parametrize("returns", list(verdicts.RETURNS))
def test_where_nothing_differs_few_reports_say_better(agents, environments, seeds, pooled, returns):
    rng = np.random.default_rng([agents, environments, seeds])
    share = verdicts.false_reports(rng, returns, agents, environments, seeds, 80, pooled)
    assert share <= verdicts.allowed(80)


@pytest.mark.long
@pytest.mark.parametrize("agents", verdicts.AGENTS)
@pytest.mark.parametrize("seeds", verdicts.SEEDS)
@pytest.mark.parametrize("environments", verdicts.ENVIRONMENTS)
@pytest.mark.parametrize("returns", list(verdicts.RETURNS))
def test_where_nothing_differs_at_most_one_report_in_twenty_says_better(
    agents, seeds, environments, returns
):
    rng = np.random.default_rng([agents, environments, seeds])
    for pooled in (False, True)[: 1 + (environments > 1)]:
        setting = rng, returns, agents, environments, seeds
        assert verdicts.false_reports(*setting, 400, pooled) <= verdicts.allowed(400)


def test_three_seeds_against_three_are_never_told_apart_in_one_environment():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 1, 3))
    scores[0] += 1000
    assert [verdict.word for _, _, verdict in verdicts.judged(scores)] == ["cannot tell"]


@pytest.mark.long
@pytest.mark.parametrize("agents", verdicts.AGENTS)
@pytest.mark.parametrize("environments", verdicts.ENVIRONMENTS)
@pytest.mark.parametrize("probability", [0.75, 0.9])
def test_a_difference_is_found_as_often_as_by_a_permutation_test_and_as_the_seeds_named_promise(
    agents, environments, probability
):
    rng = np.random.default_rng([agents, environments])
    setting = probability, agents, environments
    here, sampled = (
        verdicts.power(rng, 300, *setting, 10),
        verdicts.sampled_power(rng, 150, *setting, 10),
    )
    print(f"{agents} agents, {environments} environments: {here:.0%}, permutation {sampled:.0%}")
    assert here >= sampled - 0.15  # four standard errors
    named = statistics.seeds_needed(probability, math.comb(agents, 2), environments)
    # With three seeds or so, one more is a large step.
    assert 0.7 <= verdicts.power(rng, 300, *setting, named) <= (0.95 if named > 7 else 1)
