"""What the checks of agents and of loops share: an environment, an observer, assertions."""

import contextlib
import copy
import importlib
import inspect
import random
import types
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gym_loop import streams
from gym_loop.agents.base_agent import BaseAgent
from gym_loop.mistake import Mistake, summary_of, text_of
from gym_loop.observers import Observer
from gym_loop.proxy import Wrapper

if TYPE_CHECKING:
    from gym_loop.loops import BaseLoop, Episode

# The methods that a loop calls, with the names of their arguments.
METHODS: dict[str, tuple[str, ...]] = {
    "act": ("state", "episode_num"),
    "memorize": ("last_ob", "action", "reward", "done", "ob"),
    "update": ("episode_num",),
    "begin_episode": ("episode_num",),
    "end_episode": ("episode_num", "truncated"),
    "metrics": ("episode_num",),
    "save": ("directory",),
    "load": ("directory",),
}
UNKNOWN = "no_such_parameter"
ENDLESS = 1000  # steps of an episode that only the loop's own limit ends


def check_parameters(cls: Any) -> None:
    """Check the two static methods about parameters that agents and loops have."""
    check_method(cls, "get_default_parameters", (), BaseAgent, static=True)
    check_method(cls, "check_parameters", ("parameters",), BaseAgent, static=True)
    defaults = cls.get_default_parameters()
    name = f"{cls.__name__}.get_default_parameters()"
    assert isinstance(defaults, dict), f"{name} returned a {type(defaults).__name__}, not a dict"
    for key, value in defaults.items():
        assert isinstance(key, str), f"{name} has the key {key!r}, which is not a string"
        assert fits_a_config(value), (
            f"{name}[{key!r}] is a {type(value).__name__}; a config holds only None, booleans, "
            "numbers, strings, and lists and dicts of them"
        )
    called(f"{cls.__name__}.check_parameters(its own defaults)", cls.check_parameters, defaults)


def fits_a_config(value: Any) -> bool:
    """Return whether YAML can hold `value`."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and fits_a_config(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(fits_a_config, value))
    return value is None or type(value) in (bool, int, float, str)


def check_method(
    cls: type, name: str, arguments: Sequence[str], base: type, static: bool = False
) -> None:
    """Check that `cls` has a method that takes `arguments` by position."""
    method = getattr(cls, name, None)
    wanted = f"{name}({', '.join(arguments)})"
    hint = f"; {base.__name__} has one to inherit" if hasattr(base, name) else ""
    assert callable(method), f"{cls.__name__} has no {wanted}{hint}"
    own = inspect.getattr_static(cls, name)
    bound = isinstance(own, staticmethod | classmethod)
    assert bound or not static, f"{cls.__name__}.{name} is not a static method"
    try:
        signature = inspect.signature(method)
        signature.bind(*arguments) if bound else signature.bind(None, *arguments)
    except TypeError as error:
        raise AssertionError(f"{cls.__name__}.{name} does not take {wanted}: {error}") from None
    except ValueError:  # no signature to be had
        return


def check_refusal(cls: type, construct: Callable[[], Any]) -> None:
    """Check that `construct`, which passes an unknown parameter, raises and names it."""
    try:
        construct()
    except Exception as error:
        if UNKNOWN not in text_of(error):
            raise AssertionError(
                f"{cls.__name__} refused an unknown parameter without naming it: {text_of(error)}"
            ) from error
    else:
        raise AssertionError(
            f"{cls.__name__} took an unknown parameter without a word; pass **parameters on to "
            "super().__init__, which refuses it"
        )


def called(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function`; what it raises becomes the failure of a check."""
    try:
        return function(*arguments)
    except AssertionError:
        raise
    except (Exception, Mistake) as error:
        line = f"{what} raised {summary_of(error)}"
        raise AssertionError(line) from error


@contextlib.contextmanager
def streams_kept() -> Iterator[None]:
    """Put the global random streams back at the end of the block."""
    with streams.preserved(types.SimpleNamespace(), 0):  # an agent without streams of its own
        yield


