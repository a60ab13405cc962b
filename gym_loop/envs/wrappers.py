"""Wrappers around an environment, named in `env.wrappers`, innermost first.

The functions here make a library's own wrapper, that of gym or of Gymnasium, as the environment
needs it. They are what the options of the group `wrap` name.
"""

import collections
import copy
import functools
import importlib
import inspect
import logging
import multiprocessing
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gym_loop import launch
from gym_loop.closing import closed_on_failure
from gym_loop.compat import hydra as inner
from gym_loop.compat.gymnasium import has_stream
from gym_loop.config import signature
from gym_loop.envs.greetings import log_mujoco_warnings
from gym_loop.errors import user_frames
from gym_loop.loops.copies import IMMUTABLE, copied
from gym_loop.mistake import Mistake
from gym_loop.proxy import Proxy
from gym_loop.streams import NO_SEED, derive

Wrappers = Mapping[str, Callable[[Any], Any]]  # name -> what takes the environment alone
KEY = "wrappers"
# What a wrapper may keep a history in: it is put back after a `reset` that was only tried.
CONTAINERS = frozenset((list, dict, set, collections.deque, collections.Counter, np.ndarray))

log = logging.getLogger(__name__)


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
    known = signature.parameters(make) or {}
    tuples = [key for key, parameter in known.items() if signature.wants_tuple(parameter)]
    lists = [key for key, value in given.items() if type(value) is list]
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
    return Wrapped(env, tape)


def _wrapped_in(env: Any, name: str, wrap: Callable[[Any], Any]) -> Any:
    _give_stream(env)
    try:
        return wrap(env)
    except Exception as error:
        if user_frames(error):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
        kind = env.__class__.__name__
        raise Mistake(f"env.wrappers.{name} cannot wrap {kind}: {reason:.300}") from error


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


@dataclass(slots=True)
class Game:
    """What the bare environment has played since its last `reset`.

    Attributes:
        seed: of the reset; -1 where it had none of its own.
        actions, rewards: one for each step of the environment's, which are several to an action of
            the agent's under frame skip.
        terminated, truncated: the environment's own.
        last: observation of the newest step, or of the reset.
        drawn: until the first step, the state of the environment's generator after the reset; None
            where it has none.
        stream: from which wrappers draw; made when one does first.
    """

    seed: int = NO_SEED
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False
    last: Any = None
    drawn: Any = None
    stream: Any = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.terminated or self.truncated


class GoesOnError(BaseException):
    """A wrapper asks for another game while one is running; see `Wrapped.go_on_with_game`."""


class Tape(Proxy):
    """Records, below all wrappers, what the environment is asked and gives: its `game`.

    Played again from its seed and actions, the bare environment gives the same rewards, whatever
    was around it. So what wrappers draw may not move the environment's own stream: they get one of
    their own as `np_random`, and what a wrapper has drawn from `unwrapped.np_random` at `reset` (as
    NoopReset does) is put back before the first step.
    """

    def __init__(self, env: Any) -> None:
        vars(self).update(env=env, game=Game(truncated=True), holds=False)
        # Some wrappers ask for it in each step, and layers of properties are slow.
        vars(self)["observation_space"] = env.observation_space

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            vars(self)[name] = value
        else:
            setattr(self.env, name, value)

    @property
    def np_random(self) -> Any:
        """The generator that wrappers draw from."""
        game = self.game
        if game.stream is None:
            game.stream = np.random.default_rng(derive(game.seed, "wrappers"))
        return game.stream

    def reset(self, **arguments: Any) -> Any:
        """Begin a game."""
        if self.holds:
            raise GoesOnError
        result = self.env.reset(**arguments)
        seed = arguments.get("seed")
        stream = self._generator()
        self.game = Game(
            seed=NO_SEED if seed is None else seed,
            last=result[0],
            drawn=None if stream is None else stream.bit_generator.state,
        )
        return result

    def step(self, action: Any) -> Any:
        """Step the environment; what has ended does not go on."""
        game = self.game
        if game.terminated or game.truncated:
            return game.last, 0.0, game.terminated, game.truncated, {}
        if game.drawn is not None:
            self._generator().bit_generator.state, game.drawn = game.drawn, None
        game.actions.append(action if type(action) in IMMUTABLE else copied(action))
        result = self.env.step(action)
        game.last, reward, terminated, truncated, _ = result
        game.rewards.append(reward if type(reward) in IMMUTABLE else copied(reward))
        if terminated or truncated:
            game.terminated, game.truncated = bool(terminated), bool(truncated)
        return result

    def _generator(self) -> Any:
        stream = getattr(getattr(self.env, "unwrapped", self.env), "np_random", None)
        return stream if hasattr(stream, "bit_generator") else None


