"""Training by our loop against Stable-Baselines3's own `learn()`: same algorithm, env, seed.

PyTorch on one thread. Each goes on with one training, block by block in turns: a block is a few
rollouts with their updates. The first, in which a replay buffer only fills, is left out.
"""

import functools
import importlib.util
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.harness import Cost, Row, show, side_by_side, skipped, spread, turns_of
from gym_loop.envs import make_gymnasium
from gym_loop.loops import DefaultLoop
from gym_loop.streams import seed_all
from gym_loop.vector.loop import VectorLoop

Block = Callable[[], int]

GOAL, TURNS, BLOCKS = 1.05, 2, 8
ROWS: tuple[tuple[str, str, int, int, dict[str, Any]], ...] = (
    # algorithm, environment, how many, steps in a block, parameters
    ("PPO", "CartPole-v1", 1, 512, {"n_steps": 256}),
    ("PPO", "CartPole-v1", 8, 1024, {"n_steps": 32}),
    ("A2C", "CartPole-v1", 1, 300, {}),
    # Exploring alike at any time.
    ("DQN", "CartPole-v1", 1, 500, {"learning_starts": 10, "exploration_initial_eps": 0.05}),
    # A small network, beside which we would show.
    ("SAC", "Pendulum-v1", 1, 50, {"learning_starts": 10, "policy_kwargs": {"net_arch": [64, 64]}}),
)
SHORT = {"max_episode_steps": 50}  # of Pendulum, which has no other end: ours plays whole episodes
SCHEDULED = 10_000_000  # no learning rate follows a schedule here; exploration asks for a number


def ours(kind: Any, id: str, count: int, steps: int, parameters: dict[str, Any]) -> Block:
    """Return what trains a block of steps by our loop, and returns how many those were."""
    loop: Any = DefaultLoop
    limits: dict[str, Any] = {"max_episodes": None}
    if count > 1:
        loop, limits = VectorLoop, limits | {"num_envs": count}
        parameters = parameters | {"n_envs": count}
    factory = functools.partial(make_gymnasium, id, kwargs=limit(id))
    env = loop.make_env(factory, {**loop.get_default_parameters(), **limits}, "train")
    seed_all(0)
    spaces = env.observation_space, env.action_space
    agent = kind(*spaces, seed=0, total_timesteps=SCHEDULED, **parameters)
    training = loop(agent, env, **limits)

    def block() -> int:
        before = training.steps
        training.parameters["max_steps"] = before + steps
        training.train()
        return int(training.steps - before)

    return block


def theirs(kind: Any, id: str, count: int, steps: int, parameters: dict[str, Any]) -> Block:
    """Return what trains a block of steps by the library, and returns how many those were."""
    import gymnasium
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.logger import configure

    env = make_vec_env(id, count) if count > 1 else gymnasium.make(id, **limit(id))
    model = kind.algorithm("MlpPolicy", env, seed=0, **parameters)
    model.set_logger(configure(None, []))

    def block() -> int:
        before = model.num_timesteps
        model.learn(steps, reset_num_timesteps=False)
        return int(model.num_timesteps - before)

    return block


def limit(id: str) -> dict[str, int]:
    """Return how an environment is made such that a block ends near where it should."""
    return SHORT if id.startswith("Pendulum") else {}


def both(*what: Any) -> Sequence[Cost]:
    """Return what a step of training costs us, and the library."""
    sides = [train(*what) for train in (ours, theirs)]
    side_by_side(1, *sides)
    return side_by_side(BLOCKS, *sides)


def rows() -> Iterator[Row]:
    """Yield a row for each algorithm."""
    rival, goal = "its `learn()`", f"at most {GOAL} times its wall time"
    if importlib.util.find_spec("stable_baselines3") is None:
        yield skipped("training with SB3", rival, goal, "stable-baselines3 is not installed")
        return
    import torch

    from gym_loop.integrations import stable_baselines3 as library

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, *rest in ROWS:
        pairs = turns_of(functools.partial(both, getattr(library, name), *rest), TURNS)
        ratios = pairs.times_the_cost()
        yield Row(
            *(_title(name, *rest[:2]), rival, goal, spread(ratios)),
            *(statistics.median(ratios) <= GOAL, spread(pairs.times_the_cost("cpu"))),
            pairs.both("us a step", 1e6),
        )
    torch.set_num_threads(threads)


def _title(name: str, id: str, count: int) -> str:
    return f"training SB3's {name}, {id}" + (f", {count} of them" if count > 1 else "")


if __name__ == "__main__":
    show(rows())
