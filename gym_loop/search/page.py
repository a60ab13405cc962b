"""What a search has found, as one self-contained HTML page; see `gym_loop.reports.page`."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from gym_loop.reports import page
from gym_loop.runs import reading
from gym_loop.search import report
from gym_loop.search.best import FILE, reached
from gym_loop.search.report import Found
from gym_loop.search.trials import STEPS, state_of
from gym_loop.terminal import printable, short

WIDTH, HEIGHT = page.WIDTH, page.HEIGHT  # of a drawing, in its own units
Tick = tuple[float, str]  # a place from 0 to 1, and what stands there


def of(directory: Path) -> str:
    """Return the page on the search in `directory`.

    Raises:
        Mistake: the study cannot be read, or the confirmation needs SciPy.
    """
    found = Found(directory)
    confirmed = report.comparison_of(found)
    title = f"Search {printable(directory.resolve().name)}"
    body = [
        f'<header><p class="over">gym-loop report</p><h1>{escape(title)}</h1>'
        f'<p class="soft">{escape(found.counted())}, compared by {escape(found.objective)}: '
        f"{'more' if found.maximize else 'less'} is better. In "
        f"<code>{escape(short(directory))}</code></p></header>",
        _best(found, directory),
        _history(found),
        *_parameters(found),
    ]
    if confirmed is None:
        body.append(f'<h2>Confirmation</h2><p class="lead">{escape(report.UNCONFIRMED)}</p>')
    else:
        content, defaults = confirmed
        body.append(
            '<h2>Confirmation</h2><p class="lead">Played with fresh seeds; the agent\'s defaults '
            f"are {page.broken_name(defaults)}.</p>"
        )
        body += page.verdicts(content)
        if unconfirmed := found.unconfirmed():
            body.append(f'<p class="lead">{escape(unconfirmed)}</p>')
    body.append(_trials(found))
    if confirmed is not None:
        body.append(page.method(confirmed[0]))
    return page.document(title, body)


def _best(found: Found, directory: Path) -> str:
    """Return the best trial's parameters, and how to train with them."""
    best = found.best()
    if best is None:
        return '<p class="lead">No trial has come to its end.</p>'
    words = " ".join(f"{name}={report.shown(value)}" for name, value in best.trial.params.items())
    lead = f"Best: {best}: {words}"
    command = f"gym-loop train -c {short(directory / FILE)}"
    there = (directory / FILE).is_file() and command == printable(command)
    shown = f"<p><code>{escape(command)}</code></p>" if there else ""
    return f'<p class="lead">{page.broken_name(lead)}</p>{shown}'


def _history(found: Found) -> str:
    """Draw each complete trial's result, and the best so far."""
    points = [
        (float(count), float(trial.value), True)
        for count, trial in enumerate(found.complete(), 1)
        if trial.value is not None
    ]
    if not points:
        return ""
    right = len(points) + 1.0
    steps = [(float(count), value) for count, _, value in found.history()]
    ticks = [(x / right, page.brief(x)) for x in page.ticks(0, right) if x and x == int(x)]
    return (
        f'<h2>History</h2><div class="card">'
        f"{_chart(f'Best {found.objective} by complete trials', points, right, ticks, steps)}</div>"
    )


def _parameters(found: Found) -> list[str]:
    """Draw each parameter against the result, the most important first."""
    importances = found.importances()
    names = dict.fromkeys([*importances, *(name for t in found.trials for name in t.params)])
    parts = []
    for name in names:
        own = [
            (t, value)
            for t in found.trials
            if name in t.params and (value := reached(t)) is not None
        ]
        if not own:
            continue
        at, ticks = _scale(own[0][0].distributions[name])
        points = [(at(t.params[name]), value, state_of(t) == "complete") for t, value in own]
        share = f", importance {importances[name]:.2f}" if name in importances else ""
        title = f"{printable(name)}{share}"
        parts.append(f'<div class="card">{_chart(title, points, 1.0, ticks)}</div>')
    if not parts:
        return []
    said = "Filled: complete. Hollow: paused, with what it had reached, or failed later."
    if importances:
        said += " Importances are Optuna's, of the complete trials (PED-ANOVA)."
    return [f'<h2>Parameters</h2><p class="soft">{escape(said)}</p>', *parts]


