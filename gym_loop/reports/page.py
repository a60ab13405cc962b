"""A report as one self-contained HTML page: nothing is fetched, everything is escaped.

What is shown is worked out here; how is said by the templates beside it, of which the live page
shows parts, too.
"""

import base64
import hashlib
import json
import math
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gym_loop import __version__
from gym_loop.mistake import Mistake
from gym_loop.reports import films, statistics
from gym_loop.reports.groups import ABSENT, MOST_WORDS
from gym_loop.reports.text import SCORES, aligned, figure, gathered
from gym_loop.runs import tables
from gym_loop.terminal import printable, short

if TYPE_CHECKING:
    import jinja2

HERE = Path(__file__).parent
STATIC = HERE / "static"  # what the live page has, too
COLOURS = 8  # curves beyond are grey
MATRIX = 12  # groups that a matrix of pairs is legible for
EMBEDDED = 12_000_000  # bytes of recordings that go into the page; the rest is linked
MEDIA = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif"}
# Of a pair, those that say something first.
WORDS = ("better", "perhaps better", "cannot tell", "not tested")


def environment(*folders: Path) -> "jinja2.Environment":
    """Return what fills the templates in `folders` and in this package; every text is escaped.

    Raises:
        Mistake: Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise Mistake('a page needs Jinja2: pip install "gym-loop[report]"') from None
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, HERE / "templates"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"version": __version__, "resamples": statistics.RESAMPLES}
    made.filters["breakable"] = lambda word: re.split("(?<=[,=])", word)
    return made


def document(template: str, content: dict[str, Any], *folders: Path) -> str:
    """Return a page in one file, with the style and the script of all such pages."""
    made = environment(*folders)
    from markupsafe import Markup

    style, script = (
        "".join(path.read_text() for path in paths)
        for paths in (
            (STATIC / "shared.css", HERE / "page.css"),
            (STATIC / "sort.js", HERE / "page.js"),
        )
    )
    html: str = made.get_template(template).render(
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **content,
    )
    return html


def page(content: dict[str, Any], folder: Path) -> str:
    """Return the page on what `comparison.compare` returned; its links are relative to `folder`."""
    groups = content["groups"]
    agents = dict.fromkeys(group["agent"] for group in groups)
    environments = dict.fromkeys(env for group in groups for env in group["envs"])
    view = {
        "title": f"{_listed([*agents])} on {_listed([*environments])}",
        "today": f"{datetime.now():%-d %B %Y, %H:%M}",
        "groups": groups,
        "metric_is": content["metric_is"],
        "remarks": [*content["notes"], *content["warnings"]],
        "sections": sections(content),
        "best": list(_best_runs(content)),
        "films": list(_films(groups, folder)),
        "configs": configs(content) if _says_more(content) else None,
        "runs": _runs(content, folder),
    }
    return document("report.html", view)


def sections(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what there is to say of each environment."""
    numbers: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, group in enumerate(content["groups"]):
        numbers[tuple(group["envs"])].append(number)
    return [_section(place, content, own) for place, own in enumerate(numbers.values())]


def _section(place: int, content: dict[str, Any], numbers: list[int]) -> dict[str, Any]:
    """Return what there is to say of the groups with these numbers."""
    groups = [
        content["groups"][number] | {"number": number, "colour": min(colour, COLOURS)}
        for colour, number in enumerate(numbers)
    ]
    pairs = [
        pair | {"labels": [content["groups"][number]["label"] for number in pair["groups"]]}
        for pair in content["pairs"]
        if pair["groups"][0] in numbers
    ]
    drawn = "Return" if content["drawn"] == "return" else content["drawn"]  # a key is as it is
    return {
        "anchor": f"env-{place}",
        "name": " and ".join(groups[0]["envs"]),
        "verdicts": [v["headline"] for v in content["verdicts"] if v["best"] in numbers],
        "chart": _curves(groups, f"{drawn} in {content['curves']}"),
        "groups": _drawn_scores(groups),
        "score": aligned(group[name] for group in groups for name in SCORES),
        "notes": gathered(groups, "label"),
        "matrix": _matrix(groups, pairs),
        "pairs": pairs,
        "findings": sorted(pairs, key=lambda pair: WORDS.index(pair["verdict"])),
    }


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


