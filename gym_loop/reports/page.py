"""A report as one self-contained HTML page: nothing is fetched, everything is escaped."""

import base64
import hashlib
import json
import math
import os
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gym_loop import __version__
from gym_loop.reports import films, statistics
from gym_loop.reports.comparison import ABSENT, MOST_WORDS
from gym_loop.reports.text import SCORES, aligned, figure, gathered
from gym_loop.runs import tables
from gym_loop.terminal import printable, short

COLOURS = 8  # curves beyond are grey
MATRIX = 12  # groups that a matrix of pairs is legible for
EMBEDDED = 12_000_000  # bytes of recordings that go into the page; the rest is linked
WIDTH, HEIGHT = 1000, 400  # of a chart, in its own units
MEDIA = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif"}

METHOD = f"""
<p><b>Score.</b> One number for each run: the {{metric}}. A group's runs differ in nothing but the
seed, unless it says so.</p>
<p><b>IQM</b>, the interquartile mean, is the mean of the middle half of the scores. Its 95 %
interval is the percentile interval of {statistics.RESAMPLES:,} bootstrap resamples of the runs,
stratified by environment (Agarwal et al., <i>Deep Reinforcement Learning at the Edge of the
Statistical Precipice</i>, 2021). From few seeds it is too narrow.</p>
<p><b>Probability of improvement</b> is the chance that a run of the one scores more than a run of
the other, ties counting half. “Better” means that p &lt; 0.05 in a permutation test of it,
stratified by environment and exact for few seeds and for ties, after p has been corrected for all
comparisons of this report (Holm 1979): where nothing differs, at most one report in twenty says
“better” of anything. “Perhaps better” means that p is below 0.05 only before the correction, which
among many comparisons may be chance.</p>
<p><b>More seeds.</b> As many as would show a difference of the size seen here four times in five,
after that correction, if it is the true size and the scores are spread normally (after Noether
1987). A few seeds estimate the size roughly.</p>
<p><b>Curves</b> show the mean over runs with its 95 % bootstrap interval: of each evaluation, if
these are what is compared and there are several; else of the training episodes that ended in each
hundredth of the steps. A line ends where the first of its runs does. The axes hold the bulk of the
groups; a line that leaves them goes on outside.</p>
"""


def page(content: dict[str, Any], folder: Path) -> str:
    """Return the page.

    Args:
        content: what `comparison.compare` returned.
        folder: where the page will lie; links are relative to it.
    """
    groups, sections = content["groups"], _sections(content)
    environments = list(dict.fromkeys(env for envs in sections for env in envs))
    agents = list(dict.fromkeys(group["agent"] for group in groups))
    title = f"{_listed(agents)} on {_listed(environments)}"
    heading = escape(title).replace("-", "&#8209;")  # a line is not broken there
    body = [
        f'<header><p class="over">gym-loop report</p><h1>{heading}</h1>'
        f'<p class="soft">{len(content["runs"])} runs in {len(groups)} groups, scored by the '
        f"{escape(content['metric_is'])}. {datetime.now():%-d %B %Y, %H:%M}.</p>"
        f"{_contents(sections, content)}</header>"
    ]
    if content["warnings"] or content["notes"]:
        body.append(_warnings(content))
    body += [
        *verdicts(content),
        _best_runs(content),
        _films(groups, folder),
        _configs(content, groups),
        _runs(content, groups, folder),
    ]
    return document(title, [*body, method(content)])


def _sections(content: dict[str, Any]) -> dict[tuple[str, ...], list[int]]:
    """Return the places of the groups by their environments."""
    sections: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, group in enumerate(content["groups"]):
        sections[tuple(group["envs"])].append(number)
    return sections


def verdicts(content: dict[str, Any]) -> list[str]:
    """Return what there is to say of each environment."""
    found = []
    for place, (envs, numbers) in enumerate(_sections(content).items()):
        own = [pair for pair in content["pairs"] if pair["groups"][0] in numbers]
        said = [v["headline"] for v in content["verdicts"] if v["best"] in numbers]
        name, what = " and ".join(envs), content["curves"]
        found.append(_section(f"env-{place}", name, numbers, content["groups"], own, said, what))
    return found


