"""Groups runs that differ only in the seed, scores the groups and compares them."""

import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_loop.loops import parameters
from gym_loop.mistake import Mistake, nearest
from gym_loop.reports import statistics
from gym_loop.reports.statistics import Scores
from gym_loop.runs import reading, tables
from gym_loop.runs.reading import Run, shown, typed
from gym_loop.terminal import printable, short

METRICS = {
    "evaluation": "mean return of the final evaluation",
    "return": "mean return of the last 100 training episodes",
    "mean": "mean return of all training episodes",
    "best": "return of the best training episode",
    "auc": "mean return of all evaluations",
    "steps_per_second": "training steps a second",
}
# Parameters of the loop that never change what happens in a run.
NEUTRAL = {name for name, parameter in parameters.ALL.items() if parameter.neutral}
POINTS = 100  # of a curve
FEW = 5  # seeds: below, intervals from a bootstrap are too narrow
MOST_PAIRS = 1000
DIGITS = 16  # of an episode's number
MOST_NAMED = 8  # groups in a verdict
MOST_WORDS = 4  # of a group's name
LONGEST_WORD = 80  # characters of one
ABSENT = "–"
WRAPPERS = "env.wrappers."
HUGE = 1e150  # returns beyond cannot be squared or added up
# What is said of a pair -> what is said of the best group and others.
WORDS = {
    "not tested": "not tested against {}, with which it shares episodes",
    "cannot tell": "not told apart from {}",
    "perhaps better": "perhaps better than {}",
    "better": "surely better than {}",
}
RECORDING = re.compile(r"episode-(\d+)\.(mp4|webm|gif)")


@dataclass
class Member:
    """A run as a member of a group."""

    run: Run
    identity: str  # the config as text, all but the seed and what never changes a result
    leaves: dict[str, Any]  # the same, by dotted key, and `wrap`: the wrappers' names
    eligible: bool  # to be scored: it has finished, or need not have
    origin: str  # the directory of the run that has played its first episode
    scores: dict[str, float] = field(default_factory=dict)  # by metric
    curve: NDArray[np.float64] | None = None  # what is drawn, at each point of the group's grid
    evaluations: tuple[NDArray[np.float64], ...] = ()  # steps, mean of it in each
    recordings: list[tuple[float, Path, str]] = field(default_factory=list)  # return, name, what
    not_finite: int = 0  # episodes whose return is not
    lacking: tuple[int, int] = (0, 0)  # episodes of the score that lack the info key, and all


@dataclass
class Group:
    """Runs that belong together."""

    members: list[Member]
    name: str = ""  # what tells it from all others
    label: str = ""  # ... from those in the same environment
    settings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    scored: list[Member] = field(default_factory=list)  # one for each config and seed
    scores: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # by environment
    origins: set[str] = field(default_factory=set)  # of the scored runs: who played their first
    last_step: int = 0  # where its grid ends

    @property
    def envs(self) -> list[str]:
        """The environments of its runs."""
        return sorted({member.run.env for member in self.members})

    @property
    def strata(self) -> list[NDArray[np.float64]]:
        """The scores, environment by environment."""
        return [self.scores[env] for env in sorted(self.scores)]


@dataclass
class Pair:
    """Two groups in comparison, the one that wins more often first."""

    groups: tuple[Group, Group]
    envs: list[str]
    scores: tuple[Scores, Scores]  # of each group by environment; larger ones are better
    left_out: int  # forks whose scores are not among them
    tested: bool  # else too few are left that are independent, and `scores` are all