class Wrapped(Proxy):
    """An environment in its wrappers, outermost.

    Attributes:
        env: the outermost wrapper.
        tape: innermost, around the bare environment.
    """

    def __init__(self, env: Any, tape: Tape) -> None:
        super().__init__(env)
        self.tape, self.has_begun = tape, False

    def __reduce__(self) -> Any:
        return Wrapped, (self.env, self.tape)

    @property
    def bare_game(self) -> Game:
        """What the bare environment has played since its last `reset`."""
        return self.tape.game

    def reset(self, **arguments: Any) -> Any:
        """Begin a game; one that is still running is given up.

        A wrapper that keeps a game going (EpisodicLife) takes a step and sees that it has ended.

        Raises:
            Mistake: the first time, a library's wrapper does not work with those in it.
        """
        game = self.tape.game
        game.truncated = not game.terminated
        try:
            result = self.env.reset(**arguments)
        except Exception as error:
            if self.has_begun or not _is_of_libraries_wrappers(error):
                raise
            raise Mistake(
                "the wrappers cannot begin an episode in this order, innermost first: "
                f"{', '.join(layers(self))}: {type(error).__name__}: {error!s:.200}"
            ) from error
        self.has_begun = True
        if arguments.get("seed") is not None and self.tape.game.seed == NO_SEED:
            _warn_of_lost_seed()
        return result

    def learnt_by_wrappers(self) -> list[dict[str, Any]]:
        """Return what the wrappers have learnt, by their classes' names; a list of one."""
        layers = learning_layers(self)
        return [{name: learnt(layer) for name, layer in layers.items()}] if layers else []

    def put_into_wrappers(self, state: list[dict[str, Any]]) -> None:
        """Give the wrappers copies of what others of their classes had learnt.

        Of a class of which there were more, or fewer, none is given anything: whose it was is not
        known.
        """
        own, known = learning_layers(self), state[0] if state else {}
        for name in own.keys() & known.keys():
            kind = name.partition("#")[0]
            here, there = (
                sum(n.partition("#")[0] == kind for n in names) for names in (own, known)
            )
            if here == there:
                put_learnt(own[name], known[name])
            else:
                _warn_of_other_count(kind, here, there)

    def freeze_wrappers_like(self, env: Any) -> None:
        """Give the wrappers copies of what those of `env` have learnt; they learn no more."""
        if env is self:
            return
        self.put_into_wrappers(getattr(env, "learnt_by_wrappers", list)())
        for layer in learning_layers(self).values():
            freeze(layer)

    def go_on_with_game(self) -> Any:
        """Return the observation from which the game goes on though a wrapper ended the episode.

        None where the game has ended, too, or the wrapper's own `reset` would begin another one.
        """
        if self.tape.game.is_over:
            return None
        before, steps = self._attributes(), len(self.tape.game.actions)
        self.tape.holds = True
        try:
            return self.env.reset()[0]
        except GoesOnError:
            if len(self.tape.game.actions) == steps:
                _put_back(before)
            return None
        finally:
            self.tape.holds = False

    def _attributes(self) -> list[tuple[Any, Any]]:
        """Return what wrappers, and the environment, keep in their attributes, with copies of it.

        A `reset` that was only tried is undone: a wrapper may count them, or keep a history.
        """
        objects = [*layers(self).values(), getattr(self.tape, "unwrapped", None)]
        owns = [getattr(each, "__dict__", {}) for each in objects]
        kept = owns + [each for own in owns for each in own.values() if type(each) in CONTAINERS]
        return [(each, copy.copy(each)) for each in kept]


def _put_back(attributes: list[tuple[Any, Any]]) -> None:
    for container, before in attributes:
        if type(container) is np.ndarray:
            if container.flags.writeable:
                container[...] = before
        else:
            container.clear()
            add = container.extend if hasattr(container, "extend") else container.update
            add(before)