def _scale(distribution: Any) -> tuple[Any, list[Tick]]:
    """Return where a parameter's value is drawn, from 0 to 1, and the axis' ticks."""
    if isinstance(distribution, CategoricalDistribution):
        count = len(distribution.choices)
        places = [(n + 0.5) / count for n in range(count)]
        labels = [printable(reading.typed(choice)) for choice in distribution.choices]
        ticks = list(zip(places, labels, strict=True))
        return (lambda value: places[distribution.choices.index(value)]), ticks
    scale: Any = math.log if distribution.log else float
    low, high = scale(distribution.low), scale(distribution.high)
    span = (high - low) or 1.0
    if distribution.log:
        back = [math.exp(low + span * n / 4) for n in range(5)]
        ticks = [(n / 4, f"{value:.2g}") for n, value in enumerate(back)]
    else:
        whole = page.ticks(low, high) if high > low else [low]
        ticks = [((value - low) / span, page.brief(value)) for value in whole]
    return (lambda value: (scale(value) - low) / span), ticks


def _chart(
    title: str,
    points: Sequence[tuple[float, float, bool]],
    right: float,
    ticks: Sequence[Tick],
    steps: Sequence[tuple[float, float]] = (),
) -> str:
    """Return a drawing of points, and of a line in steps if there is one.

    Args:
        title: what stands above.
        points: x, y, and whether the point is filled.
        right: the x at the right end; 0 is at the left.
        ticks: of the horizontal axis.
        steps: (x, y) from which on the line has that y.
    """
    values = [y for _, y, _ in points]
    low, high = page.bulk([(min(values), max(values))])
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low, high = low - pad, high + pad

    def place(x: float, y: float) -> str:
        return f"{x / right * WIDTH:.1f} {(high - y) / (high - low) * HEIGHT:.1f}"

    ys = [y for y in page.ticks(low, high) if low <= y <= high]
    lines = []
    for y in ys:
        at = (high - y) / (high - low) * HEIGHT
        lines.append(f'<line class="grid" x1="0" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}"/>')
    lines.append(f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>')
    if steps:
        path, last = f"M{place(*steps[0])}", steps[0][1]
        for x, y in steps[1:]:
            path, last = f"{path}L{place(x, last)}L{place(x, y)}", y
        lines.append(f'<g class="curve"><path class="mean" d="{path}L{place(right, last)}"/></g>')
    for x, y, filled in sorted(points, key=lambda point: point[2]):
        spot = f"M{place(x, y)}h0"  # a line of no length: its round ends are not stretched
        lines.append(f'<path class="spot" d="{spot}"/>')
        if not filled:
            lines.append(f'<path class="spot hollow" d="{spot}"/>')
    y_labels = "".join(
        f'<span style="bottom:{(y - low) / (high - low) * 100:.2f}%">{page.brief(y)}</span>'
        for y in ys
    )
    x_labels = "".join(
        f"<span{' class=end' if x > 0.95 else ' class=start' if x < 0.03 else ''} "
        f'style="left:{x * 100:.2f}%">{escape(text)}</span>'
        for x, text in ticks
    )
    return (
        f'<div class="chart flat"><div class="title">{escape(title)}</div>'
        f'<div class="ys">{y_labels}</div><div class="plot">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}" style="color:var(--c0)">{"".join(lines)}</svg></div>'
        f'<div class="xs">{x_labels}</div></div>'
    )


def _trials(found: Found) -> str:
    """Return the table of all trials, the newest first."""
    names = list(dict.fromkeys(name for trial in found.trials for name in trial.params))
    heads = [("Trial", "n"), ("State", ""), (found.objective.capitalize(), "n")]
    heads += [
        (found.rungs.capitalize(), "n"),
        ("Steps", "n"),
        *((printable(name), "n") for name in names),
    ]
    rows = [_row(trial, names) for trial in reversed(found.trials)]
    return f'<h2 id="trials">Trials</h2>{page.sortable(heads, rows)}'


def _row(trial: FrozenTrial, names: Sequence[str]) -> str:
    value, state = reached(trial), state_of(trial)
    steps = trial.user_attrs.get(STEPS)
    numbers = [
        ("" if value is None else value, "–" if value is None else f"{value:.6g}"),
        (trial.last_step or "", "–" if trial.last_step is None else str(trial.last_step)),
        (steps or "", f"{steps:,}" if isinstance(steps, int) else "–"),
        *((v := trial.params.get(name, ""), report.shown(v) if v != "" else "–") for name in names),
    ]
    cells = "".join(f'<td class="n" data-v="{escape(str(v))}">{escape(t)}</td>' for v, t in numbers)
    kind = {"complete": "finished"}.get(state, state)
    return (
        f'<tr><td class="n">{trial.number}</td>'
        f'<td><span class="state {kind}">{state}</span></td>{cells}</tr>'
    )
