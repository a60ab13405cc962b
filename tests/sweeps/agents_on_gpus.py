"""An agent that notes which GPU it was given, and whether it is alone on it."""

import fcntl
import os
import time

from gym_loop.agents import RandomAgent

SEEN_AT_IMPORT = os.environ.get("CUDA_VISIBLE_DEVICES")
held = []


class OnGPU(RandomAgent):
    """Holds its GPU's file in the folder NOTES while it lives."""

    @staticmethod
    def get_default_parameters():
        return {"device": "cuda", "pause": 0.0, "lr": 0.1, "deaf": False, "kill": False}

    def __init__(self, **params):
        super().__init__(**params)
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
        with open(f"{os.environ['NOTES']}/given", "a") as file:
            file.write(f"{gpu!r} {SEEN_AT_IMPORT!r} {os.environ.get('CUDA_DEVICE_ORDER')}\n")
        if gpu:
            held.append(open(f"{os.environ['NOTES']}/gpu{gpu}", "w"))
            try:
                fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                open(f"{os.environ['NOTES']}/twice", "w").close()

    def begin_episode(self, episode_num):
        time.sleep(self.parameters["pause"])
        if episode_num == 1 and self.parameters["kill"]:
            if os.fork() == 0:  # what holds the GPU longer than the job's own process
                time.sleep(1000)
            os.kill(os.getpid(), 9)
