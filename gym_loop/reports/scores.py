"""What runs are scored by: read from their tables, chosen, and which runs of a group count."""

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_loop.mistake import Mistake
from gym_loop.reports.groups import Group, Member
from gym_loop.runs import reading, tables
from gym_loop.runs.reading import RunContent
from gym_loop.terminal import printable

METRICS = {
    "evaluation": "mean return of the final evaluation",
    "return": "mean return of the last 100 training episodes",
    "mean": "mean return of all training episodes",
    "best": "return of the best training episode",
    "auc": "mean return of all evaluations",
    "steps_per_second": "training steps a second",
}
POINTS = 100  # of a curve
FEW = 5  # seeds: below, intervals from a bootstrap are too narrow
DIGITS = 16  # of an episode's number
HUGE = 1e150  # returns beyond cannot be squared or added up
RECORDING = re.compile(r"episode-(\d+)\.(mp4|webm|gif)")


def read(group: Group, drawn: str) -> None:
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
        "mean": reading.mean_if_any(returns.tolist()),
        "best": float(finite.max()) if len(finite) else None,
        "auc": reading.mean_if_any(run.whole_evaluations(("return",))["return"]),
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


def _evaluations(run: RunContent, drawn: str) -> tuple[NDArray[np.float64], ...]:
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
    if not len(at) or not (abs(np.array([steps, values])) < HUGE).all():
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
    run: RunContent, episodes: NDArray[np.float64], returns: NDArray[np.float64]
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


def score_by_info(groups: list[Group], key: str) -> tuple[str, list[str]]:
    """Score runs by one of their `loop.info_keys`; return what that is, and a note or none.

    By the final evaluation, or where a run has it in training alone, by training.
    """
    found = [(m, *m.run.info_values(key)) for group in groups for m in group.members]
    # Of the runs that count, whether evaluation has none though training has.
    untold = [not _known(x) and bool(_known(y)) for m, x, y in found if m.eligible]
    for member, evaluated, trained in found:
        values = trained if any(untold) else evaluated
        known = _known(values)
        if (score := reading.mean_if_any(known)) is not None:
            member.scores[key] = score
            member.lacking = len(values) - len(known), len(values)
    if not any(untold):
        return f"mean {key} of the final evaluation", []
    where = f"in {sum(untold)} of {len(untold)} runs no episode of the final evaluation has {key}"
    return f"mean {key} of the last 100 training episodes", [f"Scored by training: {where}."]


def _known(values: list[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def choose(
    groups: list[Group],
    metric: str | None,
    metrics: Iterable[str],
    unfinished: bool,
    runs: Sequence[RunContent],
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


def select(group: Group, metric: str) -> None:
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
    group.scored.sort(key=_seed_order)
    for env in sorted({member.run.env for member in group.scored}):
        own = [m.scores[metric] for m in group.scored if m.run.env == env]
        group.scores[env] = np.array(own)
    group.origins = {member.origin for member in group.scored}
    _note(group)


def _seed_order(member: Member) -> tuple[bool, int | str]:
    """Return what puts runs in the order of their seeds: numbers, then texts, an empty one too."""
    seed = member.run.seed
    return isinstance(seed, str), 0 if seed is None else seed


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


def rescale(groups: list[Group]) -> None:
    """Rescale the scores in each environment, so that 0 is the worst run and 1 the best."""
    for env in {env for group in groups for env in group.scores}:
        scores = np.concatenate([group.scores[env] for group in groups if env in group.scores])
        low, span = scores.min(), np.ptp(scores) or 1.0
        for group in groups:
            if env in group.scores:
                group.scores[env] = (group.scores[env] - low) / span


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in Counter(words).most_common())
