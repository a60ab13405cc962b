"""Hangs the environments on the launcher: what is wrong with one is said in one line.

The launcher imports this before anything else, and with it `gym_loop.envs`, which hides greetings.
Otherwise a package in `env.imports` could import gym, and gym print its notice, before any maker
is called.
"""

from gym_loop import launch
from gym_loop.envs import EnvError, MissingDependencyError


def one_line(error: BaseException | None) -> str | None:
    """Return the message of the environment's mistake that `error` is or was caused by."""
    while error is not None:
        if isinstance(error, EnvError | MissingDependencyError):
            return str(error)
        error = error.__cause__
    return None


launch.explain.append(one_line)
