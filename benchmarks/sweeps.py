"""What a sweep costs a job: our pool against Hydra's basic and joblib launchers, in one run.

Needs `pip install hydra-joblib-launcher "hydra-core<1.4"` for the second rival. Overhead a job is
wall time times cores, less the time that the same episodes take in one process, divided by jobs.
Beside a bare fork for each episode, whole commands are compared, with their children.
Then a sweep of 1,000 jobs, which takes a minute: how long to repeat it, and to check it.
"""

import contextlib
import ctypes
import importlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Cost, Row, launch, process, show, skipped, spread, take_turns

CORES, JOBS, TURNS = 2, 64, 2
OVERRIDES = ("env=pendulum", "loop.max_episodes=1", "loop.eval_episodes=0")
POOL = "pool"
LAUNCHERS = {
    POOL: ("hydra/launcher=pool", f"hydra.launcher.n_jobs={CORES}"),
    "Hydra's basic": ("hydra/launcher=basic",),
    "Hydra's joblib": ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={CORES}"),
}
GOAL = 1 / 3
MANY, FEW, LAUNCHES = 1_000, 10, 7
PLAYED = {JOBS: 5, MANY: 2}  # jobs, and turns, against bare forks
PR_SET_CHILD_SUBREAPER = 36  # of Linux's <sys/prctl.h>
SHORT = ("env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=0")

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

FORKS = """
import csv, multiprocessing, os, pathlib, sys
import gym.envs.classic_control
from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym
from gym_loop.streams import episode_seed, seed_all

def play(seed):
    seed_all(seed)
    env = make_gym("Pendulum-v1")
    agent = RandomAgent(env.observation_space, env.action_space)
    state, _ = env.reset(seed=episode_seed(seed, 0))
    done, total, length = False, 0.0, 0
    while not done:
        action = agent.act(state, 0)
        new, reward, done, truncated, _ = env.step(action)
        agent.memorize(state, action, reward, done, new)
        agent.update(0)
        state, done, total, length = new, done or truncated, total + reward, length + 1
    os.makedirs(f"bare/{seed}", exist_ok=True)
    with open(f"bare/{seed}/episodes.csv", "w") as file:
        csv.writer(file).writerows([("episode", "return", "length"), (0, total, length)])
    for name, data in files.items():
        path = f"bare/{seed}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

files = {  # that a job of ours has written; those of code/ are links to another job's
    path.relative_to(job): path.read_bytes()
    for job in sys.argv[3:]
    for path in pathlib.Path(job).rglob("*")
    if path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1
}
with multiprocessing.get_context("fork").Pool(int(sys.argv[2]), maxtasksperchild=1) as pool:
    pool.map(play, range(int(sys.argv[1])), chunksize=1)
    pool.close()
    pool.join()
"""


def sweep(launcher: tuple[str, ...]) -> Cost:
    """Return what a whole command cost, from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("-m", f"seed=range({JOBS})", *OVERRIDES, *launcher, "hydra.sweep.dir=sweep")
        return launch(*words, cwd=folder)


def episodes() -> float:
    """Return how long the episodes take in one process."""
    words = (sys.executable, "-c", EPISODES, str(JOBS))
    return float(subprocess.run(words, check=True, capture_output=True).stdout)


def rows() -> Iterator[Row]:
    """Yield all rows."""
    yield from against_others()
    if sys.platform == "linux":
        yield from against_forks()
    yield from of_many_jobs()


def against_forks() -> Iterator[Row]:
    """Yield what a job costs beside a forked process that plays and writes one CSV.

    And beside one that also writes the files of such a job, each brought to the disk.
    """
    with tempfile.TemporaryDirectory() as folder:
        launch("-m", "seed=0,1", *OVERRIDES, "hydra.sweep.dir=sweep", cwd=folder)
        job = sorted(Path(folder, "sweep").glob("*/run.json"))[-1].parent
        rivals = {"a forked process that writes one CSV": (), "one that writes its files": (job,)}
        for (jobs, turns), (rival, more) in itertools.product(PLAYED.items(), rivals.items()):
            bare = (sys.executable, "-c", FORKS, str(jobs), str(CORES), *map(str, more))
            pairs = take_turns(
                lambda jobs=jobs: with_forks(jobs), lambda bare=bare: process(bare, folder), turns
            )
            ratios, goal = (
                pairs.times_the_cost("cpu"),
                "" if more else "at most twice its processor time",
            )
            yield Row(
                *(f"a job of one episode, {jobs:,} of them", rival, goal),
                spread(pairs.times_the_cost()),
                *(None if more else statistics.median(ratios) <= 2, spread(ratios)),
                pairs.both("s", 1.0),
            )


def with_forks(jobs: int) -> Cost:
    """Return what a sweep costs, with the process that its jobs are forked from."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # it outlives the launch by a moment
    with tempfile.TemporaryDirectory() as folder:
        words = (f"seed=range({jobs})", *OVERRIDES, *LAUNCHERS[POOL], "hydra.sweep.dir=sweep")
        cost = launch("-m", *words, cwd=folder)
        with contextlib.suppress(ChildProcessError):
            while True:
                _, _, usage = os.wait4(-1, 0)
                cost.cpu += usage.ru_utime + usage.ru_stime
    return cost


