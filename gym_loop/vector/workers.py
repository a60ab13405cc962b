"""Processes that step the copies of an environment, each its share of them: `loop.num_workers`.

The run's own process is one of them: it would have nothing to do while others step.
"""

import contextlib
import functools
import logging
import math
import mmap
import os
import pickle
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing import parent_process
from multiprocessing.connection import Connection, Pipe
from typing import Any

import numpy as np

from gym_loop import errors, launch, vector
from gym_loop.config import by_value
from gym_loop.config.locate import unpickle
from gym_loop.envs.greetings import log_mujoco_warnings
from gym_loop.envs.make import import_library
from gym_loop.machine import cores
from gym_loop.mistake import Failure, summary_of
from gym_loop.output import open_streams
from gym_loop.streams import NO_SEED
from gym_loop.vector.base import Step, VectorEnv
from gym_loop.vector.batches import Array, array_type, leaves, map_arrays, parts_of, take
from gym_loop.vector.copies import Copies

SECONDS_AWAKE = 200e-6  # that a process waits for a message before it sleeps
SECONDS_TO_END = 5.0  # until a worker that does not end is killed
SECONDS_TO_CLOSE = 60.0  # that a worker may close its environments
ALIGNED = 64  # bytes; a worker's write does not slow down another array's reader
SIGNALS = (signal.SIGINT, signal.SIGTERM)  # a terminal's and a scheduler's reach workers as well
NAME = "loop.num_workers"
# Messages to a worker; others are pickled: a method and arguments.
STEP, BEGIN, CLOSE = b"", b"begin", b"close"
DRAWS = (
    "the environment draws from the global stream of random or numpy.random, which is another one "
    f"in each process: {NAME}=0, or have it draw from its own np_random"
)
SHORT = {STEP: ("step", ()), BEGIN: ("begin", ()), CLOSE: ("close", ())}

_pipes: weakref.WeakSet[Connection] = weakref.WeakSet()  # of this process


@functools.cache
def _close_pipes_in_children() -> None:
    """Have forked children of this process, such as an environment's, close its pipes; once.

    They may outlive it, and the other end would wait for it as long.
    """

    def close() -> None:
        for pipe in [*_pipes]:
            pipe.close()

    os.register_at_fork(after_in_child=close)


def _own(pipe: Connection) -> Connection:
    """Keep a pipe from the processes that this one starts; return it."""
    _close_pipes_in_children()
    os.set_inheritable(pipe.fileno(), False)
    _pipes.add(pipe)
    return pipe


