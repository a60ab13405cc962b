"""`loop=vector` against the same vector environment stepped bare, both with the same agent.

Transitions are compared; a reset that takes the place of a step is none. The loop runs with nothing
that watches, and with all that does by default. Random episodes of CartPole have 22 steps.

And copies of an environment in worker processes, against other ways to step as many.
"""

import contextlib
import functools
import importlib.util
import itertools
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.harness import Apart, Row, apart, show, side_by_side, skipped, spread, turns_of
from benchmarks.loop import leave_out
from benchmarks.samples import made
from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym, make_gymnasium
from gym_loop.launch import CONF, instantiate, parts, surroundings
from gym_loop.machine import cores
from gym_loop.vector import placing
from gym_loop.vector.base import VectorEnv
from gym_loop.vector.envpool import make_envpool
from gym_loop.vector.envs import make_gymnasium_vector, make_vector
from gym_loop.vector.loop import VectorLoop

# The action space of one environment; all first observations; a step of all.
Bare = tuple[Any, Any, Callable[..., Any]]
CARTPOLE = "CartPole-v1"
ENVS, TURNS, BLOCKS = 64, 2, 15
STEPS = 200  # of an episode, where the agent balances the pole


class Balancing(RandomAgent):
    """Pushes to where the pole falls, which keeps it up for more than STEPS steps."""

    def act(self, state: Any, episode_num: Any) -> Any:
        return (state[:, 2] + state[:, 3] > 0).astype(np.int64)


def bare_envpool() -> Bare:
    """Return EnvPool's own, after a reset."""
    import envpool

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its spaces' bounds
        pool = envpool.make(CARTPOLE, env_type="gymnasium", num_envs=ENVS, seed=0)
        states, _ = pool.reset()
    return pool.action_space, states, pool.step


def bare_gymnasium(**limit: int) -> Bare:
    """Return those of Gymnasium's vector entry point, after a reset."""
    import gymnasium

    env = gymnasium.make_vec(CARTPOLE, ENVS, vectorization_mode="vector_entry_point", **limit)
    return env.single_action_space, env.reset(seed=0)[0], env.step


def bare_copies() -> Bare:
    """Return the space of gym's, and what steps single environments and resets those that end."""
    envs = [made("gym", CARTPOLE) for _ in range(ENVS)]
    seeds, no_reset = itertools.count(), np.zeros(1, bool)
    first = np.array([env.reset(seed=next(seeds))[0] for env in envs])

    def step(actions):
        each = [env.step(action) for env, action in zip(envs, actions.tolist(), strict=True)]
        states, rewards, terminated, truncated = map(np.array, list(zip(*each, strict=True))[:4])
        for row in (terminated | truncated).nonzero()[0]:
            states[row] = envs[row].reset(seed=next(seeds))[0]
        return states, rewards, no_reset, no_reset  # no step takes the place of a reset

    return envs[0].action_space, first, step


# What it is, the package that it needs, the rival, what the loop is given, the agent, our least
# share of its transitions alone and with everything on, steps of all environments in a block: a
# tenth of a second, in which episodes are cut once.
ENVIRONMENTS = (
    (
        "EnvPool",
        "envpool",
        bare_envpool,
        functools.partial(make_envpool, CARTPOLE),
        RandomAgent,
        0.9,
        0.85,
        1_000,
    ),
    (
        "Gymnasium's vector entry point",
        "gymnasium",
        bare_gymnasium,
        functools.partial(make_gymnasium_vector, CARTPOLE, mode="vector_entry_point"),
        RandomAgent,
        0.9,
        0.65,
        1_000,
    ),
    (
        f"{STEPS} steps an episode, Gymnasium's vector entry point",
        "gymnasium",
        functools.partial(bare_gymnasium, max_episode_steps=STEPS),
        functools.partial(
            make_gymnasium_vector, CARTPOLE, mode="vector_entry_point", max_episode_steps=STEPS
        ),
        Balancing,
        0.9,
        0.85,
        2_000,
    ),
    (
        "copies of gym's",
        "gym",
        bare_copies,
        functools.partial(make_gym, CARTPOLE),
        RandomAgent,
        None,
        0.8,
        250,
    ),
)


