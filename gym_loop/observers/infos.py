"""`loop.info_keys`: numbers that an environment's info holds at the end of an episode."""

import contextlib
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gym_loop.loops import BaseLoop, Episode
from gym_loop.runs import tables
from gym_loop.sums import as_float

TABLES = {"training": tables.EPISODES, "evaluation": tables.EVALUATIONS}
MOST_NAMED = 10  # keys that there are
NUMBERS = (int, float, np.number, np.bool_)

log = logging.getLogger(__name__)


def keys(loop: BaseLoop) -> list[str]:
    """Return the keys that are asked for."""
    return [*map(str, loop.parameters.get("info_keys") or ())]


def values(names: list[str], info: Any) -> list[float]:
    """Return the number that `info` has for each name; NaN where it has none."""
    if type(info) is not dict and not isinstance(info, Mapping):
        return [math.nan for _ in names]
    return [
        as_float(value) if isinstance(value := info.get(name), NUMBERS) else _number(value)
        for name in names
    ]


def known(names: list[str], info: Any) -> tuple[list[str], list[float]]:
    """Return the names of which `info` has a number, and the numbers."""
    found = values(names, info)
    if not math.isnan(sum(found)):
        return names, found
    pairs = [pair for pair in zip(names, found, strict=True) if not math.isnan(pair[1])]
    return [name for name, _ in pairs], [value for _, value in pairs]


def means(names: list[str], episodes: list[Episode]) -> dict[str, float]:
    """Return by name the mean over those episodes that have the number."""
    found = [dict(zip(*known(names, episode.info), strict=True)) for episode in episodes]
    each = {name: [one[name] for one in found if name in one] for name in names}
    return {name: sum(have) / len(have) for name, have in each.items() if have}


def _number(value: Any) -> float:
    """Return a value as a float: a number, or an array of one; NaN where it is neither."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return as_float(value) if isinstance(value, NUMBERS) else math.nan


class MissingKeys:
    """Warns, at the end of a run, of keys that episodes' infos had no number for."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.unseen = {*names}  # keys that no info of this launch has had
        self.others: set[str] = set()  # keys that there were

    def look(self, info: Any) -> None:
        """Note the keys that `info` has."""
        if isinstance(info, Mapping):
            self.unseen -= info.keys()
            self.others |= {*map(str, info)}

    def warn(self, directory: Path, is_whole: bool) -> None:
        """Warn of keys that no episode of a run's tables has; of a whole run, also of other gaps.

        Args:
            directory: the run's.
            is_whole: whether it has come to its end.
        """
        counted = {what: _gaps(directory, file, self.names) for what, file in TABLES.items()}
        rows = {what: count for what, (count, _) in counted.items()}
        each = {n: tuple(missing[n] for _, missing in counted.values()) for n in self.names}
        total = sum(rows.values())
        never = sorted(n for n in self.unseen if total and sum(each[n]) == total)
        if never:
            there = ", ".join(sorted(self.others)[:MOST_NAMED]) or "nothing"
            log.warning(
                "no info had %s at an episode's end: see loop.info_keys; there was %s",
                ", ".join(never),
                there,
            )
        gaps: dict[tuple[int, ...], list[str]] = {}
        for name in self.names:
            if is_whole and name not in never and any(each[name]):
                gaps.setdefault(each[name], []).append(name)
        for counts, names in gaps.items():
            both = zip(counts, rows.values(), rows, strict=True)
            log.warning(
                "info had no number for %s at the end of %s episodes, which the means leave out: "
                "have the environment give it in every last step",
                ", ".join(names),
                " and ".join(f"{n} of {of} {what}" for n, of, what in both if n),
            )


def _gaps(directory: Path, file: str, names: list[str]) -> tuple[int, dict[str, int]]:
    """Return how many rows a table of a run has, and in how many each of its columns is NaN."""
    count, missing = 0, dict.fromkeys(names, 0)
    with contextlib.suppress(OSError):  # no episode has ended, or none can be read
        lines = tables.lines(directory, file)
        header = next(lines, b"").split(b",")
        places = {name: header.index(name.encode()) for name in names if name.encode() in header}
        for line in lines:
            count += 1
            if b"nan" in line:
                cells = line.split(b",")
                for name, place in places.items():
                    missing[name] += cells[place : place + 1] == [b"nan"]  # a row may be damaged
    return count, missing
