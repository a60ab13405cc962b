"""`loop=vector`: one agent in many environments that are stepped at once."""

import contextlib
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gym_loop.agents import BaseAgent
from gym_loop.loops.base_loop import Episode
from gym_loop.loops.default_loop import DefaultLoop
from gym_loop.loops.episode_batch import EpisodeBatch
from gym_loop.loops.limits import evaluation_is_due, training_is_over
from gym_loop.loops.parameters import VECTOR
from gym_loop.mistake import Failure, Mistake
from gym_loop.streams import NO_SEED, episode_seed
from gym_loop.sums import total
from gym_loop.vector import placing
from gym_loop.vector.base import Step
from gym_loop.vector.batches import Array, array_type, in_type, row_of, stack, take
from gym_loop.vector.copies import Copies
from gym_loop.vector.envs import make_single, make_vector

log = logging.getLogger(__name__)

EPISODES_PER_ENV = 20  # in a round, where `episodes_per_round` is null


class VectorLoop(DefaultLoop):
    """Trains one agent in `num_envs` environments at once, and evaluates it in one.

    The agent is `vectorized`: the states, actions, rewards and so on that its three methods take
    and return are batches, and `episode_nums` is an integer array. A row is one transition, and
    the rows of the three calls of a step are the same. There are `num_envs` of them, row i being
    environment i, except in environments that reset instead of a step (`VectorEnv.delayed`): there
    the rows of those that are being reset are left out. `episode_nums` tell which row is which.

    Training goes in rounds of `episodes_per_round` episodes, each played to its end. While the last
    ones run, the other environments play extra episodes, which only the agent is told of: their
    steps count, the episodes do not. Those that still run at the round's end are truncated.
    In the next round all environments begin anew, and episodes are numbered on from the counted
    ones. Checkpoints are written between rounds only, so that a resumed run plays the same episodes
    as one that was never stopped.

    Observers hear of all training episodes that end in one step in one call, `end_episodes`.
    """

    parameter_table = VECTOR

    @staticmethod
    def get_default_parameters() -> dict[str, Any]:
        """Return the parameters with their defaults. `gym_loop.loops.parameters` describes them."""
        return VECTOR.defaults()

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        VECTOR.check(parameters)
        count = parameters["num_workers"]
        if count != "auto" and type(count) is not int:
            raise ValueError(f"num_workers is {count!r}; expected auto, 0, or how many")

    @classmethod
    def make_env(cls, factory: Callable[..., Any], parameters: dict[str, Any], mode: str) -> Any:
        """Return the vector environment to train in, or the single one to evaluate in."""
        if mode == "train":
            return make_vector(factory, parameters["num_envs"], parameters["max_episode_len"])
        one = lambda **arguments: make_single(factory, **arguments)  # noqa: E731
        return super().make_env(one, parameters, mode)

    def __init__(self, agent: Any, env: Any, **arguments: Any) -> None:
        check_vectorized(type(agent), agent)
        if env.delayed and getattr(agent, "whole_batches", False):
            raise Mistake(
                f"{type(agent).__name__} wants a row for each environment, and this one leaves out "
                "those that reset: use env.mode=sync, or any env= option that is not a vector's own"
            )
        super().__init__(agent, env, **arguments)
        count = self.parameters["num_workers"]
        if count != "auto":
            placing.check(env, count)
            if count > 1 and getattr(agent, "needs_env", False):
                raise Mistake(
                    f"{type(agent).__name__} sees its environments, which loop.num_workers={count} "
                    "would have in other processes: loop.num_workers=0"
                )
        self.whole = True  # whether all of the last round's episodes were played
        self.trial: placing.Measured | None = None  # of `num_workers=auto`, until that is decided
        self.warned = False  # that evaluations are rarer than was asked for

    def train(self) -> None:
        """Play rounds until the run's end, or until `stop` is set."""
        count, began = self.parameters["num_workers"], self.steps
        if count != "auto":
            self.env = placing.placed(self.env, count)
        elif not getattr(self.agent, "needs_env", False):
            self.trial = placing.measured(self.env)
        while not training_is_over(self):
            if self.trial and self.steps > began:
                self.env = self.trial.placed((self.steps - began) // self.env.num_envs)
                self.trial = None if self.trial.decided else self.trial
            episodes, steps = self.episodes, self.steps
            self.play_round()
            played = self.episodes - episodes, self.steps - steps
            self.warn_of_rare_evaluations(*played)
            if evaluation_is_due(self, *played):
                self.evaluate()
            self.notify("end_cycle", self)
        self.notify("end_training", self)

    def warn_of_rare_evaluations(self, episodes: int, steps: int) -> None:
        """Warn, once, if a round of so many is twice what was asked for between evaluations."""
        for name, played in (("episodes_per_eval", episodes), ("steps_per_eval", steps)):
            every = self.parameters[name]
            if every and played >= 2 * every and not self.warned:
                self.warned = True
                size = max(self.env.num_envs, episodes * every // played)
                smaller = size < self.round_size(self.parameters)
                log.warning(
                    "loop.%s is %d, but evaluations wait for the end of a round, which was %d "
                    "episodes and %d steps: %s makes rounds shorter",
                    name,
                    every,
                    episodes,
                    steps,
                    f"loop.episodes_per_round={size}" if smaller else "a smaller loop.num_envs",
                )

    def play_round(self) -> None:
        """Play a round: act, step, memorize and update, in all environments at once."""
        agent, env, parameters = self.agent, self.env, self.parameters
        act, memorize, update = agent.act, agent.memorize, agent.update
        count, everyone = env.num_envs, np.arange(env.num_envs)
        round_ends = self.episodes + self.round_size(parameters)
        last_episode = min(parameters["max_episodes"] or math.inf, round_ends)
        last_step = parameters["max_steps"] or math.inf
        running = Running(self, last_episode)
        dtype = array_type(env.action_space)

        states = env.start(running.begin(everyone))
        resetting = everyone[:0]  # environments whose next step is a reset
        rows = everyone  # the other environments
        actions: Any = None
        while True:
            if not resetting.size:
                numbers = running.numbers
                actions = as_batch(act(states, numbers), count, agent, dtype)
                after, rewards, terminated, truncated = running.step(actions)
                memorize(states, actions, rewards, terminated.copy(), after)
                update(numbers)
                if env.wrapped:
                    step_made = after, rewards, terminated, truncated
                    after, rewards, terminated, truncated = env.play_on(step_made)
                ended = terminated | truncated
            elif rows.size:
                numbers, states = running.numbers.take(rows), take(states, rows)
                chosen = as_batch(act(states, numbers), rows.size, agent, dtype)
                actions = actions.astype(chosen.dtype)  # a copy; those of `resetting` are ignored
                actions[rows] = chosen
                after, rewards, terminated, truncated = running.step(actions)
                dones = terminated.take(rows)
                memorize(states, chosen, rewards.take(rows), dones, take(after, rows))
                update(numbers)
                ended = terminated | truncated
            else:
                after, rewards, ended, truncated = running.step(actions)
            self.steps += rows.size
            if running.is_late:
                truncated = running.cut(truncated, ended, rows)
                ended = ended | truncated
            over = self.steps >= last_step
            done = ended.nonzero()[0]
            if done.size:
                running.end(done, terminated, truncated)
                over = over or self.episodes >= last_episode
            if over:
                break
            if not env.delayed:
                if done.size:
                    after = env.restart(after, done, running.begin(done))
            elif done.size or resetting.size:
                if resetting.size:
                    running.begin(resetting)
                resetting, rows = done, (~ended).nonzero()[0]
            states = after
        self.whole = self.episodes >= round_ends
        alive = rows[~ended[rows]]
        running.end(alive, np.zeros(count, np.bool_), np.ones(count, np.bool_))

    @staticmethod
    def round_size(parameters: dict[str, Any]) -> int:
        """Return how many episodes a round has."""
        per_env = EPISODES_PER_ENV * parameters["num_envs"]
        return int(parameters["episodes_per_round"] or per_env)

    def play(self, number: int, learn: bool) -> Episode:
        """Play one episode of evaluation: the agent gets batches of one."""
        assert not learn, "training goes in rounds: play_round()"
        agent = self.agent
        self.agent = Alone(agent, self.env)
        try:
            return super().play(number, learn)
        finally:
            self.agent = agent

    def passes_over(self, state: dict[str, Any]) -> bool:
        """Return whether the checkpoint of `state` lies within a round, and the run is to go on.

        A run that reaches `max_episodes` or `max_steps` ends within a round. When the limit is
        raised, that round is played again from its beginning, to its end.
        """
        limits = {"max_episodes": state["episodes"], "max_steps": state["steps"]}
        finished = any(n >= (self.parameters[name] or math.inf) for name, n in limits.items())
        return not (state["whole"] or finished)


class Running:
    """The episodes that are being played, one in each environment.

    Attributes:
        numbers: of the episodes, int64, shape (num_envs,); a new array whenever one of them
            changes, so that an agent may keep the one that it was given.
        end_of_round: the first number that is not counted in this round.
        slot: steps kept so far; row `slot` of `actions` and `rewards` is the next step's.
        since: for each environment the slot of its episode's first step.
    """

    def __init__(self, loop: VectorLoop, end_of_round: float) -> None:
        self.loop, self.env, self.agent = loop, loop.env, loop.agent
        self.step_all = (loop.trial or loop.env).step
        self.end_of_round = end_of_round
        count = loop.env.num_envs
        self.numbers = np.arange(count)
        self.seeds = np.full(count, NO_SEED)
        self.since = np.zeros(count, np.int64)
        self.slot = 0
        self.max_len: int = loop.parameters["max_episode_len"]
        self.deadline = self.max_len  # the first slot at which an episode may be that long
        self.is_late = False  # whether it has been reached
        self.next = loop.episodes  # number of the next episode to begin
        self.starting = True
        self.seeded = self.env.seeded != "none"  # whether the next ones begin with their own seeds
        self.watched = bool(loop.observers)
        # In what a library's vector returns, finding them takes time.
        self.asks_infos = bool(loop.parameters["info_keys"]) or isinstance(self.env, Copies)
        # Most observers do nothing when an episode begins.
        self.announced = any(each.listens("begin_episode") for each in loop.observers.values())
        self.begun: list[Episode | None] = [None] * count  # those that observers were told of
        # A row for each step and a column for each environment. The first step makes room, since
        # it shows the shape and type of actions.
        self.actions, self.rewards = np.zeros((0, count)), np.zeros((0, count))
        self.dtype: Any = None  # of the last actions
        self.hooks = {
            name: getattr(self.agent, name)
            for name in ("begin_episode", "end_episode", "metrics")
            if getattr(self.agent.__class__, name, None) is not getattr(BaseAgent, name)
        }
        # Nothing has to be done for single episodes: no observer, no hook, no seeds.
        self.bare = not (self.watched or self.hooks or self.env.seeded == "all")

    def begin(self, rows: Array) -> list[int]:
        """Begin the next episodes, in the environments `rows`; return the seeds they can have."""
        first, self.next = self.next, self.next + rows.size
        self.numbers = self.numbers.copy()
        self.numbers[rows] = np.arange(first, self.next)
        self.since[rows] = self.slot
        if self.bare and not self.starting:
            return []
        loop, numbers, seeds = self.loop, range(first, self.next), list[int]()
        if self.starting or self.seeded:
            seeds = [episode_seed(loop.seed, number) for number in numbers]
        self.seeds[rows] = seeds if self.seeded else NO_SEED
        hook = self.hooks.get("begin_episode")
        if self.announced or hook:
            for row, number in zip(rows.tolist(), numbers, strict=True):
                self.begun[row] = None
                if self.announced and number < self.end_of_round:
                    seed = int(self.seeds[row])
                    self.begun[row] = Episode(number, seed, self.env, True, loop.steps, number)
                    loop.notify("begin_episode", loop, self.begun[row])
                if hook:
                    hook(number)
        self.starting, self.seeded = False, self.env.seeded == "all"
        return seeds

    def step(self, actions: Array) -> Step:
        """Step the environments, and keep actions and rewards before anybody may edit them."""
        made = self.step_all(actions.copy())
        if self.watched:
            if self.slot >= len(self.rewards) or actions.dtype != self.dtype:
                self._make_room(actions)
            self.actions[self.slot] = actions
            self.rewards[self.slot] = made[1]
        self.slot += 1
        self.is_late = self.slot >= self.deadline
        return made

    def cut(self, truncated: Array, ended: Array, rows: Array) -> Array:
        """Return `truncated` with those of the episodes in `rows` that are `max_episode_len` long.

        Raises:
            Failure: the environment restarts its episodes by itself, and this one goes on.
        """
        lengths = self.slot - self.since
        self.deadline = self.slot + self.max_len - int(lengths[rows].max(initial=0))
        long = np.zeros_like(ended)
        long[rows] = lengths[rows] >= self.max_len
        if not self.env.cuts and (long & ~ended).any():
            raise Failure(
                f"an episode is longer than loop.max_episode_len={self.max_len}, and this "
                "environment restarts by itself alone: raise it, or limit the environment's own "
                "episodes"
            )
        return truncated | (long & ~ended)

    def end(self, rows: Array, terminated: Array, truncated: Array) -> None:
        """End the episodes in the environments `rows`: count them, tell agent and observers.

        Args:
            rows: indices of environments, shape (ended,).
            terminated: of all environments, shape (num_envs,).
            truncated: the same.
        """
        numbers = self.numbers[rows]
        counts = numbers < self.end_of_round
        metrics = self._tell_agent(rows, counts, truncated) if self.hooks else []
        if not counts.all():
            rows, numbers = rows[counts], numbers[counts]
        self.loop.episodes += rows.size
        if not (self.watched and rows.size):
            return
        places, since = rows.tolist(), self.since[rows]
        each = [
            (slice(first, self.slot), row)
            for first, row in zip(since.tolist(), places, strict=True)
        ]
        rewards = [self.rewards[steps, row].tolist() for steps, row in each]
        returns = agent_returns = np.array([*map(total, rewards)])
        seeds = self.seeds[rows]
        games = self.env.games(rows) if self.env.wrapped else []
        if games:
            returns = np.array([total(game.rewards) for game in games])
            seeds = np.array([game.seed for game in games])  # a wrapper may lose it
        episodes = EpisodeBatch(
            numbers=numbers,
            seeds=seeds,
            returns=returns,
            agent_returns=agent_returns,
            lengths=self.slot - since,
            terminated=terminated[rows],
            truncated=truncated[rows],
            actions=[self.actions[steps, row] for steps, row in each],
            games=games,
            infos=[self.env.info_of(row) if self.asks_infos else None for row in places],
            rewards=rewards,
            metrics=metrics or [{} for _ in each],
            steps=self.loop.steps,
            seconds=self.loop.seconds,
            env=self.env,
            begun=[self.begun[row] for row in places],
        )
        self.loop.notify("end_episodes", self.loop, episodes)

    def _tell_agent(self, rows: Array, counts: Array, truncated: Array) -> list[dict[str, float]]:
        """Call the agent's `end_episode` for each of `rows`, `metrics` for those that count."""
        end_episode, ask = self.hooks.get("end_episode"), self.hooks.get("metrics")
        found = []
        for row, is_counted in zip(rows.tolist(), counts.tolist(), strict=True):
            number = int(self.numbers[row])
            if end_episode:
                end_episode(number, bool(truncated[row]))
            if is_counted and self.watched:
                found.append((ask(number) or {}) if ask else {})
        return found

    def _make_room(self, actions: Array) -> None:
        """Drop the steps of ended episodes, and make room for twice as many as are kept."""
        oldest = int(self.since.min())
        kept = self.slot - oldest
        size = max(256, 2 * kept)
        dtype = np.result_type(actions, self.actions) if len(self.actions) else actions.dtype
        self.dtype = actions.dtype
        for name, shape, kind in (
            ("actions", actions.shape, dtype),
            ("rewards", actions.shape[:1], np.dtype(np.float64)),
        ):
            old, new = getattr(self, name), np.zeros((size, *shape), kind)
            new[:kept] = old[oldest : self.slot] if kept else 0
            setattr(self, name, new)
        self.since -= oldest
        self.slot, self.deadline = kept, self.deadline - oldest


class Alone:
    """A vectorized agent driven as one of a single environment, whose spaces are those of `env`."""

    def __init__(self, agent: Any, env: Any) -> None:
        self.agent, self.env = agent, env

    def __getattr__(self, name: str) -> Any:
        return getattr(self.agent, name)

    def act(self, state: Any, episode_num: int) -> Any:
        """Return an action for one observation."""
        states = stack([state], self.env.observation_space)
        actions = self.agent.act(states, np.array([episode_num]))
        dtype = array_type(self.env.action_space)
        return row_of(as_batch(actions, 1, self.agent, dtype), 0)


def as_batch(actions: Any, count: int, agent: Any, dtype: Any) -> Array:
    """Return what an agent's `act` returned as an array in the type of the action space.

    Raises:
        Failure: it is not a batch of `count` actions, or of another type.
    """
    if type(actions) is np.ndarray and actions.dtype == dtype and actions.shape[:1] == (count,):
        return actions
    batch: Array | None = None
    # None, texts, rows of several lengths, integers beyond the type, tensors with a gradient.
    with contextlib.suppress(TypeError, ValueError, OverflowError, RuntimeError):
        batch = in_type(actions, dtype)
    if batch is None or (dtype is not None and batch.dtype != dtype):
        raise Failure(
            f"{agent.__class__.__name__}.act returned {' '.join(f'{actions!r:.60}'.split())}; "
            f"expected actions that an array of {dtype} holds, the type of the action space"
        )
    if batch.shape[:1] != (count,):
        raise Failure(
            f"{agent.__class__.__name__}.act returned an array of shape {batch.shape}; expected "
            f"{count} actions, one for each row of its states"
        )
    return batch


def check_vectorized(kind: type, agent: Any = None) -> None:
    """Raise Mistake unless agents of the class `kind`, or this agent, take batches."""
    if not getattr(kind if agent is None else agent, "vectorized", False):
        raise Mistake(
            f"{kind.__name__} acts in one environment at a time: use loop=default. For loop=vector "
            "an agent says `vectorized = True` and takes batches: act(states, episode_nums)"
        )
