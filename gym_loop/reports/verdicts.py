"""Groups compared pair by pair, and what these seeds say of them, in sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_loop.reports import statistics
from gym_loop.reports.groups import Group
from gym_loop.reports.statistics import Scores

MOST_PAIRS = 1000
MOST_NAMED = 8  # groups in a verdict
# What is said of a pair -> what is said of the best group and others.
WORDS = {
    "not tested": "not tested against {}, with which it shares episodes",
    "cannot tell": "not told apart from {}",
    "perhaps better": "perhaps better than {}",
    "better": "surely better than {}",
}


@dataclass
class Pair:
    """Two groups in comparison, the one that wins more often first."""

    groups: tuple[Group, Group]
    envs: list[str]
    scores: tuple[Scores, Scores]  # of each group by environment; larger ones are better
    left_out: int  # forks whose scores are not among them
    tested: bool  # else too few are left that are independent, and `scores` are all


def compare_pairs(groups: list[Group], sign: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare groups pair by pair, on the environments that both have.

    `sign` is -1 where less is better.
    """
    candidates = []
    for first, second in combinations([g for g in groups if g.scores], 2):
        if envs := sorted(first.scores.keys() & second.scores.keys()):
            candidates.append((first, second, envs))
    # Whatever is shown below, and by whatever it is chosen, so many could have come out.
    comparisons = sum(statistics.comparable(*_independent(*c)) for c in candidates)
    notes = []
    if len(candidates) > MOST_PAIRS:
        best: dict[str, Group] = {}
        for group in groups:
            for env in group.scores:
                best.setdefault(env, group)
        few = [c for c in candidates if any(best[env] is c[0] for env in c[2])]
        notes.append(
            f"Of {len(candidates)} pairs, the {len(few)} with the best group of an environment are "
            "shown; p-values are corrected for all."
        )
        candidates = few
    pairs = [_pair(*candidate, sign) for candidate in candidates]
    found = statistics.verdicts([pair.scores for pair in pairs if pair.tested], comparisons)
    # Those that are told apart already leave less to correct the others for.
    left = max(comparisons - sum(verdict.word == "better" for verdict in found), 1)
    number = {id(group): place for place, group in enumerate(groups)}
    untested = statistics.Verdict(None, word="not tested")
    facts, judged = [], iter(found)
    for pair in pairs:
        verdict = next(judged) if pair.tested else untested
        places = [number[id(group)] for group in pair.groups]
        known = {
            "envs": pair.envs,
            "seeds": [min(map(len, own)) for own in pair.scores],
            "left_out": pair.left_out,
            "probability": statistics.improvement(*pair.scores),
            "interval": statistics.improvement_interval(*pair.scores) if pair.tested else None,
            "groups": places,
            "p": verdict.p,
            "p_corrected": verdict.p_corrected,
            "comparisons": comparisons,
            "verdict": verdict.word,
            "better": places[0] if verdict.word == "better" else None,
        }
        facts.append(known | _judged(known, *pair.groups, left))
    return facts, notes


def _pair(first: Group, second: Group, envs: list[str], sign: int) -> Pair:
    """Return two groups as a pair that is to be tested, or that cannot be."""
    whole = [[group.scores[env] for env in envs] for group in (first, second)]
    scores = _independent(first, second, envs)
    left_out = sum(map(len, (*whole[0], *whole[1]))) - sum(map(len, (*scores[0], *scores[1])))
    tested = all(map(len, (*scores[0], *scores[1])))
    x, y = ([sign * own for own in side] for side in (scores if tested else whole))
    if statistics.improvement(x, y) < 0.5:
        first, second, x, y = second, first, y, x
    return Pair((first, second), envs, (x, y), left_out, tested)


def _independent(first: Group, second: Group, envs: list[str]) -> tuple[Scores, Scores]:
    """Return two groups' scores by environment, without forks that share episodes with the other.

    A fork has its first episodes of the run that it comes from, as have other forks of that run: a
    test would take them for independent samples.
    """
    shared = first.origins & second.origins

    def apart(group: Group, env: str) -> NDArray[np.float64]:
        if not shared:
            return group.scores[env]
        own = [member for member in group.scored if member.run.env == env]
        return group.scores[env][[not (m.run.forked_at and m.origin in shared) for m in own]]

    return [apart(first, env) for env in envs], [apart(second, env) for env in envs]


