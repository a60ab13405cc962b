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
    """Counts the episodes whose last info had no number for a key; warns at the end of a run."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.never = {*names}  # keys that no info of this launch has had
        self.others: set[str] = set()  # keys that there were
        # By "training" and "evaluation": all episodes, and those without a number, by key.
        self.episodes = {"training": 0, "evaluation": 0}
        self.missing = {kind: dict.fromkeys(names, 0) for kind in self.episodes}

    def look(self, kind: str, info: Any, found: list[float]) -> None:
        """Count an episode, in whose info `values` has `found` these numbers."""
        self.episodes[kind] += 1
        for name, value in zip(self.names, found, strict=True):
            if math.isnan(value):
                self.missing[kind][name] += 1
        if self.never and isinstance(info, Mapping):
            self.never -= info.keys()
            self.others |= {*map(str, info)}

    def state_dict(self) -> dict[str, Any]:
        """Return what has been counted."""
        missing = {kind: {**counts} for kind, counts in self.missing.items()}
        return {"episodes": {**self.episodes}, "missing": missing}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what had been counted."""
        self.episodes |= state.get("episodes", {})
        for kind, counts in state.get("missing", {}).items():
            self.missing[kind] |= {n: counts[n] for n in self.names if n in counts}

    def warn(self, is_whole: bool) -> None:
        """Warn of keys that were never there; of a whole run's, also of gaps."""
        each = {n: tuple(self.missing[kind][n] for kind in self.episodes) for n in self.names}
        total = sum(self.episodes.values())
        never = sorted(n for n in self.never if total and sum(each[n]) == total)
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
            both = zip(counts, self.episodes.values(), self.episodes, strict=True)
            log.warning(
                "info had no number for %s at the end of %s episodes, which the means leave out: "
                "have the environment give it in every last step",
                ", ".join(names),
                " and ".join(f"{n} of {of} {kind}" for n, of, kind in both if n),
            )
