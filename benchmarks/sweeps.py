"""What a sweep costs a job: our pool against Hydra's basic and joblib launchers, in one run.

    pip install gym-loop hydra-joblib-launcher
    python benchmarks/sweeps.py [JOBS] [ROUNDS]

Overhead a job is wall time times cores, less the time that the same episodes take in one process,
divided by the number of jobs. The launchers take turns; the table shows the medians.
"""

import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

CORES = 2
OVERRIDES = ["env=pendulum", "loop.max_episodes=1", "loop.eval_episodes=0"]
LAUNCHERS = {
    "pool (ours)": ["hydra/launcher=pool", f"hydra.launcher.n_jobs={CORES}"],
    "Hydra's basic": ["hydra/launcher=basic"],
    "joblib": ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={CORES}"],
}

EPISODES = """
import sys, time
from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym
from gym_loop.loops import DefaultLoop
env = make_gym("Pendulum-v1")
began = time.perf_counter()
for seed in range(int(sys.argv[1])):
    loop = DefaultLoop(RandomAgent(env.observation_space, env.action_space), env, max_episodes=1)
    loop.seed = seed
    loop.train()
print(time.perf_counter() - began)
"""


def sweep(launcher: list[str], jobs: int) -> float:
    """Return the wall time of a whole command, from its start to its end."""
    directory = tempfile.mkdtemp()
    words = ["-m", f"seed=range({jobs})", *OVERRIDES, *launcher, f"hydra.sweep.dir={directory}/s"]
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gym_loop", *words], check=True, capture_output=True, cwd=directory
    )
    seconds = time.perf_counter() - began
    shutil.rmtree(directory)
    return seconds


def main() -> None:
    """Run the benchmark and print its table."""
    jobs, rounds = map(int, (*sys.argv[1:], 64, 3)[:2] if len(sys.argv) != 2 else (sys.argv[1], 3))
    if importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        sys.exit("the rival is missing: pip install hydra-joblib-launcher")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    seconds: dict[str, list[float]] = {name: [] for name in LAUNCHERS}
    bare = []
    for _ in range(rounds):
        words = [sys.executable, "-c", EPISODES, str(jobs)]
        bare.append(float(subprocess.run(words, check=True, capture_output=True).stdout))
        for name, launcher in LAUNCHERS.items():
            seconds[name].append(sweep(launcher, jobs))
    episodes = statistics.median(bare)
    overhead = {
        name: (statistics.median(times) * CORES - episodes) / jobs
        for name, times in seconds.items()
    }
    rivals = {name: cost for name, cost in overhead.items() if "ours" not in name}
    better = min(rivals, key=rivals.__getitem__)
    print(f"{jobs} jobs of one episode on {CORES} cores; the episodes alone: {episodes:.2f} s")
    print(f"{'launcher':<15}{'wall':>9}{'overhead a job':>17}{'of the better rival':>22}")
    for name, cost in overhead.items():
        wall = statistics.median(seconds[name])
        print(f"{name:<15}{wall:>7.1f} s{cost * 1e3:>14.0f} ms{cost / overhead[better]:>22.2f}")


if __name__ == "__main__":
    main()
