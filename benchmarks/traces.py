"""What traces cost the loop, and on disk: CartPole, the random agent, nothing else watching.

Processor time counts the thread that writes; the wall counts what the loop waits for.
"""

import importlib.util
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Cost, Row, show, skipped, spread, take_turns, timed
from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym, make_gymnasium
from gym_loop.loops import DefaultLoop
from gym_loop.observers.trace import Trace

MAKERS = {"gym": make_gym, "gymnasium": make_gymnasium}
EPISODES, TURNS = 5_000, 7


def play(env: Any, traced: bool, sizes: list[float]) -> Cost:
    """Return what a step costs, and append the bytes that traces of one take."""
    agent = RandomAgent(env.observation_space, env.action_space)
    agent.action_space.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        loop = DefaultLoop(agent, env, max_episodes=EPISODES)
        loop.directory, loop.observers = Path(folder), {"trace": Trace()} if traced else {}
        loop.notify("begin", loop)

        def work() -> int:
            loop.train()
            for observer in loop.observers.values():
                observer.close(None)
            return int(loop.steps)

        cost = timed(work)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.npz"))
        sizes.append(size / loop.steps)
    return cost


def rows() -> Iterator[Row]:
    """Yield what traces cost with each library, then how large they are."""
    sizes: list[float] = []
    for library, make in MAKERS.items():
        what, rival = f"traces, {library} CartPole-v1", "the loop without them"
        if importlib.util.find_spec(library) is None:
            yield skipped(what, rival, "at most 2 % more", f"{library} is not installed")
            continue
        env = make("CartPole-v1")
        pairs = take_turns(
            lambda env=env: play(env, True, sizes), lambda env=env: play(env, False, []), TURNS
        )
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
