"""What traces cost the loop, on disk, and when an episode of a long run is played again.

    pip install gym-loop
    python benchmarks/traces.py [EPISODES] [ROUNDS]

The loop plays CartPole with the random agent, with nothing to watch it, or with traces alone; the
two take turns, and the table shows medians. Processor time counts both threads; the wall counts
what the loop waits for. Then two runs are made, one a hundred times as long as the other, and the
last episode of each is played again by the command.
"""

import importlib.metadata
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym, make_gymnasium
from gym_loop.loops import DefaultLoop
from gym_loop.observers.trace import Trace

SHORT, LONG = 1_000, 100_000


def play(make, episodes: int, traced: bool) -> tuple[float, float, float]:
    """Return wall and processor seconds, and bytes a step."""
    env = make("CartPole-v1")
    env.action_space.seed(0)
    agent = RandomAgent(env.observation_space, env.action_space)
    agent.action_space.seed(0)
    with tempfile.TemporaryDirectory() as directory:
        loop = DefaultLoop(agent, env, max_episodes=episodes)
        loop.directory, loop.observers = Path(directory), {"trace": Trace()} if traced else {}
        loop.notify("begin", loop)
        wall, processor = time.perf_counter(), time.process_time()
        loop.train()
        for observer in loop.observers.values():
            observer.close(None)
        seconds = time.perf_counter() - wall, time.process_time() - processor
        size = sum(file.stat().st_size for file in Path(directory).rglob("*.npz"))
    return *seconds, size / loop.steps


def replay(episodes: int) -> float:
    """Return how long it takes to play the last episode of a run of so many again."""
    with tempfile.TemporaryDirectory() as directory:
        words = ["env=cartpole", f"loop.max_episodes={episodes}", "loop.eval_episodes=0"]
        command = [sys.executable, "-m", "gym_loop"]
        subprocess.run(
            [*command, *words, f"hydra.run.dir={directory}/run"], check=True, capture_output=True
        )
        times = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run(
                [*command, "replay", f"{directory}/run"], check=True, capture_output=True
            )
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Print both tables."""
    episodes, rounds = (int(word) for word in [*sys.argv[1:], "4000", "15"][:2])
    versions = ", ".join(
        f"{p} {importlib.metadata.version(p)}" for p in ("gym", "gymnasium", "numpy")
    )
    print(
        f"Python {platform.python_version()}, {versions}; {rounds} rounds of {episodes} episodes\n"
    )
    print(
        "| CartPole, random agent | speed with traces / without, wall (spread) | the same, "
        "processor | bytes a step |\n|---|---|---|---|"
    )
    for name, make in (("gym", make_gym), ("Gymnasium", make_gymnasium)):
        ratios = []
        for _ in range(rounds):
            without, traced = play(make, episodes, False), play(make, episodes, True)
            ratios.append([a / b for a, b in zip(without[:2], traced[:2], strict=True)])
        wall, processor = (sorted(ratio) for ratio in zip(*ratios, strict=True))
        quarter = rounds // 4
        print(
            f"| {name} | {statistics.median(wall):.3f} ({wall[quarter]:.3f} to "
            f"{wall[-1 - quarter]:.3f}) | {statistics.median(processor):.3f} "
            f"({processor[quarter]:.3f} to {processor[-1 - quarter]:.3f}) | {traced[2]:.2f} |"
        )
    short, long = replay(SHORT), replay(LONG)
    print(
        f"\n| `gym-loop replay RUN_DIR` of the last episode | seconds |\n|---|---|\n"
        f"| of {SHORT} | {short:.2f} |\n| of {LONG} | {long:.2f} ({long / short:.2f} times) |"
    )


if __name__ == "__main__":
    main()
