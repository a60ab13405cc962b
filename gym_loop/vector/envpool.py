"""EnvPool: environments in C++, stepped by threads (Weng et al. 2022, arXiv:2206.10558)."""

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gym_loop.envs.make import EnvError, MissingDependencyError, import_all
from gym_loop.mistake import nearest
from gym_loop.vector.base import Single, Step, VectorEnv
from gym_loop.vector.batches import info_of_row, put

INT_MAX = 2**31 - 1  # EnvPool counts steps in an int32
INSTALL = 'pip install "gym-loop[envpool]" (Linux, Python 3.11 or newer)'


class EnvPool(VectorEnv):
    """A pool of EnvPool's, each environment in an episode of its own.

    EnvPool takes seeds only when a pool is made: `start` makes a new pool, and only the episodes
    that it begins have a seed of their own.

    The limit of an episode's steps is counted here: EnvPool reports an episode that terminates in
    the step that reaches its own limit as truncated.

    Args:
        id: of EnvPool's.
        options: of `envpool.make`, `num_envs` among them.
        limit: steps after which an episode is truncated; None: where EnvPool knows none.
    """

    delayed = True
    seeded = "start"

    def __init__(self, id: str, options: Mapping[str, Any], limit: int | None) -> None:
        self.id, self.options, self.limit = id, dict(options), limit
        if limit is not None:
            self.options["max_episode_steps"] = min(limit + 1, INT_MAX)  # beyond our own limit
        self.num_envs = self.options["num_envs"]
        self.pool: Any = None
        self.states: Any = None  # after the last step
        self.infos: Any = {}  # of the last step, in EnvPool's form
        self.overdue = np.zeros(0, int)  # rows of episodes that the last step brought to the limit
        options = {name: value for name, value in self.options.items() if name != "render_mode"}
        with _quiet():
            spec = _envpool().make_spec(id, **options)
            self.observation_space = spec.gymnasium_observation_space
            self.action_space = spec.gymnasium_action_space

    def start(self, seeds: Sequence[int]) -> Any:
        """Make a pool with these seeds and reset it."""
        self.close()
        each = [int(seed) for seed in seeds]
        with _quiet():
            self.pool = _envpool().make(self.id, env_type="gymnasium", seed=each, **self.options)
            self.states, self.overdue = self.pool.reset()[0], self.overdue[:0]
            return self.states

    def step(self, actions: Any) -> Step:
        """Step all environments; those whose episodes have ended are reset instead."""
        if self.overdue.size:
            return self._reset_overdue(actions)
        self.states, rewards, terminated, truncated, self.infos = self.pool.step(actions)
        if self.limit is not None:
            late = (self.infos["elapsed_step"] >= self.limit) & ~terminated & ~truncated
            if late.any():
                self.overdue, truncated = late.nonzero()[0], truncated | late
        return self.states, rewards, terminated, truncated

    def _reset_overdue(self, actions: Any) -> Step:
        """Reset the rows that reached our limit, which the pool does not know; step the others."""
        overdue, others = self.overdue, np.delete(np.arange(self.num_envs), self.overdue)
        states = put(self.states, overdue, self.pool.reset(overdue)[0])
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        self.overdue = overdue[:0]
        if others.size:
            after, *rest, self.infos = self.pool.step(actions[others], others)
            states = put(states, others, after)
            rewards[others], terminated[others], truncated[others] = rest
            late = self.infos["elapsed_step"] >= self.limit
            late &= ~(terminated[others] | truncated[others])
            self.overdue = others[late]
            truncated[self.overdue] = True
        self.states = states
        return states, rewards, terminated, truncated

    def info_of(self, row: int) -> Any:
        """Return the info of one of the environments that the last step has stepped."""
        place = np.searchsorted(self.infos["env_id"], row)
        return info_of_row(self.infos, int(place))

    def render(self) -> Any:
        return self.pool.render()

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()
            self.pool = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the pool: after a checkpoint, `start` makes another one."""
        return {**vars(self), "pool": None, "states": None, "infos": {}}


def make_envpool(
    id: str,
    kwargs: Mapping[str, Any] | None = None,
    num_envs: int | None = None,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
    imports: Sequence[str] | None = None,
) -> Any:
    """Return EnvPool's environment `id`.

    Args:
        id: one of `envpool.list_all_envs()`.
        kwargs: of `envpool.make`, such as `num_threads`.
        num_envs: how many; None: one, used as an ordinary environment.
        max_episode_steps: truncates earlier than EnvPool's own limit does.
        render_mode: None or `rgb_array`.
        imports: modules to import first.

    Raises:
        EnvError: no such id or keyword argument.
        MissingDependencyError: EnvPool is not installed.
    """
    import_all(imports)
    if num_envs is None:
        return Single(make_envpool(id, kwargs, 1, max_episode_steps, render_mode))
    own, options = check_envpool(id, kwargs), dict(kwargs or {})
    limit = None
    if "max_episode_steps" in own:
        limits = (options.pop("max_episode_steps", own["max_episode_steps"]), max_episode_steps)
        limit = min(n for n in limits if n)
    if render_mode is not None:
        options["render_mode"] = render_mode
    return EnvPool(id, {**options, "num_envs": num_envs}, limit)


def check_envpool(id: str, kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Raise what `make_envpool` would raise for what it is asked for, without making anything.

    Returns what `envpool.make` takes for that environment, with its defaults.
    """
    envpool = _envpool()
    known = envpool.list_all_envs()
    if id not in known:
        raise EnvError(f"EnvPool has no environment {id!r}{nearest(id, known)}")
    own: dict[str, Any] = envpool.make_spec(id).config._asdict()
    passed = {"num_envs", "seed", "env_seed", "batch_size"}  # set by us, or not supported
    for name in kwargs or ():
        if name not in own or name in passed:
            near = nearest(name, own.keys() - passed, f"; it takes {', '.join(own)}")
            raise EnvError(f"EnvPool's {id} has no keyword argument {name!r}{near}")
    return own


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the warning that the bounds of its spaces were cast to float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _envpool() -> Any:
    try:
        return importlib.import_module("envpool")
    except ImportError as error:
        if error.name != "envpool":
            raise
        raise MissingDependencyError(f"EnvPool is not installed: {INSTALL}") from error
