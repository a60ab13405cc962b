"""What a checkpoint costs beyond the agent's own bytes; what it and traces cost a loop.

The rival of a checkpoint writes the agent as it saves itself into one file, then fsync and rename:
the least that a durable save can be. The loop plays for some seconds: of a run of half a second,
the first and the last checkpoint, which no budget holds back, are two percent.
"""

import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Cost, Row, show, side_by_side, spread, take_turns, timed, turns_of
from benchmarks.loop import silent, with_and_without
from gym_loop import launch as launcher
from gym_loop.agents import RandomAgent

SIZES = {"1 kB": 1 << 10, "10 MB": 10 << 20}
TURNS, STEPS, BLOCKS = 3, 5_000, 160
WRITES = 30


class Heavy(RandomAgent):
    """A random agent with something to save."""

    @staticmethod
    def get_default_parameters() -> dict[str, Any]:
        """Return the parameters."""
        return {"size": 1}

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.weights = np.random.default_rng(0).bytes(self.parameters["size"])


def rows() -> Iterator[Row]:
    """Yield a row for each size of agent, and one for checkpoints and traces in a loop."""
    for name, size in SIZES.items():
        found = []
        with tempfile.TemporaryDirectory() as folder, silent():
            words = (f"agent={__name__.replace('__main__', 'benchmarks.checkpoints')}:Heavy",)
            words += ("env=cartpole", f"agent.size={size}", f"hydra.run.dir={folder}/run")
            launcher.launch([*words], task=lambda cfg: found.append(measure(cfg, Path(folder))))
        extra = [1e3 * seconds for seconds in found[0].extra()]
        by_cpu = [1e3 * seconds for seconds in found[0].extra("cpu")]
        yield Row(
            *(f"checkpoint of an agent of {name}", "the agent's own bytes, fsync, rename"),
            *("less than 5 ms more", spread(extra, ".1f", " ms"), statistics.median(extra) < 5),
            *(spread(by_cpu, ".1f", " ms"), found[0].both("ms", 1e3)),
        )
    pairs = turns_of(play, TURNS)
    extra = [100 * (ratio - 1) for ratio in pairs.times_the_cost()]
    by_cpu = [100 * (ratio - 1) for ratio in pairs.times_the_cost("cpu")]
    yield Row(
        *("checkpoints and traces on CartPole", "the loop without them", "at most 3 % more"),
        *(spread(extra, ".1f", " %"), statistics.median(extra) <= 3),
        *(spread(by_cpu, ".1f", " %"), pairs.both("us a step", 1e6)),
    )


def play() -> list[Cost]:
    """Return what a step costs with checkpoints and traces, and without them."""
    without = ("loop.trace=false", "observers.checkpoints=null")
    with with_and_without(STEPS, BLOCKS, ("env=cartpole",), without) as sides:
        return side_by_side(BLOCKS, *sides)


def measure(cfg: Any, folder: Path) -> Any:
    """Return what checkpoints of one run cost, and what saving its agent alone costs."""
    observers = {"checkpoints": launcher.instantiate(cfg.observers.checkpoints)}
    observers["checkpoints"].open(cfg, folder)
    loop = launcher.build(cfg, folder, observers)
    loop.notify("begin", loop)

    def checkpoint() -> int:
        loop.episodes += 1
        observers["checkpoints"].write(loop)
        return 1

    def agent_alone() -> int:
        loop.agent.save(folder)
        with open(folder / "agent.pkl", "rb") as file:
            os.fsync(file.fileno())
        os.replace(folder / "agent.pkl", folder / "saved.pkl")
        return 1

    return take_turns(lambda: timed(checkpoint), lambda: timed(agent_alone), WRITES)


if __name__ == "__main__":
    show(rows())