def compare(
    runs: Iterable[Run],
    by: Sequence[str] = (),
    metric: str | None = None,
    unfinished: bool = False,
    maximize: bool = True,
) -> dict[str, Any]:
    """Return the report on `runs`, as JSON can hold it.

    Args:
        runs: to be grouped; what cannot be read of them is named in `warnings`.
        by: what makes a group: `agent`, `env`, `confirmed` (see `Run.settings`) or dotted config
            keys; all but the seed if empty.
        metric: one of METRICS, or one of the runs' `loop.info_keys`; the first of METRICS that
            every group has if None.
        unfinished: score runs that have not finished, too, by what they have so far.
        maximize: whether more is better.

    Raises:
        Mistake: a name is unknown, or the runs have no metric in common.
    """
    runs = sorted(runs, key=lambda run: (run.start, str(run.directory)))
    known = [*METRICS, *dict.fromkeys(key for run in runs for key in run.info_keys)]
    if metric is not None and metric not in known:
        near = nearest(metric, known, ";")
        raise Mistake(f"no metric {metric!r}{near} expected one of {', '.join(known)}")
    members = [_member(run, unfinished) for run in runs if run.config]
    _find_moved_origins(members)
    groups = _group(members, by)
    drawn = "return" if metric is None or metric in METRICS else metric
    for group in groups:
        _read(group, drawn)
    metrics, notes = dict(METRICS), list[str]()
    if drawn != "return":
        metrics[drawn], notes = _score_by_info(groups, drawn)
    metric, chosen = _choose(groups, metric, metrics, unfinished, runs)
    notes += [chosen] if chosen else []
    for group in groups:
        _select(group, metric)
    if rescaled := any(len(group.scores) > 1 for group in groups):
        _rescale(groups)
        notes.append(
            "Groups span several environments: in each of these, scores are rescaled so that 0 is "
            "the worst run here and 1 the best."
        )
    _name(groups, by)
    sign = 1 if maximize else -1
    groups.sort(key=lambda group: _place(sign, group))
    pairs, left_out = _pairs(groups, sign)
    # What is ranked is what is drawn, where every run has been evaluated in between.
    is_evaluated = all(len(m.evaluations[0]) > 1 for group in groups for m in group.scored)
    by_evaluation = metric in ("evaluation", drawn) and is_evaluated
    return {
        "metric": metric,
        "metric_is": metrics[metric],
        "rescaled": rescaled,
        "drawn": drawn,
        "curves": "evaluation" if by_evaluation else "training",
        "groups": [_facts(group, by_evaluation, max if maximize else min) for group in groups],
        "verdicts": _verdicts(groups, pairs),
        "pairs": pairs,
        "differences": _varying_settings(groups),
        "runs": [
            *(
                _run_facts(m.run, m.scores, place)
                for place, g in enumerate(groups)
                for m in g.members
            ),
            *(_run_facts(run, {}, None) for run in runs if not run.config),
        ],
        "notes": [*notes, *left_out],
        "warnings": [f"{short(run.directory)}: {text}" for run in runs for text in run.warnings],
    }


def _place(sign: int, group: Group) -> tuple[list[str], float, float]:
    """Return what groups are sorted by: of the same interquartile mean, the mean of all tells."""
    if not group.scores:
        return group.envs, math.inf, math.inf
    mean = float(np.mean(np.concatenate(group.strata)))
    return group.envs, -sign * statistics.iqm(group.strata), -sign * mean


def _member(run: Run, unfinished: bool) -> Member:
    leaves = {
        key: value
        for key, value in run.settings.items()
        if not (key.startswith("loop.") and key.removeprefix("loop.") in NEUTRAL)
    }
    if run.forked_at:  # it has not trained with these parameters from the start
        leaves["parent.episode"] = run.forked_at
    identity = json.dumps([(k, type(v).__name__, typed(v)) for k, v in sorted(leaves.items())])
    leaves = reading.wrap(run.config) | leaves
    return Member(run, identity, leaves, unfinished or run.state == "finished", run.origin)


def _find_moved_origins(members: list[Member]) -> None:
    """Find the parents that have been moved since they were forked, by their first row.

    It has the run's clock to the microsecond, so that no two runs have played the same.
    """
    parents = [member for member in members if not member.run.forked_at]
    there = {member.origin for member in parents}
    lost = [member for member in members if member.run.forked_at and member.origin not in there]
    if lost:
        first = {_first_row(member.run): member.origin for member in parents}
        first.pop((), None)
        for member in lost:
            member.origin = first.get(_first_row(member.run), member.origin)


def _first_row(run: Run) -> tuple[float, ...]:
    """Return the first row of a run's training episodes; () of none."""
    columns = run.table(tables.EPISODES, tables.COLUMNS[tables.EPISODES]).values()
    return next(zip(*columns, strict=True), ())


def _group(members: list[Member], by: Sequence[str]) -> list[Group]:
    known = {"agent", "env"}.union(*(member.leaves for member in members))
    for key in by:
        if members and key not in known:
            raise Mistake(f"--by {key}: no run has it in its config{nearest(key, known)}")
    groups: dict[tuple[str, ...], list[Member]] = defaultdict(list)
    for member in members:
        values = tuple(_value(member, key) for key in by) if by else (member.identity,)
        groups[values].append(member)
    return [Group(own) for own in groups.values()]