class Workers(Copies):
    """Copies of an environment in several processes, each of which steps its share of them.

    Observations, actions, rewards, ends of episodes and seeds are in memory that all share. For a
    step, each worker is sent an empty message, and sends one back, in which are the infos of
    episodes that have ended, if any have. Meanwhile this process steps the last share. A worker
    ends when this process closes its end of the pipe, or is killed.

    Args:
        copies: in this process; those that the workers have are closed here.
        count: how many processes, this one among them; at least 2.
        exactly: refuse environments that might lose there what they keep between episodes.

    Raises:
        Failure: these environments cannot be in other processes; `copies` are as they were.
    """

    is_asking = False  # an answer is yet to come

    def __init__(self, copies: Copies, count: int, exactly: bool = False) -> None:
        self.num_envs = copies.num_envs
        self.known_infos: dict[int, bytes] = {}  # pickled, of the last step, by row
        self.observation_space, self.action_space = copies.observation_space, copies.action_space
        self.metadata, self.wrapped = copies.metadata, copies.wrapped
        # Where cores are shared, as with the other jobs of a sweep, who waits would be in the way.
        alone = count <= cores() and not parent_process()
        self.awake = SECONDS_AWAKE if alone else 0.0
        try:
            saved = [vector.save(env) for env in copies.envs]
        except Exception as error:
            raise Failure(
                f"the environment does not pickle, which {NAME}={count} needs and 0 does not "
                f"({summary_of(error):.300})"
            ) from error
        split = np.array_split(np.arange(self.num_envs), min(count, self.num_envs))
        *shares, last = [slice(int(rows[0]), int(rows[-1]) + 1) for rows in split]
        self.owner = np.repeat(np.arange(len(split)), [len(rows) for rows in split])
        self.first = [int(rows[0]) for rows in split]
        memory = _shared_memory(_size(self))
        self.shared = SharedArrays(self, memory)
        mine = Copies(copies.envs[last])
        mine.infos = copies.infos[last]
        self.mine = Share(mine, last, self.shared)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.pipes: list[Connection] = []
        try:
            for _ in shares:
                self._start_process(memory)
            libraries = [n for n in ("gym", "gymnasium", "mujoco") if n in sys.modules]
            for worker, own in enumerate(shares):
                spaces = self.observation_space, self.action_space
                order = self.num_envs, *spaces, own, saved[own], copies.infos[own]
                first = libraries, by_value.pickles, pickle.dumps(order)
                self._tell(worker, pickle.dumps(first))
            warned = [texts for texts in self._hear_all(range(len(self.pipes))) if texts]
            if warned and exactly:
                raise Failure(warned[0][0])
        except BaseException:
            self._end_workers()
            raise
        finally:
            os.close(memory)
        for env in copies.envs[: last.start]:
            env.close()

    def step(self, actions: Any) -> Step:
        shared, message, given = self.shared, STEP, None
        if actions.shape == shared.actions.shape and actions.dtype == shared.actions.dtype:
            shared.actions[:] = actions
        else:  # of another form than the space's: as they are
            message, given = pickle.dumps(("step", (actions,))), actions
        everyone = range(len(self.first))
        self.known_infos = {}
        for infos in self._ask(everyone, [message] * len(self.pipes), self.mine.step, given):
            self.known_infos |= infos or {}
        flags = shared.flags.copy()
        states = map_arrays(lambda array: array.copy(), shared.states)
        return states, shared.rewards.copy(), flags[0], flags[1]

    def begin(self, rows: Iterable[int], seeds: Sequence[int]) -> Any:
        places = np.array([*rows])
        self.shared.seeds[places] = seeds
        owners = sorted({*self.owner[places].tolist()})
        self._ask(owners, [BEGIN] * len(owners), self.mine.begin)
        return take(self.shared.states, places)

    def info_of(self, row: int) -> Any:
        if row not in self.known_infos:
            self.known_infos[row] = self._call(np.array([row]), "infos_of")[0]
        return pickle.loads(self.known_infos[row])

    def games(self, rows: Array) -> list[Any]:
        return self._call(rows, "games")

    def go_on(self, rows: Array) -> list[Any]:
        return self._call(rows, "go_on")

    def each_copy(self, function: Callable[[Any], Any]) -> list[Any]:
        """Return what `function`, which a module defines, returns for each environment."""
        return self._call(np.arange(self.num_envs), "call", [function] * self.num_envs)

    def __reduce__(self) -> Any:
        """Pickle as copies: how many workers there were is forgotten."""
        infos = [self.info_of(row) for row in range(self.num_envs)]
        return _copies, (self.each_copy(pickle.dumps), infos)

    def close(self) -> None:
        """End the workers, which close their environments, and close those of this process.

        Raises:
            Failure: a worker could not close one, or took too long.
        """
        with contextlib.ExitStack() as closing:
            closing.callback(self._end_workers)
            if self.is_asking:  # a worker has died, or does what was interrupted
                self._end_workers()
                self.mine.close()
            else:
                everyone = range(len(self.first))
                self._ask(everyone, [CLOSE] * len(self.pipes), self._close_mine)

    def _close_mine(self) -> None:
        """Close this process's environments, while workers close theirs; wait for them."""
        self.mine.close()
        limit = time.monotonic() + SECONDS_TO_CLOSE
        for worker, pipe in enumerate(self.pipes):
            if not pipe.poll(max(0.0, limit - time.monotonic())):
                raise Failure(
                    f"{self._name(worker)}, has not closed them within {SECONDS_TO_CLOSE:g} s and "
                    "is killed"
                )

    def _end_workers(self) -> None:
        for pipe in self.pipes:
            pipe.close()
        limit = time.monotonic() + SECONDS_TO_END
        for process in self.processes:
            try:
                process.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.pipes.clear()
        self.processes.clear()

    def _start_process(self, memory: int) -> None:
        ours, theirs = Pipe()
        self.pipes.append(_own(ours))
        with theirs:
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; from gym_loop.vector import workers; "
                f"workers.main({theirs.fileno()}, {memory}, {self.awake})"
            )
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # inherited by the worker
            try:
                process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), memory),
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.processes.append(process)

    def _call(self, rows: Array, method: str, *columns: Sequence[Any]) -> list[Any]:
        """Call a method of the shares that `rows` are in; return an answer for each row.

        Args:
            rows: of environments.
            method: takes rows of the share, and of `columns` what belongs to them.
            columns: of as many values as there are rows.
        """
        if not len(rows):
            return []
        owners, answers = self.owner[rows], [None] * len(rows)
        shares = {int(owner): (owners == owner).nonzero()[0] for owner in np.unique(owners)}
        arguments = [
            (rows[own] - self.first[owner], *([column[i] for i in own] for column in columns))
            for owner, own in shares.items()
        ]
        messages = (pickle.dumps((method, each)) for each in arguments)
        found = self._ask([*shares], messages, getattr(self.mine, method), *arguments[-1])
        for own, each in zip(shares.values(), found, strict=True):
            for place, answer in zip(own, each or (), strict=False):
                answers[place] = answer
        return answers

    def _ask(
        self,
        owners: Sequence[int],
        messages: Iterable[bytes],
        method: Callable[..., Any],
        *arguments: Any,
    ) -> list[Any]:
        """Have shares do something at the same time; return the answer of each.

        Args:
            owners: of the shares, ascending: workers, and `len(self.pipes)` for this process.
            messages: for the workers among them.
            method: of this process's share, called if it is among them.
            *arguments: for `method`.
        """
        self.is_asking = True
        others = [owner for owner in owners if owner < len(self.pipes)]
        for worker, message in zip(others, messages, strict=False):
            self._tell(worker, message)
        mine = [method(*arguments)] if len(others) < len(owners) else []
        return self._hear_all(others) + mine

    def _hear_all(self, workers: Iterable[int]) -> list[Any]:
        """Return the answers of `workers`.

        Raises:
            Failure: one has died, or one of its environments raised something.
        """
        answers = [self._hear(worker) for worker in workers]  # all, so that none is left for later
        self.is_asking = False
        for is_well, content in answers:
            if not is_well:
                raise Failure(content)
        return [content for _, content in answers]

    def _tell(self, worker: int, message: bytes) -> None:
        try:
            self.pipes[worker].send_bytes(message)
        except OSError as error:
            raise self._failure(worker) from error

    def _hear(self, worker: int) -> tuple[bool, Any]:
        try:
            answer = received(self.pipes[worker], self.awake)
        except (EOFError, OSError) as error:
            raise self._failure(worker) from error
        return pickle.loads(answer) if answer else (True, None)

    def _failure(self, worker: int) -> Failure:
        """Return what to raise where a worker has died."""
        self.pipes[worker].close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.processes[worker].wait(SECONDS_TO_END)
        code = self.processes[worker].poll()
        how = "does not answer" if code is None else f"has ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        return Failure(f"{self._name(worker)}, {how} ({NAME}=0 has them in the run's own process)")

    def _name(self, worker: int) -> str:
        own = (self.owner == worker).nonzero()[0]
        return f"worker {worker + 1} of {len(self.pipes)}, with environments {own[0]} to {own[-1]}"


class Share:
    """The environments that one process steps.

    Args:
        copies: these environments.
        rows: theirs among all.
        shared: the arrays of all.
        streams: the global ones, in a process where nothing else draws from them.
    """

    def __init__(
        self,
        copies: Copies,
        rows: slice,
        shared: "SharedArrays",
        streams: tuple[Any, ...] | None = None,
    ) -> None:
        self.copies, self.rows, self.shared, self.streams = copies, rows, shared, streams
        self.games, self.go_on = copies.games, copies.go_on

    def begin(self) -> None:
        """Reset the environments that have been given a seed."""
        seeds = self.shared.seeds[self.rows]
        rows = (seeds != NO_SEED).nonzero()[0]
        first = self.copies.begin(rows, seeds[rows].tolist())
        seeds[rows] = NO_SEED
        fill(self.shared.states, rows + self.rows.start, first)
        if len(rows) == self.copies.num_envs:  # a round: each time would take longer than a reset
            self._check_streams()

    def step(self, actions: Any = None) -> dict[int, bytes] | None:
        """Step all environments; return the infos of episodes that have ended, if there are any."""
        shared, rows = self.shared, self.rows
        own = shared.actions[rows].copy() if actions is None else actions[rows]
        states, rewards, terminated, truncated = self.copies.step(own)
        fill(shared.states, rows, states)
        shared.rewards[rows], shared.flags[:, rows] = rewards, (terminated, truncated)
        ended = (terminated | truncated).nonzero()[0]
        if not ended.size:
            return None
        return dict(zip((ended + rows.start).tolist(), self.infos_of(ended), strict=True))

    def infos_of(self, rows: Array) -> list[bytes]:
        """Return the infos of the last step, pickled; None instead of one that does not pickle."""
        infos = self.copies.infos or [None] * self.copies.num_envs  # before the first step
        return [_pickled(infos[row]) for row in rows]

    def call(self, rows: Array, functions: list[Callable[[Any], Any]]) -> list[Any]:
        """Return what each function returns for its environment."""
        self._check_streams()
        return [each(self.copies.envs[row]) for row, each in zip(rows, functions, strict=True)]

    def close(self) -> None:
        """Close the environments, once."""
        try:
            self.copies.close()
        finally:
            self.copies.envs = []

    def _check_streams(self) -> None:
        """Raise Failure if an environment has drawn from a stream that all of a process share."""
        if self.streams and global_streams() != self.streams:
            raise Failure(DRAWS)


class SharedArrays:
    """The arrays that all processes see, of all environments.

    Attributes:
        states: a batch of observations.
        actions: a batch of actions.
        rewards: float64, shape (num_envs,).
        flags: bool, shape (2, num_envs): terminated, truncated.
        seeds: int64, shape (num_envs,): of the resets that are asked for; else NO_SEED.
    """

    def __init__(self, env: Any, memory: int) -> None:
        self.buffer, self.used, count = mmap.mmap(memory, 0), 0, env.num_envs
        self.rewards = self._array((count,), np.dtype(np.float64))
        self.flags = self._array((2, count), np.dtype(np.bool_))
        self.seeds = self._array((count,), np.dtype(np.int64))
        self.seeds[:] = NO_SEED
        self.actions = self._batch(env.action_space, count)
        self.states = self._batch(env.observation_space, count)

    def _array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        array: Array = np.ndarray(shape, dtype, self.buffer, self.used)
        self.used += -(-array.nbytes // ALIGNED) * ALIGNED
        return array

    def _batch(self, space: Any, count: int) -> Any:
        parts = parts_of(space)
        if isinstance(parts, Mapping):
            return {key: self._batch(part, count) for key, part in parts.items()}
        if parts is not None:
            return tuple(self._batch(part, count) for part in parts)
        dtype = array_type(space)
        assert dtype is not None
        return self._array((count, *space.shape), dtype)


def main(pipe: int, memory: int, awake: float) -> None:
    """Be a worker, until the process that has started this one closes its end of the pipe."""
    open_streams()  # what environments print
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    share: Share | None = None
    answer: Any
    with _own(Connection(pipe)) as messages, contextlib.suppress(EOFError, ConnectionError):
        while True:
            message = received(messages, awake)
            try:
                if share is None:
                    share, answer = _set_up(memory, *pickle.loads(message))
                else:
                    method, arguments = SHORT.get(message) or pickle.loads(message)
                    answer = getattr(share, method)(*arguments)
                reply = b"" if answer is None else pickle.dumps((True, answer))
            except BaseException as error:  # also a panic in Rust, and SystemExit
                reply = pickle.dumps((False, errors.message(error)))
            messages.send_bytes(reply)
    if share:
        share.close()


def received(pipe: Connection, awake: float) -> bytes:
    """Return the next message, for which this process waits `awake` seconds before it sleeps."""
    arrivals, until = select.poll(), time.perf_counter() + awake
    arrivals.register(pipe.fileno(), select.POLLIN)
    while time.perf_counter() < until and not arrivals.poll(0):
        pass
    return pipe.recv_bytes()


def _set_up(
    memory: int, libraries: list[Any], classes: dict[str, bytes], order: bytes
) -> tuple[Share, list[str]]:
    """Make a worker's environments; return them, and warnings of what may be another there.

    Raises:
        Failure: one does not come back from its pickle.
    """
    launch.parts()
    for library in libraries:
        import_library(library)
    log_mujoco_warnings()
    by_value.pickles.update(classes)
    for file in classes:
        by_value.load(file)
    num_envs, observation_space, action_space, rows, saved, infos = pickle.loads(order)
    texts = list[str]()
    warned = logging.Handler(logging.WARNING)
    warned.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("gym_loop").addHandler(warned)
    before = global_streams()
    envs = [vector.restore(each) for each in saved]
    logging.getLogger("gym_loop").removeHandler(warned)
    if None in envs:
        raise Failure("; ".join(texts))
    if global_streams() != before:  # a reset on trial has
        texts.append(DRAWS)
    copies, every = Copies(envs), VectorEnv()
    copies.infos, every.num_envs = infos, num_envs
    for env in (copies, every):
        env.observation_space, env.action_space = observation_space, action_space
    return Share(copies, rows, SharedArrays(every, memory), global_streams()), texts


def fill(batch: Any, rows: Any, new: Any) -> None:
    """Put the rows of a batch into the rows `rows` of a shared one.

    Raises:
        Failure: they have another shape or type.
    """

    def fill_one(array: Array, given: Array) -> None:
        if given.dtype != array.dtype or given.shape[1:] != array.shape[1:]:
            raise Failure(
                f"an observation has the shape {given.shape[1:]} and type {given.dtype}, and its "
                f"space {array.shape[1:]} and {array.dtype}: {NAME}=0 takes it as it is"
            )
        array[rows] = given

    map_arrays(fill_one, batch, new)


def global_streams() -> tuple[Any, ...]:
    """Return the states of the streams that all of a process share."""
    numpy: Any = np.random.get_state()
    return random.getstate(), numpy[1].tobytes(), numpy[2]


def _copies(pickles: list[bytes], infos: list[Any]) -> Copies:
    """Return copies of environments, from a checkpoint that was written with workers."""
    copies = Copies([unpickle(each) for each in pickles])
    copies.infos = () if None in infos else tuple(infos)
    return copies


def _size(env: Any) -> int:
    """Return how many bytes the shared arrays of `env` take at most."""
    size = env.num_envs * (8 + 2 + 8) + 3 * ALIGNED  # rewards, flags, seeds
    for space in (*leaves(env.observation_space), *leaves(env.action_space)):
        size += ALIGNED + env.num_envs * np.dtype(space.dtype).itemsize * math.prod(space.shape)
    return int(size)


def _shared_memory(size: int) -> int:
    """Return the descriptor of a file without a name: it is gone with the last process."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("gym_loop")
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    os.truncate(memory, size)
    return memory


def _pickled(info: Any) -> bytes:
    try:
        return pickle.dumps(info)
    except Exception:
        if not isinstance(info, Mapping):
            return pickle.dumps(None)
        each = {key: _pickled(value) for key, value in info.items()}
        return pickle.dumps({key: pickle.loads(value) for key, value in each.items()})
