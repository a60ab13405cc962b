"""A loop that writes numbers of each episode's info against one that does not."""

import importlib.util
import statistics
from collections.abc import Iterator

from benchmarks.harness import Cost, Row, show, side_by_side, skipped, spread, turns_of
from benchmarks.loop import with_and_without

MOST = 2.0  # per cent more
TURNS, BLOCKS = 5, 40
# Environment of Gymnasium's, and steps in a block. Random episodes of Hopper have some twenty.
ENVS = {"HalfCheetah-v5": 1_000, "Hopper-v5": 1_500}


def rows() -> Iterator[Row]:
    """Yield a row for each environment."""
    for id, steps in ENVS.items():
        what, rival = f"loop.info_keys=[x_position], {id}", "the loop without"
        goal = f"at most {MOST:g} % more"
        if importlib.util.find_spec("mujoco") is None:
            yield skipped(what, rival, goal, "mujoco is not installed")
            continue

        def both(id: str = id, steps: int = steps) -> list[Cost]:
            words = (f"env=gymnasium:{id}", "loop.info_keys=[x_position]")
            with with_and_without(steps, BLOCKS, words, ("loop.info_keys=[]",)) as sides:
                return side_by_side(BLOCKS, *sides)

        pairs = turns_of(both, TURNS)
        extra, by_cpu = (
            [100 * (ratio - 1) for ratio in pairs.times_the_cost(clock)]
            for clock in ("wall", "cpu")
        )
        yield Row(
            *(what, rival, goal, spread(extra, ".1f", " %"), statistics.median(extra) <= MOST),
            *(spread(by_cpu, ".1f", " %"), pairs.both("us a step", 1e6)),
        )


if __name__ == "__main__":
    show(rows())