def _value(member: Member, key: str) -> str:
    if key in ("agent", "env"):
        return str(getattr(member.run, key))
    return shown(member.leaves[key]) if key in member.leaves else ABSENT


def _read(group: Group, drawn: str) -> None:
    """Read all runs of a group; its grid ends where the last of those that are scored does.

    Args:
        group: of the runs.
        drawn: the tables' column that the curves show.
    """
    eligible = [member for member in group.members if member.eligible]
    group.last_step = max((m.run.steps for m in eligible or group.members), default=0)
    for member in group.members:
        _read_run(member, group.last_step, drawn)


def _read_run(member: Member, last_step: int, drawn: str) -> None:
    """Read all episodes of a run; keep the scores and the curve of the column `drawn`."""
    run = member.run
    table = run.table(tables.EPISODES, ("episode", "steps", "return"))
    episodes, steps, returns = (np.array(table[name]) for name in ("episode", "steps", "return"))
    finite = returns[np.isfinite(returns)]
    member.not_finite = len(returns) - len(finite)
    scores = {
        "evaluation": run.evaluation,
        "return": run.last_return,
        "mean": reading.mean(returns.tolist()),
        "best": float(finite.max()) if len(finite) else None,
        "auc": reading.mean(run.whole_evaluations(("return",))["return"]),
        "steps_per_second": run.steps_per_second,
    }
    member.scores = {name: score for name, score in scores.items() if score is not None}
    if drawn == "return":
        values = returns
    else:
        table = run.table(tables.EPISODES, ("steps", drawn))
        steps, values = (np.array(column) for column in table.values())
    member.curve = _binned(steps, values, last_step)
    member.evaluations = _evaluations(run, drawn)
    member.recordings = list(_recordings(run, episodes, returns))


def _evaluations(run: Run, drawn: str) -> tuple[NDArray[np.float64], ...]:
    """Return the steps at which a run was evaluated, and the mean of a column in each evaluation.

    Nothing where a value cannot be drawn, or where an evaluation has none of an info key's.
    """
    table = run.whole_evaluations(("steps", drawn))
    at, steps, values = (np.array(table[name]) for name in ("at_episode", "steps", drawn))
    if drawn != "return":
        known = ~np.isnan(values)
        if len({*at[known]}) < len({*at}):
            return (np.empty(0), np.empty(0))
        at, steps, values = at[known], steps[known], values[known]
    if not len(at) or not (abs(values) < HUGE).all():
        return (np.empty(0), np.empty(0))
    starts = np.flatnonzero(np.r_[True, np.diff(at) != 0])
    counts = np.diff(np.r_[starts, len(at)])
    return steps[starts], np.add.reduceat(values, starts) / counts


def _binned(
    steps: NDArray[np.float64], values: NDArray[np.float64], last_step: int
) -> NDArray[np.float64]:
    """Return the mean value of the episodes that ended in each hundredth of the steps.

    Where none ended, the value before it; NaN before the first and after the last episode.
    """
    sound = (abs(values) < HUGE) & (steps >= 0) & (steps <= last_step)
    steps, values = steps[sound], values[sound]
    if not len(steps) or last_step <= 0:
        return np.full(POINTS, np.nan)
    places = np.maximum(np.ceil(steps * POINTS / last_step).astype(int) - 1, 0)
    counts = np.bincount(places, minlength=POINTS)
    sums = np.bincount(places, values, minlength=POINTS)
    latest = np.maximum.accumulate(np.where(counts > 0, np.arange(POINTS), -1))
    curve = (sums / np.maximum(counts, 1))[latest]
    curve[latest < 0] = np.nan
    curve[places.max() + 1 :] = np.nan
    return curve


