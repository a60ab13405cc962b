"""What is around an environment in wrappers: innermost the tape, outermost what a loop drives."""

import contextlib
import logging
import multiprocessing
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gym_loop.envs.learnt import STATISTICS, freeze, gives_state, learns, learnt, put_learnt
from gym_loop.envs.undo import Undo, attributes, undoing
from gym_loop.errors import user_frames
from gym_loop.loops.copies import IMMUTABLE, copied
from gym_loop.mistake import Mistake, summary_of
from gym_loop.proxy import Proxy
from gym_loop.streams import NO_SEED, derive

log = logging.getLogger(__name__)
_told = set[str]()  # warnings that have been given


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
        before: the game that a wrapper began this one after, within a step of the agent's.
    """

    seed: int = NO_SEED
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False
    last: Any = None
    drawn: Any = None
    stream: Any = None
    before: "Game | None" = None

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

    game: Game

    def __init__(self, env: Any) -> None:
        vars(self).update(env=env, game=Game(truncated=True), holds=False, begins=False)
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
        before = None if self.begins else self.game
        result = self.env.reset(**arguments)
        seed = arguments.get("seed")
        stream = self._generator()
        self.game = Game(
            seed=NO_SEED if seed is None else seed,
            last=result[0],
            drawn=None if stream is None else stream.bit_generator.state,
            before=before,
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
        """What the bare environment has played since the agent's last `reset`."""
        game = self.tape.game
        return game if game.before is None else _as_one(game)

    def reset(self, **arguments: Any) -> Any:
        """Begin a game; one that is still running is given up.

        A wrapper that keeps a game going (EpisodicLife) takes a step and sees that it has ended.

        Raises:
            Mistake: a wrapper has begun no game in the environment that it was given; or, the first
                time, a library's wrapper does not work with those in it.
        """
        game = self.tape.game
        game.truncated, self.tape.begins = game.truncated or not game.terminated, True
        try:
            result = self.env.reset(**arguments)
        except Exception as error:
            if self.has_begun or not _is_of_libraries_wrappers(error):
                raise
            raise Mistake(
                "the wrappers cannot begin an episode in this order, innermost first: "
                f"{', '.join(layers(self))}: {summary_of(error):.200}"
            ) from error
        finally:
            self.tape.begins = False
        self.has_begun = True
        if self.tape.game is game:
            raise Mistake(
                "a wrapper's reset does not reset the environment that it was given, but another "
                "one, what is below that (self.unwrapped), or none: what is played could not be "
                "told; expected self.env.reset(seed=seed, options=options) of the env in __init__"
            )
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
        undo, steps = self._undoing(), len(self.tape.game.actions)
        self.tape.holds = True
        try:
            return self.env.reset()[0]
        except GoesOnError:
            if len(self.tape.game.actions) == steps:
                for put_back in undo:
                    put_back()
            return None
        finally:
            self.tape.holds = False

    def _undoing(self) -> list[Undo]:
        """Return functions that undo what a `reset` may change that is only tried."""
        bare = getattr(self.tape, "unwrapped", None)
        between, layer = list[Any](), self.tape.env
        while layer is not None and layer is not bare:
            between, layer = [*between, layer], attributes(layer).get("env")
        return undoing([*layers(self).values(), bare], leave=[self, self.tape, *between])


def _as_one(game: Game) -> Game:
    """Return what has been played since the agent's `reset`, where wrappers have reset since.

    One that has only begun is the next episode's: some wrappers reset in the step of an end. Other
    games that the agent played without hearing of an end are one episode.
    """
    games = [game]
    while games[0].before is not None:
        games.insert(0, games[0].before)
    games = [each for each in games if each.actions] or games[:1]
    if len(games) == 1:
        return games[0]
    _warn_of_several_games()
    return Game(
        NO_SEED,
        [action for each in games for action in each.actions],
        [reward for each in games for reward in each.rewards],
        games[-1].terminated,
        games[-1].truncated,
    )


def _is_of_libraries_wrappers(error: Exception) -> bool:
    """Return whether neither the environment, nor any code of the user's, has raised `error`.

    In a process of its own an environment's error goes to the one that started it, as it is.
    """
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = Tape.reset.__code__ in frames or Tape.step.__code__ in frames
    return not (inside or user_frames(error) or multiprocessing.parent_process())


@contextlib.contextmanager
def warning_anew() -> Iterator[None]:
    """Give each warning of what is around an environment once in the block, and not once ever."""
    _told.clear()
    yield


def _warn_once(text: str, *arguments: Any) -> None:
    if text not in _told:
        _told.add(text)
        log.warning(text, *arguments)


def _warn_of_other_count(kind: str, here: int, there: int) -> None:
    _warn_once(
        "%s begins anew: there were %d of them, and now there are %d, so that what each of them "
        "had learnt cannot be told",
        kind,
        there,
        here,
    )


def _warn_of_several_games() -> None:
    _warn_once(
        "a wrapper begins another game in the middle of an episode: its return is the sum of all "
        "that was played in it, and it cannot be played again; have the wrapper's step return "
        "terminated or truncated where a game ends"
    )


def _warn_of_lost_seed() -> None:
    _warn_once(
        "a wrapper resets the environment without the seed that its own reset was given: such an "
        "episode cannot be played again, nor the run be repeated; pass the seed on: "
        "self.env.reset(seed=seed, options=options)"
    )


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


def learning_layers(env: Wrapped) -> dict[str, Any]:
    """Return the wrappers of `env` that learn, by the names of their classes, innermost first."""
    return {name: layer for name, layer in layers(env).items() if learns(layer)}


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
            for key in set(STATISTICS) & attributes(layer).keys():
                attributes(layer)[key] = attributes(first[name])[key]
