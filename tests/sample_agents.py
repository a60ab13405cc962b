"""Agents that tests name by this file's path, as users name theirs."""

import threading

import numpy as np

from gym_loop.agents import BaseAgent, RandomAgent


class Still(BaseAgent):
    """Takes action 0 and learns nothing."""

    def act(self, state, episode_num):
        return 0

    def memorize(self, *_):
        pass

    def update(self, episode_num):
        pass


class Learner(BaseAgent):
    """A linear policy with a replay buffer, which draws from every stream there is."""

    @staticmethod
    def get_default_parameters():
        return {"lr": 0.1, "capacity": 300}

    def __init__(self, **params):
        super().__init__(**params)
        size = int(np.prod(self.observation_space.shape))
        self.W = self.rng.normal(size=size)
        self.memory = []

    def act(self, state, episode_num):
        if hasattr(self.action_space, "n"):
            return int(state @ self.W > self.rng.normal()) % int(self.action_space.n)
        noise = self.rng.normal(size=self.action_space.shape)
        return np.clip(state @ self.W + noise, self.action_space.low, self.action_space.high)

    def memorize(self, last_ob, action, reward, done, ob):
        self.memory.append((last_ob, action, reward, done, ob))
        del self.memory[: -self.parameters["capacity"]]

    def update(self, episode_num):
        last_ob, _, reward, done, _ = self.memory[np.random.randint(len(self.memory))]
        self.W += self.parameters["lr"] * 1e-3 * (float(reward) - done) * last_ob

    def metrics(self, episode_num):
        return {"norm": float(np.linalg.norm(self.W))}


class Plain(RandomAgent):
    """Keeps what it was told, and relies on the default pickling."""

    def __init__(self, **params):
        super().__init__(**params)
        self.log = []

    def memorize(self, last_ob, action, reward, done, ob):
        self.log.append((float(reward), bool(done)))
        del self.log[:-100]

    def update(self, episode_num):
        self.latest = episode_num


class Raises(RandomAgent):
    def act(self, state, episode_num):
        if episode_num == 3:
            raise ValueError("no idea what to do")
        return super().act(state, episode_num)


class DoesNotPickle(RandomAgent):
    def __init__(self, **params):
        super().__init__(**params)
        self.guard = threading.Lock()


class Careless(BaseAgent):
    """Returns one and the same array from every act."""

    def __init__(self, **params):
        super().__init__(**params)
        self.action = np.zeros(self.action_space.shape, np.float32)

    def act(self, state, episode_num):
        self.action[:] = self.rng.uniform(-2, 2)
        return self.action

    def memorize(self, last_ob, action, reward, done, ob):
        pass

    def update(self, episode_num):
        pass
