"""What traces cost the loop, and on disk: CartPole, the random agent, nothing else watching.

The two sides take turns every few hundred episodes, a twentieth of a second, for as many as several
files hold: so that what else the machine does reaches both alike, and writing files is in it.
"""

import functools
import importlib.util
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Cost, Row, show, side_by_side, skipped, spread, turns_of
from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym, make_gymnasium
from gym_loop.loops import DefaultLoop
from gym_loop.observers.trace import Trace

MAKERS = {"gym": make_gym, "gymnasium": make_gymnasium}
EPISODES, BLOCKS, TURNS = 400, 25, 5


def play(env: Any, sizes: list[float]) -> Sequence[Cost]:
    """Return what a step costs with traces and without; append the bytes of a step's traces."""
    with tempfile.TemporaryDirectory() as folder:
        loops = [make_loop(env, Path(folder), traced) for traced in (True, False)]
        costs = side_by_side(BLOCKS, *(functools.partial(block, loop) for loop in loops))
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.npz"))
        sizes.append(size / loops[0].steps)
    return costs


def make_loop(env: Any, folder: Path, traced: bool) -> DefaultLoop:
    """Return a loop that only traces watch, or nobody."""
    agent = RandomAgent(env.observation_space, env.action_space)
    agent.action_space.seed(0)
    loop = DefaultLoop(agent, env)
    loop.directory, loop.observers = folder, {"trace": Trace()} if traced else {}
    loop.notify("begin", loop)
    return loop


def block(loop: DefaultLoop) -> int:
    """Play on; write the last file with the last block. Return how many steps that were."""
    before = loop.steps
    loop.parameters["max_episodes"] = loop.episodes + EPISODES
    loop.train()
    if loop.episodes == EPISODES * BLOCKS:
        for observer in loop.observers.values():
            observer.close(None)
    return loop.steps - before


def rows() -> Iterator[Row]:
    """Yield what traces cost with each library, then how large they are."""
    sizes: list[float] = []
    for library, make in MAKERS.items():
        what, rival = f"traces, {library} CartPole-v1", "the loop without them"
        if importlib.util.find_spec(library) is None:
            yield skipped(what, rival, "at most 2 % more", f"{library} is not installed")
            continue
        env = make("CartPole-v1")
        pairs = turns_of(functools.partial(play, env, sizes), TURNS)
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