def _recordings(
    run: Run, episodes: NDArray[np.float64], returns: NDArray[np.float64]
) -> Iterable[tuple[float, Path, str]]:
    """Yield (return, file, what it shows) for each recorded episode whose return is known."""
    loop = run.config.get("loop")
    for parameter, default, what in (
        ("record_dir", "episode_records", "training episode"),
        ("eval_record_dir", "eval_records", "evaluation episode"),
    ):
        name = printable((loop if isinstance(loop, dict) else {}).get(parameter, default))
        folder, found = tables.inside(run.directory, name), {}
        if folder is None:
            run.warnings.append(f"{parameter} leads out of the run's directory: not shown")
            continue
        try:
            names = sorted(os.listdir(folder))
        except OSError:  # there is none
            continue
        for name in names:
            if not (match := RECORDING.fullmatch(name)) or len(match[1]) > DIGITS:
                continue
            if tables.inside(run.directory, folder / name) is None:
                run.warnings.append(f"{name} leads out of the run's directory: not shown")
            elif (folder / name).is_file():
                found[int(match[1])] = folder / name
        if found and what.startswith("evaluation"):
            table = run.table(tables.EVALUATIONS, ("episode", "return"))
            episodes, returns = np.array(table["episode"]), np.array(table["return"])
        if found:
            known = dict(zip(episodes.tolist(), returns.tolist(), strict=True))
            for number, file in found.items():
                if math.isfinite(known.get(number, math.nan)):
                    yield known[number], file, f"seed {printable(run.seed)}, {what} {number}"


def _score_by_info(groups: list[Group], key: str) -> tuple[str, list[str]]:
    """Score runs by one of their `loop.info_keys`; return what that is, and a note or none.

    By the final evaluation, or where a run has it in training alone, by training.
    """
    found = [(m, *m.run.info_values(key)) for group in groups for m in group.members]
    # Of the runs that count, whether evaluation has none though training has.
    untold = [not _known(x) and bool(_known(y)) for m, x, y in found if m.eligible]
    for member, evaluated, trained in found:
        values = trained if any(untold) else evaluated
        known = _known(values)
        if (score := reading.mean(known)) is not None:
            member.scores[key] = score
            member.lacking = len(values) - len(known), len(values)
    if not any(untold):
        return f"mean {key} of the final evaluation", []
    where = f"in {sum(untold)} of {len(untold)} runs no episode of the final evaluation has {key}"
    return f"mean {key} of the last 100 training episodes", [f"Scored by training: {where}."]