def method(content: dict[str, Any]) -> str:
    """Return how the figures of a comparison are made."""
    words = METHOD.format(metric=escape(content["metric_is"]))
    return f'<h2 id="method">How to read this</h2>{words}'


def document(title: str, body: Iterable[str]) -> str:
    """Return a whole page with the style and the script of all."""
    style, script = (Path(__file__).with_name(f"page.{kind}").read_text() for kind in ("css", "js"))
    # Only this very script may run, and nothing may be fetched.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src data: file: 'self'; media-src data: file: 'self'; base-uri 'none'; "
        "form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{style}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + f'\n<footer class="soft">Made by gym-loop {__version__}.</footer>'
        + f"\n</main><script>{script}</script></body></html>\n"
    )


def _contents(sections: dict[tuple[str, ...], list[int]], content: dict[str, Any]) -> str:
    links = [(f"env-{place}", " and ".join(envs)) for place, envs in enumerate(sections)]
    if any(group["recordings"] for group in content["groups"]):
        links.append(("recordings", "Recordings"))
    if _says_more(content):
        links.append(("configs", "Configs"))
    links.append(("best", "Best runs"))
    links += [("runs", "Runs"), ("method", "How to read this")]
    return "<nav>" + "".join(f'<a href="#{i}">{escape(n)}</a>' for i, n in links) + "</nav>"


def _warnings(content: dict[str, Any]) -> str:
    items = [*content["notes"], *content["warnings"]]
    lines = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<div class="card warnings"><h2>Before you read on</h2><ul>{lines}</ul></div>'


def _section(
    anchor: str,
    env: str,
    numbers: list[int],
    groups: list[dict[str, Any]],
    pairs: list[Any],
    verdicts: list[str],
    what: str,
) -> str:
    """Return what there is to say of one environment, the verdict first."""
    parts = [f'<section id="{anchor}"><h2>{escape(env)}</h2>']
    parts += [f'<p class="lead">{broken_name(text)}</p>' for text in verdicts]
    parts += [_chart(numbers, groups, what), _table(numbers, groups)]
    notes = gathered([groups[n] for n in numbers], "label")
    if notes:
        lines = "".join(f"<li><b>{escape(name)}</b>: {escape(note)}</li>" for name, note in notes)
        parts.append(f'<ul class="notes soft">{lines}</ul>')
    if pairs:
        parts += [_pairs(numbers, groups, pairs), _findings(pairs)]
    return "\n".join([*parts, "</section>"])


def _findings(pairs: list[Any]) -> str:
    """Return a sentence for each pair, those that say something first; folded."""
    items = []
    words = ("better", "perhaps better", "cannot tell")
    for pair in sorted(pairs, key=lambda pair: words.index(pair["verdict"])):
        kind = "better" if pair["better"] is not None else ""
        items.append(
            f'<li class="{kind}"><span class="verdict">{pair["verdict"]}</span>'
            f"<span>{escape(pair['sentence'])}</span></li>"
        )
    return (
        "<details><summary>What these seeds say of each pair</summary>"
        f'<ul class="findings">{"".join(items)}</ul></details>'
    )


def broken_name(name: str) -> str:
    """Return a name as HTML that a line breaks only after `,` and `=`, and between words."""
    words = escape(name).replace("=", "=<wbr>").replace(",", ",<wbr>").split(" ")
    return " ".join(f'<span class="word">{word}</span>' for word in words)


def _colour(numbers: list[int], number: int) -> int:
    return min(numbers.index(number), COLOURS)


