"""`loop=vector` against the same vector environment stepped bare, both with random actions.

Transitions are compared; a reset that takes the place of a step is none. The loop runs with the
random agent; with one whose `memorize` and `update` are called; with what watches by default.
"""

import functools
import itertools
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.harness import Cost, Row, show, skipped, spread, take_turns, timed
from gym_loop.agents import RandomAgent
from gym_loop.envs import MissingDependencyError, make_gym
from gym_loop.envs.envpool import make_envpool
from gym_loop.envs.vector import make_gymnasium_vector, make_vector
from gym_loop.launch import CONF, instantiate
from gym_loop.loops.streams import samples
from gym_loop.loops.vector_loop import VectorLoop

CARTPOLE = "CartPole-v1"
ENVS, STEPS, TURNS = 64, 2_000, 5


def bare_envpool() -> Callable[..., Any]:
    """Return EnvPool's own step, after a reset."""
    import envpool

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its spaces' bounds
        pool = envpool.make(CARTPOLE, env_type="gymnasium", num_envs=ENVS, seed=0)
        pool.reset()
    return pool.step


def bare_gymnasium() -> Callable[..., Any]:
    """Return the step of Gymnasium's vector entry point, after a reset."""
    import gymnasium

    env = gymnasium.make_vec(CARTPOLE, ENVS, vectorization_mode="vector_entry_point")
    env.reset(seed=0)
    return env.step


def bare_copies() -> Callable[..., Any]:
    """Return a function that steps single environments of gym's and resets those that end."""
    envs = [make_gym(CARTPOLE) for _ in range(ENVS)]
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


# What it is, the rival's step, what the loop is given, our least share of its transitions.
ENVIRONMENTS = (
    ("EnvPool", bare_envpool, functools.partial(make_envpool, CARTPOLE), 0.9),
    (
        "Gymnasium's vector entry point",
        bare_gymnasium,
        functools.partial(make_gymnasium_vector, CARTPOLE, mode="vector_entry_point"),
        0.9,
    ),
    ("copies of gym's", bare_copies, functools.partial(make_gym, CARTPOLE), None),
)


class Forgetful(RandomAgent):
    """A random agent whose `memorize` and `update` are called, and do nothing."""

    learns = True


def bare(space: Any, step: Callable[..., Any]) -> Cost:
    """Return what a transition of the rival costs, its actions sampled from `space`."""
    ends = []

    def work() -> int:
        for _ in range(STEPS):
            ends.append(step(samples(space, ENVS))[2:4])
        return STEPS * ENVS - sum(int((a | b).sum()) for a, b in ends)

    return timed(work)


def looped(env: Any, kind: type[RandomAgent], watched: bool = False) -> Cost:
    """Return what a transition costs in training by VectorLoop."""
    observers = default_observers() if watched else {}
    config = {"env": {}, "agent": {}, "loop": VectorLoop.get_default_parameters(), "seed": 0}
    with tempfile.TemporaryDirectory() as folder:
        for observer in observers.values():
            observer.open(OmegaConf.create(config), Path(folder))
        agent = kind(observation_space=env.observation_space, action_space=env.action_space)
        limits = {"max_steps": STEPS * ENVS, "max_episodes": None}
        loop = VectorLoop(agent, env, num_envs=ENVS, **limits)
        loop.observers, loop.directory = observers, Path(folder)
        loop.notify("begin", loop)

        def work() -> int:
            loop.train()
            return int(loop.steps)

        cost = timed(work)
        for observer in reversed(observers.values()):
            observer.close(KeyboardInterrupt())  # nothing to sum up
    return cost


def default_observers() -> dict[str, Any]:
    """Return what watches by default, but for what needs a launch: run.json and signals."""
    config = OmegaConf.load(CONF / "observers" / "default.yaml")
    names = [name for name in config if name not in ("manifest", "signals", "progress")]
    return {name: instantiate(config[name]) for name in names}


def rows() -> Iterator[Row]:
    """Yield rows for each environment: the random agent, one that is told, all that watches."""
    for name, make_step, factory, share in ENVIRONMENTS:
        what, rival = f"`loop=vector`, {name} {CARTPOLE}, {ENVS} of them", "stepped bare"
        goal = f"at least {share} of its transitions/s" if share else ""
        try:
            env = make_vector(factory, ENVS, 5000)
        except MissingDependencyError as error:
            yield skipped(what, rival, goal, str(error))
            continue
        step = make_step()
        for more, ours, wanted in (
            ("", lambda: looped(env, RandomAgent), share),
            (", `memorize` called", lambda: looped(env, Forgetful), None),
            (", everything on", lambda: looped(env, RandomAgent, True), None),
        ):
            pairs = take_turns(ours, lambda: bare(env.action_space, step), TURNS)
            ratios = pairs.times_as_fast()
            yield Row(
                *(what + more, rival, goal if wanted else "", spread(ratios)),
                statistics.median(ratios) >= wanted if wanted else None,
                *(spread(pairs.times_as_fast("cpu")), pairs.both("us a transition", 1e6)),
            )
        env.close()


if __name__ == "__main__":
    show(rows())
