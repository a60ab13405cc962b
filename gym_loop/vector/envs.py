"""How the environments of `loop=vector` are made: copies, or a library's own vectors."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gym_loop.closing import closed_on_failure
from gym_loop.config import signature
from gym_loop.envs.make import (
    EnvError,
    MissingDependencyError,
    do_without_display,
    env_spec,
    import_all,
    import_library,
    make_gym,
    make_gymnasium,
)
from gym_loop.envs.wrappers import Wrappers
from gym_loop.mistake import Mistake, nearest
from gym_loop.streams import is_space
from gym_loop.vector.base import Single, VectorEnv
from gym_loop.vector.batches import leaves
from gym_loop.vector.copies import Copies
from gym_loop.vector.library import LibraryVectorEnv, from_library, vector_of_wrapped


def make_vector(factory: Callable[..., Any], num_envs: int, max_episode_len: int) -> VectorEnv:
    """Return `num_envs` environments made by `factory`.

    A factory that takes `num_envs` makes a vector environment, which is to truncate episodes by
    itself after `max_episode_steps` if the factory takes that; any other is called `num_envs`
    times.

    Raises:
        Mistake: actions or observations that no array can hold.
        EnvError: a vector environment of unknown kind, or an action space that is none.
    """
    takes = signature.parameters(factory) or {}
    with contextlib.ExitStack() as failing:

        def made(**arguments: Any) -> Any:
            return failing.enter_context(closed_on_failure(factory(**arguments)))

        if "num_envs" not in takes:
            env = Copies([made() for _ in range(num_envs)])
            for kind in (type(leaf).__name__ for leaf in leaves(env.observation_space)):
                if kind in ("Sequence", "OneOf", "Graph"):
                    raise Mistake(
                        "loop=vector needs observations that fit into arrays, not those of a "
                        f"{kind} space ({env.observation_space!s:.80}): use loop=default"
                    )
        else:
            limit = {"max_episode_steps": max_episode_len} if "max_episode_steps" in takes else {}
            env = made(num_envs=num_envs, **limit)
        if not isinstance(env, VectorEnv):
            env = from_library(env)
        if getattr(env.action_space, "shape", None) is None:
            raise (Mistake if is_space(env.action_space) else EnvError)(
                f"loop=vector needs actions that fit into an array, not {env.action_space}: "
                "use loop=default"
            )
    return env


def make_single(factory: Callable[..., Any], **arguments: Any) -> Any:
    """Return one environment made by `factory`, whether or not it makes vector environments."""
    takes = (signature.parameters(factory) or {}).get("num_envs")
    if takes is None or takes.default is None:  # it makes a single one by itself
        return factory(**arguments)
    env = factory(num_envs=1, **arguments)
    return Single(env if isinstance(env, VectorEnv) else from_library(env))


def make_gymnasium_vector(
    id: str,
    kwargs: Mapping[str, Any] | None = None,
    mode: str | None = None,
    vector_kwargs: Mapping[str, Any] | None = None,
    num_envs: int | None = None,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
    imports: Sequence[str] | None = None,
    wrappers: Wrappers | None = None,
) -> Any:
    """Return Gymnasium's vector environment for `id`: `gymnasium.make_vec`.

    Args:
        id: as registered.
        kwargs: of the environment.
        mode: `vector_entry_point` (the environment's own, written as a vector), `async` (a process
            for each), `sync`, or None: the first where there is one, else `sync`.
        vector_kwargs: of the vector environment. Copies (`sync`, `async`) reset when they are
            told to, unless an `autoreset_mode` is given here.
        num_envs: how many; None: one, used as an ordinary environment.
        max_episode_steps: truncates earlier than the registered limit does.
        render_mode: of every environment.
        imports: modules to import first, such as one that registers the environment.
        wrappers: of each copy, by name, innermost first.

    Raises:
        EnvError: no such id.
        Mistake: no such mode, arguments that it does not take, or wrappers around an environment
            that is written as a vector.
        MissingDependencyError: Gymnasium, or a package the environment needs, is not installed.
    """
    import_all(imports)
    spec, gymnasium = env_spec("gymnasium", id), import_library("gymnasium")
    if num_envs is None and wrappers:
        limited = _limited(kwargs, spec, max_episode_steps)
        return make_gymnasium(id, limited, render_mode, None, wrappers)
    if num_envs is None:
        given = id, kwargs, mode, vector_kwargs, 1, max_episode_steps, render_mode
        return Single(make_gymnasium_vector(*given))
    modes = ("vector_entry_point", "async", "sync")
    if mode is None:
        mode = "vector_entry_point" if spec.vector_entry_point else "sync"
    if mode not in modes:
        near = nearest(str(mode), modes) or f"; expected one of {', '.join(modes)}"
        raise Mistake(f"env.mode is {mode!r}{near}")
    if mode == "vector_entry_point" and not spec.vector_entry_point:
        raise Mistake(f"{spec.id} has no vector_entry_point: use env.mode=sync or async")
    if mode == "vector_entry_point" and wrappers:
        raise Mistake(
            f"{spec.id} has a vector form of its own, and env.wrappers wrap single environments: "
            "choose copies with env.mode=sync, or env.mode=async for a process each"
        )
    arguments = _limited(kwargs, spec, None if wrappers else max_episode_steps)
    if mode != "vector_entry_point":
        options = dict(vector_kwargs or {})
        if hasattr(gymnasium.vector, "AutoresetMode"):  # 1.1 on
            options.setdefault("autoreset_mode", "Disabled")
        kind = (
            gymnasium.vector.AsyncVectorEnv if mode == "async" else gymnasium.vector.SyncVectorEnv
        )
        takes = [*(signature.parameters(kind) or ())][1:]  # after the environments
        for name in options:
            if name not in takes:
                known = nearest(name, takes) or f"; {kind.__name__} takes {', '.join(takes)}"
                raise Mistake(f"no key {f'env.vector_kwargs.{name}'!r}{known}")
        one = functools.partial(make_gymnasium, id, arguments, render_mode, imports, wrappers)
        if wrappers:
            return vector_of_wrapped(kind, one, num_envs, max_episode_steps, **options)
        return from_library(kind([one] * num_envs, **options))
    if vector_kwargs:
        raise Mistake(f"env.vector_kwargs are for mode sync or async, not for {mode}")
    return _written_as_vector(spec, arguments, num_envs, render_mode)


def _written_as_vector(
    spec: Any, arguments: dict[str, Any], num_envs: int, render_mode: str | None
) -> LibraryVectorEnv:
    """Return the vector form that an environment of Gymnasium's has of its own."""
    gymnasium = import_library("gymnasium")
    if spec.max_episode_steps is None:
        arguments.pop("max_episode_steps", None)  # which it may not take
    if render_mode is not None:
        arguments["render_mode"] = render_mode
    do_without_display(render_mode)
    try:
        env = gymnasium.make_vec(
            spec, num_envs, vectorization_mode="vector_entry_point", **arguments
        )
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise MissingDependencyError(f"{spec.id} cannot be made: {error}") from error
    _speed_up_contains(env.unwrapped.action_space)
    return from_library(env)