def bulk(ranges: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the range of an axis that holds most of these ranges.

    Ends that lie beyond three times the middle range, seen from its middle, are left outside: a
    group that diverged or went on for ten times as long would press all others together.
    """
    low, high = (sorted(ends)[len(ranges) // 2] for ends in zip(*ranges, strict=True))
    middle, reach = (low + high) / 2, 1.5 * abs(high - low)
    ends = [end for pair in ranges for end in pair]
    if not reach:
        return min(ends), max(ends)
    return max(min(ends), middle - reach), min(max(ends), middle + reach)


def _chart(numbers: list[int], groups: list[dict[str, Any]], what: str) -> str:
    """Return the learning curves."""
    curves = [(n, groups[n]["curve"]) for n in numbers if groups[n]["curve"]]
    if not curves:
        return ""
    low, high = bulk([(min(c["low"] or c["mean"]), max(c["high"] or c["mean"])) for _, c in curves])
    pad = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    low, high = low - pad, high + pad
    right = bulk([(0.0, c["steps"][-1]) for _, c in curves])[1] or 1.0

    def points(steps: Sequence[float], values: Sequence[float]) -> str:
        return "L".join(
            f"{step / right * WIDTH:.1f} {(high - value) / (high - low) * HEIGHT:.1f}"
            for step, value in zip(steps, values, strict=True)
        )

    ys = [y for y in ticks(low, high) if low <= y <= high]
    xs = [x for x in ticks(0, right) if x <= right * 1.001]
    lines = [
        f'<line class="grid" x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        for y in ((high - tick) / (high - low) * HEIGHT for tick in ys)
    ]
    lines.append(f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>')
    for number, curve in reversed(curves):  # the best on top
        lines.append(_curve(number, curve, _colour(numbers, number), points))
    lines.append(f'<line class="cross" x1="0" x2="0" y1="0" y2="{HEIGHT}"/>')
    y_labels = "".join(
        f'<span style="bottom:{(y - low) / (high - low) * 100:.2f}%">{brief(y)}</span>' for y in ys
    )
    x_labels = "".join(
        f'<span{" class=end" if x > right * 0.95 else ""} style="left:{x / right * 100:.2f}%">'
        f"{brief(x)}{' steps' if x == xs[-1] else ''}</span>"
        for x in xs
    )
    data = {"right": right, "curves": _numbers_of(numbers, groups, curves)}
    return (
        f'<div class="card"><div class="chart">'
        f'<div class="title">Return in {what}, mean and 95 % interval over seeds</div>'
        f'<div class="ys">{y_labels}</div>'
        f'<div class="plot" data-curves="{escape(json.dumps(data))}">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="Learning curves">{"".join(lines)}</svg><div class="tip"></div></div>'
        f'<div class="xs">{x_labels}</div></div>'
        f'<ul class="legend">{_legend(numbers, groups, curves)}</ul></div>'
    )


def _curve(
    number: int,
    curve: dict[str, Any],
    colour: int,
    points: Callable[[Sequence[float], Sequence[float]], str],
) -> str:
    """Return a group's interval and mean."""
    steps, paths = curve["steps"], []
    if curve["low"] and colour < COLOURS:
        there, back = points(steps, curve["high"]), points(steps[::-1], curve["low"][::-1])
        paths.append(f'<path class="band" d="M{there}L{back}Z"/>')
    paths.append(f'<path class="mean" d="M{points(steps, curve["mean"])}"/>')
    style = f"color:var(--c{colour})"
    return f'<g class="curve" id="curve-{number}" style="{style}">{"".join(paths)}</g>'


def _numbers_of(
    numbers: list[int], groups: list[dict[str, Any]], curves: list[tuple[int, Any]]
) -> list[dict[str, Any]]:
    """Return the data of each curve that the page's script shows under the pointer."""
    return [
        {
            "name": groups[n]["label"],
            "colour": _colour(numbers, n),
            "steps": c["steps"],
            "mean": [float(f"{value:.6g}") for value in c["mean"]],
        }
        for n, c in curves
        if _colour(numbers, n) < COLOURS
    ]


def _legend(numbers: list[int], groups: list[dict[str, Any]], curves: list[tuple[int, Any]]) -> str:
    legend = "".join(
        f'<li data-group="{n}">{_swatch(numbers, n)}{broken_name(groups[n]["label"])}</li>'
        for n, _ in curves[:COLOURS]
    )
    if len(curves) > COLOURS:
        others = f"{len(curves) - COLOURS} more"
        legend += f'<li><i class="swatch" style="color:var(--c8)"></i>{others}</li>'
    return legend


def _swatch(numbers: list[int], number: int) -> str:
    colour = _colour(numbers, number)
    return f'<i class="swatch" style="color:var(--c{colour})"></i>'


def _table(numbers: list[int], groups: list[dict[str, Any]]) -> str:
    """Return the groups' scores, each interval drawn on one scale for all."""
    scores = [s for n in numbers for own in groups[n]["scores"].values() for s in own]
    low, span = (min(scores), (max(scores) - min(scores)) or 1.0) if scores else (0.0, 1.0)

    score = aligned(groups[n][name] for n in numbers for name in SCORES)

    def at(value: float) -> str:
        return f"{2 + (value - low) / span * 96:.1f}"

    rows = []
    for n in numbers:
        group, interval = groups[n], groups[n]["interval"]
        drawn = "".join(
            f'<line class="seed" x1="{at(s)}" x2="{at(s)}" y1="10" y2="10"/>'
            for own in group["scores"].values()
            for s in own[:200]
        )
        if interval:
            drawn += f'<line x1="{at(interval[0])}" x2="{at(interval[1])}" y1="10" y2="10"/>'
        if group["iqm"] is not None:
            place = at(group["iqm"])
            drawn += f'<line class="dot" x1="{place}" x2="{place}" y1="10" y2="10"/>'
        seeds = str(group["seeds"])
        if group["runs"] != group["seeds"]:
            seeds += f' <span class="soft">of {group["runs"]} runs</span>'
        rows.append(
            f'<tr data-group="{n}"><th scope="row" data-v="{escape(group["label"])}">'
            f"{_swatch(numbers, n)}{broken_name(group['label'])}</th>"
            f'<td class="n" data-v="{group["seeds"]}">{seeds}</td>'
            f"{_n(group['iqm'], score)}"
            f'<td class="n" data-v="{interval[0] if interval else ""}">'
            f"{f'{score(interval[0])} to {score(interval[1])}' if interval else '–'}</td>"
            f'<td class="range" data-v="{"" if group["iqm"] is None else group["iqm"]}" '
            f'style="color:var(--c{_colour(numbers, n)})">'
            f'<svg viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'
            f"</td>{_n(group['median'], score)}{_n(group['best'], score)}</tr>"
        )
    heads = [("Group", ""), ("Seeds", "n"), ("IQM", "n"), ("95 % interval", "n")]
    heads += [("Interval and seeds", ""), ("Median", "n"), ("Best", "n")]
    return sortable(heads, rows)


def _pairs(numbers: list[int], groups: list[dict[str, Any]], pairs: list[Any]) -> str:
    parts = []
    involved = [n for n in numbers if any(n in pair["groups"] for pair in pairs)]
    if 2 < len(involved) <= MATRIX:
        parts.append(_matrix(involved, numbers, groups, pairs))
    rows = []
    for pair in pairs:
        x, y = (groups[number]["label"] for number in pair["groups"])
        interval, more = pair["interval"], pair["more_seeds"]
        p = pair["p_corrected"]
        shown_p = "–" if p is None else f"{p:.2g}"
        rows.append(
            f'<tr><th scope="row">{broken_name(x)}</th><td class="mid">{broken_name(y)}</td>'
            f'<td class="n">{pair["probability"]:.2f}</td>'
            f'<td class="n" data-v="{interval[0] if interval else ""}">'
            f"{f'{interval[0]:.2f} to {interval[1]:.2f}' if interval else '–'}</td>"
            f'<td class="n" data-v="{"" if p is None else p}">{shown_p}</td>'
            f'<td class="n" data-v="{sum(pair["seeds"])}">{pair["seeds"][0]} and '
            f"{pair['seeds'][1]}</td>"
            f"<td>{', but '.join(filter(None, (pair['verdict'], pair['caveat'])))}</td>"
            f'<td class="n" data-v="{max(more) if more else ""}">'
            f"{' and '.join(map(str, dict.fromkeys(more))) if more else '–'}</td></tr>"
        )
    heads = [("This", ""), ("against this", ""), ("wins with probability", "n")]
    heads += [("95 % interval", "n"), ("p, corrected", "n"), ("Seeds", "n"), ("Verdict", "")]
    table = sortable([*heads, ("More seeds of each", "n")], rows)
    parts.append(f"<details><summary>The figures on each pair</summary>{table}</details>")
    return "".join(parts)


def _matrix(
    involved: list[int], numbers: list[int], groups: list[dict[str, Any]], pairs: list[Any]
) -> str:
    """Return the probability that the row beats the column; bold where the seeds can tell."""
    cells: dict[tuple[int, int], tuple[float, bool]] = {}
    for pair in pairs:
        x, y = pair["groups"]
        cells[x, y] = pair["probability"], pair["better"] is not None
        cells[y, x] = 1 - pair["probability"], pair["better"] is not None
    head = "".join(
        f"<th>{_swatch(numbers, n)}{broken_name(groups[n]['label'])}</th>" for n in involved
    )
    rows = []
    for row in involved:
        tds = []
        for column in involved:
            probability, sure = cells.get((row, column), (math.nan, False))
            if math.isnan(probability):
                tds.append("<td></td>")
                continue
            colour = "--c0" if probability > 0.5 else "--c1"
            share = abs(probability - 0.5) * 70
            text = f"<b>{probability:.2f}</b>" if sure else f"{probability:.2f}"
            style = f"background:color-mix(in srgb, var({colour}) {share:.0f}%, transparent)"
            tds.append(f'<td style="{style}">{text}</td>')
        name = f"{_swatch(numbers, row)}{broken_name(groups[row]['label'])}"
        rows.append(f'<tr><th scope="row">{name}</th>{"".join(tds)}</tr>')
    return (
        '<h3>Pair by pair</h3><p class="soft">Probability that a run of the row scores more than '
        "one of the column; bold where these seeds can tell.</p>"
        f'<div class="scroll"><table class="heat"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _films(groups: list[dict[str, Any]], folder: Path) -> str:
    """Return the best and the worst recorded episode of each group, in the page while they fit."""
    figures, room = [], EMBEDDED
    for group in groups:
        files = set()
        for rank in ("best", "worst"):
            film = group["recordings"].get(rank)
            if not film or film["file"] in files:
                continue
            files.add(film["file"])
            file = Path(film["file"])
            link = _link(file, folder)
            source = link
            try:
                with tables.open_file(Path(film["directory"]).absolute(), file) as opened:
                    data = opened.read(room + 1)
                if len(data) <= room:
                    room -= len(data)
                    coded = base64.b64encode(data).decode()
                    source = f"data:{MEDIA[file.suffix]};base64,{coded}"
            except OSError:
                pass  # gone since it was found, or not to be read: the page keeps the link
            video = f'<video controls preload="none" src="{source}"></video>'
            if source != link:
                video = video.replace('"none"', '"metadata"')
            shown = (
                f'<img alt="" loading="lazy" src="{source}">' if file.suffix == ".gif" else video
            )
            figures.append(
                f"<figure>{shown}<figcaption><b>{escape(group['name'])}</b><br>{rank}: return "
                f'{figure(film["return"])}, <a href="{link}">{escape(film["what"])}</a>'
                f"</figcaption></figure>"
            )
    if not figures:
        return ""
    return f'<h2 id="recordings">Recordings</h2><div class="films">{"".join(figures)}</div>'


def _says_more(content: dict[str, Any]) -> bool:
    """Return whether groups differ in more than what their names say."""
    groups = content["groups"]
    told = {"agent._target_", "env.id", "env._target_"}.union(*(g["settings"] for g in groups))
    crowded = any(len(group["settings"]) > MOST_WORDS for group in groups)
    differences = _differences(content)
    return bool(differences) and (crowded or bool(differences.keys() - told))


def _differences(content: dict[str, Any]) -> dict[str, list[str]]:
    """Return the config keys whose values differ; that an agent has none of a key is no news."""
    differences: dict[str, list[str]] = content["differences"]
    return {key: own for key, own in differences.items() if len({*own} - {ABSENT}) > 1}


def _best_runs(content: dict[str, Any]) -> str:
    """Return each group's best run, with the commands that play and continue it."""
    rows = []
    for place, group in enumerate(content["groups"]):
        best = films.best_run(content, place)
        if best is None or best["directory"] != printable(best["directory"]):
            continue  # a terminal would obey what stands in the path
        path = shlex.quote(best["directory"])
        replay = f"gym-loop replay {path} --episode best --video best.mp4"
        commands = "<br>".join(map(broken_name, (replay, f"gym-loop resume {path}")))
        rows.append(
            f'<tr><th scope="row">{broken_name(group["name"])}</th>'
            f'<td class="wide"><code>{commands}</code></td></tr>'
        )
    if not rows:
        return ""
    heads = "<thead><tr><th>Group</th><th>Watch and continue its best run</th></tr></thead>"
    return (
        '<h2 id="best">The best run of each group</h2><div class="scroll"><table class="best">'
        f"{heads}<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _configs(content: dict[str, Any], groups: list[dict[str, Any]]) -> str:
    """Return the config keys in which groups differ; the table's longer side goes down the page."""
    if not _says_more(content):
        return ""
    differences = _differences(content)
    corner, across, down = "Key", [group["name"] for group in groups], list(differences)
    table = [tuple(own) for own in differences.values()]
    if len(down) <= len(across):
        corner, across, down, table = "Group", down, across, list(zip(*table, strict=True))
    rows = [
        f'<tr><th scope="row">{broken_name(name)}</th>'
        + "".join(f'<td class="mid">{escape(value)}</td>' for value in own)
        + "</tr>"
        for name, own in zip(down, table, strict=True)
    ]
    heads = [(corner, ""), *((name, "") for name in across)]
    return f'<h2 id="configs">What differs in the configs</h2>{sortable(heads, rows)}'


def _runs(content: dict[str, Any], groups: list[dict[str, Any]], folder: Path) -> str:
    paths = [os.path.abspath(run["directory"]) for run in content["runs"]]
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    shown = aligned(run["scores"].get(content["metric"]) for run in content["runs"])
    remarks = any(run["error"] or run["warnings"] for run in content["runs"])
    rows = []
    for run, path in zip(content["runs"], paths, strict=True):
        score = run["scores"].get(content["metric"])
        group = "–" if run["group"] is None else groups[run["group"]]["name"]
        remark = "; ".join([*([run["error"]] if run["error"] else []), *run["warnings"]])
        rows.append(
            f'<tr><th scope="row"><a href="{_link(Path(path), folder)}/">'
            f"{broken_name(printable(os.path.relpath(path, root)))}</a></th>"
            f'<td class="mid">{escape(group)}</td>'
            f'<td class="n">{"–" if run["seed"] is None else escape(printable(run["seed"]))}</td>'
            f'<td><span class="state {escape(run["state"])}">{escape(run["state"])}</span></td>'
            f'<td class="n" data-v="{run["episodes"]}">{run["episodes"]:,}</td>'
            f'<td class="n" data-v="{run["steps"]}">{run["steps"]:,}</td>'
            + _n(score, shown)
            + (f'<td class="wide soft">{escape(remark)}</td></tr>' if remarks else "</tr>")
        )
    heads = [("Run", ""), ("Group", ""), ("Seed", "n"), ("State", ""), ("Episodes", "n")]
    heads += [("Steps", "n"), (content["metric"].capitalize().replace("_", " "), "n")]
    heads += [("Remarks", "")] if remarks else []
    where = f'<p class="soft">In <code>{escape(short(Path(root)))}</code></p>'
    return f'<h2 id="runs">Runs</h2>{where}{sortable(heads, rows)}'


def sortable(heads: Iterable[tuple[str, str]], rows: list[str]) -> str:
    """Return a table that a press on a head sorts; `heads` are (name, "n" of numbers)."""
    cells = "".join(
        f'<th scope="col"{f" class={kind}" if kind else ""}>'
        f'<button type="button">{escape(name)}</button></th>'
        for name, kind in heads
    )
    return (
        f'<div class="scroll"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _n(value: float | None, shown: Callable[[float | None], str]) -> str:
    return f'<td class="n" data-v="{"" if value is None else value}">{shown(value)}</td>'


def _link(path: Path, folder: Path) -> str:
    return escape(quote(os.fsencode(os.path.relpath(path.absolute(), folder))))


def _listed(names: list[str]) -> str:
    if len(names) > 4:
        names = [*names[:3], f"{len(names) - 3} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers from `low` to `high`."""
    raw = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * 0.999)
    first = math.ceil(low / step)
    return [round(k * step, 12) for k in range(first, math.floor(high / step) + 1)]


def brief(value: float) -> str:
    """Return a number as an axis shows it: 20k, 1.5M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (10 if unit == "k" else 1):
            return f"{value / size:g}{unit}"
    return f"{value:g}".replace("-", "−")
