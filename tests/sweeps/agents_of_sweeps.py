"""Agents that end in all the ways a job can end."""

import os
import signal
import subprocess
import sys
import time

from gym_loop.agents import RandomAgent


class Fated(RandomAgent):
    """Takes `pause` seconds an episode, and meets its fate in the third."""

    @staticmethod
    def get_default_parameters():
        return {"fate": "none", "pause": 0.0, "lr": 0.1}

    def __init__(self, **params):
        super().__init__(**params)
        print("threads:", os.environ.get("OMP_NUM_THREADS"))

    def begin_episode(self, episode_num):
        time.sleep(self.parameters["pause"])
        if episode_num == 2:
            fate = self.parameters["fate"]
            if fate == "raise":
                raise ValueError("no idea what to do")
            if fate == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if fate == "leave":
                os._exit(7)
            if fate == "wrap":
                sys.exit(300)
            if fate == "hang":
                time.sleep(1000)
            if fate == "deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(1000)
            if fate in ("leaves a child", "dies with a child"):
                subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
            if fate == "dies with a child":
                os.kill(os.getpid(), signal.SIGKILL)
