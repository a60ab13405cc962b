"""What an agent saw of recorded episodes: they are played again in their wrappers."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gym_loop.envs.tape import Wrapped, learning_layers
from gym_loop.loops.copies import copied
from gym_loop.mistake import Failure, Mistake
from gym_loop.proxy import Proxy
from gym_loop.runs import playback, tables
from gym_loop.runs.traces import Trace, Traces
from gym_loop.sums import as_float, total

TABLES = {"train": tables.EPISODES, "eval": tables.EVALUATIONS}
STEPS = 5_000  # of traces that are read at a time


@dataclass
class Seen:
    """What an agent was given from a reset of the wrappers until they, or the loop, ended it.

    A recorded episode is several of these where a wrapper ends one with each life.

    Attributes:
        trace: the recorded episode that it belongs to.
        observations: one more than there are steps.
        actions: of each step, the first that the environment was given.
        rewards: as the agent was given them.
        terminated: the wrappers said so; else it was truncated.
    """

    trace: Trace
    observations: list[Any]
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False


class RecordedActions(Proxy):
    """A bare environment that plays recorded actions, whatever it is given."""

    def __init__(self, env: Any, actions: list[Any]) -> None:
        super().__init__(env)
        self.actions, self.played = actions, 0

    @property
    def next_action(self) -> Any:
        """The next action; None after the last."""
        return self.actions[self.played] if self.played < len(self.actions) else None

    def step(self, action: Any) -> Any:
        """Play the next action."""
        action, self.played = self.next_action, self.played + 1
        return self.env.step(copied(action))  # which it may change


def by_agent(run: Path, kind: str, numbers: list[int]) -> Iterator[Seen]:
    """Yield what the agent saw of the episodes `numbers`, in their order.

    Where wrappers learn, all training episodes before are played again, too. Where all episodes
    are asked for, they are played one after the other in one environment, as they were: wrappers
    may keep something from one to the next.

    Raises:
        Mistake: it cannot be known; the line says why.
        Failure: an episode is not as it was recorded.
    """
    returns = tables.columns(run, TABLES[kind], ("episode", "agent_return"))
    given = dict(zip(returns["episode"], returns["agent_return"], strict=True))
    with contextlib.closing(playback.make_env(run, kind, numbers[0], bare=False)) as env:
        learning = isinstance(env, Wrapped) and learning_layers(env)
    known, own = Played(run, "train"), Played(run, kind)
    try:
        if not learning:
            all_of_them = numbers == list(range(len(numbers)))
            for trace in _traces(run, kind, numbers):
                yield from _checked(trace, own.play(trace, anew=not all_of_them), given)
        elif kind == "train":
            for trace in _traces(run, kind, list(range(max(numbers) + 1))):
                for seen in _checked(trace, known.play(trace), given):
                    if trace.episode in numbers:
                        yield seen
        else:
            table = tables.columns(run, tables.EVALUATIONS, ("episode", "at_episode"))
            at_episode = dict(zip(table["episode"], table["at_episode"], strict=True))
            last = int(max(map(at_episode.__getitem__, numbers)))
            training, played = _traces(run, "train", list(range(last))), 0
            for trace in _traces(run, kind, numbers):
                while played < at_episode[trace.episode]:
                    for _ in known.play(next(training)):
                        pass
                    played += 1
                yield from _checked(trace, own.play(trace, like=known.env), given)
    finally:
        known.close()
        own.close()


class Played:
    """The environment in which a run has played its episodes of one kind, one after the other."""

    def __init__(self, run: Path, kind: str) -> None:
        self.run, self.kind = run, kind
        self.env: Any = None
        self.by: Any = None  # run.json of the run that has played, this one or a parent

    def play(self, trace: Trace, anew: bool = False, like: Any = None) -> Iterator[Seen]:
        """Play the next episode.

        Args:
            trace: the episode.
            anew: in a new environment.
            like: an environment of which the wrappers get what those have learnt, to keep it so.

        Raises:
            Mistake: it was played in turns with others, from which the wrappers learnt, too.
        """
        by, config = playback.played_by(self.run, self.kind, trace.episode)
        in_turns = self.kind == "train" and "num_envs" in config["loop"]
        if by != self.by or anew or in_turns:
            env = playback.make_env(self.run, self.kind, trace.episode, bare=False)
            if in_turns and (learning := learning_layers(env)):
                env.close()
                raise Mistake(
                    f"{', '.join(learning)} learns from all environments of loop=vector in turns, "
                    "which are not recorded: expected --observations environment"
                )
            if self.env is not None:  # as a fork begins with what its parent has learnt
                env.put_into_wrappers(self.env.learnt_by_wrappers())
            self.close()
            self.env, self.by = env, by
        if like is not None:
            self.env.freeze_wrappers_like(like)
        yield from _play(self.env, trace)

    def close(self) -> None:
        """Close the environment."""
        if self.env is not None:
            self.env.close()


def _traces(run: Path, kind: str, numbers: list[int]) -> Iterator[Trace]:
    for file, chunk in Traces(run, kind).chunks(numbers, STEPS):
        yield from playback.recorded(run, file, chunk)


def _checked(trace: Trace, played: Iterator[Seen], given: dict[float, float]) -> Iterator[Seen]:
    """Yield what the agent saw of an episode, whose rewards sum up to its row of `given`.

    Raises:
        Failure: they do not.
    """
    rewards = list[float]()
    for seen in played:
        rewards += seen.rewards
        yield seen
    number, again = trace.episode, total(rewards)
    if not playback.same(again, given.get(number, again)):
        raise Failure(
            f"the agent's return of episode {number} is {given[number]!r} in the table, and "
            f"{again!r} played again: a wrapper keeps something from one episode to the next; "
            "expected --observations environment"
        )


def _play(env: Any, trace: Trace) -> Iterator[Seen]:
    """Play an episode in its wrappers.

    Raises:
        Mistake: the wrappers change actions, or it began without a seed of its own.
        Failure: it is not as it was recorded.
    """
    playback.refuse_unseeded(trace)
    tape, space = env.tape, env.action_space
    bare = tape.env.env if type(tape.env) is RecordedActions else tape.env
    if space != bare.action_space:
        raise Mistake(
            f"the wrappers have actions of {space}, the environment of {bare.action_space}, and "
            "only what the environment was given is recorded: expected --observations environment"
        )
    fed = tape.env = RecordedActions(bare, trace.actions)
    seen = Seen(trace, [copied(env.reset(seed=trace.seed)[0])])
    while (action := fed.next_action) is not None:
        observation, reward, terminated, truncated, _ = env.step(action)
        # An environment may give one and the same array again and again.
        seen.observations.append(copied(observation))
        seen.actions.append(action)
        seen.rewards.append(as_float(reward))
        if terminated or truncated or fed.next_action is None:
            seen.terminated = bool(terminated)
            first = env.go_on_with_game() if terminated or truncated else None
            yield seen
            if first is None:
                break
            seen = Seen(trace, [copied(first)])
    both = zip(env.bare_game.rewards, trace.rewards.tolist(), strict=False)
    if fed.played != len(trace.rewards) or not all(
        playback.same(as_float(reward), recorded) for reward, recorded in both
    ):
        raise Failure(f"episode {trace.episode} gave other rewards than are recorded")
