"""Environments that tests have stepped in worker processes; named by this file's path."""

import os
import random
import signal
import sys
import time

import gymnasium
import numpy as np
from gymnasium.utils import EzPickle


class Walk(gymnasium.Env):
    """A random walk in a Dict space, whose steps grow with the episodes that it has played."""

    observation_space = gymnasium.spaces.Dict(
        {
            "place": gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64),
            "age": gymnasium.spaces.Discrete(1000),
        }
    )
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, pause: float = 0.0, render_mode=None):
        self.pause, self.played = pause, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.played += 1
        self.place, self.age = self.np_random.normal(size=3), 0
        return self.observation(), {"played": self.played}

    def step(self, action):
        time.sleep(self.pause)
        self.place = self.place + (action + 1) * self.played * self.np_random.normal(size=3)
        self.age += 1
        info = {"played": self.played, "far": float(abs(self.place).max())}
        ends = self.np_random.random() < 0.1
        return self.observation(), float(self.place[0]), ends, self.age >= 40, info

    def observation(self):
        return {"place": self.place, "age": self.age}


class Rebuilt(Walk, EzPickle):
    """One whose pickle holds nothing but the arguments of its constructor."""

    def __init__(self, pause: float = 0.0, render_mode=None):
        EzPickle.__init__(self, pause)
        super().__init__(pause)


class DrawsFromAll(Walk):
    """Draws from the stream that all of a process share."""

    def step(self, action):
        random.random()
        return super().step(action)


class ResetDrawsFromAll(Walk):
    """Draws from the stream that all of a process share when an episode begins, and then alone."""

    def reset(self, *, seed=None, options=None):
        random.random()
        return super().reset(seed=seed)


class Misfit(Walk):
    """Returns numbers that the type of its space does not hold."""

    observation_space = gymnasium.spaces.Box(0, 255, (3,), np.uint8)

    def observation(self):
        return self.place


class Forks(Walk):
    """Forks a process as it begins to play, as one with a server does; its id is a file's name."""

    server = 0

    def reset(self, *, seed=None, options=None):
        if not self.server:
            self.server = os.fork()
            if not self.server:
                time.sleep(20)
                os._exit(0)
            open(f"{self.server}.server", "w").close()
        return super().reset(seed=seed)


class Tells(Walk):
    """Has something in its infos that does not pickle."""

    def step(self, action):
        *step, info = super().step(action)
        return *step, {**info, "function": lambda: None}


class Panic(BaseException):
    """As that of an extension in Rust: no Exception."""


class Breaks(Walk):
    """Raises an error, or has its process killed if that is a worker, in its first step."""

    def __init__(self, how: str = "raise", render_mode=None):
        super().__init__()
        self.how = how

    def step(self, action):
        if self.how == "raise":
            raise ArithmeticError("no ground below")
        if self.how == "panic" and "workers.main" in " ".join(sys.orig_argv):
            raise Panic("no ground below")
        if "workers.main" in " ".join(sys.orig_argv):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)

    def close(self):
        if "workers.main" in " ".join(sys.orig_argv):
            with open("closed_in_workers", "a") as file:
                file.write("closed\n")


class Closes(Walk):
    """Writes what it has seen as it closes in a worker, if it can, after its second episode."""

    def __init__(self, seconds: float = 0.0, fails: bool = False):
        super().__init__()
        self.seconds, self.fails = seconds, fails

    def close(self):
        if "workers.main" in " ".join(sys.orig_argv) and self.played > 1:  # not on trial
            time.sleep(self.seconds)
            if self.fails:
                raise OSError("no room on the disk")
            with open("closed_in_workers", "a") as file:
                file.write("closed\n")


class Unpicklable(Walk):
    """Holds what does not pickle."""

    def __init__(self, render_mode=None):
        super().__init__()
        self.hold = lambda: None
