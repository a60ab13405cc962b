"""Warnings of what looks wrong while a run goes on, in the log and in `run.json`."""

import contextlib
import logging
import math
import pickle
import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from gym_loop.agents import BaseAgent, spaces
from gym_loop.loops import BaseLoop, Episode
from gym_loop.loops.episode_batch import EpisodeBatch
from gym_loop.mistake import Failure
from gym_loop.observers import Observer
from gym_loop.observers.restoring import quicken
from gym_loop.proxy import Wrapper
from gym_loop.sums import as_float

ACTIONS_CHECKED = 64  # of one episode, at most
NUMBERS = (int, float, np.generic)
NOT_OF_LEARNING = ("rollout/", "time/")  # Stable-Baselines3 has these before it has learned
SECONDS_BETWEEN_CHECKS = 1.0  # of actions
STATISTIC = re.compile(r"(^|_)(mean|std|var|variance|rms)(_|$)")  # names in wrappers of the user's

log = logging.getLogger(__name__)


class Watchdog(Observer):
    """Warns of what looks wrong; with `loop.on_nan=stop` a NaN or infinite number fails the run.

    Warns once each of: a return or a metric that is NaN or infinite; an action outside its space,
    looked for in one episode a second; the same action in every step of many episodes; no episode
    that ends; an agent that ended training before it began to learn; the first observation of a
    launch, if it is outside its space, in a single environment without wrappers; statistics of a
    wrapper that are not those of training in evaluation, or others in each copy.

    Args:
        seconds_without_episode: that pass without the end of an episode before it warns.
        episodes_of_one_action: in a row, with the same action in every step, before it warns.
    """

    def __init__(
        self, seconds_without_episode: float = 1800.0, episodes_of_one_action: int = 100
    ) -> None:
        self.patience, self.enough = seconds_without_episode, episodes_of_one_action
        self.said: set[str] = set()
        self.action: str | None = None  # in every step of the last `streak` training episodes
        self.streak = 0
        self.learned = False  # whether a metric of the agent's training has appeared
        self.due = -math.inf  # second of the run at which actions are looked at again
        self.wrapped = False
        self.looks = False  # for the first observation
        self.closed = threading.Event()

    def listens(self, event: str) -> bool:
        """Return whether there is anything to do: at an episode's beginning only in one env."""
        return super().listens(event) and (event != "begin_episode" or self.looks)

    def begin(self, loop: BaseLoop) -> None:
        """Start the thread that warns when no episode ends."""
        self.stops = loop.parameters.get("on_nan") == "stop"
        self.wrapped = hasattr(loop.env, "bare_game")
        self.looks = not (self.wrapped or hasattr(loop.env, "num_envs"))
        threading.Thread(target=self.wait, args=(loop,), daemon=True).start()

    def begin_episode(self, loop: BaseLoop, episode: Episode) -> None:
        if self.looks and episode.training:
            self.looks = False
            episode.env = _FirstLook(episode.env, self.look_at_reset)

    def look_at_reset(self, returned: Any, env: Any) -> None:
        """Warn if the observation that `reset` returned, beside its info, is outside its space."""
        if not isinstance(returned, tuple):
            return  # as before gym 0.26: the loop tells of it
        # The space may be a class of the user's: whatever it raises, training goes on.
        with contextlib.suppress(Exception):
            if found := spaces.misfit(env.observation_space, returned[0]):
                self.warn("observation", "reset(): %s, by the observation_space", found)

    def end_episode(self, loop: BaseLoop, episode: Episode) -> None:
        self.look_at_numbers(episode.ret, episode.metrics, episode.number, episode.training)
        if episode.training and episode.actions:
            self.look_at_actions(episode.actions, episode.env, episode.seconds)
        # Asking an environment for what it lacks takes a microsecond.
        if (self.wrapped or not episode.training) and episode.length > 1:
            self.look_below(episode)

    def end_episodes(self, loop: BaseLoop, episodes: EpisodeBatch) -> None:
        numbers, returns = episodes.numbers.tolist(), episodes.returns.tolist()
        for i, actions in enumerate(episodes.action_lists()):
            self.look_at_numbers(returns[i], episodes.metrics[i], numbers[i], True)
            self.look_at_actions(actions, episodes.env, episodes.seconds)

    def look_below(self, episode: Episode) -> None:
        """Warn if wrappers have stepped something else than the environment below them."""
        if not getattr(episode.env, "bare_game", episode).actions:
            text = (
                "the environment below the wrappers was not stepped in an episode of %d steps, and "
                "so its return is 0: where a wrapper steps self.unwrapped, have it step self.env"
            )
            self.warn("not stepped", text, episode.length)

    def look_at_numbers(
        self, ret: float, metrics: dict[str, float], number: int, training: bool
    ) -> None:
        """Check an episode's return and metrics."""
        finite = math.isfinite
        if not finite(ret):
            self.not_finite("the return", ret, number, training)
        for name, given in metrics.items():
            if not finite(value := as_float(given)):
                self.not_finite(f"the metric {name!r}", value, number, training)
            if not name.startswith(NOT_OF_LEARNING):
                self.learned = True

    def look_at_actions(self, actions: list[Any], env: Any, seconds: float) -> None:
        """Check the actions of a training episode, at least one."""
        # They, and the space, may be objects of the user's: whatever they raise, training goes on.
        if self.streak < self.enough:
            try:  # once an episode: `contextlib.suppress` takes as long as the rest
                self.count_same(actions, env)
            except Exception:
                self.streak = 0
        if seconds >= self.due:
            self.due = seconds + SECONDS_BETWEEN_CHECKS
            with contextlib.suppress(Exception):
                self.look_for_outside(actions, getattr(env, "action_space", None))

    def end_evaluation(self, loop: BaseLoop, episodes: list[Episode]) -> None:
        with contextlib.suppress(Exception):  # a wrapper's own `get_state`
            if lacking := _learnt(loop.env) - _learnt(loop.eval_env):
                text = (
                    "evaluation's environment has no %s, which has learnt in training: its "
                    "observations are others than the agent's; expected the same wrapper in "
                    "eval_env.wrappers"
                )
                self.warn("lacking", text, ", ".join(sorted(lacking)))
        if "statistics" in self.said:
            return
        # They may be objects of the user's: whatever they raise, training goes on.
        with contextlib.suppress(Exception):
            env: Any = loop.env
            if hasattr(env, "each_copy"):  # they may be in other processes
                copies: list[Any] = env.each_copy(statistics)
            else:
                copies = [statistics(each) for each in getattr(env, "wrapped_envs", None) or [env]]
            first, *others = *copies, statistics(loop.eval_env)
            apart = [n for n in first if any(o.get(n, first[n]) != first[n] for o in others)]
            if apart:
                text = (
                    "%s differs between copies of the environment, and so evaluation has not what "
                    "training has learnt: name the wrapper in env.wrappers, as "
                    "wrap=[normalize_observation] does, and give one of your own get_state(), "
                    "set_state(state) and training"
                )
                self.warn("statistics", text, apart[0])
        quicken(loop)  # `__dict__` of each wrapper was read

    def end_training(self, loop: BaseLoop) -> None:
        """Warn if the agent has metrics and none of its training has appeared."""
        kind = type(loop.agent)
        tells = getattr(kind, "metrics", BaseAgent.metrics) is not BaseAgent.metrics
        if tells and not self.learned and not loop.stop:
            text = "no metric of %s's training appeared in %d steps: it may not have begun to learn"
            self.warn("not learning", text, kind.__name__, loop.steps)

    def close(self, error: BaseException | None) -> None:
        self.closed.set()

    def state_dict(self) -> dict[str, Any]:
        """Return which warnings were given, and for how many episodes one action was taken."""
        said, streak = sorted(self.said), self.streak
        return {"said": said, "streak": streak, "action": self.action, "learned": self.learned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.said = set(state.get("said", ()))
        self.streak, self.action = state.get("streak", 0), state.get("action")
        self.learned = state.get("learned", False)

    def warn(self, kind: str, text: str, *args: Any) -> None:
        """Log a warning, unless there has been one of this kind."""
        if kind not in self.said:
            self.said.add(kind)
            log.warning(text, *args)

    def not_finite(self, what: str, value: float, number: int, training: bool) -> None:
        """Warn of a number that is NaN or infinite, or fail the run.

        Raises:
            Failure: with `loop.on_nan=stop`.
        """
        where = f"{'' if training else 'evaluation '}episode {number}"
        if self.stops:
            raise Failure(f"{what} of {where} is {value}: stopped, as loop.on_nan=stop says")
        self.warn(
            "not finite", "%s of %s is %s (loop.on_nan=stop would end the run)", what, where, value
        )

    def count_same(self, actions: list[Any], env: Any) -> None:
        """Count the episodes in a row in which every step's action was the same."""
        first = actions[0]
        same = _are_all(first, actions)
        if not same or getattr(getattr(env, "action_space", None), "n", None) == 1:
            self.streak = 0
            return
        if isinstance(first, np.ndarray):
            first = first.tolist()
        self.streak = self.streak + 1 if self.streak and repr(first) == self.action else 1
        self.action = repr(first)
        if self.streak == self.enough:
            text = f"the action was {first} in every step of the last {self.enough} episodes"
            self.warn("same action", "%s", text)

    def look_for_outside(self, actions: list[Any], space: Any) -> None:
        """Warn if an action, of a sample of an episode's, is outside the action space."""
        if space is None or "outside" in self.said:
            return
        for action in actions[:: len(actions) // ACTIONS_CHECKED + 1]:
            if not _inside(space, action):
                text = f"the action {action} is outside its space, {space}"  # before it is logged
                self.warn("outside", "%s", text)
                return

    def wait(self, loop: BaseLoop) -> None:
        """Warn when no episode ends for long; return after that, or when the run ends."""
        before = -1
        while not self.closed.wait(self.patience):
            ended = loop.episodes + loop.evaluated
            if ended == before:
                text = "no episode has ended for %g seconds (loop.max_episode_len is %s)"
                limit = loop.parameters.get("max_episode_len")
                self.warn("no episode", text, self.patience, limit)
                return
            before = ended


def _learnt(env: Any) -> set[str]:
    """Return the names of an environment's wrappers that learn; those of rewards are left out."""
    learnt: list[dict[str, Any]] = getattr(env, "learnt_by_wrappers", list)()
    of_rewards = {"return_rms", "returns", "discounted_reward"}
    return {
        name
        for name, state in (learnt[0] if learnt else {}).items()
        if not (isinstance(state, dict) and state.keys() <= of_rewards)
    }


class _FirstLook(Wrapper):
    """An environment of which `look` is called with what `reset` returns, and with the env."""

    def __init__(self, env: Any, look: Callable[[Any, Any], None]) -> None:
        super().__init__(env)
        self.look = look

    def reset(self, **options: Any) -> Any:
        returned = self.env.reset(**options)
        self.look(returned, self.env)
        return returned


def _are_all(first: Any, actions: list[Any]) -> bool:
    """Return whether all actions are like the first one; what cannot be compared is not."""
    last = actions[-1]
    try:  # once an episode: `contextlib.suppress` takes as long as the rest
        if isinstance(first, NUMBERS):  # a few comparisons tell most episodes apart
            middle = actions[len(actions) // 2]
            return bool(first == last == middle) and actions.count(first) == len(actions)
        if isinstance(first, np.ndarray):
            same_ends = first.tobytes() == last.tobytes()
            return same_ends and bool(np.all(np.array(actions) == first))
        return all(repr(action) == repr(first) for action in reversed(actions))
    except Exception:
        return False


def _inside(space: Any, action: Any) -> bool:
    """Return whether `action` is in `space`; in a Box, whatever the action's dtype."""
    low, high = getattr(space, "low", None), getattr(space, "high", None)
    if low is None or high is None:
        return bool(space.contains(action))
    values = np.asarray(action)
    return values.shape == low.shape and bool(np.all((values >= low) & (values <= high)))


def statistics(env: Any) -> dict[str, bytes]:
    """Return what the wrappers of `env` call a mean, a variance or the like, pickled.

    The keys are `Class.attribute`. An object counts by the names of its own attributes. What the
    bare environment has is its own.
    """
    found = {}
    while (inner := getattr(env, "__dict__", {}).get("env")) is not None:
        for name, value in vars(env).items():
            own = getattr(value, "__dict__", {}) if name != "env" else {}
            kept = {key: own[key] for key in own if STATISTIC.search(key)}
            if kept or STATISTIC.search(name):
                found[f"{type(env).__name__}.{name}"] = pickle.dumps(kept or value)
        env = inner
    return found
