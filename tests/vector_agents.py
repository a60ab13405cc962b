"""Vectorized agents that tests name by this file's path."""

import numpy as np

from gym_loop.agents import BaseAgent, RandomAgent


class Learner(BaseAgent):
    """A linear policy with a replay buffer, for observations in arrays and two actions."""

    vectorized = True

    def __init__(self, **params):
        super().__init__(**params)
        self.W = self.rng.normal(size=self.observation_space.shape)
        self.memory = []
        self.lengths = {}

    def act(self, states, episode_nums):
        return (states @ self.W > self.rng.normal(size=len(episode_nums))).astype(int)

    def memorize(self, last_obs, actions, rewards, dones, obs):
        self.memory += zip(last_obs, rewards, dones, strict=True)
        del self.memory[:-500]

    def update(self, episode_nums):
        for index in self.rng.integers(len(self.memory), size=4):
            last_ob, reward, done = self.memory[index]
            self.W += 1e-3 * (float(reward) - done) * last_ob
        for number in episode_nums.tolist():
            self.lengths[number] += 1

    def begin_episode(self, episode_num):
        self.lengths[episode_num] = 0

    def metrics(self, episode_num):
        return {"norm": float(np.linalg.norm(self.W)), "steps": self.lengths.pop(episode_num)}


class OneAction(RandomAgent):
    """Forgets that there are many environments."""

    def act(self, states, episode_nums):
        return self.action_space.sample()


class Huge(RandomAgent):
    """Gives integers that no type of NumPy holds."""

    def act(self, states, episode_nums):
        return [2**70] * len(states)


class Fractions(RandomAgent):
    """Gives fractions where whole numbers are wanted."""

    def act(self, states, episode_nums):
        return np.full(len(episode_nums), 0.5)


class Forgets(RandomAgent):
    """Forgets to return its actions."""

    def act(self, states, episode_nums):
        super().act(states, episode_nums)


class Changes(RandomAgent):
    """Changes one array again and again."""

    def act(self, states, episode_nums):
        batch = super().act(states, episode_nums)
        if getattr(self, "mine", batch[:0]).shape != batch.shape:
            self.mine = batch
        self.mine[:] = batch
        return self.mine
