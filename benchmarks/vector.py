"""`loop=vector` against the same vector environment stepped bare, both with random actions.

Transitions are compared; a reset that takes the place of a step is none. The loop runs with nothing
that watches, and with all that does by default.
"""

import contextlib
import functools
import itertools
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.harness import Cost, Row, show, side_by_side, skipped, spread, turns_of
from gym_loop.agents import RandomAgent
from gym_loop.envs import MissingDependencyError, make_gym
from gym_loop.launch import CONF, instantiate
from gym_loop.vector.envpool import make_envpool
from gym_loop.vector.envs import make_gymnasium_vector, make_vector
from gym_loop.vector.loop import VectorLoop

CARTPOLE = "CartPole-v1"
ENVS, TURNS, BLOCKS = 64, 2, 15


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


# What it is, the rival's step, what the loop is given, our least share of its transitions, steps of
# all environments in a block: a tenth of a second, in which episodes are cut once.
ENVIRONMENTS = (
    ("EnvPool", bare_envpool, functools.partial(make_envpool, CARTPOLE), 0.9, 1_000),
    (
        "Gymnasium's vector entry point",
        bare_gymnasium,
        functools.partial(make_gymnasium_vector, CARTPOLE, mode="vector_entry_point"),
        0.9,
        1_000,
    ),
    ("copies of gym's", bare_copies, functools.partial(make_gym, CARTPOLE), None, 250),
)


def bare(space: Any, step: Callable[..., Any], steps: int) -> Callable[[], int]:
    """Return what steps the rival, its actions sampled from `space`, and counts transitions."""

    def block() -> int:
        sample, row = space.sample, range(ENVS)
        ends = [step(np.array([sample() for _ in row]))[2:4] for _ in range(steps)]
        return steps * ENVS - sum(int((a | b).sum()) for a, b in ends)

    return block


class Training:
    """Training by VectorLoop; a call goes on for `steps` steps of all environments."""

    def __init__(self, env: Any, watched: bool, steps: int) -> None:
        self.observers = default_observers() if watched else {}
        config = {"env": {}, "agent": {}, "loop": VectorLoop.get_default_parameters(), "seed": 0}
        self.folder = tempfile.TemporaryDirectory()
        for observer in self.observers.values():
            observer.open(OmegaConf.create(config), Path(self.folder.name))
        agent = RandomAgent(observation_space=env.observation_space, action_space=env.action_space)
        self.loop = VectorLoop(agent, env, num_envs=ENVS, max_episodes=None)
        self.loop.observers, self.loop.directory = self.observers, Path(self.folder.name)
        self.loop.notify("begin", self.loop)
        self.steps = steps * ENVS

    def __call__(self) -> int:
        """Return how many transitions there were."""
        before = self.loop.steps
        self.loop.parameters["max_steps"] = before + self.steps
        self.loop.train()
        return int(self.loop.steps - before)

    def close(self) -> None:
        """Close what watches."""
        for observer in reversed(self.observers.values()):
            observer.close(KeyboardInterrupt())  # nothing to sum up
        self.folder.cleanup()


def both(env: Any, watched: bool, steps: int, rival: Callable[..., Any]) -> Sequence[Cost]:
    """Return what a transition costs us, and what it costs bare."""
    with contextlib.closing(Training(env, watched, steps)) as ours:
        return side_by_side(BLOCKS, ours, bare(env.action_space, rival, steps))


def default_observers() -> dict[str, Any]:
    """Return what watches by default, but for what needs a launch: run.json, code/, signals."""
    config = OmegaConf.load(CONF / "observers" / "default.yaml")
    names = [name for name in config if name not in ("manifest", "code", "signals", "progress")]
    return {name: instantiate(config[name]) for name in names}


def rows() -> Iterator[Row]:
    """Yield rows for each environment: the loop alone, and with all that watches."""
    for name, make_step, factory, share, steps in ENVIRONMENTS:
        what, rival = f"`loop=vector`, {name} {CARTPOLE}, {ENVS} of them", "stepped bare"
        goal = f"at least {share} of its transitions/s" if share else ""
        try:
            env = make_vector(factory, ENVS, 5000)
        except MissingDependencyError as error:
            yield skipped(what, rival, goal, str(error))
            continue
        step = make_step()
        for more, watched, wanted in (("", False, share), (", everything on", True, None)):
            turn = functools.partial(both, env, watched, steps, step)
            pairs = turns_of(turn, TURNS)
            ratios = pairs.times_as_fast()
            yield Row(
                *(what + more, rival, goal if wanted else "", spread(ratios)),
                statistics.median(ratios) >= wanted if wanted else None,
                *(spread(pairs.times_as_fast("cpu")), pairs.both("us a transition", 1e6)),
            )
        env.close()


if __name__ == "__main__":
    show(rows())
