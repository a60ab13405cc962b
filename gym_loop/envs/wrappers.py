"""Wrappers around an environment, named in `env.wrappers`, innermost first.

The functions here make a library's own wrapper, that of gym or of Gymnasium, as the environment
needs it. They are what the options of the group `wrap` name.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gym_loop import launch
from gym_loop.config import signature
from gym_loop.errors import user_frames
from gym_loop.mistake import Mistake

Wrappers = Mapping[str, Callable[[Any], Any]]  # name -> what takes the environment alone
KEY = "wrappers"


def maker(described: dict[str, Any]) -> Any:
    """Return what a description is built with; wrappers in it become functions of the environment.

    Args:
        described: a section of the config, resolved: an agent, an environment, a loop. What is
            returned for an environment takes `wrappers`, whatever its class takes.
    """
    make = launch.locate(described["_target_"])
    if KEY not in described or hasattr(make, "get_default_parameters"):
        return make
    described[KEY] = {name: partial(each) for name, each in (described[KEY] or {}).items()}
    return make if KEY in (signature.parameters(make) or ()) else Wrapping(make)


def partial(described: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return the wrapper that a config describes, as a function of the environment."""
    arguments = {key: value for key, value in described.items() if not key.startswith("_")}
    return functools.partial(launch.locate(described["_target_"]), **arguments)


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
            refuse_many(getattr(self.make, "__name__", str(self.make)))
        return wrapped(self.make(*args, **kwargs), wrappers)


def refuse_many(made_by: str) -> None:
    """Refuse wrappers around a vector environment.

    Raises:
        Mistake: always.
    """
    raise Mistake(
        f"env.wrappers wrap one environment, and {made_by} makes many at once: use "
        "env=gymnasium or env=gym, of which loop=vector makes as many as it needs"
    )


def wrapped(env: Any, wrappers: Wrappers | None) -> Any:
    """Return `env` in its wrappers; itself where there are none.

    Raises:
        Mistake: a wrapper of a library does not take it.
        Exception: what the code of the user's own wrapper raised.
    """
    for name, wrap in (wrappers or {}).items():
        try:
            env = wrap(env)
        except Exception as error:
            if user_frames(error):
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
            kind = type(env).__name__
            raise Mistake(f"env.wrappers.{name} cannot wrap {kind}: {reason:.300}") from error
    return env


def library(kind: Any) -> str | None:
    """Return "gym" or "gymnasium" for a class derived from one of that library's; else None."""
    names = [each.__module__.partition(".")[0] for each in getattr(kind, "__mro__", ())]
    return next((name for name in names if name in ("gym", "gymnasium")), None)


def _wrappers_of(env: Any) -> tuple[str, Any]:
    """Return the library of an environment, and its module of wrappers."""
    if library(type(env)) == "gym" or library(getattr(env, "__class__", None)) == "gym":
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
    return theirs.FrameStackObservation(env, stack_size)


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
    return theirs.TransformReward(env, functools.partial(_clipped, low=min_reward, high=max_reward))


def _clipped(reward: Any, low: float, high: float) -> Any:
    return np.clip(reward, low, high)


def flatten(env: Any) -> Any:
    """Return the environment with observations flattened to one axis."""
    return _wrappers_of(env)[1].FlattenObservation(env)


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

    The environment itself skips no frames: `env.kwargs.frameskip=1`.
    """
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


class OldApi:
    """An environment of the API before gym 0.26, used as one of today's.

    Its `reset` returns the observation alone, its `step` four values, and `seed` seeds it. That a
    time limit ended an episode is what `TimeLimit.truncated` in the info says.
    """

    def __init__(self, env: Any) -> None:
        self.env = env

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.env)  # wrappers ask for an environment of their library

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

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

    def __reduce__(self) -> Any:
        return OldApi, (self.env,)
