"""Training by our loop against Stable-Baselines3's own `learn()`: the same algorithm, env, seed.

Prints the median, over rounds in which the two take turns, of ours / theirs: wall time and CPU
time (the second is the steadier on a busy machine). The goal is at most 1.05.

    python benchmarks/sb3.py [rounds]
"""

import functools
import statistics
import sys
import time

import gymnasium
from stable_baselines3.common.env_util import make_vec_env

from gym_loop.envs import make_gymnasium
from gym_loop.integrations import stable_baselines3 as ours
from gym_loop.loops import DefaultLoop
from gym_loop.loops.streams import seed_all
from gym_loop.loops.vector_loop import VectorLoop

ROWS = [
    # name, agent, env, environments, steps, parameters
    ("PPO CartPole, 1 env", ours.PPO, "CartPole-v1", 1, 4096, {}),
    ("PPO CartPole, 8 envs", ours.PPO, "CartPole-v1", 8, 8192, {"n_steps": 256}),
    ("A2C CartPole, 1 env", ours.A2C, "CartPole-v1", 1, 2000, {}),
    ("DQN CartPole, 1 env", ours.DQN, "CartPole-v1", 1, 4000, {}),
    ("SAC Pendulum, 1 env", ours.SAC, "Pendulum-v1", 1, 600, {"buffer_size": 10_000}),
]


def train(kind, id, num_envs, steps, parameters):
    """Return what trains the agent for `steps` by our loop."""
    loop, limits = DefaultLoop, {"max_steps": steps, "max_episodes": None}
    if num_envs > 1:
        loop, limits = VectorLoop, limits | {"num_envs": num_envs}
        parameters = parameters | {"n_envs": num_envs}
    factory = functools.partial(make_gymnasium, id)
    env = loop.make_env(factory, {**loop.get_default_parameters(), **limits}, "train")
    seed_all(0)
    agent = kind(
        env.observation_space, env.action_space, seed=0, total_timesteps=steps, **parameters
    )
    return loop(agent, env, **limits).train


def learn(kind, id, num_envs, steps, parameters):
    """Return what trains the library's own algorithm for `steps`."""
    env = make_vec_env(id, num_envs) if num_envs > 1 else gymnasium.make(id)
    model = kind.algorithm("MlpPolicy", env, seed=0, **parameters)
    return lambda: model.learn(steps)


def measure(function):
    """Return the seconds that a call takes, of wall and of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def main():
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"| {rounds} rounds, PyTorch on one thread | wall | CPU | ours, steps a second |")
    print("|---|---|---|---|")
    for name, *what in ROWS:
        walls, cpus, rates = [], [], []
        for number in range(rounds):
            order = (train, learn) if number % 2 else (learn, train)
            taken = {make: measure(make(*what)) for make in order}
            walls.append(taken[train][0] / taken[learn][0])
            cpus.append(taken[train][1] / taken[learn][1])
            rates.append(what[3] / taken[train][0])
        medians = [statistics.median(values) for values in (walls, cpus, rates)]
        print("| {} | {:.2f} | {:.2f} | {:.0f} |".format(name, *medians), flush=True)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main()