def equal(one: Any, other: Any) -> bool:
    """Return whether two observations, actions or lists of them are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(np.array_equal(one, other))


class Env:
    """Random observations and rewards that depend on the reset's seed alone.

    Episodes end in turn by `terminated`, by `truncated`, and by both. `log` takes what happens.
    Agents with `needs_env` find what they commonly ask for: masks, in which every action is valid,
    and rewards of other goals.
    """

    def __init__(
        self, spaces: tuple[Any, Any], *, name: str = "train", length: int = 8, log: Any = None
    ) -> None:
        self.observation_space, self.action_space = copy.deepcopy(spaces)
        self.name, self.length = name, length
        self.log: list[Any] = [] if log is None else log
        self.resets, self.left = 0, 0
        self.shown: tuple[Any, Any] = (None, None)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode that depends on `seed` alone."""
        self.log.append(("reset", self.name, seed))
        self.observation_space.seed(seed)
        self.random = random.Random(seed)
        self.resets += 1
        self.left = 1 + self.resets % self.length if self.length < ENDLESS else self.length
        return self._show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Check the action, and that `act` has left the observation as it was."""
        _check_action(self.action_space, action)
        assert equal(*self.shown), "act changed the observation that it was given, in place"
        self.left -= 1
        over, way = self.left <= 0, self.resets % 3
        result: tuple[Any, float, bool, bool, dict[str, Any]]
        result = (self._show(), self.random.random(), over and way != 1, over and way != 0, {})
        self.log.append(("step", self.name, action, *result[:4]))
        return result

    def action_masks(self) -> Any:
        """Return that every action is valid, as sb3-contrib has it."""
        space = self.action_space
        count = np.sum(space.nvec) if hasattr(space, "nvec") else space.n
        return np.ones(int(count), bool)

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        """Return 0 for each goal that was achieved, else -1, as environments with goals do."""
        return -np.any(np.asarray(achieved) != np.asarray(desired), axis=-1).astype(np.float32)

    def close(self) -> None:
        """Do nothing."""

    def _show(self) -> Any:
        ob = self.observation_space.sample()
        self.shown = (ob, copy.deepcopy(ob))
        return ob


def gym_spaces() -> Any:
    """Return gym's spaces, imported without its notice on the terminal."""
    importlib.import_module("gym_loop.envs")
    return importlib.import_module("gym.spaces")


def _check_action(space: Any, action: Any) -> None:
    """Check that `action` is in `space`; a Box may be given in another precision."""
    inside = False
    with contextlib.suppress(Exception):
        if hasattr(space, "low") and np.shape(action) == space.shape:
            action = np.asarray(action, space.dtype)
        inside = bool(space.contains(action))
    assert inside, f"act returned {' '.join(repr(action).split())}, which is not in {space}"


class Watch(Observer):
    """Keeps the episodes; asks the loop to stop after so many."""

    def __init__(self, stop_after: int | None) -> None:
        self.played: list[Any] = []
        self.evaluated: list[Any] = []
        self.events: list[str] = []
        self.steps = 0  # of training that were seen
        self.stop_after = stop_after

    def begin_episode(self, loop: "BaseLoop", episode: "Episode") -> None:
        """Wrap the environment, as an observer that sees every step does."""
        self.events += ["begin_episode"] * episode.training
        episode.env = Counted(episode.env, self)

    def end_episode(self, loop: "BaseLoop", episode: "Episode") -> None:
        """Keep the episode."""
        self.events += ["end_episode"] * episode.training
        (self.played if episode.training else self.evaluated).append(episode)
        if episode.training and len(self.played) == self.stop_after:
            loop.stop = "check"

    def end_cycle(self, loop: "BaseLoop") -> None:
        self.events.append("end_cycle")

    def end_training(self, loop: "BaseLoop") -> None:
        self.events.append("end_training")

    @property
    def actions(self) -> list[Any]:
        """The actions of each training episode, in the order of their numbers."""
        played = sorted(self.played, key=lambda episode: episode.number)
        return [episode.actions for episode in played]


class Counted(Wrapper):
    """An episode's environment; counts the training steps that go through it."""

    def __init__(self, env: Any, watch: Watch) -> None:
        super().__init__(env)
        self.watch = watch

    def step(self, action: Any) -> Any:
        """Count a step of training."""
        self.watch.steps += self.env.name == "train"
        return self.env.step(action)
