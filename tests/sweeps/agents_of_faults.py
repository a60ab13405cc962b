"""An agent with which a job ends in all the ways that faults have it end, told by its number."""

import errno
import fcntl
import multiprocessing
import os
import signal
import time

from gym_loop.agents import RandomAgent

# What happens in the third episode of every job whose number, modulo 33, is the place in the list.
FATES = ("raise", "kill", "exit", "full disk", "broken pipe", "workers", "kill with workers")
PERIOD = 33  # so that 3 % of the jobs meet each


def fate_of(number):
    return dict(enumerate(FATES)).get(number % PERIOD, "none")


def note(name, text):
    """Append a line to a file outside of all runs' directories, at once."""
    descriptor = os.open(
        os.path.join(os.environ["NOTES"], name), os.O_WRONLY | os.O_CREAT | os.O_APPEND
    )
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


class Faulty(RandomAgent):
    """Notes who runs at the same time, and who has come to the evaluation's end."""

    @staticmethod
    def get_default_parameters():
        return {"number": 0}

    def __init__(self, **params):
        super().__init__(**params)
        self.fate = fate_of(self.parameters["number"])
        lock = os.path.join(os.environ["NOTES"], f"lock-{self.parameters['number']}")
        self.lock = os.open(lock, os.O_WRONLY | os.O_CREAT)
        try:
            fcntl.lockf(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which no child inherits
        except OSError:
            note("twice", self.parameters["number"])

    def begin_episode(self, episode_num):
        if episode_num != 2 or not self.training:
            return
        if "workers" in self.fate:
            for _ in range(2):
                multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,)).start()
        if "kill" in self.fate:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fate == "raise":
            raise ValueError("no idea what to do")
        if self.fate == "exit":
            os._exit(0)
        if self.fate == "broken pipe":
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(writer, 1)
            print("nobody reads this", flush=True)

    def end_episode(self, episode_num, truncated):
        if not self.training:
            note("finished", self.parameters["number"])

    def save(self, directory):
        if self.fate == "full disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().save(directory)