def of_many_jobs() -> Iterator[Row]:
    """Yield what a large sweep costs beside its jobs: to repeat it, and before the first starts."""
    with tempfile.TemporaryDirectory() as folder:

        def check(jobs: int) -> Cost:
            words = ("hydra.sweep.dir=new", "hydra.launcher.dry_run=true")
            return launch("-m", f"seed=range({jobs})", *SHORT, *words, cwd=folder)

        def repeat() -> Cost:
            words = (*SHORT, "hydra.sweep.dir=sweep")
            return launch("-m", f"seed=range({MANY})", *words, cwd=folder)

        repeat()  # plays them
        pairs = take_turns(repeat, lambda: launch("ls", "sweep", cwd=folder), LAUNCHES)
        ratios = pairs.times_the_cost()
        yield Row(
            *(f"repeating a finished sweep of {MANY:,} jobs", "gym-loop ls", "at most 1.5 times"),
            *(spread(ratios), statistics.median(ratios) <= 1.5),
            *(spread(pairs.times_the_cost("cpu")), pairs.both("s", 1.0)),
        )
        pairs = take_turns(lambda: check(MANY), lambda: check(FEW), LAUNCHES)
        yield Row(
            *(f"checking a sweep of {MANY:,} jobs", f"of {FEW}", "at most 1.4 s more"),
            *(spread(pairs.extra(), ".2f", " s"), statistics.median(pairs.extra()) <= 1.4),
            *(spread(pairs.extra("cpu"), ".2f", " s"), pairs.both("s", 1.0)),
        )


def against_others() -> Iterator[Row]:
    """Yield a row for each rival. All launchers take turns."""
    known = dict(LAUNCHERS)
    try:
        importlib.import_module("hydra_plugins.hydra_joblib_launcher")
    except ImportError:
        del known["Hydra's joblib"]
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if cores:
        os.sched_setaffinity(0, sorted(cores)[:CORES])
    costs: dict[str, list[float]] = {name: [] for name in known}
    for _ in range(TURNS):
        alone = episodes()
        for name, launcher in known.items():
            costs[name].append((sweep(launcher).wall * CORES - alone) / JOBS)
    if cores:
        os.sched_setaffinity(0, cores)
    middles = {name: statistics.median(of) for name, of in costs.items()}
    better = min(set(known) - {POOL}, key=middles.__getitem__)
    for name in LAUNCHERS:
        if name == POOL:
            continue
        what, goal = f"overhead a job, {JOBS} jobs of one episode, {CORES} cores", ""
        if name not in known:
            yield skipped(what, name, goal, "hydra-joblib-launcher is not installed")
            continue
        ratios = [a / b for a, b in zip(costs[POOL], costs[name], strict=True)]
        met = statistics.median(ratios) <= GOAL if name == better else None
        yield Row(
            *(what, name, "at most a third of it" if name == better else goal, spread(ratios)),
            *(met, ""),
            f"{middles[POOL] * 1e3:.0f} and {middles[name] * 1e3:.0f} ms",
        )


if __name__ == "__main__":
    show(rows())
