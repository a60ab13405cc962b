"""Groups of runs that differ only in the seed, or by what a person asks for, and their names."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_loop.loops import parameters
from gym_loop.mistake import Mistake, nearest
from gym_loop.runs import reading, tables
from gym_loop.runs.reading import RunContent, shown, typed

# Parameters of the loop that never change what happens in a run.
NEUTRAL = {name for name, parameter in parameters.ALL.items() if parameter.neutral}
LOOPS = {
    "gym_loop.loops.DefaultLoop": parameters.DEFAULT,
    "gym_loop.vector.loop.VectorLoop": parameters.VECTOR,
}
MOST_WORDS = 4  # of a group's name
LONGEST_WORD = 80  # characters of one
ABSENT = "–"
WRAPPERS = "env.wrappers."


@dataclass
class Member:
    """A run as a member of a group."""

    run: RunContent
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


def _member(run: RunContent, unfinished: bool) -> Member:
    leaves = {
        key: value
        for key, value in (_defaults(run) | run.settings).items()
        if not (key.startswith("loop.") and key.removeprefix("loop.") in NEUTRAL)
    }
    if run.forked_at:  # it has not trained with these parameters from the start
        leaves["parent.episode"] = run.forked_at
    identity = json.dumps([(k, type(v).__name__, typed(v)) for k, v in sorted(leaves.items())])
    leaves = reading.wrap(run.config) | leaves
    return Member(run, identity, leaves, unfinished or run.state == "finished", run.origin)


def _defaults(run: RunContent) -> dict[str, Any]:
    """Return the defaults of the run's loop, some of which earlier versions did not have."""
    loop = run.config.get("loop")
    table = LOOPS.get(str(loop.get("_target_"))) if isinstance(loop, dict) else None
    return {f"loop.{name}": parameter.default for name, parameter in (table or {}).items()}


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


def _first_row(run: RunContent) -> tuple[float, ...]:
    """Return the first row of a run's training episodes; () of none."""
    columns = run.table(tables.EPISODES, tables.COLUMNS[tables.EPISODES]).values()
    return next(zip(*columns, strict=True), ())


def grouped(runs: Iterable[RunContent], by: Sequence[str], unfinished: bool) -> list[Group]:
    """Return the groups of runs that can be read; `compare` describes the arguments.

    Raises:
        Mistake: no run has one of the keys `by`.
    """
    members = [_member(run, unfinished) for run in runs if run.config]
    _find_moved_origins(members)
    known = {"agent", "env"}.union(*(member.leaves for member in members))
    for key in by:
        if members and key not in known:
            raise Mistake(f"--by {key}: no run has it in its config{nearest(key, known)}")
    groups: dict[tuple[str, ...], list[Member]] = defaultdict(list)
    for member in members:
        values = tuple(setting(member, key) for key in by) if by else (member.identity,)
        groups[values].append(member)
    return [Group(own) for own in groups.values()]


def setting(member: Member, key: str) -> str:
    """Return what a run has for a config key, as text; ABSENT: it has no such key."""
    if key in ("agent", "env"):
        return str(getattr(member.run, key))
    return shown(member.leaves[key]) if key in member.leaves else ABSENT


def name_groups(groups: list[Group], by: Sequence[str]) -> None:
    """Name each group by its agent and what tells it from others of this agent and environment."""
    alike: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in groups:
        first = group.members[0]
        if by:
            group.settings = {key: setting(first, key) for key in by}
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
            values = {setting(group.members[0], key) for group in likes}
            if key.startswith(WRAPPERS):  # who has a wrapper is said by `wrap`
                values -= {ABSENT}
            if len(values) > 1:
                differ.append(key)
        tails = Counter(key.partition(".")[2] for key in differ)
        for group in likes:
            own = {key: setting(group.members[0], key) for key in differ}
            group.settings |= own
            words = {
                key: value
                if key in ("agent", "env", "confirmed")
                else _cut(f"{_plain(key, tails)}={reading.brief(value)}")
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


def _plain(key: str, tails: Counter[str]) -> str:
    """Return a key without its section, unless another key would then be the same.

    Args:
        key: one of those that differ.
        tails: how many of them have these words after their first one.
    """
    plain = key.removeprefix("agent.").removeprefix(WRAPPERS)
    return key if tails[plain] > (key.partition(".")[2] == plain) else plain


def _cut(word: str) -> str:
    """Return a word of a name, at most LONGEST_WORD characters of it."""
    return word if len(word) <= LONGEST_WORD else f"{word[: LONGEST_WORD - 1]}…"


def _short(words: dict[str, str]) -> str:
    """Return a name of at most MOST_WORDS words, and how many more there are."""
    left = len(words) - MOST_WORDS
    return " ".join([*list(words.values())[:MOST_WORDS], *([f"+{left} more"] if left > 0 else [])])


def varying_settings(groups: list[Group]) -> dict[str, list[str]]:
    """Return the config keys in which groups differ: key -> its value in each group."""
    keys = dict.fromkeys(key for group in groups for m in group.members for key in m.leaves)
    found = {}
    for key in keys:
        values = []
        for group in groups:
            own = dict.fromkeys(setting(member, key) for member in group.members)
            values.append(next(iter(own)) if len(own) == 1 else f"{len(own)} values")
        if len(set(values)) > 1:
            found[key] = values
    return found
