"""Wrappers around an environment, named in `env.wrappers`, innermost first.

The functions here make a library's own wrapper, that of gym or of Gymnasium, as the environment
needs it. They are what the options of the group `wrap` name.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gym_loop import launch
from gym_loop.closing import closed_on_failure
from gym_loop.compat import hydra as inner
from gym_loop.compat.gymnasium import has_stream
from gym_loop.config import signature
from gym_loop.envs.greetings import log_mujoco_warnings
from gym_loop.envs.learnt import check_switch
from gym_loop.envs.tape import Tape, Wrapped, learning_layers
from gym_loop.errors import user_frames
from gym_loop.mistake import Mistake, installing, summary_of
from gym_loop.proxy import Proxy

Wrappers = Mapping[str, Callable[[Any], Any]]  # name -> what takes the environment alone
KEY = "wrappers"


def maker(described: dict[str, Any]) -> Any:
    """Return what a description is built with; wrappers in it become functions of the environment.

    Args:
        described: a section of the config, resolved: an agent, an environment, a loop. What is
            returned for an environment takes `wrappers`, whatever its class takes.
    """
    make = launch.locate(described["_target_"])
    log_mujoco_warnings()  # an environment's module may have imported it
    if hasattr(make, "get_default_parameters"):
        return make
    for module in described.get("imports") or ():  # before streams are seeded: it may bring torch
        importlib.import_module(module)
    described.update(with_tuples(make, described))
    if KEY not in described:
        return make
    wrappers = described[KEY] or {}  # one that is null is taken away
    described[KEY] = {name: partial(each) for name, each in wrappers.items() if each}
    return make if KEY in (signature.parameters(make) or ()) else Wrapping(make)


def partial(described: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return the wrapper that a config describes, as a function of the environment."""
    kind = launch.locate(described["_target_"])
    arguments = {key: value for key, value in described.items() if not key.startswith("_")}
    if inner.says_how(arguments):  # built for each environment anew, as the wrapper is
        return functools.partial(_with_built, kind, arguments)
    return functools.partial(kind, **with_tuples(kind, arguments))


def _with_built(kind: Callable[..., Any], arguments: dict[str, Any], env: Any) -> Any:
    built = inner.instantiate({"_target_": dict, **arguments}, False, launch.locate)
    return kind(env, **with_tuples(kind, built))