def verdicts(groups: list[Group], pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each environment which group is the best, and what these seeds say of the rest."""
    verdicts = []
    for envs in dict.fromkeys(tuple(group.envs) for group in groups if group.scores):
        own = [n for n, group in enumerate(groups) if group.scores and tuple(group.envs) == envs]
        best, others = own[0], set(own[1:])
        found: dict[str, list[int]] = {word: [] for word in WORDS}
        for pair in pairs:
            rest = [n for n in pair["groups"] if n != best]
            if len(rest) == 1 and rest[0] in others:
                first = pair["groups"][0] == best
                word = (
                    pair["verdict"] if first or pair["verdict"] == "not tested" else "cannot tell"
                )
                found[word] += rest
        if others:
            parts = [f"best: {groups[best].label}"]
            for word, numbers in found.items():
                names = [groups[n].label for n in sorted(numbers)]
                if len(names) > MOST_NAMED:
                    names[MOST_NAMED:] = [f"and {len(names) - MOST_NAMED} more"]
                parts += [WORDS[word].format(", ".join(names))] if names else []
            words = "; ".join(parts) + "."
            said = {"sentence": f"{' and '.join(envs)}: {words}", "headline": f"B{words[1:]}"}
            verdicts.append({"envs": list(envs), "best": best, **said, **found})
    return verdicts


def _judged(pair: dict[str, Any], first: Group, second: Group, left: int) -> dict[str, Any]:
    """Return the verdict as a sentence, its caveat, and how many more seeds would tell."""
    said = _said_of(pair, first, second, left)
    if pair["left_out"] and pair["verdict"] != "not tested":
        forks = f"{n} forks that share" if (n := pair["left_out"]) > 1 else "1 fork that shares"
        caveat = f"without {forks} episodes with the other group"
        said["sentence"] += f" This is {caveat}."
        said["caveat"] = "; ".join(filter(None, [said["caveat"], caveat]))
    return said


def _said_of(pair: dict[str, Any], first: Group, second: Group, left: int) -> dict[str, Any]:
    """Return a verdict as `_judged` does, whatever has been left out.

    `first` wins more often; more seeds would be corrected for `left` comparisons.
    """
    x, y, env = first.label, second.label, " and ".join(pair["envs"])
    probability, seeds, environments = pair["probability"], pair["seeds"], len(pair["envs"])
    counts = f"{seeds[0]} each" if seeds[0] == seeds[1] else f"{seeds[0]} and {seeds[1]}"
    if pair["verdict"] == "not tested":
        sentence = (
            f"Not tested: {x} and {y} share episodes on {env}, as forks and what they were forked "
            f"from do, and are no independent samples (probability of improvement "
            f"{probability:.2f}; seeds: {counts})."
        )
        return {"sentence": sentence, "caveat": "they share episodes", "more_seeds": None}
    if pair["p"] is None:
        fewest = statistics.fewest_seeds((1 - statistics.LEVEL) / left, environments)
        sentence = (
            f"Cannot tell {x} from {y} on {env}: one seed shows nothing of how seeds differ "
            f"(seeds: {counts}); at least {fewest} of each are needed."
        )
        more: list[int] | None = [max(fewest - count, 0) for count in seeds]
        return {"sentence": sentence, "caveat": None, "more_seeds": more}
    low, high = pair["interval"]
    figures = (
        f"probability of improvement {probability:.2f} (95 % interval {low:.2f} to {high:.2f}; "
        f"corrected p = {pair['p_corrected']:.2g}; seeds: {counts})."
    )
    if pair["verdict"] == "better":
        sentence = f"{x} is better than {y} on {env}: {figures}"
        return {"sentence": sentence, "caveat": None, "more_seeds": None}
    if pair["verdict"] == "perhaps better":
        caveat = f"among {pair['comparisons']} comparisons this may be chance"
        sentence = f"{x} is perhaps better than {y} on {env}, but {caveat}: {figures}"
    else:
        caveat, sentence = None, f"These seeds cannot tell {x} from {y} on {env}: {figures}"
    more = _more(probability, left, environments, seeds)
    if all(np.array_equal(first.scores[e], second.scores[e]) for e in pair["envs"]):
        sentence += " Their scores are the same, seed for seed."
    elif more is None:
        sentence += " Even 10,000 seeds of each would hardly show a difference this small."
    else:
        sentence += (
            f" If this difference, which so few seeds estimate roughly, is the true one, "
            f"{_said(more, x, y)} would tell them apart four times in five."
        )
    return {"sentence": sentence, "caveat": caveat, "more_seeds": more}


def _more(
    probability: float, comparisons: int, environments: int, seeds: Sequence[int]
) -> list[int] | None:
    """Return how many more seeds each side needs; at least one side needs one."""
    need = statistics.seeds_needed(probability, comparisons, environments)
    if need is None:
        return None
    more = [max(need - count, 0) for count in seeds]
    return more if any(more) else [1, 1]


def _said(more: list[int], x: str, y: str) -> str:
    if more[0] == more[1]:
        return f"about {more[0]} more of each"
    both = zip(more, (x, y), strict=True)
    return " and ".join(f"about {n} more of {name}" for n, name in both if n)
