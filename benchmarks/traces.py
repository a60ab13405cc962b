"""What traces cost the loop, and on disk: CartPole, the random agent, nothing else watching.

The two sides take turns every few hundred episodes, a twentieth of a second, for as many as several
files hold: so that what else the machine does reaches both alike, and writing files is in it.
"""

import importlib.util
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Cost, Pairs, Row, show, skipped, spread, timed
from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym, make_gymnasium
from gym_loop.loops import DefaultLoop
from gym_loop.observers.trace import Trace

MAKERS = {"gym": make_gym, "gymnasium": make_gymnasium}
EPISODES, BLOCKS, TURNS = 400, 25, 5


def play(env: Any, folder: Path, sizes: list[float]) -> tuple[Cost, Cost]:
    """Return what a step costs with traces and without; append the bytes of a step's traces."""
    loops, costs = [], []
    for traced in (True, False):
        agent = RandomAgent(env.observation_space, env.action_space)
        agent.action_space.seed(0)
        loop = DefaultLoop(agent, env, max_episodes=EPISODES)
        loop.directory, loop.observers = folder, {"trace": Trace()} if traced else {}
        loop.notify("begin", loop)
        loops.append(loop)
        costs.append(Cost(0.0, 0.0))
    for block in range(BLOCKS):
        for loop, cost in zip(loops, costs, strict=True):
            loop.parameters["max_episodes"] = (block + 1) * EPISODES

            def work(loop: Any = loop) -> int:
                loop.train()
                if block == BLOCKS - 1:
                    for observer in loop.observers.values():
                        observer.close(None)
                return 1

            more = timed(work)
            cost.wall, cost.cpu = cost.wall + more.wall, cost.cpu + more.cpu
    sizes.append(sum(file.stat().st_size for file in folder.rglob("*.npz")) / loops[0].steps)
    with_traces, without = (
        Cost(cost.wall / loop.steps, cost.cpu / loop.steps)
        for loop, cost in zip(loops, costs, strict=True)
    )
    return with_traces, without


def rows() -> Iterator[Row]:
    """Yield what traces cost with each library, then how large they are."""
    sizes: list[float] = []
    for library, make in MAKERS.items():
        what, rival = f"traces, {library} CartPole-v1", "the loop without them"
        if importlib.util.find_spec(library) is None:
            yield skipped(what, rival, "at most 2 % more", f"{library} is not installed")
            continue
        env, pairs = make("CartPole-v1"), Pairs([], [])
        for turn in range(TURNS + 1):
            with tempfile.TemporaryDirectory() as folder:
                both = play(env, Path(folder), sizes)
            if turn:
                pairs.ours.append(both[0])
                pairs.rival.append(both[1])
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
