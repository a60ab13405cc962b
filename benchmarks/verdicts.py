"""How often a report's verdicts are right: `python -m benchmarks.verdicts`.

Experiments are simulated by the thousand, and judged by the function that judges a report's pairs.
Prints two Markdown tables: where no agent differs, the share of reports with any "better", which is
to be 5 % at most; and where one agent is better than all others, how often it is told from one of
them, by the verdicts and by a permutation test that samples, and how often with as many seeds as
the report asks for.
"""

import argparse
import math
import time
from itertools import combinations
from statistics import NormalDist

import numpy as np

from gym_loop.reports import statistics

AGENTS, SEEDS, ENVIRONMENTS = (2, 4, 8), (3, 5, 10), (1, 3)
RETURNS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "heavy-tailed": lambda rng, size: rng.standard_t(2, size=size),
    "two-valued": lambda rng, size: (rng.random(size) < 0.5).astype(float),
}
PERMUTATIONS = 1_999


def compared(scores, pooled=False):
    """Return the pairs of one report on `scores`, of shape (agents, environments, seeds).

    Each environment for itself; with `pooled`, as `--by agent` has it, all at once.
    """
    places = [slice(None)] if pooled else [slice(k, k + 1) for k in range(scores.shape[1])]
    sides = combinations(range(len(scores)), 2)
    return [(a, b, [*scores[a, at]], [*scores[b, at]]) for a, b in sides for at in places]


def judged(scores, pooled=False):
    """Return (agent, agent, verdict) for each pair of one report."""
    pairs = compared(scores, pooled)
    found = statistics.verdicts([(x, y) for _, _, x, y in pairs], len(pairs))
    return [(a, b, verdict) for (a, b, _, _), verdict in zip(pairs, found, strict=True)]


def false_reports(rng, returns, agents, environments, seeds, experiments, pooled=False):
    """Return the share of reports that call any agent better, although none is."""
    count = 0
    for _ in range(experiments):
        scores = RETURNS[returns](rng, (agents, environments, seeds))
        count += any(verdict.word == "better" for _, _, verdict in judged(scores, pooled))
    return count / experiments


def allowed(experiments):
    """Return 5 % and four times the simulation's own standard error."""
    return 0.05 + 4 * math.sqrt(0.05 * 0.95 / experiments)


def shift(probability):
    """Return by how much normal scores are moved for a run to win with this probability."""
    return math.sqrt(2) * NormalDist().inv_cdf(probability)


def with_one_better(rng, probability, agents, environments, seeds):
    """Return the scores of an experiment in which the first agent wins with this probability."""
    scores = rng.normal(size=(agents, environments, seeds))
    scores[0] += shift(probability)
    return scores


def power(rng, experiments, *setting):
    """Return how often the better agent is told from another, environments pooled."""
    found = 0
    for _ in range(experiments):
        words = {(a, b): v.word for a, b, v in judged(with_one_better(rng, *setting), pooled=True)}
        found += words[0, 1] == "better"
    return found / experiments


def sampled_power(rng, experiments, *setting):
    """Return the same by `sampled_p`, at the level that is left to the smallest p-value of all."""
    level, found = 0.05 / math.comb(setting[1], 2), 0
    for _ in range(experiments):
        scores = with_one_better(rng, *setting)
        found += sampled_p(rng, scores[0], scores[1]) <= level
    return found / experiments


def sampled_p(rng, x, y):
    """Return the p-value of the pairs won, by dealing the scores of each environment anew."""
    from scipy.stats import rankdata

    both, n = rankdata(np.concatenate((x, y), axis=1), axis=1), x.shape[1]
    middle = both.sum() / 2
    seen = abs(both[:, :n].sum() - middle)
    dealt = rng.permuted(np.broadcast_to(both, (PERMUTATIONS, *both.shape)), axis=2)
    reached = abs(dealt[:, :, :n].sum(axis=(1, 2)) - middle) >= seen - 1e-9
    return (1 + reached.sum()) / (1 + PERMUTATIONS)


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__)
    parser.add_argument("--experiments", type=int, default=400, help="in each cell (400)")
    count, began = parser.parse_args().experiments, time.perf_counter()
    rng = np.random.default_rng(0)
    print(f'No agent differs: % of {count} reports with any "better", for {" / ".join(RETURNS)}')
    print("returns.\n")
    cells = [(k, pooled) for k in ENVIRONMENTS for pooled in (False, True)[: 1 + (k > 1)]]
    heads = [f"{k} environment{'s' * (k > 1)}{', pooled' * pooled}" for k, pooled in cells]
    print(f"| agents | seeds | {' | '.join(heads)} |\n|---|---|{'---|' * len(cells)}")
    for agents in AGENTS:
        for seeds in SEEDS:
            row = [str(agents), str(seeds)]
            for k, pooled in cells:
                setting = agents, k, seeds, count, pooled
                shares = (false_reports(rng, returns, *setting) for returns in RETURNS)
                row.append(" / ".join(f"{100 * share:.1f}" for share in shares))
            print(f"| {' | '.join(row)} |", flush=True)
    print("\nOne agent wins against each other with this probability: how often it is told from")
    print("another, with so many seeds, and with as many as a report names.\n")
    print(
        "| agents | environments | probability | with 10 seeds | permutation test | seeds named |"
    )
    print("|---|---|---|---|---|---|")
    for agents in AGENTS:
        for environments in ENVIRONMENTS:
            for probability in (0.75, 0.9):
                setting = probability, agents, environments
                named = statistics.seeds_needed(probability, math.comb(agents, 2), environments)
                shares = [
                    power(np.random.default_rng(0), count, *setting, 10),
                    sampled_power(np.random.default_rng(0), count, *setting, 10),
                    power(np.random.default_rng(1), count, *setting, named),
                ]
                here, sampled, then = (f"{share:.0%}" for share in shares)
                row = agents, environments, probability, here, sampled, f"{then} with {named}"
                print(f"| {' | '.join(map(str, row))} |", flush=True)
    print(f"\n{time.perf_counter() - began:.0f} seconds")


if __name__ == "__main__":
    main()
