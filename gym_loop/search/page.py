"""What a search has found, as one self-contained HTML page; see `gym_loop.reports.page`."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from gym_loop.config import secrets
from gym_loop.reports import page
from gym_loop.reports.page import Axes, axis_number, ticks
from gym_loop.reports.scores import HUGE
from gym_loop.search import report
from gym_loop.search.best import FILE
from gym_loop.search.report import Found, reached
from gym_loop.search.trials import STEPS, state_of
from gym_loop.terminal import printable, short

Tick = tuple[float, str]  # percent of the width, and what stands there


def of(directory: Path) -> str:
    """Return the page on the search in `directory`.

    Raises:
        Mistake: the study cannot be read, or SciPy or Jinja2 is needed and not installed.
    """
    found = Found(directory)
    content = found.comparison
    names = list(dict.fromkeys(name for trial in found.trials for name in trial.params))
    importances = found.importances
    view = {
        "title": f"Search {printable(directory.resolve().name)}",
        "counted": found.counted(),
        "maximize": found.maximize,
        "objective": found.objective,
        "directory": short(directory),
        **_best(found, directory),
        "history": _history(found),
        "parameters": list(_parameters(found, importances, names)),
        "on_importances": found.on_importances,
        "unconfirmed": found.unconfirmed() or (report.UNCONFIRMED if content is None else ""),
        "confirmed": report.parameters_of(found),
        "metric_is": None,
        "heads": [
            *(("Trial", "n"), ("State", ""), (found.objective.capitalize(), "n")),
            *((found.rungs.capitalize(), "n"), ("Steps", "n")),
            *((printable(name), "n") for name in names),
        ],
        "trials": [_row(trial, found.state(trial), names) for trial in reversed(found.trials)],
    }
    if content is not None:
        view |= {"metric_is": content["metric_is"], "sections": page.sections(content)}
    return page.document("search.html", view, Path(__file__).parent / "templates")


def _best(found: Found, directory: Path) -> dict[str, str]:
    """Return the best trial's parameters, and how to train with them."""
    best = found.best()
    if best is None:
        return {"best": "No trial has come to its end.", "command": ""}
    params = best.trial.params.items()
    words = " ".join(f"{name}={report.parameter(name, value)}" for name, value in params)
    command = f"gym-loop train -c {short(directory / FILE)}"
    there = (directory / FILE).is_file() and command == printable(command)
    return {"best": f"Best: {best}: {words}", "command": command if there else ""}


def _history(found: Found) -> dict[str, Any] | None:
    """Return a drawing of each complete trial's result, and of the best so far."""
    points = [
        (float(count), float(trial.value), True)
        for count, trial in enumerate(found.complete(), 1)
        if trial.value is not None and abs(trial.value) < HUGE
    ]
    if not points:
        return None
    right = len(found.complete()) + 1.0
    xs = [(round(x / right * 100, 2), axis_number(x)) for x in ticks(0, right) if x and x == int(x)]
    drawing = _drawing(f"Best {found.objective} by complete trials", points, right, xs)
    best = [(float(count), value) for count, _, value in found.history()]
    corners: list[tuple[float, float]] = []
    for (count, value), (until, _) in zip(best, [*best[1:], (right, 0.0)], strict=True):
        if abs(value) < HUGE:
            corners += [(count, value), (until, value)]
    return drawing | {"best": drawing["axes"].path(*zip(*corners, strict=True)) if corners else ""}


def _parameters(
    found: Found, importances: dict[str, float], names: Sequence[str]
) -> Iterable[dict[str, Any]]:
    """Yield a drawing of each parameter against the result, the most important first."""
    for name in dict.fromkeys([*importances, *names]):
        own = [
            (trial, value)
            for trial in found.trials
            if name in trial.params
            and (value := reached(trial)) is not None
            and abs(value) < HUGE  # what is infinite, too, has no place in a drawing
        ]
        if not own:
            continue
        at, xs = _scale(name, own[0][0].distributions[name])
        points = [(at(t.params[name]), value, state_of(t) == "complete") for t, value in own]
        share = f", importance {importances[name]:.2f}" if name in importances else ""
        yield _drawing(f"{printable(name)}{share}", points, 1.0, xs)


def _scale(name: str, distribution: Any) -> tuple[Any, list[Tick]]:
    """Return where a parameter's value is drawn, from 0 to 1, and the axis' ticks."""
    if isinstance(distribution, CategoricalDistribution):
        count = len(distribution.choices)
        places = [(n + 0.5) / count for n in range(count)]
        labels = [report.choice(name, choice) for choice in distribution.choices]
        xs = [(round(place * 100, 2), text) for place, text in zip(places, labels, strict=True)]
        return (lambda value: places[distribution.choices.index(value)]), xs
    scale: Any = math.log if distribution.log else float
    low, high = scale(distribution.low), scale(distribution.high)
    span = (high - low) or 1.0
    if distribution.log:
        xs = [(n * 25.0, f"{math.exp(low + span * n / 4):.2g}") for n in range(5)]
    else:
        whole = ticks(low, high) if high > low else [low]
        xs = [(round((value - low) / span * 100, 2), axis_number(value)) for value in whole]
    return (lambda value: (scale(value) - low) / span), xs


def _drawing(
    title: str, points: Sequence[tuple[float, float, bool]], right: float, xs: list[Tick]
) -> dict[str, Any]:
    """Return a drawing of points (x from 0 to `right`, y, filled); filled ones lie on top."""
    values = [y for _, y, _ in points]
    axes = Axes.around([(min(values), max(values))], right, xs)
    spots = [
        (axes.path([x], [y]), filled) for x, y, filled in sorted(points, key=lambda point: point[2])
    ]
    return {"title": title, "axes": axes, "spots": spots, "best": ""}


def _row(trial: FrozenTrial, state: str, names: Sequence[str]) -> dict[str, Any]:
    """Return a trial's row; `numbers` are (value, text)."""
    value, steps = reached(trial), trial.user_attrs.get(STEPS)
    params = secrets.masked(trial.params)
    return {
        "number": trial.number,
        "state": state,
        "kind": "finished" if state == "complete" else state,
        "numbers": [
            (value, "–" if value is None else f"{value:.6g}"),
            (trial.last_step, "–" if trial.last_step is None else str(trial.last_step)),
            (steps, f"{steps:,}" if isinstance(steps, int) else "–"),
            *(
                (params.get(n), report.parameter(n, params[n]) if n in params else "–")
                for n in names
            ),
        ],
    }