def bare(rival: Callable[[], Bare], kind: type[RandomAgent], steps: int) -> Callable[[], int]:
    """Return what steps the rival, its actions those of the agent, and counts transitions."""
    space, states, step = rival()
    act, numbers = kind(observation_space=None, action_space=space).act, np.arange(ENVS)

    def block() -> int:
        nonlocal states
        transitions = steps * ENVS
        for _ in range(steps):
            states, _, terminated, truncated = step(act(states, numbers))[:4]
            transitions -= int((terminated | truncated).sum())
        return transitions

    return block


# An environment, how many of them, steps of all in a block, and at most which share of the time of
# copies in one process.
IN_WORKERS = (("HalfCheetah-v5", 16, 100, 0.6), (CARTPOLE, 64, 250, 0.8))


def sampled(space: Any, num_envs: int, steps: int) -> list[Any]:
    """Return actions for so many steps: what the agent takes to choose them is not compared."""
    return [np.array([space.sample() for _ in range(num_envs)]) for _ in range(steps)]


def stepped(env: VectorEnv, steps: int) -> Callable[[], int]:
    """Return what steps `env`, resets with seeds, and counts transitions."""
    seeds = itertools.count()
    env.start([next(seeds) for _ in range(env.num_envs)])
    chosen = sampled(env.action_space, env.num_envs, steps)

    def block() -> int:
        for actions in chosen:
            states, _, terminated, truncated = env.step(actions)
            ended = (terminated | truncated).nonzero()[0]
            if ended.size:
                env.restart(states, ended, [next(seeds) for _ in ended])
        return steps * env.num_envs

    return block


