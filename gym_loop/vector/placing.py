"""Which processes step the copies of an environment: the run's own, or workers as well."""

import logging
import statistics
import time
from multiprocessing import parent_process
from typing import Any

from gym_loop.machine import cores
from gym_loop.mistake import Failure, Mistake
from gym_loop.vector.base import Step, VectorEnv
from gym_loop.vector.batches import Array, array_type, leaves, map_arrays
from gym_loop.vector.copies import Copies
from gym_loop.vector.workers import NAME, SECONDS_AWAKE, Workers, global_streams

STEPS_MEASURED = 50  # of all environments, with `auto`
SECONDS_TO_START = 3.0  # that it takes to start workers, with what they import
SECONDS_OF_A_STEP = 70e-6  # what a step costs more with workers that are awake for it
SECONDS_TO_WAKE = 80e-6  # what it costs more with those that are not

log = logging.getLogger(__name__)


def check(env: VectorEnv, count: int) -> None:
    """Raise Mistake where `env` cannot be in that many workers, as far as that is seen from it."""
    if count < 2:
        return
    if not isinstance(env, Copies):
        raise Mistake(
            f"{NAME}={count} steps copies of single environments, and {type(env).__name__} steps "
            "many by itself: leave it out"
        )
    if problem := _not_shared(env):
        raise Mistake(f"{NAME}={count} is not possible, 0 is: {problem}")


def placed(env: VectorEnv, count: int) -> VectorEnv:
    """Return the copies of an environment in that many processes; `env` itself below two.

    Raises:
        Failure: it cannot be in other processes.
    """
    return Workers(env, count) if count > 1 and type(env) is Copies else env


def measured(env: VectorEnv) -> "Measured | None":
    """Return what measures the steps of `env`; None where workers are out of the question.

    The job of a sweep shares the cores with other jobs: its environments stay where they are.
    """
    if type(env) is not Copies or parent_process() or _not_shared(env):
        return None
    count = min(cores(), env.num_envs)
    return Measured(env, count) if count > 1 else None


class Measured:
    """Steps copies of an environment in this process, and tells when workers pay.

    They do once they would have saved more time than it takes to start them. Where an environment
    draws from a stream that all of a process share, returns what is not of its space's form, or
    would not be in another process as it is in this one, they never do.

    Args:
        env: the copies.
        count: of processes that could step them, this one among them.

    Attributes:
        decided: where the environments are from here on is settled.
    """

    def __init__(self, env: Copies, count: int) -> None:
        self.env, self.count, self.decided = env, count, False
        self.seconds, self.pauses = list[float](), list[float]()  # of steps, and between them
        self.stays, self.ended = False, 0.0

    def step(self, actions: Any) -> Step:
        """Step the environments; the first times, look how long that takes."""
        if len(self.seconds) == STEPS_MEASURED:
            return self.env.step(actions)
        self.pauses.append(time.perf_counter() - self.ended)
        drawn, began = global_streams(), time.perf_counter()
        step = self.env.step(actions)
        self.ended = time.perf_counter()
        self.seconds.append(self.ended - began)
        self.stays |= global_streams() != drawn or not _fits(step[0], self.env.observation_space)
        return step

    def placed(self, steps: int) -> VectorEnv:
        """Return the environments, in workers if these pay after so many steps of all together."""
        step, pause = statistics.median(self.seconds), statistics.median(self.pauses)
        costs = SECONDS_OF_A_STEP + (SECONDS_TO_WAKE if pause > SECONDS_AWAKE else 0.0)
        saved = step * (1 - 1 / self.count) - 2 * costs
        self.decided = self.stays or saved <= 0 or saved * steps >= SECONDS_TO_START
        if self.stays or saved <= 0 or not self.decided:
            return self.env
        what = f"{NAME}=auto: a step of all environments takes {step * 1000:.2g} ms"
        try:
            moved = Workers(self.env, self.count, exactly=True)
        except Failure as failure:
            log.info("%s, and they stay in this process: %s", what, failure)
            return self.env
        log.info("%s: from here on %d processes step them", what, self.count)
        return moved


def _fits(batch: Any, space: Any) -> bool:
    """Return whether a batch has the types and shapes of its space, as `workers.fill` wants it."""
    arrays = list[Array]()
    map_arrays(arrays.append, batch)
    return all(
        array.dtype == array_type(leaf) and array.shape[1:] == leaf.shape
        for array, leaf in zip(arrays, leaves(space), strict=True)
    )


def _not_shared(copies: Copies) -> str:
    """Return why these environments cannot be in other processes, or nothing."""
    if copies.learnt_by_wrappers():
        return "a wrapper learns, and all environments share what it has learnt"
    for name in ("action_space", "observation_space"):
        types = map(array_type, leaves(getattr(copies, name)))
        if any(dtype is None or dtype.hasobject for dtype in types):
            return f"the {name} has elements that are no arrays of numbers of a fixed shape"
    return ""
