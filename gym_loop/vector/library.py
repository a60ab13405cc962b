"""Vector environments of gym 0.26 and of Gymnasium, in the form of `VectorEnv`."""

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from typing import Any

import numpy as np

from gym_loop.compat.gymnasium import close_vector
from gym_loop.envs.make import EnvError
from gym_loop.envs.tape import learning_layers, share_learnt
from gym_loop.mistake import Failure, Mistake
from gym_loop.proxy import Proxy
from gym_loop.vector.base import Step, VectorEnv
from gym_loop.vector.batches import Array, as_arrays, info_of_row, put, stack, take

SECONDS_TO_END = 5.0  # until a process whose pipe has broken is there no more
GAME = "gym_loop.game"  # in the info of the last step of an episode
CUT = "gym_loop.cut"  # there, too: whether the limit ended it, on a step with which a life ends


class LibraryVectorEnv(VectorEnv):
    """A vector environment of gym 0.26 or of Gymnasium; `from_library` picks the subclass."""

    def __init__(self, env: Any, copies: bool) -> None:
        self.env, self.num_envs = env, env.num_envs
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        self.metadata = env.metadata or {}
        self.infos: Mapping[str, Any] = {}  # of the last step, in the library's form
        # One that is made of copies takes a seed for each; one written as a vector takes one seed.
        self.seeded = "start" if copies else "none"

    def start(self, seeds: Sequence[int]) -> Any:
        """Reset all: with a seed for each where the library allows it, else with the first."""
        seed = int(seeds[0]) if self.seeded == "none" else [int(seed) for seed in seeds]
        try:
            states = self.env.reset(seed=seed)[0]
        except (EOFError, ConnectionError) as error:
            if failure := self._ended_process():
                raise failure from error
            raise
        return as_arrays(states, self.observation_space)

    def step(self, actions: Any) -> Step:
        try:
            states, rewards, terminated, truncated, self.infos = self.env.step(actions)
        except (EOFError, ConnectionError) as error:
            if failure := self._ended_process():
                raise failure from error
            raise
        return as_arrays(states, self.observation_space), rewards, terminated, truncated

    def _ended_process(self) -> Failure | None:
        """Return what to raise if one of the processes of the environments is there no more."""
        if processes := getattr(self.env, "processes", ()):
            wait([process.sentinel for process in processes], SECONDS_TO_END)
        for row, process in enumerate(processes):
            process.join(0.1)
            if code := process.exitcode:  # 0: of one that has told its environment's error
                how = f"was killed by signal {-code}" if code < 0 else f"left with exit code {code}"
                return Failure(f"the process of environment {row} of {self.num_envs} {how}")
        return None

    def info_of(self, row: int) -> dict[str, Any]:
        """Return the info of one environment: where it was reset within the step, its last one."""
        return {key: value for key, value in self._last_info(row).items() if key not in (GAME, CUT)}

    def _last_info(self, row: int) -> dict[str, Any]:
        info = info_of_row(self.infos, row)
        last: dict[str, Any] = info.get("final_info", info)
        return last

    def games(self, rows: Array) -> list[Any]:
        ended = [self._last_info(row).get(GAME) for row in rows.tolist()]
        running = self.env.call("bare_game") if None in ended else ()
        return [game or running[row] for game, row in zip(ended, rows, strict=True)]

    def play_on(self, step: Step) -> Step:
        states, rewards, terminated, truncated = step
        ended = (terminated | truncated).nonzero()[0].tolist()
        rows = np.array([row for row in ended if self._last_info(row)[GAME] is None], np.int64)
        cut = [row for row in ended if self._last_info(row)[CUT]]
        if rows.size or cut:
            terminated, truncated = terminated.copy(), truncated.copy()
            terminated[cut], truncated[cut] = False, True
        if rows.size:
            terminated[rows] = truncated[rows] = False
            states = self.restart(states, rows, ())
        return states, rewards, terminated, truncated

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        close_vector(self.env)


class ResetNextStep(LibraryVectorEnv):
    """Gymnasium's NEXT_STEP: the next step of an ended environment is its reset."""

    delayed = True


class ResetSameStep(LibraryVectorEnv):
    """Gymnasium's SAME_STEP and all of gym's: the last observation is in the infos, put back here.

    Args:
        env: of the library.
        copies: whether it takes a seed for each environment.
        final: the name of the last observations in the infos.
    """

    def __init__(self, env: Any, copies: bool, final: str) -> None:
        super().__init__(env, copies)
        self.final = final
        self.first: Any = None  # batch with the first observations of what the last step reset

    def step(self, actions: Any) -> Step:
        """Step all; the observation of an ended episode is its own last one."""
        states, rewards, terminated, truncated = super().step(actions)
        if self.final in self.infos:
            rows = (terminated | truncated).nonzero()[0]
            self.first = states
            last = [self.infos[self.final][row] for row in rows]
            states = put(states, rows, stack(last, self.observation_space))
        return states, rewards, terminated, truncated

    def render(self) -> Any:
        """Return a frame of each environment; gym's own vector environments have no `render`."""
        if type(self.env).__module__.partition(".")[0] == "gym":
            return self.env.call("render")
        return super().render()

    def restart(self, states: Any, rows: Array, seeds: Sequence[int]) -> Any:
        """Put in the first observations of the episodes that the last step has begun."""
        return put(states, rows, take(self.first, rows))


