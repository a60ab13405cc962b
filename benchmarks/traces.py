"""What traces cost a run, and on disk: CartPole, the random agent, everything on but checkpoints.

A run with traces and one with `loop.trace=false` take turns every few hundred episodes, some
hundredths of a second each, for as many as several files hold: what else the machine does reaches
both alike, and writing files is in it.
"""

import functools
import importlib.util
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.harness import Cost, Row, show, side_by_side, skipped, spread, turns_of
from benchmarks.loop import with_and_without

LIBRARIES = "gym", "gymnasium"
STEPS, BLOCKS, TURNS = 5_000, 61, 8


def play(library: str, sizes: list[float]) -> Sequence[Cost]:
    """Return what a step costs with traces and without; append the bytes of a step's traces."""
    words = f"env={library}:CartPole-v1", "observers.checkpoints=null"
    with with_and_without(STEPS, BLOCKS, words, ("loop.trace=false",)) as sides:
        costs = side_by_side(BLOCKS, *sides)
        size = sum(file.stat().st_size for file in Path(sides[0].folder.name).rglob("*.npz"))
        sizes.append(size / sides[0].loop.steps)
    return costs


def rows() -> Iterator[Row]:
    """Yield what traces cost with each library, then how large they are."""
    sizes: list[float] = []
    for library in LIBRARIES:
        what, rival = f"traces, {library} CartPole-v1", "the run without them"
        if importlib.util.find_spec(library) is None:
            yield skipped(what, rival, "at most 2 % more", f"{library} is not installed")
            continue
        pairs = turns_of(functools.partial(play, library, sizes), TURNS)
        extra = [100 * (ratio - 1) for ratio in pairs.times_the_cost()]
        by_cpu = [100 * (ratio - 1) for ratio in pairs.times_the_cost("cpu")]
        yield Row(
            *(what, rival, "at most 2 % more", spread(extra, ".1f", " %")),
            *(statistics.median(extra) <= 2, spread(by_cpu, ".1f", " %")),
            pairs.both("us a step", 1e6),
        )
    size = statistics.median(sizes)
    yield Row("traces on disk, CartPole-v1", "", "under 10 bytes a step", f"{size:.2f}", size < 10)


if __name__ == "__main__":
    show(rows())