@dataclass
class Axes:
    """The axes of a drawing, whose x begin at 0.

    Attributes:
        low, high: the y at the bottom and at the top.
        right: the x at the right end.
        xs: the ticks of the horizontal axis: percent of the width, text.
        width, height: of the drawing, in its own units.
    """

    low: float
    high: float
    right: float
    xs: list[tuple[float, str]]
    width: int = 1000
    height: int = 400

    @classmethod
    def around(cls, ranges: list[tuple[float, float]], *rest: Any) -> "Axes":
        """Return axes that hold the bulk of these ranges of y, with some air around them."""
        low, high = bulk(ranges)
        pad = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
        return cls(low - pad, high + pad, *rest)

    @property
    def ys(self) -> list[tuple[float, str]]:
        """The ticks of the vertical axis: percent of the height, text."""
        span = self.high - self.low
        return [
            (round((y - self.low) / span * 100, 2), axis_number(y))
            for y in ticks(self.low, self.high)
            if self.low <= y <= self.high
        ]

    def path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        """Return points as SVG has them in a path, with a line between them."""
        span = self.high - self.low
        return "L".join(
            f"{x / self.right * self.width:.1f} {(self.high - y) / span * self.height:.1f}"
            for x, y in zip(xs, ys, strict=True)
        )


def _curves(groups: list[dict[str, Any]], what: str) -> dict[str, Any] | None:
    """Return the learning curves, the best last: it is drawn on top."""
    groups = [group for group in groups if group["curve"]]
    if not groups:
        return None
    curves = [group["curve"] for group in groups]
    right = bulk([(0.0, curve["steps"][-1]) for curve in curves])[1] or 1.0
    xs = [
        (round(x / right * 100, 2), axis_number(x)) for x in ticks(0, right) if x <= right * 1.001
    ]
    xs[-1] = xs[-1][0], f"{xs[-1][1]} steps"
    ranges = [(min(c["low"] or c["mean"]), max(c["high"] or c["mean"])) for c in curves]
    axes = Axes.around(ranges, right, xs)
    lines, data = [], []
    for group in groups:
        curve, steps = group["curve"], group["curve"]["steps"]
        line = {"number": group["number"], "colour": group["colour"], "band": ""}
        if curve["low"] and group["colour"] < COLOURS:
            there, back = (steps, curve["high"]), (steps[::-1], curve["low"][::-1])
            line["band"] = f"{axes.path(*there)}L{axes.path(*back)}"
        lines.append(line | {"mean": axes.path(steps, curve["mean"])})
        if group["colour"] < COLOURS:
            mean = [float(f"{value:.6g}") for value in curve["mean"]]
            named = {"name": group["label"], "colour": group["colour"]}
            data.append(named | {"steps": steps, "mean": mean})
    return {
        "what": what,
        "axes": axes,
        "lines": lines[::-1],
        "legend": groups[:COLOURS],
        "more": len(groups[COLOURS:]),
        "data": json.dumps({"right": right, "curves": data}),
    }


