"""DefaultLoop in an environment with three wrappers against the same ones in a bare loop.

One bare loop takes turns with a run's in the run's own environment and with its agent: where these
lie in memory makes 5 % of the speed. The environment records what is played below its wrappers. The
other one, in a process of its own, has the library's own wrappers around its environment, and
nothing of ours. Like ours both seed every reset. See `benchmarks.loop`.
"""

import contextlib
import functools
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.harness import Cost, Row, show, side_by_side, skipped, turns_of
from benchmarks.loop import Run, bare, compared, measured, stepped
from benchmarks.samples import made
from gym_loop.agents import RandomAgent

WRAPPERS = "frame_stack", "normalize_observation", "normalize_reward"
LEAST = 0.95  # of the bare loop's speed
TURNS = 7
# Environment of Gymnasium's, and what it needs: blocks, and steps in each. In a short run the first
# checkpoint and the last one, as slow as a thousand steps, would count for more than they do.
ENVS = {("Pendulum-v1", "gymnasium"): (60, 2_000), ("HalfCheetah-v5", "mujoco"): (60, 1_000)}


def wrapped(id: str) -> Any:
    """Return the environment in the library's own wrappers."""
    from gymnasium import wrappers

    env = wrappers.FrameStackObservation(made("gymnasium", id), 4)
    return wrappers.NormalizeReward(wrappers.NormalizeObservation(env))


def run_in(id: str, steps: int, blocks: int) -> Run:
    """Return a run in the environment as `wrap=[...]` composes it."""
    return Run(steps, blocks, f"env=gymnasium:{id}", f"wrap=[{','.join(WRAPPERS)}]")


def in_one(id: str, steps: int, blocks: int) -> Sequence[Cost]:
    """Return what a step costs in a run, and in a bare loop in the run's environment."""
    with contextlib.closing(run_in(id, steps, blocks)) as run:
        return side_by_side(blocks, run, stepped(run.loop.env, run.loop.agent, steps))


def rows() -> Iterator[Row]:
    """Yield two rows for each environment, with everything on."""
    for (id, package), (blocks, steps) in ENVS.items():
        what, goal = (
            f"loop, everything on, three wrappers, {id}",
            f"at least {LEAST} of its steps/s",
        )
        same = "the same environment in a bare loop that seeds each reset"
        theirs = "the library's own wrappers in that loop, nothing recorded"
        if importlib.util.find_spec(package) is None:
            for rival in (same, theirs):
                yield skipped(what, rival, goal, f"{package} is not installed")
            continue
        pairs = turns_of(functools.partial(in_one, id, steps, blocks), TURNS)
        yield compared(what, same, goal, pairs.ours, pairs.rival, LEAST)
        loop, limit = measured(
            blocks,
            functools.partial(run_in, id, steps, blocks),
            functools.partial(bare, functools.partial(wrapped, id), RandomAgent, steps),
            turns=TURNS,
        )
        yield compared(what, theirs, goal, loop, limit, LEAST)


if __name__ == "__main__":
    show(rows())
