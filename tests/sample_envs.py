"""Environments that tests name by this file's path, as users name theirs."""

import os
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces


class Counter(gymnasium.Env):
    """Ten steps; the reward is what the action says, in one number."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))
    action_space = spaces.Discrete(3)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, length=10, render_mode=None):
        self.length, self.render_mode = length, render_mode
        self.offset = 0.0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.total = 0, 0.0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        reward = self.reward(action)
        self.total += reward
        return self.observe(), reward, False, self.steps == self.length, {}

    def observe(self):
        return np.array([self.steps, self.total], np.float32)

    def reward(self, action):
        return float(action) + float(self.np_random.normal())

    def render(self):
        return np.full((48, 64, 3), self.steps, np.uint8)


class Pair(Counter):
    """A tuple and a dict of actions."""

    action_space = spaces.Tuple(
        (
            spaces.Discrete(3, start=-1),
            spaces.Dict({"left": spaces.Box(-1, 1, (2,)), "right": spaces.MultiDiscrete([4, 5])}),
        )
    )

    def reward(self, action):
        which, hands = action
        assert isinstance(action, tuple)
        assert hands["left"].dtype == np.float32
        return float(which + hands["left"].sum() + hands["right"] @ [10, 100])


class SameArray(Counter):
    """Its rewards are one array without a dimension, which it changes in each step."""

    def reward(self, action):
        self.given = vars(self).get("given", np.zeros(()))
        self.given[...] = self.steps
        return self.given


class Wide(Counter):
    """Tells float32 from float64."""

    action_space = spaces.Box(-1, 1, (3,), np.float32)

    def reward(self, action):
        return float(np.sum(action * action)) + 1000.0 * action.itemsize


class Words(Counter):
    action_space = spaces.Text(5)

    def reward(self, action):
        return float(len(action))


class Random(Counter):
    """Rewards come from nowhere, in step 7 only."""

    def reward(self, action):
        return float(int.from_bytes(os.urandom(6), "little")) if self.steps == 8 else 1.0


class EndsAnyTime(Counter):
    """Terminates where a file says."""

    def step(self, action):
        observation, _, _, truncated, info = super().step(action)
        end = int(Path(os.environ["END_OF_EPISODES"]).read_text())
        return observation, 1.0, self.steps == end, truncated, info


class Remembers(Counter):
    """Keeps a sum over episodes, as wrappers that normalize rewards do."""

    def reward(self, action):
        self.offset += 1.0
        return self.offset


class NeedsOpenGL(Counter):
    def render(self):
        raise RuntimeError("an OpenGL platform library has not been loaded")


class Blind:
    """Takes no render_mode."""

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def reset(self, seed=None):
        return 0, {}

    def step(self, action):
        return 1, 1.0, True, False, {}

    def close(self):
        pass
