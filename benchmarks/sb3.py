"""Training by our loop against Stable-Baselines3's own `learn()`: same algorithm, env, seed.

PyTorch on one thread. Ours and theirs end in the same weights, so the work is the same.
"""

import functools
import importlib.util
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.harness import Cost, Row, show, skipped, spread, take_turns, timed
from gym_loop.envs import make_gymnasium
from gym_loop.loops import DefaultLoop
from gym_loop.loops.streams import seed_all
from gym_loop.loops.vector_loop import VectorLoop

GOAL, TURNS = 1.05, 3
ROWS: tuple[tuple[str, str, int, int, dict[str, Any]], ...] = (
    # algorithm, environment, how many, steps, parameters
    ("PPO", "CartPole-v1", 1, 2048, {}),
    ("PPO", "CartPole-v1", 8, 4096, {"n_steps": 256}),
    ("A2C", "CartPole-v1", 1, 1000, {}),
    ("DQN", "CartPole-v1", 1, 3000, {}),
    ("SAC", "Pendulum-v1", 1, 400, {"buffer_size": 10_000}),
)


def ours(kind: Any, id: str, count: int, steps: int, parameters: dict[str, Any]) -> Cost:
    """Return what a step costs when our loop trains."""
    loop: Any = DefaultLoop
    limits: dict[str, Any] = {"max_steps": steps, "max_episodes": None}
    if count > 1:
        loop, limits = VectorLoop, limits | {"num_envs": count}
        parameters = parameters | {"n_envs": count}
    factory = functools.partial(make_gymnasium, id)
    env = loop.make_env(factory, {**loop.get_default_parameters(), **limits}, "train")
    seed_all(0)
    agent = kind(
        env.observation_space, env.action_space, seed=0, total_timesteps=steps, **parameters
    )
    return measured(loop(agent, env, **limits).train, steps)


def theirs(kind: Any, id: str, count: int, steps: int, parameters: dict[str, Any]) -> Cost:
    """Return what a step costs when the library trains."""
    import gymnasium
    from stable_baselines3.common.env_util import make_vec_env

    env = make_vec_env(id, count) if count > 1 else gymnasium.make(id)
    model = kind.algorithm("MlpPolicy", env, seed=0, **parameters)
    return measured(lambda: model.learn(steps), steps)


def measured(train: Callable[[], Any], steps: int) -> Cost:
    """Return what each of `steps` costs."""

    def work() -> int:
        train()
        return steps

    return timed(work)


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
        what = (getattr(library, name), *rest)
        pairs = take_turns(lambda what=what: ours(*what), lambda what=what: theirs(*what), TURNS)
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
