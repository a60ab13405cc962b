"""DefaultLoop in an environment with three wrappers against the same ones in a bare loop.

One bare loop steps what the config composes, which records what the environment plays below its
wrappers. The other one has the library's own wrappers around its environment, and nothing of ours.
Like ours both have an agent, and seed every reset. See `benchmarks.loop`.
"""

import functools
import importlib.util
from collections.abc import Iterator
from typing import Any

from benchmarks.harness import Row, show, skipped
from benchmarks.loop import Run, bare, compared, measured
from benchmarks.samples import made
from gym_loop.agents import RandomAgent
from gym_loop.envs import wrappers as ready
from gym_loop.envs.make import make_gymnasium

WRAPPERS = "frame_stack", "normalize_observation", "normalize_reward"
LEAST = 0.95  # of the bare loop's speed
TURNS = 7  # each in new processes: where these put things in memory makes 5 % of the speed
# Environment of Gymnasium's, and what it needs: blocks, and steps in each. In a short run the first
# checkpoint and the last one, as slow as a thousand steps, would count for more than they do.
ENVS = {("Pendulum-v1", "gymnasium"): (60, 2_000), ("HalfCheetah-v5", "mujoco"): (60, 1_000)}


def wrapped(id: str) -> Any:
    """Return the environment in the library's own wrappers."""
    from gymnasium import wrappers

    env = wrappers.FrameStackObservation(made("gymnasium", id), 4)
    return wrappers.NormalizeReward(wrappers.NormalizeObservation(env))


def composed(id: str) -> Any:
    """Return the environment as `wrap=[...]` composes it."""
    return make_gymnasium(id, wrappers={name: getattr(ready, name) for name in WRAPPERS})


def rows() -> Iterator[Row]:
    """Yield two rows for each environment, with everything on."""
    for (id, package), (blocks, steps) in ENVS.items():
        what, goal = (
            f"loop, everything on, three wrappers, {id}",
            f"at least {LEAST} of its steps/s",
        )
        rivals = {
            "the same environment in a bare loop that seeds each reset": composed,
            "the library's own wrappers in that loop, nothing recorded": wrapped,
        }
        if importlib.util.find_spec(package) is None:
            for rival in rivals:
                yield skipped(what, rival, goal, f"{package} is not installed")
            continue
        ours = functools.partial(
            Run, steps, blocks, f"env=gymnasium:{id}", f"wrap=[{','.join(WRAPPERS)}]"
        )
        theirs = [
            functools.partial(bare, functools.partial(make, id), RandomAgent, steps)
            for make in rivals.values()
        ]
        loop, *limits = measured(blocks, ours, *theirs, turns=TURNS)
        for rival, limit in zip(rivals, limits, strict=True):
            yield compared(what, rival, goal, loop, limit, LEAST)


if __name__ == "__main__":
    show(rows())
