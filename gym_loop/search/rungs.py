"""Which trials are played on: successive halving, Optuna's pruners, or all of them.

A rung is the number of an evaluation, 1 for the first, and not a count of steps: seeds differ in
steps. Where trials are compared seed by seed, it is the number of seeds that have been played to
their ends. Nothing is decided within a job; who holds the study's lock asks here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gym_loop.search.study import END


@dataclass
class Entry:
    """A trial that has not failed.

    Attributes:
        number: the trial's.
        goal: the rung at which its jobs pause; END for none.
        values: what it reached, by rung.
        paused: whether all of its jobs have come to the goal, and not to their ends.
    """

    number: int
    goal: int
    values: dict[int, float] = field(default_factory=dict)
    paused: bool = False


class Rungs:
    """Decides how far trials are played. This one plays all to their ends."""

    first = END  # the goal of a new trial
    by_seed = False  # whether rungs are seeds, played one after the other

    def choose(self, entries: Sequence[Entry], last: bool) -> tuple[int, int] | None:
        """Return the number and the new goal of a paused trial that is to go on, or None.

        Args:
            entries: all trials but the failed ones.
            last: whether no new trial will be asked for, and none is being played.
        """
        resumed = next((entry for entry in entries if entry.paused), None)
        return (resumed.number, END) if resumed else None  # of another pruner, before a resume


class Halving(Rungs):
    """Asynchronous successive halving, Algorithm 2 of Li et al., arXiv:1810.05934.

    Rungs are the evaluations 1, 3, 9, ...: of the trials that have come to a rung, the best third
    goes on to the next, as soon as it is known to be in it. Paused trials lose nothing by waiting:
    they are promoted when more trials have come and they are among the best third then.

    Departures from the paper: the last rung is the end of training, wherever that is. When no new
    trial will come, the best of a rung from which none went on is promoted, so that a search of few
    trials has a winner, too.

    Args:
        maximize: whether more is better.
    """

    first = 1
    reduction = 3  # of how many trials one goes on (eta in the paper)

    def __init__(self, maximize: bool) -> None:
        self.maximize = maximize

    def choose(self, entries: Sequence[Entry], last: bool) -> tuple[int, int] | None:
        for entry in entries:  # of another pruner, before a resume
            if entry.paused and self._next(entry.goal - 1) != entry.goal:
                return entry.number, self._next(entry.goal)
        rungs = sorted({entry.goal for entry in entries if entry.paused}, reverse=True)
        for rung in rungs:
            there = sorted(
                (entry for entry in entries if rung in entry.values),
                key=lambda e: self._rank(e, rung),
            )
            count = len(there) // self.reduction
            if last and all(entry.paused and entry.goal <= rung for entry in there):
                count = max(count, 1)
            for entry in there[:count]:
                if entry.paused and entry.goal == rung:
                    return entry.number, rung * self.reduction
        return None

    def _rank(self, entry: Entry, rung: int) -> tuple[float, int]:
        value = -entry.values[rung] if self.maximize else entry.values[rung]
        return (math.inf if math.isnan(value) else value), entry.number

    def _next(self, evaluation: int) -> int:
        """Return the first rung after an evaluation."""
        rung = self.first
        while rung <= evaluation:
            rung *= self.reduction
        return rung


class Judged(Rungs):
    """Plays trials on, evaluation by evaluation, unless one of Optuna's pruners prunes them.

    Args:
        prunes: whether the trial of a number is pruned at what it has reached.
    """

    first = 1

    def __init__(self, prunes: Callable[[int], bool]) -> None:
        self.prunes = prunes
        self.judged = dict[int, int]()  # the goal at which a trial was pruned, by its number

    def choose(self, entries: Sequence[Entry], last: bool) -> tuple[int, int] | None:
        for entry in entries:
            if entry.paused and self.judged.get(entry.number) != entry.goal:
                if not self.prunes(entry.number):
                    return entry.number, entry.goal + 1
                self.judged[entry.number] = entry.goal
        return None


class SeedBySeed(Judged):
    """Plays trials with another seed, to its end, unless Optuna's WilcoxonPruner prunes them."""

    by_seed = True