class ResetWhenTold(LibraryVectorEnv):
    """Gymnasium's DISABLED: `restart` resets an ended environment, with a seed if it takes one."""

    cuts = True

    def __init__(self, env: Any, copies: bool) -> None:
        super().__init__(env, copies)
        self.seeded = "all" if copies else "none"

    def restart(self, states: Any, rows: Array, seeds: Sequence[int]) -> Any:
        mask = np.zeros(self.num_envs, np.bool_)
        mask[rows] = True
        each: list[int | None] | None = None
        if len(seeds):
            each = [None] * self.num_envs
            for row, seed in zip(rows, seeds, strict=True):
                each[row] = int(seed)
        first, _ = self.env.reset(seed=each, options={"reset_mask": mask})
        return put(states, rows, take(as_arrays(first, self.observation_space), rows))


class PartOfVector(Proxy):
    """An environment in its wrappers, as a part of a vector of a library's.

    The info of an episode's last step has the bare environment's game under GAME; None where the
    game goes on though a wrapper has ended the episode, which the next `reset` without a seed does.

    Args:
        env: in its wrappers.
        limit: steps, of the agent's, after which a game is truncated; None: none.
    """

    def __init__(self, env: Any, limit: int | None) -> None:
        super().__init__(env)
        self.limit, self.steps = limit, 0
        self.next_life: Any = None

    def __reduce__(self) -> Any:
        return PartOfVector, (self.env, self.limit)

    def get_wrapper_attr(self, name: str) -> Any:
        """Return an attribute, as Gymnasium asks for it."""
        return getattr(self, name)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Begin a game, or go on with one."""
        life, self.next_life = self.next_life, None
        if life is not None and seed is None:
            return life, {}
        self.steps = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """Step it."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        if terminated or truncated:
            self.next_life = self.env.go_on_with_game()
        cut = self.steps == self.limit
        if terminated or truncated or cut:
            goes_on = self.next_life is not None
            info = {**info, GAME: None if goes_on and not cut else self.env.bare_game}
            info[CUT] = cut and goes_on
        if cut:
            self.next_life, truncated = None, truncated or not terminated
        return observation, reward, terminated, truncated, info


def vector_of_wrapped(
    kind: Any, make: Callable[[], Any], num_envs: int, limit: int | None, **options: Any
) -> LibraryVectorEnv:
    """Return a library's vector of `num_envs` environments in wrappers.

    Args:
        kind: the library's SyncVectorEnv or AsyncVectorEnv.
        make: returns an environment in its wrappers.
        num_envs: how many.
        limit: steps, of the agent's, after which an episode is truncated; None: none.
        options: of `kind`.

    Raises:
        Mistake: wrappers that learn, in processes of their own; or the vector resets environments
            in the step after an episode's end.
    """
    in_processes = kind.__name__ == "AsyncVectorEnv"
    if in_processes:
        with contextlib.closing(make()) as env:
            learning = ", ".join(learning_layers(env))
        if learning:
            raise Mistake(
                f"{learning} learns, and {kind.__name__} has each of its {num_envs} environments, "
                "and so one that learns alone, in a process of its own: let them be in this one "
                "(env.mode=sync, env.asynchronous=false), or have the agent learn it"
            )
    many = from_library(kind([lambda: PartOfVector(make(), limit)] * num_envs, **options))
    if many.delayed:
        raise Mistake(
            "env.wrappers can end an episode before the environment does, which the "
            "autoreset_mode NextStep has no room for: leave env.vector_kwargs.autoreset_mode out"
        )
    many.wrapped = True
    if not in_processes:
        many.wrapped_envs = [part.env for part in many.env.envs]
        share_learnt(many.wrapped_envs)
    return many


def from_library(env: Any) -> LibraryVectorEnv:
    """Return a vector environment of gym's or Gymnasium's in the form of `VectorEnv`.

    Raises:
        EnvError: it is neither.
    """
    kinds = type(getattr(env, "unwrapped", env)).__mro__
    libraries = {kind.__module__.partition(".")[0] for kind in kinds}
    if not hasattr(env, "single_action_space") or not libraries & {"gym", "gymnasium"}:
        raise EnvError(
            f"{type(env).__name__} takes num_envs but is no vector environment of gym's, of "
            "Gymnasium's, or gym_loop.vector.base.VectorEnv"
        )
    copies = any(kind.__name__ in ("SyncVectorEnv", "AsyncVectorEnv") for kind in kinds)
    # Making a batch's space gives it, and that of one, a stream from the system's entropy.
    for batch, name in itertools.product(("", "single_"), ("action_space", "observation_space")):
        getattr(env.unwrapped, f"{batch}{name}").seed(0)
    if "gymnasium" not in libraries:
        return ResetSameStep(env, copies, "final_observation")
    mode = (env.metadata or {}).get("autoreset_mode", "NextStep")  # all that 1.0 had
    mode = getattr(mode, "value", mode)
    if mode == "NextStep":
        return ResetNextStep(env, copies)
    if mode == "SameStep":
        return ResetSameStep(env, copies, "final_obs")
    return ResetWhenTold(env, copies)
