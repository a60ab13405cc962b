"""An environment whose returns tell an agent's parameter, and agents that end in several ways."""

import errno
import os
import signal
import time
from pathlib import Path

import gym
import numpy as np

from gym_loop.agents import BaseAgent


class Target(gym.Env):
    """Rewards what is near 0.3, two steps an episode; a little noise makes seeds differ."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Box(-10, 10, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.step_number += 1
        reward = -float(abs(action[0] - 0.3)) + 0.001 * self.np_random.normal()
        return np.zeros(1, np.float32), reward, self.step_number == 2, False, {}


class Fixed(BaseAgent):
    """Always acts with `x`. Takes `pause` seconds an episode.

    `fate` is what happens in the third episode of a trial with `x` above 0.5: `raise`, `memory`
    (MemoryError, once in a directory), `kill` (once), `kill always` or `crash`. With `disk` no
    checkpoint can be written until there is a file `room` in the folder of marks.
    """

    @staticmethod
    def get_default_parameters():
        return {"x": 0.9, "kind": "plain", "pause": 0.0, "fate": "none", "marks": "."}

    @staticmethod
    def check_parameters(parameters):
        if parameters["x"] > 5:
            raise ValueError(f"x is {parameters['x']}; expected at most 5")

    def begin_episode(self, episode_num):
        time.sleep(self.parameters["pause"])
        if episode_num != 2 or self.parameters["x"] <= 0.5 or not self.training:
            return
        fate, mark = self.parameters["fate"], self._mark()
        if fate == "raise":
            raise ValueError("too large for me")
        if fate == "crash":
            os.abort()
        if fate == "kill always" or (fate in ("kill", "memory") and not mark.exists()):
            mark.touch()
            if fate == "memory":
                raise MemoryError
            os.kill(os.getpid(), signal.SIGKILL)

    def save(self, directory):
        room = Path(self.parameters["marks"], "room")
        if self.parameters["fate"] == "disk" and not room.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        super().save(directory)

    def _mark(self):
        return Path(self.parameters["marks"], f"mark-{self.parameters['x']}").absolute()

    def act(self, state, episode_num):
        return np.array([self.parameters["x"]], np.float32)

    def memorize(self, *transition):
        pass

    def update(self, episode_num):
        pass