def _known(values: list[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _choose(
    groups: list[Group],
    metric: str | None,
    metrics: Iterable[str],
    unfinished: bool,
    runs: Sequence[Run],
) -> tuple[str, str | None]:
    """Return the metric, one of `metrics`, and a note if it is not the usual one.

    Raises:
        Mistake: there is nothing to score, or nothing in common.
    """
    having = [{name for m in group.members if m.eligible for name in m.scores} for group in groups]
    having = [names for names in having if names]
    # metric -> how many groups have it
    counts = {n: c for n in metrics if (c := sum(n in names for names in having))}
    if not having:
        states = _counted(run.state for run in runs)
        hint = "" if unfinished else "; --unfinished scores what they have so far"
        what = "has any episode" if unfinished else "has finished with any episode"
        raise Mistake(f"no run to score: none of {len(runs)} {what} ({states}){hint}")
    if metric is not None:
        if metric not in counts:
            raise Mistake(f"no run has the metric {metric!r}; they have: {', '.join(counts)}")
        return metric, None
    common = [name for name in counts if counts[name] == len(having)]
    if not common:
        told = ", ".join(f"{name} in {count}" for name, count in counts.items())
        raise Mistake(
            f"the runs have no metric in common: of {len(having)} groups, {told}; "
            "name directories that can be compared, or choose with --metric"
        )
    if common[0] == "evaluation":
        return "evaluation", None
    return common[0], f"Scored by the {METRICS[common[0]]}: not every group has an evaluation."


def _select(group: Group, metric: str) -> None:
    """Choose the runs that are scored, and note what was left out and why."""
    left_out: list[str] = []
    chosen: dict[tuple[str, Any], list[Member]] = defaultdict(list)
    for member in group.members:
        score = member.scores.get(metric)
        if not member.eligible:
            left_out.append(member.run.state)
        elif score is None:
            left_out.append(f"without {metric}")
        elif not abs(score) < HUGE:
            left_out.append(f"with {score}")
        else:
            chosen[member.identity, member.run.seed].append(member)
    if left_out:
        count, all_of = len(left_out), len(group.members)
        group.notes.append(f"{count} of {all_of} runs not scored: {_counted(left_out)}")
    families: dict[tuple[str, str], list[Member]] = defaultdict(list)
    for (_, seed), repeats in chosen.items():
        families[repeats[-1].origin, repeats[-1].run.env].append(repeats[-1])
        if len(repeats) > 1:
            scores = {member.scores[metric] for member in repeats}
            differ = f", although the results differ ({min(scores):.6g} to {max(scores):.6g})"
            group.notes.append(
                f"seed {printable(seed)} was run {len(repeats)} times: the newest counts"
                + (differ if len(scores) > 1 else "")
            )
    for family in families.values():
        group.scored.append(min(family, key=lambda member: member.run.forked_at))
    if shared := sum(map(len, families.values())) - len(families):
        group.notes.append(
            f"{shared} of {len(group.members)} runs not scored: they share episodes with another, "
            "as forks do, and are no seeds of their own"
        )
    if lacking := sum(member.lacking[0] for member in group.scored):
        of = sum(member.lacking[1] for member in group.scored)
        group.notes.append(f"{lacking} of {of} episodes lack {metric}: the score is of the others")
    if metric == "best" and (odd := sum(member.not_finite for member in group.scored)):
        group.notes.append(f"{odd} episodes whose return is not finite count for no best")
    group.scored.sort(key=lambda member: (isinstance(member.run.seed, str), member.run.seed or 0))
    for env in sorted({member.run.env for member in group.scored}):
        own = [m.scores[metric] for m in group.scored if m.run.env == env]
        group.scores[env] = np.array(own)
    group.origins = {member.origin for member in group.scored}
    _note(group)


def _note(group: Group) -> None:
    """Note what a reader has to know of the group's scores."""
    configs = {member.identity for member in group.scored}
    if len(configs) > len(group.scores):
        group.notes.append(f"pools {len(configs)} configs")
    git = [member.run.manifest.get("git") for member in group.scored]
    commits = {printable(g.get("commit"))[:10] for g in git if isinstance(g, dict)}
    if len(commits) > 1:
        group.notes.append(
            f"its runs come from {len(commits)} commits: {', '.join(sorted(commits))}"
        )
    fewest = min(map(len, group.strata), default=0)
    if fewest == 1:
        group.notes.append("one seed only: no interval, and nothing to tell it apart by")
    elif 1 < fewest < FEW:
        group.notes.append(f"{fewest} seeds: an interval from so few is too narrow")


def _rescale(groups: list[Group]) -> None:
    for env in {env for group in groups for env in group.scores}:
        scores = np.concatenate([group.scores[env] for group in groups if env in group.scores])
        low, span = scores.min(), np.ptp(scores) or 1.0
        for group in groups:
            if env in group.scores:
                group.scores[env] = (group.scores[env] - low) / span


def _name(groups: list[Group], by: Sequence[str]) -> None:
    """Name each group by its agent and what tells it from others of this agent and environment."""
    alike: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in groups:
        first = group.members[0]
        if by:
            group.settings = {key: _value(first, key) for key in by}
            alike[()].append(group)
        else:
            group.settings = {"agent": first.run.agent, "env": first.run.env}
            alike[first.run.agent, first.run.env].append(group)
    # What all groups have tells none of them from another.
    same = {
        key
        for key in ("agent", "env")
        if not by and len({getattr(group.members[0].run, key) for group in groups}) == 1
    }
    for likes in alike.values():
        keys = [] if by else [key for g in likes for key in g.members[0].leaves]
        keys.sort(key=lambda key: key != "confirmed")  # a name may have no room for the last
        differ = []
        for key in dict.fromkeys(keys):
            values = {_value(group.members[0], key) for group in likes}
            if key.startswith(WRAPPERS):  # who has a wrapper is said by `wrap`
                values -= {ABSENT}
            if len(values) > 1:
                differ.append(key)
        for group in likes:
            own = {key: _value(group.members[0], key) for key in differ}
            group.settings |= own
            words = {
                key: value
                if key in ("agent", "env", "confirmed")
                else _cut(f"{_plain(key, differ)}={reading.brief(value)}")
                for key, value in group.settings.items()
                if key not in own or value != ABSENT
            }
            telling = {k: word for k, word in words.items() if k not in same} or words
            group.name = _short(telling)
            inside = {k: w for k, w in telling.items() if k != "env"}  # what its heading leaves out
            group.label = _short(inside) or words.get("agent") or group.name
    alike_in_name: dict[str, int] = Counter()
    for group in groups:
        alike_in_name[group.name] += 1
        if (count := alike_in_name[group.name]) > 1:
            group.name, group.label = (f"{n} ({count})" for n in (group.name, group.label))


def _plain(key: str, others: Iterable[str]) -> str:
    """Return a key as a name has it: without `agent.` where no other key is then the same."""
    plain = key.removeprefix("agent.").removeprefix(WRAPPERS)
    return key if plain in {other.partition(".")[2] for other in others if other != key} else plain


def _cut(word: str) -> str:
    """Return a word of a name, at most LONGEST_WORD characters of it."""
    return word if len(word) <= LONGEST_WORD else f"{word[: LONGEST_WORD - 1]}…"


def _short(words: dict[str, str]) -> str:
    """Return a name of at most MOST_WORDS words, and how many more there are."""
    left = len(words) - MOST_WORDS
    return " ".join([*list(words.values())[:MOST_WORDS], *([f"+{left} more"] if left > 0 else [])])


def _varying_settings(groups: list[Group]) -> dict[str, list[str]]:
    """Return the config keys in which groups differ: key -> its value in each group."""
    keys = dict.fromkeys(key for group in groups for m in group.members for key in m.leaves)
    found = {}
    for key in keys:
        values = []
        for group in groups:
            own = dict.fromkeys(_value(member, key) for member in group.members)
            values.append(next(iter(own)) if len(own) == 1 else f"{len(own)} values")
        if len(set(values)) > 1:
            found[key] = values
    return found


def _facts(group: Group, by_evaluation: bool, best: Callable[..., float | None]) -> dict[str, Any]:
    scores, strata = [score for own in group.strata for score in own.tolist()], group.strata
    recordings = sorted(
        {r[1]: (*r, m.run.directory) for m in group.members for r in m.recordings}.values(),
        key=lambda recording: (recording[0], recording[1]),
    )
    extremes = {"worst": recordings[0], "best": recordings[-1]} if recordings else {}
    return {
        "name": group.name,
        "label": group.label,
        "agent": group.members[0].run.agent,
        "envs": group.envs,
        "settings": group.settings,
        "runs": len(group.members),
        "seeds": min(map(len, strata), default=0),
        "scores": {env: own.tolist() for env, own in group.scores.items()},
        "iqm": statistics.iqm(strata) if scores else None,
        "interval": statistics.iqm_interval(strata) if scores else None,
        "median": float(np.median(scores)) if scores else None,
        "best": best(scores, default=None),
        "curve": _evaluation_curve(group) if by_evaluation else _curve(group),
        "notes": group.notes,
        "recordings": {
            name: {"return": value, "directory": str(directory), "file": str(file), "what": what}
            for name, (value, file, what, directory) in extremes.items()
        },
    }


def _evaluation_curve(group: Group) -> dict[str, Any] | None:
    """Return mean and interval over runs of each evaluation that all of them have had."""
    if len(group.envs) > 1 or not group.scored:
        return None
    count = min(len(member.evaluations[0]) for member in group.scored)
    steps, values = (
        np.array([member.evaluations[part][:count] for member in group.scored]) for part in (0, 1)
    )
    return _drawn(steps.mean(axis=0), values)


def _curve(group: Group) -> dict[str, Any] | None:
    """Return mean and interval over runs on a common grid of steps, as long as every run goes on.

    None for a group of several environments, whose returns have no common scale.
    """
    own = [m.curve for m in group.scored or group.members if m.curve is not None]
    curves = np.array([curve for curve in own if not np.isnan(curve).all()])
    if len(group.envs) > 1 or not len(curves):
        return None
    whole = ~np.isnan(curves).any(axis=0)
    if not whole.any():
        return None
    return _drawn(np.linspace(0, group.last_step, POINTS + 1)[1:][whole], curves[:, whole])


def _drawn(steps: NDArray[np.float64], values: NDArray[np.float64]) -> dict[str, Any]:
    """Return a curve as JSON can hold it, of `values` (runs, points)."""
    interval = statistics.mean_interval(values)
    return {
        "steps": steps.round(1).tolist(),
        "mean": values.mean(axis=0).tolist(),
        "low": None if interval is None else interval[0].tolist(),
        "high": None if interval is None else interval[1].tolist(),
        "runs": len(values),
    }


def _pairs(groups: list[Group], sign: int) -> tuple[list[dict[str, Any]], list[str]]:
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


def _verdicts(groups: list[Group], pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
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


def _run_facts(run: Run, scores: dict[str, float], group: int | None) -> dict[str, Any]:
    return {
        "directory": str(run.directory),
        "group": group,
        "state": run.state,
        "seed": run.seed,
        "episodes": run.episodes,
        "steps": run.steps,
        "scores": {name: reading.finite(score) for name, score in scores.items()},
        "error": run.error,
        "warnings": run.warnings,
    }


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in Counter(words).most_common())
