"""What the loop is measured with beside the libraries' own: an agent, and an environment."""

import itertools
from typing import Any

import numpy as np

from gym_loop.agents import BaseAgent
from gym_loop.envs import gym_numpy
from gym_loop.envs.make import Library, import_library

gym = import_library("gym")  # which greets everybody else

HIDDEN = 64
SIDE, LENGTH = 84, 200


def made(library: Library, id: str) -> Any:
    """Return an environment as its library makes it, for what steps it without us.

    Less the checker, which fails on NumPy 2 in gym; gym's physics as on NumPy 1, as ours has it.
    """
    env = import_library(library).make(id, disable_env_checker=True)
    return gym_numpy.adapt(env) if library == "gym" else env


class Mlp(BaseAgent):
    """Acts by a multilayer perceptron in NumPy, with two hidden layers, and learns nothing."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        sizes = self.observation_space.shape[0], HIDDEN, HIDDEN, int(self.action_space.n)
        shapes = itertools.pairwise(sizes)
        self.weights = [self.rng.standard_normal(shape) / shape[0] ** 0.5 for shape in shapes]

    def act(self, state: Any, episode_num: int) -> int:
        """Return a sample of the softmax of the last layer."""
        layer = state
        for weights in self.weights[:-1]:
            layer = np.tanh(layer @ weights)
        logits = layer @ self.weights[-1]
        return int(np.argmax(logits + self.rng.gumbel(size=logits.shape)))

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Keep nothing."""

    def update(self, episode_num: int) -> None:
        """Learn nothing."""


class Images(gym.Env):
    """A square that an action moves; an observation is an image of four channels, as of Atari's."""

    observation_space = gym.spaces.Box(0, 255, (SIDE, SIDE, 4), np.uint8)
    action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Put the square somewhere."""
        super().reset(seed=seed)
        self.at, self.steps = self.np_random.integers(SIDE, size=2), 0
        return self.image(), {}

    def step(self, action: int) -> Any:
        """Move it."""
        self.at[action % 2] += 1 - 2 * (action // 2)
        self.at %= SIDE
        self.steps += 1
        return self.image(), 1.0, False, self.steps == LENGTH, {}

    def image(self) -> Any:
        """Return what is seen."""
        image = np.zeros((SIDE, SIDE, 4), np.uint8)
        row, column = self.at
        image[row : row + 8, column : column + 8] = 255
        return image