def with_tuples(make: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `make` with tuples where it wants them: YAML has lists alone."""
    lists = [key for key, value in given.items() if type(value) is list]
    if not lists:  # as with most; a signature takes long
        return {**given}
    known = signature.parameters(make) or {}
    tuples = [key for key, parameter in known.items() if signature.wants_tuple(parameter)]
    return {**given, **{key: tuple(given[key]) for key in lists if key in tuples}}


class Wrapping:
    """A class or function that makes an environment, and takes `wrappers` as well."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make
        own = (signature.parameters(make) or {}).values()
        self.__signature__ = inspect.Signature(
            [p for p in own if p.kind is not p.VAR_KEYWORD]
            + [inspect.Parameter(KEY, inspect.Parameter.KEYWORD_ONLY)]
            + [p for p in own if p.kind is p.VAR_KEYWORD]
        )

    def __call__(self, *args: Any, wrappers: Wrappers, **kwargs: Any) -> Any:
        """Make the environment and wrap it.

        Raises:
            Mistake: it is many environments at once.
        """
        if wrappers and "num_envs" in kwargs:
            made_by = getattr(self.make, "__name__", str(self.make))
            raise Mistake(
                f"env.wrappers wrap one environment, and {made_by} makes many at once: use "
                "env=gymnasium or env=gym, of which loop=vector makes as many as it needs"
            )
        return wrapped(self.make(*args, **kwargs), wrappers)


def wrapped(env: Any, wrappers: Wrappers | None) -> Any:
    """Return `env` in its wrappers, as a `Wrapped`; `env` itself where there are none.

    Raises:
        Mistake: a wrapper of a library does not take it; or it is of the old API without `seed`.
        Exception: what the code of the user's own wrapper raised.
    """
    if not wrappers:
        return env
    outside = {name: wrap for name, wrap in wrappers.items() if not _is_old_api(wrap)}
    inside = wrappers.keys() - outside.keys()
    if inside and not hasattr(env, "seed"):
        raise Mistake(
            f"{env.__class__.__name__} has no seed(seed), by which wrap=[old_api] begins episodes "
            "that can be played again: derive a class that has one, and name that"
        )
    tape = Tape(OldApi(env) if inside else env)
    with closed_on_failure(tape):
        env = tape
        for name, wrap in outside.items():
            env = _wrapped_in(env, name, wrap)
            if not _leads_to(env, tape):
                raise Mistake(
                    f"env.wrappers.{name} returned {_named(env)}, which has not kept the "
                    "environment that it was given; expected a wrapper that has it as its "
                    "attribute 'env'"
                )
        made = Wrapped(env, tape)
        for layer in learning_layers(made).values():
            check_switch(layer)
    return made


def _wrapped_in(env: Any, name: str, wrap: Callable[[Any], Any]) -> Any:
    _give_stream(env)
    try:
        return wrap(env)
    except Exception as error:
        if user_frames(error):
            raise
        kind = env.__class__.__name__
        raise Mistake(
            f"env.wrappers.{name} cannot wrap {kind}: {summary_of(error):.300}{installing(error)}"
        ) from error


def _leads_to(env: Any, tape: "Tape") -> bool:
    """Return whether `tape` is below `env`, by each layer's attribute `env`."""
    while env is not tape and env is not None:
        env = getattr(env, "env", None)
    return env is not None


def _named(value: Any) -> str:
    return "None" if value is None else f"an object of {type(value).__name__}"


def _give_stream(env: Any) -> None:
    """Seed a space that has no stream: stacking copies it, and it would come from entropy."""
    if not has_stream(env.observation_space):
        env.observation_space.seed(0)


def bare(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section `env` of a config with those wrappers alone that are below the tape."""
    wrappers = section.get(KEY) or {}
    inside = {n: each for n, each in wrappers.items() if each and _is_old_api(partial(each))}
    return {key: each for key, each in section.items() if key != KEY} | (
        {KEY: inside} if inside else {}
    )


def _is_old_api(wrap: Any) -> bool:
    return getattr(wrap, "func", wrap) is OldApi


def library(kind: Any) -> str | None:
    """Return "gym" or "gymnasium" for a class derived from one of that library's; else None."""
    names = [each.__module__.partition(".")[0] for each in getattr(kind, "__mro__", ())]
    return next((name for name in names if name in ("gym", "gymnasium")), None)


def _wrappers_of(env: Any) -> tuple[str, Any]:
    """Return the library of an environment, and its module of wrappers."""
    if library(env.__class__) == "gym":
        import gym.wrappers

        return "gym", gym.wrappers
    from gym_loop.envs.make import import_library

    import_library("gymnasium")
    import gymnasium.wrappers

    return "gymnasium", gymnasium.wrappers


def frame_stack(env: Any, stack_size: int = 4) -> Any:
    """Return the environment with its last `stack_size` observations stacked along a new axis."""
    name, theirs = _wrappers_of(env)
    if name == "gym":
        return theirs.FrameStack(env, stack_size)
    _give_stream(env)
    return theirs.FrameStackObservation(env, stack_size)


def stack_channels(env: Any, stack_size: int = 4) -> Any:
    """Return the environment with its last `stack_size` images as the channels of one, uint8.

    The first images of an episode have zeros before them, as in Stable-Baselines3's VecFrameStack.

    Raises:
        TypeError: it is none of Gymnasium's, or its observations are no images.
    """
    name, theirs = _wrappers_of(env)
    space = env.observation_space
    if name == "gym" or len(space.shape or ()) != 3:
        raise TypeError(f"expected images of an environment of Gymnasium's, not {space} of {name}")
    low, high = (np.concatenate([each] * stack_size, -1) for each in (space.low, space.high))
    stacked = theirs.FrameStackObservation(env, stack_size, padding_type="zero")
    as_channels = functools.partial(np.concatenate, axis=-1)
    images = type(space)(low, high, dtype=space.dtype)
    return theirs.TransformObservation(stacked, as_channels, images)


def normalize_observation(env: Any, epsilon: float = 1e-8) -> Any:
    """Return the environment with observations of running mean 0 and variance 1."""
    return _wrappers_of(env)[1].NormalizeObservation(env, epsilon=epsilon)


def normalize_reward(env: Any, gamma: float = 0.99, epsilon: float = 1e-8) -> Any:
    """Return the environment with rewards divided by the deviation of the discounted return."""
    return _wrappers_of(env)[1].NormalizeReward(env, gamma=gamma, epsilon=epsilon)


def time_limit(env: Any, max_episode_steps: int) -> Any:
    """Return the environment with its episodes truncated after that many steps."""
    return _wrappers_of(env)[1].TimeLimit(env, max_episode_steps)


def clip_reward(env: Any, min_reward: float = -1.0, max_reward: float = 1.0) -> Any:
    """Return the environment with rewards clipped to an interval."""
    name, theirs = _wrappers_of(env)
    if name == "gymnasium":
        return theirs.ClipReward(env, min_reward, max_reward)
    clip = functools.partial(np.clip, a_min=min_reward, a_max=max_reward)
    return theirs.TransformReward(env, clip)


def flatten(env: Any) -> Any:
    """Return the environment with observations flattened to one axis.

    Raises:
        Mistake: its observations have a part that cannot be.
    """
    try:
        return _wrappers_of(env)[1].FlattenObservation(env)
    except (NotImplementedError, ValueError):
        raise Mistake(
            f"wrap=[flatten] cannot flatten observations of {env.observation_space!s:.200}: a part "
            "has no flat form; expected a wrapper before it that leaves that part out"
        ) from None


def atari(
    env: Any,
    noop_max: int = 30,
    frame_skip: int = 4,
    screen_size: int = 84,
    terminal_on_life_loss: bool = False,
    grayscale_obs: bool = True,
    scale_obs: bool = False,
    stack_size: int = 4,
) -> Any:
    """Return an Atari game as agents are trained on it: small grey frames, skipped and stacked.

    Raises:
        Mistake: the environment itself skips frames, too.
    """
    if frame_skip > 1 and getattr(env.spec, "kwargs", {}).get("frameskip", 1) != 1:
        raise Mistake(
            f"wrap=[atari] skips {frame_skip} frames, and so does the game: env.kwargs.frameskip=1"
        )
    preprocessed = _wrappers_of(env)[1].AtariPreprocessing(
        env,
        noop_max=noop_max,
        frame_skip=frame_skip,
        screen_size=screen_size,
        terminal_on_life_loss=terminal_on_life_loss,
        grayscale_obs=grayscale_obs,
        scale_obs=scale_obs,
    )
    return frame_stack(preprocessed, stack_size)


class OldApi(Proxy):
    """An environment of the API before gym 0.26, used as one of today's.

    Its `reset` returns the observation alone, its `step` four values, and `seed` seeds it. That a
    time limit ended an episode is what `TimeLimit.truncated` in the info says.
    """

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        if seed is not None:
            self.env.seed(seed)
        return self.env.reset(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step it."""
        observation, reward, done, info = self.env.step(action)
        truncated = bool(done and info.get("TimeLimit.truncated", False))
        return observation, reward, bool(done) and not truncated, truncated, info