def stepped_by_stable_baselines3(id: str, num_envs: int, steps: int) -> Callable[[], int]:
    """Return the same of a SubprocVecEnv, which resets by itself and without seeds."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    env = SubprocVecEnv([functools.partial(made, "gymnasium", id)] * num_envs)
    env.reset()
    chosen = sampled(env.action_space, num_envs, steps)

    def block() -> int:
        for actions in chosen:
            env.step(actions)
        return steps * num_envs

    return block


class Shares:
    """As many copies, some in each of a few processes, which play a block and never wait before.

    That is the least time in which they can be stepped: workers wait for each other at each step.
    """

    def __init__(self, make: Callable[[], Any], num_envs: int, steps: int) -> None:
        share = num_envs // cores()
        self.each = [
            Apart(lambda: stepped(make_vector(make, share, 5000), steps)) for _ in range(cores())
        ]

    def __call__(self) -> int:
        """Return how many transitions there were."""
        for each in self.each:
            each.pipe.send(True)
        return sum(each.pipe.recv()[0] for each in self.each)

    def close(self) -> None:
        """End the processes."""
        for each in self.each:
            each.close()


def rows_of_workers() -> Iterator[Row]:
    """Yield rows of copies in worker processes, one a core, against what else steps them."""
    for id, num_envs, steps, share in IN_WORKERS:
        what = f"`loop.num_workers={cores()}`, {id}, {num_envs} of them"
        one = functools.partial(make_gymnasium, id)
        many = functools.partial(make_gymnasium_vector, id, mode="async")
        rivals = {
            "copies in one process": (lambda make=one: make_vector(make, num_envs, 5000), share),
            "Gymnasium's AsyncVectorEnv": (
                lambda make=many: make_vector(make, num_envs, 5000),
                0.5,
            ),
            "Stable-Baselines3's SubprocVecEnv": (None, 0.5),
        }
        copies = make_vector(one, num_envs, 5000)
        in_one = stepped(make_vector(one, num_envs, 5000), steps)
        with contextlib.closing(Shares(one, num_envs, steps)) as shares:
            pairs = turns_of(functools.partial(side_by_side, BLOCKS, shares, in_one), TURNS)
        yield Row(
            f"{cores()} processes that never wait for each other, {id}, {num_envs} in all",
            *("copies in one process", "", spread(pairs.times_the_cost())),
            both=pairs.both("us a transition", 1e6),
        )
        with contextlib.closing(placing.placed(copies, cores())) as env:
            ours = stepped(env, steps)
            for rival, (make, most) in rivals.items():
                if make is None:
                    theirs = stepped_by_stable_baselines3(id, num_envs, steps)
                else:
                    theirs = stepped(make(), steps)
                pairs = turns_of(functools.partial(side_by_side, BLOCKS, ours, theirs), TURNS)
                ratios = pairs.times_the_cost()
                yield Row(
                    *(what, rival, f"at most {most} of its time", spread(ratios)),
                    statistics.median(ratios) <= most,
                    both=pairs.both("us a transition", 1e6),
                )


class Training:
    """Training by VectorLoop; a call goes on for `steps` steps of all environments."""

    def __init__(
        self, factory: Callable[..., Any], kind: type[RandomAgent], watched: bool, steps: int
    ) -> None:
        env = make_vector(factory, ENVS, 5000)
        self.observers = default_observers() if watched else {}
        config = {"env": {}, "agent": {}, "loop": VectorLoop.get_default_parameters(), "seed": 0}
        self.folder = tempfile.TemporaryDirectory()
        for observer in self.observers.values():
            observer.open(OmegaConf.create(config), Path(self.folder.name))
        agent = kind(observation_space=env.observation_space, action_space=env.action_space)
        # A block is a call of `train`, and `auto` would look anew in each whether workers pay.
        self.loop = VectorLoop(agent, env, num_envs=ENVS, num_workers=0, max_episodes=None)
        self.loop.observers, self.loop.directory = self.observers, Path(self.folder.name)
        self.loop.notify("begin", self.loop)
        self.loop.listeners["end_training"] = []  # it goes on with the next block
        self.surroundings = contextlib.ExitStack()  # as a run has them until its end
        self.surroundings.enter_context(surroundings())
        self.steps, self.paused = steps * ENVS, time.perf_counter()

    def __call__(self) -> int:
        """Return how many transitions there were."""
        leave_out(self.loop, time.perf_counter() - self.paused)
        before = self.loop.steps
        self.loop.parameters["max_steps"] = before + self.steps
        self.loop.train()
        self.paused = time.perf_counter()
        return int(self.loop.steps - before)

    def close(self) -> None:
        """Close what watches."""
        for observer in reversed(self.observers.values()):
            observer.close(KeyboardInterrupt())  # nothing to sum up
        self.surroundings.close()
        self.folder.cleanup()


def default_observers() -> dict[str, Any]:
    """Return what watches by default, but for what needs a launch: run.json, code/, signals."""
    config = OmegaConf.load(CONF / "observers" / "default.yaml")
    names = [name for name in config if name not in ("manifest", "code", "signals", "progress")]
    return {name: instantiate(config[name]) for name in names}


def rows() -> Iterator[Row]:
    """Yield rows for each environment: the loop alone, and with all that watches."""
    for name, package, rival, factory, kind, alone, watching, steps in ENVIRONMENTS:
        for more, watched, share in (("", False, alone), (", everything on", True, watching)):
            what = f"`loop=vector`, {name} {CARTPOLE}, {ENVS} of them{more}"
            goal = f"at least {share} of its transitions/s" if share else ""
            if importlib.util.find_spec(package) is None:
                yield skipped(what, "stepped bare", goal, f"{package} is not installed")
                continue
            sides = (
                functools.partial(Training, factory, kind, watched, steps),
                functools.partial(bare, rival, kind, steps),
            )
            pairs = turns_of(functools.partial(apart, BLOCKS, *sides), TURNS)
            ratios = pairs.times_as_fast()
            yield Row(
                *(what, "stepped bare", goal, spread(ratios)),
                statistics.median(ratios) >= share if share else None,
                *(spread(pairs.times_as_fast("cpu")), pairs.both("us a transition", 1e6)),
            )
    parts()
    yield from rows_of_workers()


if __name__ == "__main__":
    show(rows())
