"""What a checkpoint costs beyond the agent's own bytes; what it and traces cost a loop.

The rival of a checkpoint writes the agent as it saves itself into one file, then fsync and rename:
the least that a durable save can be. The loop plays for some seconds: of a run of half a second,
the first and the last checkpoint, which no budget holds back, are two percent.

A large agent is written by a child beside training: what counts is how long training stands still,
until the child is at work and again to give the checkpoint its name. Its rival is `torch.save` and
fsync of the same arrays. The memory is that of parent and child together, pages that they share
counted once.
"""

import contextlib
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import (
    Cost,
    Pairs,
    Row,
    show,
    side_by_side,
    skipped,
    spread,
    take_turns,
    timed,
    turns_of,
)
from benchmarks.loop import silent, with_and_without
from gym_loop import launch as launcher
from gym_loop.agents import RandomAgent

SIZES = {"1 kB": 1 << 10, "10 MB": 10 << 20}
TURNS, STEPS, BLOCKS = 3, 5_000, 160
WRITES = 30
LARGE, LARGE_WRITES = 500_000_000, 5


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
    yield from of_a_large_agent()
    pairs = turns_of(play, TURNS)
    extra = [100 * (ratio - 1) for ratio in pairs.times_the_cost()]
    by_cpu = [100 * (ratio - 1) for ratio in pairs.times_the_cost("cpu")]
    yield Row(
        *("checkpoints and traces on CartPole", "the loop without them", "at most 3 % more"),
        *(spread(extra, ".1f", " %"), statistics.median(extra) <= 3),
        *(spread(by_cpu, ".1f", " %"), pairs.both("us a step", 1e6)),
    )


class Large(Heavy):
    """A random agent with ten arrays."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        count = self.parameters["size"] // 80
        self.weights: Any = [np.full(count, float(number)) for number in range(10)]


def of_a_large_agent() -> Iterator[Row]:
    """Yield how long training stands still for a large agent's checkpoint, and its memory."""
    what, rival = f"checkpoint of an agent of {LARGE // 1_000_000} MB", "torch.save, fsync"
    if importlib.util.find_spec("torch") is None:
        yield skipped(what, rival, "at most 0.05 of it", "torch is not installed")
        return
    found: list[Any] = []
    with tempfile.TemporaryDirectory() as folder, silent():
        words = [f"agent={__name__.replace('__main__', 'benchmarks.checkpoints')}:Large"]
        words += ["env=cartpole", f"agent.size={LARGE}", f"hydra.run.dir={folder}/run"]
        launcher.launch(words, task=lambda cfg: found.append(standstill(cfg, Path(folder))))
    pairs, extra = found[0]
    ratios, peak = pairs.times_the_cost(), [each / LARGE for each in extra]
    yield Row(
        *(f"{what}: training stands still", rival, "at most 0.05 of it", spread(ratios, ".3f")),
        *(statistics.median(ratios) <= 0.05, "", pairs.both("s", 1.0)),
    )
    yield Row(
        *(f"{what}: memory above the agent", "its size", "at most 0.1 of it"),
        *(spread(peak), statistics.median(peak) <= 0.1),
    )


def standstill(cfg: Any, folder: Path) -> tuple[Pairs, list[float]]:
    """Return the times of both sides, and the bytes that child and parent take while it writes."""
    import torch

    loop, checkpoints = prepared(cfg, folder)
    pairs, extra = Pairs([], []), []
    loop.episodes += 1
    checkpoints.write(loop)
    for _ in range(LARGE_WRITES):
        loop.episodes += 1
        before = memory(os.getpid())
        stood = timed(lambda: (checkpoints.write(loop, in_the_loop=False), 1)[1]).wall
        most = 0.0
        while checkpoints.pending:
            with contextlib.suppress(OSError):  # it has just ended
                both = memory(os.getpid()) + memory(checkpoints.pending.child.pid)
                most = max(most, both - before)
            time.sleep(0.02)
            stood += timed(lambda: (checkpoints.end_cycle(loop), 1)[1]).wall
        pairs.ours.append(Cost(stood, 0.0))
        extra.append(most)

        def rival() -> int:
            with open(folder / "agent.pt", "wb") as file:
                torch.save([torch.from_numpy(each) for each in loop.agent.weights], file)
                file.flush()
                os.fsync(file.fileno())
            return 1

        pairs.rival.append(timed(rival))
    checkpoints.close(None)
    return pairs, extra


def memory(pid: int) -> float:
    """Return how many bytes a process takes; of a page that n processes share, the n-th part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * float(next(line for line in lines if line.startswith("Pss:")).split()[1])


def play() -> list[Cost]:
    """Return what a step costs with checkpoints and traces, and without them."""
    without = ("loop.trace=false", "observers.checkpoints=null")
    with with_and_without(STEPS, BLOCKS, ("env=cartpole",), without) as sides:
        return side_by_side(BLOCKS, *sides)


def prepared(cfg: Any, folder: Path) -> tuple[Any, Any]:
    """Return the loop of `cfg`, and the observer that writes its checkpoints."""
    checkpoints = launcher.instantiate(cfg.observers.checkpoints)
    checkpoints.open(cfg, folder)
    loop = launcher.build(cfg, folder, {"checkpoints": checkpoints})
    loop.notify("begin", loop)
    return loop, checkpoints


def measure(cfg: Any, folder: Path) -> Any:
    """Return what checkpoints of one run cost, and what saving its agent alone costs."""
    loop, checkpoints = prepared(cfg, folder)

    def checkpoint() -> int:
        loop.episodes += 1
        checkpoints.write(loop)
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