def _is_of_libraries_wrappers(error: Exception) -> bool:
    """Return whether neither the environment, nor any code of the user's, has raised `error`.

    In a process of its own an environment's error goes to the one that started it, as it is.
    """
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = Tape.reset.__code__ in frames or Tape.step.__code__ in frames
    return not (inside or user_frames(error) or multiprocessing.parent_process())


@functools.cache  # once is enough
def _warn_of_other_count(kind: str, here: int, there: int) -> None:
    log.warning(
        "%s begins anew: there were %d of them, and now there are %d, so that what each of them "
        "had learnt cannot be told",
        kind,
        there,
        here,
    )


@functools.cache  # once is enough
def _warn_of_lost_seed() -> None:
    log.warning(
        "a wrapper resets the environment without the seed that its own reset was given: such an "
        "episode cannot be played again, nor the run be repeated; pass the seed on: "
        "self.env.reset(seed=seed, options=options)"
    )


# What wrappers learn is the run's: it is in its checkpoints, and evaluation has a frozen copy.
# A wrapper that learns has `get_state()`, which returns what it has learnt as pickle holds it, and
# `set_state(state)`, which takes a copy; while its attribute `training` is False it does not learn.
# The normalizers of gym and Gymnasium have neither, and are known by these attributes:
STATISTICS = ("obs_rms", "return_rms")  # objects with a mean, a variance, a count, and `update`
RUNNING = ("returns", "discounted_reward")  # numbers of the episode that runs


def learning_layers(env: Wrapped) -> dict[str, Any]:
    """Return the wrappers of `env` that learn, by the names of their classes, innermost first."""
    return {
        name: layer
        for name, layer in layers(env).items()
        if gives_state(layer) or set(STATISTICS) & vars(layer).keys()
    }


def gives_state(layer: Any) -> bool:
    """Return whether a wrapper says what it has learnt, and takes it back."""
    return all(hasattr(type(layer), name) for name in ("get_state", "set_state"))


def layers(env: Wrapped) -> dict[str, Any]:
    """Return the wrappers of `env` by the names of their classes, innermost first."""
    found, layer = list[Any](), env.env
    while type(layer) is not Tape:
        found.insert(0, layer)
        layer = layer.env
    named: dict[str, Any] = {}
    for layer in found:
        name = type(layer).__name__
        count = sum(key.partition("#")[0] == name for key in named)
        named[f"{name}#{count}" if count else name] = layer
    return named


def learnt(layer: Any) -> Any:
    """Return a copy of what a wrapper has learnt."""
    if gives_state(layer):
        return copy.deepcopy(layer.get_state())
    own = vars(layer)
    kept: dict[str, Any] = {name: own[name] for name in RUNNING if name in own}
    for name in STATISTICS:
        if name in own:
            kept[name] = {key: each for key, each in vars(own[name]).items() if key != "update"}
    return copy.deepcopy(kept)


def put_learnt(layer: Any, state: Any) -> None:
    """Give a wrapper a copy of what `learnt` returned."""
    state = copy.deepcopy(state)
    if gives_state(layer):
        layer.set_state(state)
        return
    for name, value in state.items():
        if name in STATISTICS:
            vars(vars(layer)[name]).update(value)
        else:
            vars(layer)[name] = value


def freeze(layer: Any) -> None:
    """Have a wrapper learn no more."""
    if gives_state(layer):
        layer.training = False
    for name in set(STATISTICS) & vars(layer).keys():
        vars(layer)[name].update = _idle  # gym has no switch for it


def _idle(*arguments: Any) -> None:
    """Learn nothing: takes the place of a frozen statistic's `update`."""


def share_learnt(envs: Sequence[Any]) -> None:
    """Have copies of one environment share their wrappers' statistics.

    Raises:
        Mistake: a wrapper learns something else, which cannot be shared.
    """
    first = learning_layers(envs[0])
    for name, layer in first.items():
        if gives_state(layer):
            raise Mistake(
                f"{name} learns, and loop=vector would give each of its {len(envs)} environments "
                "one that learns alone: use loop=default, or have the agent learn it"
            )
    for env in envs[1:]:
        for name, layer in learning_layers(env).items():
            for key in set(STATISTICS) & vars(layer).keys():
                vars(layer)[key] = vars(first[name])[key]


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
