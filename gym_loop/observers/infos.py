"""`loop.info_keys`: numbers that an environment's info holds at the end of an episode."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gym_loop.loops import BaseLoop, Episode

MOST_NAMED = 10  # keys that there are

log = logging.getLogger(__name__)


def keys(loop: BaseLoop) -> list[str]:
    """Return the keys that are asked for."""
    return [*map(str, loop.parameters.get("info_keys") or ())]


def values(names: list[str], info: Any) -> list[float]:
    """Return the number that `info` has for each name; NaN where it has none."""
    info = info if isinstance(info, Mapping) else {}
    return [_number(info.get(name)) for name in names]


def known(names: list[str], info: Any) -> dict[str, float]:
    """Return those numbers that `info` has, by name."""
    pairs = zip(names, values(names, info), strict=True)
    return {name: value for name, value in pairs if not math.isnan(value)}


def means(names: list[str], episodes: list[Episode]) -> dict[str, float]:
    """Return by name the mean over those episodes that have the number."""
    found = [known(names, episode.info) for episode in episodes]
    each = {name: [one[name] for one in found if name in one] for name in names}
    return {name: sum(have) / len(have) for name, have in each.items() if have}


def _number(value: Any) -> float:
    if isinstance(value, int | float | np.number | np.bool_):
        return float(value)
    if isinstance(value, np.ndarray) and value.size == 1:
        return _number(value.item())
    return math.nan


class MissingKeys:
    """Warns once, at the end of a run, of each key that no episode's info had."""

    def __init__(self, names: list[str]) -> None:
        self.names = {*names}
        self.others: set[str] = set()  # keys that there were
        self.looked = False

    def look(self, info: Any) -> None:
        """Take away what `info` has."""
        self.looked = True
        if self.names and isinstance(info, Mapping):
            self.names -= info.keys()
            self.others |= {*map(str, info)}

    def warn(self) -> None:
        """Warn of what has never been there, if any episode has ended."""
        if self.names and self.looked:
            there = ", ".join(sorted(self.others)[:MOST_NAMED]) or "nothing"
            log.warning(
                "no info had %s at an episode's end: see loop.info_keys; there was %s",
                ", ".join(sorted(self.names)),
                there,
            )