def make_gym_vector(
    id: str,
    kwargs: Mapping[str, Any] | None = None,
    asynchronous: bool = False,
    num_envs: int | None = None,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
    imports: Sequence[str] | None = None,
    wrappers: Wrappers | None = None,
) -> Any:
    """Return gym's vector environment for `id`: `SyncVectorEnv`, or `AsyncVectorEnv`.

    Args:
        id: as registered.
        kwargs: of the environment.
        asynchronous: a process for each environment.
        num_envs: how many; None: one, used as an ordinary environment.
        max_episode_steps: truncates earlier than the registered limit does.
        render_mode: of every environment.
        imports: modules to import first, such as one that registers the environment.
        wrappers: of each copy, by name, innermost first.

    Raises:
        EnvError: no such id, keyword argument or render mode.
        MissingDependencyError: a package the environment needs is not installed.
    """
    import_all(imports)
    spec, gym = env_spec("gym", id), import_library("gym")
    if num_envs is None and wrappers:
        limited = _limited(kwargs, spec, max_episode_steps)
        return make_gym(id, limited, render_mode, None, wrappers)
    if num_envs is None:
        return Single(make_gym_vector(id, kwargs, asynchronous, 1, max_episode_steps, render_mode))
    arguments = _limited(kwargs, spec, None if wrappers else max_episode_steps)
    one = functools.partial(make_gym, id, arguments, render_mode, imports, wrappers)
    kind = gym.vector.AsyncVectorEnv if asynchronous else gym.vector.SyncVectorEnv
    if wrappers:
        return vector_of_wrapped(kind, one, num_envs, max_episode_steps)
    return from_library(kind([one] * num_envs))


def _limited(kwargs: Mapping[str, Any] | None, spec: Any, max_steps: int | None) -> dict[str, Any]:
    """Return `kwargs` with the lower one of the registered limit of steps and `max_steps`."""
    limits = [n for n in (spec.max_episode_steps, max_steps) if n is not None]
    return ({"max_episode_steps": min(limits)} if limits else {}) | dict(kwargs or {})


class _Within:
    """The `contains` of a uniform MultiDiscrete: integers of one shape in [low, high)."""

    def __init__(self, low: int, high: int, shape: tuple[int, ...]) -> None:
        self.low, self.high, self.shape = low, high, shape

    def __call__(self, x: Any) -> bool:
        x = np.asarray(x)
        whole = x.shape == self.shape and x.dtype != object
        return bool(whole and self.low <= x.min() and x.max() < self.high)


def _speed_up_contains(space: Any) -> None:
    """Replace `contains` of a batched Discrete space by one that takes a fifth of the time.

    A vector entry point asserts in each step that the actions are in the space, which is a quarter
    of the time of a step of 64 CartPoles.
    """
    if type(space).__name__ == "MultiDiscrete" and space.nvec.size:
        low, count = int(space.start.flat[0]), int(space.nvec.flat[0])
        if (space.start == low).all() and (space.nvec == count).all():
            space.contains = _Within(low, low + count, space.shape)
