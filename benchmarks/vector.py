"""`loop=vector` against the same vector environment stepped bare, both with random actions.

    python -m benchmarks.vector [--envs 64] [--turns 9] [--steps 3000] [--cpu] [NAME ...]

The two sides take turns in one process. Transitions a second are compared, resets that take the
place of a step not being transitions. The columns are ratios to bare: the loop with the random
agent, with one whose `memorize` and `update` are called, and with what watches by default. Each is
the median over the turns, with quartiles.
"""

import argparse
import contextlib
import functools
import itertools
import statistics
import tempfile
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from gym_loop.agents import RandomAgent
from gym_loop.envs import MissingDependencyError, make_gym
from gym_loop.envs.envpool import make_envpool
from gym_loop.envs.vector import make_gymnasium_vector, make_vector
from gym_loop.launch import instantiate
from gym_loop.loops.streams import sample
from gym_loop.loops.vector_loop import VectorLoop

CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"


def bare_envpool(id: str, count: int):
    """Return EnvPool's own step, after a reset."""
    import envpool

    with warnings.catch_warnings(action="ignore"):  # of its spaces' bounds
        pool = envpool.make(id, env_type="gymnasium", num_envs=count, seed=0)
        pool.reset()
    return pool.step


def bare_gymnasium(count: int):
    """Return the step of Gymnasium's vector entry point, after a reset."""
    import gymnasium

    env = gymnasium.make_vec(CARTPOLE, count, vectorization_mode="vector_entry_point")
    env.reset(seed=0)
    return env.step


def bare_copies(count: int):
    """Return a function that steps single environments of gym's and resets those that end."""
    envs = [make_gym(CARTPOLE) for _ in range(count)]
    seeds = itertools.count()
    for env in envs:
        env.reset(seed=next(seeds))

    def step(actions):
        for env, action in zip(envs, actions.tolist(), strict=True):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset(seed=next(seeds))
        return None, None, np.zeros(1, bool), np.zeros(1, bool)  # no step is a reset

    return step


# name: title, the rival's step function for a number of environments, what the loop is given
ENVIRONMENTS = {
    "envpool": (
        "EnvPool, CartPole-v1",
        functools.partial(bare_envpool, CARTPOLE),
        functools.partial(make_envpool, CARTPOLE),
    ),
    "envpool-pendulum": (
        "EnvPool, Pendulum-v1",
        functools.partial(bare_envpool, PENDULUM),
        functools.partial(make_envpool, PENDULUM),
    ),
    "gymnasium": (
        "Gymnasium's vector entry point, CartPole-v1",
        bare_gymnasium,
        functools.partial(make_gymnasium_vector, CARTPOLE, mode="vector_entry_point"),
    ),
    "gym": ("copies of gym's CartPole-v1", bare_copies, functools.partial(make_gym, CARTPOLE)),
}
CONF = Path(__file__).parents[1] / "conf"


class Forgetful(RandomAgent):
    """A random agent whose `memorize` and `update` are called, and do nothing."""

    learns = True


def bare(env, make_step, steps: int, clock) -> float:
    """Return transitions a second of the rival of `env`, stepped with samples of its actions."""
    step, ends, space, everyone = make_step(env.num_envs), [], env.action_space, range(env.num_envs)
    began = clock()
    for _ in range(steps):
        ends.append(step(sample(space, everyone))[2:4])
    seconds = clock() - began
    resets = sum(int((terminated | truncated).sum()) for terminated, truncated in ends)
    return (steps * env.num_envs - resets) / seconds


def looped(env, kind, steps: int, observers: dict, clock) -> float:
    """Return transitions a second of VectorLoop in `env`, training only."""
    config = {"env": {}, "agent": {}, "loop": VectorLoop.get_default_parameters(), "seed": 0}
    with tempfile.TemporaryDirectory() as directory:
        for observer in observers.values():
            observer.open(OmegaConf.create(config), Path(directory))
        loop = VectorLoop(
            kind(observation_space=env.observation_space, action_space=env.action_space),
            env,
            num_envs=env.num_envs,
            max_steps=steps * env.num_envs,
            max_episodes=None,
        )
        loop.observers, loop.directory = observers, Path(directory)
        loop.notify("begin", loop)
        began = clock()
        loop.train()
        seconds = clock() - began
        for observer in reversed(observers.values()):
            observer.close(KeyboardInterrupt())  # nothing to sum up
        return loop.steps / seconds


def observers() -> dict:
    """Return what watches by default, but for what needs a launch: run.json and signals."""
    config = OmegaConf.load(CONF / "observers" / "default.yaml")
    names = [name for name in config if name not in ("manifest", "signals", "progress")]
    return {name: instantiate(config[name]) for name in names}


def quartiles(values: list) -> str:
    """Return the median, and the quartiles in brackets."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ENVIRONMENTS))
    parser.add_argument("--envs", type=int, default=64)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="processor time: on a busy machine, and not for EnvPool, whose threads wait busily",
    )
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu else time.perf_counter
    print(f"{arguments.envs} environments, {arguments.turns} turns of {arguments.steps} steps; ")
    for package in ("gym-loop", "numpy", "gym", "gymnasium", "envpool"):
        with contextlib.suppress(PackageNotFoundError):
            print(package, version(package), end="  ")
    print(
        "\n\n| environment | bare, transitions/s | random agent | memorize called | all observers |"
    )
    print("|---|---|---|---|---|")
    for name in arguments.names or ENVIRONMENTS:
        title, make_step, factory = ENVIRONMENTS[name]
        try:
            env = make_vector(factory, arguments.envs, 5000)
        except MissingDependencyError as error:
            print(f"| {title} | {error} | | | |")
            continue
        rates, columns = [], ([], [], [])
        for turn in range(arguments.turns + 1):
            rate = bare(env, make_step, arguments.steps, clock)
            ours = (
                looped(env, RandomAgent, arguments.steps, {}, clock),
                looped(env, Forgetful, arguments.steps, {}, clock),
                looped(env, RandomAgent, arguments.steps, observers(), clock),
            )
            if turn:  # the first one warms up
                rates.append(rate)
                for column, mine in zip(columns, ours, strict=True):
                    column.append(mine / rate)
        ratios = " | ".join(quartiles(column) for column in columns)
        print(f"| {title} | {statistics.median(rates):,.0f} | {ratios} |", flush=True)
        env.close()


if __name__ == "__main__":
    main()