def _drawn_scores(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups with what is drawn of each, on one scale: kind, left end, right end."""
    scores = [s for group in groups for own in group["scores"].values() for s in own]
    low, span = (min(scores), (max(scores) - min(scores)) or 1.0) if scores else (0.0, 1.0)
    found = []
    for group in groups:
        ends = [("seed", s, s) for own in group["scores"].values() for s in own[:200]]
        if group["interval"]:
            ends.append(("interval", *group["interval"]))
        if group["iqm"] is not None:
            ends.append(("dot", group["iqm"], group["iqm"]))
        drawn = [
            (kind, *(round(2 + (value - low) / span * 96, 1) for value in values))
            for kind, *values in ends
        ]
        found.append(group | {"drawn": drawn})
    return found


def _matrix(groups: list[dict[str, Any]], pairs: list[Any]) -> list[dict[str, Any]]:
    """Return the groups with a cell for each: the probability that the row beats the column."""
    cells: dict[tuple[int, int], dict[str, Any]] = {}
    for pair in pairs:
        x, y = pair["groups"]
        for place, chance in ((x, y), pair["probability"]), ((y, x), 1 - pair["probability"]):
            side = "above" if chance > 0.5 else "below"
            cells[place] = {
                "text": f"{chance:.2f}",
                "sure": pair["better"] is not None,
                "shade": f"{side} s{round(abs(chance - 0.5) * 10)}",
            }
    involved = {number for place in cells for number in place}
    rows = [group for group in groups if group["number"] in involved]
    if not 2 < len(rows) <= MATRIX:
        return []
    return [
        row | {"cells": [cells.get((row["number"], other["number"])) for other in rows]}
        for row in rows
    ]


def _films(groups: list[dict[str, Any]], folder: Path) -> Iterable[dict[str, Any]]:
    """Yield the best and the worst recorded episode of each group, in the page while they fit."""
    room = EMBEDDED
    for group in groups:
        files = set()
        for rank in films.RANKS:
            film = group["recordings"].get(rank)
            if not film or film["file"] in files:
                continue
            files.add(film["file"])
            file = Path(film["file"])
            link = source = _link(file, folder)
            try:
                with tables.open_file(Path(film["directory"]).absolute(), file) as opened:
                    data = opened.read(room + 1)
                if len(data) <= room:
                    room -= len(data)
                    source = f"data:{MEDIA[file.suffix]};base64,{base64.b64encode(data).decode()}"
            except OSError:
                pass  # gone since it was found, or not to be read: the page keeps the link
            yield {
                "group": group["name"],
                "rank": rank,
                "return": figure(film["return"]),
                "what": film["what"],
                "link": link,
                "source": source,
                "moves": file.suffix != ".gif",
            }


def _says_more(content: dict[str, Any]) -> bool:
    """Return whether groups differ in more than what their names say."""
    groups = content["groups"]
    told = {"agent._target_", "env.id", "env._target_"}.union(*(g["settings"] for g in groups))
    crowded = any(len(group["settings"]) > MOST_WORDS for group in groups)
    differences = _differences(content)
    return bool(differences) and (crowded or bool(differences.keys() - told))


def _differences(content: dict[str, Any]) -> dict[str, list[str]]:
    """Return the config keys with several values; an agent without the key counts for none."""
    differences: dict[str, list[str]] = content["differences"]
    return {key: own for key, own in differences.items() if len({*own} - {ABSENT}) > 1}


def configs(content: dict[str, Any]) -> dict[str, Any] | None:
    """Return the config keys in which groups differ; the table's longer side goes down the page."""
    differences = _differences(content)
    if not differences:
        return None
    corner, across, down = "Key", [group["name"] for group in content["groups"]], [*differences]
    table = [tuple(own) for own in differences.values()]
    if len(down) <= len(across):
        corner, across, down, table = "Group", down, across, list(zip(*table, strict=True))
    heads = [(name, "") for name in (corner, *across)]
    return {"heads": heads, "rows": list(zip(down, table, strict=True))}


def _best_runs(content: dict[str, Any]) -> Iterable[tuple[str, list[str]]]:
    """Yield each group's name, and the commands that play and continue its best run."""
    for place, group in enumerate(content["groups"]):
        best = films.best_run(content, place)
        if best is None or best["directory"] != printable(best["directory"]):
            continue  # a terminal would obey what stands in the path
        path = shlex.quote(best["directory"])
        replay = f"gym-loop replay {path} --episode best --video best.mp4"
        yield group["name"], [replay, f"gym-loop resume {path}"]


def _runs(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the table of all runs."""
    paths = [os.path.abspath(run["directory"]) for run in content["runs"]]
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    metric = content["metric"]
    rows = [
        {
            "link": _link(Path(path), folder),
            "name": printable(os.path.relpath(path, root)),
            "group": ABSENT if run["group"] is None else content["groups"][run["group"]]["name"],
            "seed": ABSENT if run["seed"] is None else printable(run["seed"]),
            "state": run["state"],
            "episodes": run["episodes"],
            "steps": run["steps"],
            "score": run["scores"].get(metric),
            "remark": "; ".join(filter(None, [run["error"], *run["warnings"]])),
        }
        for run, path in zip(content["runs"], paths, strict=True)
    ]
    heads = [("Run", ""), ("Group", ""), ("Seed", "n"), ("State", ""), ("Episodes", "n")]
    heads += [("Steps", "n"), (metric.capitalize().replace("_", " "), "n")]
    if any(row["remark"] for row in rows):
        heads.append(("Remarks", ""))
    shown = aligned(row["score"] for row in rows)
    return {"root": short(Path(root)), "heads": heads, "rows": rows, "shown": shown}


def _link(path: Path, folder: Path) -> str:
    return quote(os.fsencode(os.path.relpath(path.absolute(), folder)))


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


def axis_number(value: float) -> str:
    """Return a number as an axis shows it: 20k, 1.5M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size * (10 if unit == "k" else 1) <= abs(value) < 1e13:
            return f"{value / size:g}{unit}"
    return f"{value:g}".replace("-", "−")
