"""The report on runs: their groups, scored and compared, as JSON can hold it."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_loop.mistake import Mistake, nearest
from gym_loop.reports import groups as grouping
from gym_loop.reports import scores as scoring
from gym_loop.reports import statistics
from gym_loop.reports.groups import Group
from gym_loop.reports.scores import METRICS, POINTS
from gym_loop.reports.verdicts import compare_pairs, verdicts
from gym_loop.runs import reading
from gym_loop.runs.reading import RunContent
from gym_loop.terminal import short


def compare(
    runs: Iterable[RunContent],
    by: Sequence[str] = (),
    metric: str | None = None,
    unfinished: bool = False,
    maximize: bool = True,
) -> dict[str, Any]:
    """Return the report on `runs`, as JSON can hold it.

    Args:
        runs: to be grouped; what cannot be read of them is named in `warnings`.
        by: what makes a group: `agent`, `env`, `confirmed` (see `RunContent.settings`) or dotted
            config keys; all but the seed if empty.
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
    groups = grouping.grouped(runs, by, unfinished)
    drawn = "return" if metric is None or metric in METRICS else metric
    for group in groups:
        scoring.read(group, drawn)
    metrics, notes = dict(METRICS), list[str]()
    if drawn != "return":
        metrics[drawn], notes = scoring.score_by_info(groups, drawn)
    metric, chosen = scoring.choose(groups, metric, metrics, unfinished, runs)
    notes += [chosen] if chosen else []
    for group in groups:
        scoring.select(group, metric)
    if rescaled := any(len(group.scores) > 1 for group in groups):
        scoring.rescale(groups)
        notes.append(
            "Groups span several environments: in each of these, scores are rescaled so that 0 is "
            "the worst run here and 1 the best."
        )
    grouping.name_groups(groups, by)
    sign = 1 if maximize else -1
    groups.sort(key=lambda group: _place(sign, group))
    pairs, left_out = compare_pairs(groups, sign)
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
        "verdicts": verdicts(groups, pairs),
        "pairs": pairs,
        "differences": grouping.varying_settings(groups),
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
    """Return what groups are sorted by: the interquartile mean; where it is equal, the mean."""
    if not group.scores:
        return group.envs, math.inf, math.inf
    mean = float(np.mean(np.concatenate(group.strata)))
    return group.envs, -sign * statistics.iqm(group.strata), -sign * mean


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


def _run_facts(run: RunContent, scores: dict[str, float], group: int | None) -> dict[str, Any]:
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
