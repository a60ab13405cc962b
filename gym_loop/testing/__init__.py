"""The contracts of agents and loops as code: call these on a class of your own, in any framework.

    from gym_loop.testing import check_agent

    def test_my_agent_keeps_the_contract():
        check_agent(MyAgent, lr=0.1)

Each raises AssertionError, with one line that says what the contract asks and what the class did.
"""

import contextlib
import copy
import importlib
import inspect
import random
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gym_loop import streams
from gym_loop.agents.base_agent import BaseAgent
from gym_loop.loops.base_loop import BaseLoop
from gym_loop.loops.default_loop import DefaultLoop
from gym_loop.mistake import Mistake
from gym_loop.observers import Observer
from gym_loop.observers.checkpoints import Checkpoints
from gym_loop.observers.wrapper import Wrapper

# What a loop calls, and with what.
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
ENDLESS, LIMIT = 1000, 7  # steps of an episode that only the loop's own limit ends
EPISODES = 24  # of a check: enough for agents that learn from several episodes at a time


def check_agent(
    cls: type, observation_space: Any = None, action_space: Any = None, **parameters: Any
) -> None:
    """Check that the agent class `cls` keeps the contract (`gym_loop.agents.BaseAgent`).

    The agent plays short episodes of random observations; what it learns is not looked at. Random
    streams are left as they were found.

    Args:
        cls: the class; constructed several times.
        observation_space: what it is made for. If None, the first of some small spaces of gym's
            that the class does not refuse with a `Mistake` is taken.
        action_space: the same.
        **parameters: given to its constructor. Choose them so that the agent learns within
            24 episodes of at most 8 steps, or its learning is not seen by the check.

    Raises:
        AssertionError: a clause of the contract does not hold.
    """
    _check_agent(cls, 0, observation_space, action_space, parameters)


def check_vectorized_agent(
    cls: type,
    num_envs: int,
    /,
    observation_space: Any = None,
    action_space: Any = None,
    **parameters: Any,
) -> None:
    """Check the same of an agent class that takes batches: `num_envs` environments at once.

    Raises:
        AssertionError: a clause of the contract does not hold.
    """
    assert getattr(cls, "vectorized", False), (
        f"{cls.__name__} does not say `vectorized = True`: it is not made for batches"
    )
    _check_agent(cls, num_envs, observation_space, action_space, parameters)


def _check_agent(
    cls: type, num_envs: int, observation_space: Any, action_space: Any, parameters: dict[str, Any]
) -> None:
    with _streams_kept():
        _check_parameters(cls)
        for name, arguments in METHODS.items():
            _check_method(cls, name, arguments, BaseAgent)
        make = _maker(cls, observation_space, action_space, parameters)
        make.num_envs = num_envs  # type: ignore[attr-defined]
        _check_construction(cls, make, parameters)
        _check_rng(cls, make)
        actions = _check_learning(cls, make)
        _check_evaluation(cls, make, actions)
        _check_saving(cls, make, actions)


def check_loop(cls: type, **parameters: Any) -> None:
    """Check that the loop class `cls` keeps the contract (`gym_loop.loops.BaseLoop`).

    The loop drives an agent that notes what it is told, in an environment that notes it too.
    Loops over several environments at once are not meant.

    Args:
        cls: the class; constructed several times.
        **parameters: given to its constructor. By default a loop that has the parameters
            `max_episodes`, `max_episode_len` and `eval_episodes` plays a few short episodes.

    Raises:
        AssertionError: a clause of the contract does not hold.
    """
    with _streams_kept(), tempfile.TemporaryDirectory() as directory:
        _check_parameters(cls)
        for name in ("train", "evaluate"):
            _check_method(cls, name, (), BaseLoop)
        known = cls.get_default_parameters()  # type: ignore[attr-defined]
        few = {"max_episodes": 6, "max_episode_len": 50, "eval_episodes": 3}
        given = {name: value for name, value in few.items() if name in known} | parameters
        trial = _Trials(cls, given, Path(directory))
        _refuses_unknown(cls, lambda: trial(**{UNKNOWN: 0}))
        _check_training(trial)
        _check_time_limit(trial, "max_episode_len" in known)
        _check_seeds(trial)
        _check_loop_evaluation(trial, "episodes_per_eval" in known)
        _check_watching(trial)


# What agents and loops have in common.


def _check_parameters(cls: type) -> None:
    _check_method(cls, "get_default_parameters", (), BaseAgent, static=True)
    _check_method(cls, "check_parameters", ("parameters",), BaseAgent, static=True)
    kind: Any = cls
    defaults = kind.get_default_parameters()
    name = f"{cls.__name__}.get_default_parameters()"
    assert isinstance(defaults, dict), f"{name} returned a {type(defaults).__name__}, not a dict"
    for key, value in defaults.items():
        assert isinstance(key, str), f"{name} has the key {key!r}, which is not a string"
        assert _plain(value), (
            f"{name}[{key!r}] is a {type(value).__name__}; a config holds only None, booleans, "
            "numbers, strings, and lists and dicts of them"
        )
    _called(f"{cls.__name__}.check_parameters(its own defaults)", kind.check_parameters, defaults)


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _check_method(
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


def _refuses_unknown(cls: type, construct: Callable[[], Any]) -> None:
    try:
        construct()
    except Exception as error:
        if UNKNOWN not in str(error):
            raise AssertionError(
                f"{cls.__name__} refused an unknown parameter without naming it: {error}"
            ) from error
    else:
        raise AssertionError(
            f"{cls.__name__} took an unknown parameter without a word; pass **parameters on to "
            "super().__init__, which refuses it"
        )


def _called(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function`; what it raises becomes the failure of a check."""
    try:
        return function(*arguments)
    except AssertionError:
        raise
    except (Exception, Mistake) as error:
        message = error.message if isinstance(error, Mistake) else str(error)
        line = f"{what} raised {type(error).__name__}: {' '.join(message.split())}"
        raise AssertionError(line) from error


@contextlib.contextmanager
def _streams_kept() -> Iterator[None]:
    """Put the global random streams back at the end."""
    with streams.preserved(types.SimpleNamespace(), 0):  # an agent without streams of its own
        yield


def _same(one: Any, other: Any) -> bool:
    """Return whether two observations, actions or lists of them are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(np.array_equal(one, other))


class _Env:
    """Random observations and rewards that depend on the reset's seed alone.

    Episodes end in turn by `terminated`, by `truncated`, and by both. `log` takes what happens.
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
        self.log.append(("reset", self.name, seed))
        self.observation_space.seed(seed)
        self.random = random.Random(seed)
        self.resets += 1
        self.left = 1 + self.resets % self.length if self.length < ENDLESS else self.length
        return self._show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        _check_action(self.action_space, action)
        assert _same(*self.shown), "act changed the observation that it was given, in place"
        self.left -= 1
        over, way = self.left <= 0, self.resets % 3
        result: tuple[Any, float, bool, bool, dict[str, Any]]
        result = (self._show(), self.random.random(), over and way != 1, over and way != 0, {})
        self.log.append(("step", self.name, action, *result[:4]))
        return result

    def close(self) -> None:
        pass

    def _show(self) -> Any:
        ob = self.observation_space.sample()
        self.shown = (ob, copy.deepcopy(ob))
        return ob


def _spaces() -> Any:
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


# Agents.


def _maker(
    cls: type, observation_space: Any, action_space: Any, parameters: dict[str, Any]
) -> Callable[..., Any]:
    """Return what constructs the agent of a seed as the launcher does; it knows its `spaces`."""

    def make(seed: int, pair: tuple[Any, Any] | None = None, **more: Any) -> Any:
        streams.seed_all(seed)
        pair = copy.deepcopy(pair or make.spaces)  # type: ignore[attr-defined]
        for space in pair:
            space.seed(seed)
        return cls(observation_space=pair[0], action_space=pair[1], **parameters, **more)

    refusals = []
    for pair in _candidates(observation_space, action_space):
        try:
            make(0, pair)
        except Mistake as mistake:
            refusals.append(mistake.message)
        except Exception as error:
            raise AssertionError(
                f"{cls.__name__}(observation_space=..., action_space=...) raised "
                f"{type(error).__name__}: {error} (for {pair[0]} and {pair[1]})"
            ) from error
        else:
            make.spaces = pair  # type: ignore[attr-defined]
            return make
    raise AssertionError(
        f"{cls.__name__} refused every pair of spaces; give check_agent those that it is made "
        f"for: {refusals[0]}"
    )


def _candidates(observation_space: Any, action_space: Any) -> list[tuple[Any, Any]]:
    """Return pairs of spaces to try, with those that are given."""
    if observation_space is not None and action_space is not None:
        return [(observation_space, action_space)]
    spaces = _spaces()
    box, discrete = spaces.Box(-1.0, 1.0, (3,), np.float32), spaces.Discrete(4)
    observations = (box, discrete) if observation_space is None else (observation_space,)
    actions = (discrete, box) if action_space is None else (action_space,)
    return [(ob, action) for ob in observations for action in actions]


def _check_construction(cls: type, make: Any, parameters: dict[str, Any]) -> None:
    _refuses_unknown(cls, lambda: make(0, **{UNKNOWN: 0}))
    agent = make(0)
    for name in ("observation_space", "action_space", "parameters", "rng"):
        assert hasattr(agent, name), (
            f"{cls.__name__} has no attribute {name!r}; its __init__ must pass the spaces and "
            "**parameters on to super().__init__"
        )
    wanted = {**cls.get_default_parameters(), **parameters}  # type: ignore[attr-defined]
    assert agent.parameters == wanted, (
        f"{cls.__name__}.parameters is {agent.parameters}; expected the defaults updated with what "
        f"was given: {wanted}"
    )
    assert agent.training is True, (
        f"{cls.__name__}.training is {agent.training!r} in a new agent; only the loop sets it"
    )


def _check_rng(cls: type, make: Any) -> None:
    agents = make(0), make(0), make(1)
    for agent in agents:
        assert isinstance(agent.rng, np.random.Generator), (
            f"{cls.__name__}.rng is a {type(agent.rng).__name__}, not a numpy.random.Generator"
        )
    first, again, other = (agent.rng.bit_generator.state for agent in agents)
    assert agents[0].rng is not agents[1].rng, f"two agents of {cls.__name__} share one rng"
    assert first == again, f"{cls.__name__}.rng differs between two agents of one seed"
    assert first != other, f"{cls.__name__}.rng does not depend on the run's seed"


class _Watch(Observer):
    """Keeps the episodes; asks the loop to stop after so many."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.played: list[Any] = []
        self.evaluated: list[Any] = []
        self.events: list[str] = []
        self.steps = 0  # of training that were seen
        self.stop_after = stop_after

    def begin_episode(self, loop: Any, episode: Any) -> None:
        self.events += ["begin_episode"] * episode.training
        episode.env = _Seen(episode.env, self)

    def end_episode(self, loop: Any, episode: Any) -> None:
        self.events += ["end_episode"] * episode.training
        (self.played if episode.training else self.evaluated).append(episode)
        if episode.training and len(self.played) == self.stop_after:
            loop.stop = "check"

    def end_cycle(self, loop: Any) -> None:
        self.events.append("end_cycle")

    def end_training(self, loop: Any) -> None:
        self.events.append("end_training")

    @property
    def actions(self) -> list[Any]:
        played = sorted(self.played, key=lambda episode: episode.number)
        return [episode.actions for episode in played]


class _Seen(Wrapper):
    """An episode's environment, as an observer wraps it that is to see every step."""

    def __init__(self, env: Any, watch: _Watch) -> None:
        super().__init__(env)
        self.watch = watch

    def step(self, action: Any) -> Any:
        self.watch.steps += self.env.name == "train"
        return self.env.step(action)


def _episodes(make: Any) -> int:
    """Return how many episodes an agent is checked over."""
    return EPISODES * max(int(make.num_envs), 1)


def _driven(
    make: Any, seed: int = 0, stop_after: int | None = None, **parameters: Any
) -> tuple[DefaultLoop, _Watch]:
    """Return a loop around the agent of `seed`, and who watches it."""
    watch = _Watch(stop_after)
    parameters = {"max_episodes": _episodes(make), "eval_episodes": 2, **parameters}
    loop: DefaultLoop
    if make.num_envs:
        from gym_loop.vector.loop import VectorLoop

        own = {"num_envs": make.num_envs, "episodes_per_round": 4 * make.num_envs}
        env = VectorLoop.make_env(
            lambda: _Env(make.spaces), VectorLoop.get_default_parameters() | own, "train"
        )
        loop = VectorLoop(make(seed), env, **own, **parameters)
    else:
        loop = DefaultLoop(make(seed), _Env(make.spaces), **parameters)
    loop.make_eval_env = lambda: _Env(make.spaces, name="eval")
    loop.observers = {"watch": watch}
    return loop, watch


def _check_learning(cls: type, make: Any) -> list[Any]:
    """Check training; return the actions of its episodes."""
    loop, watch = _driven(make)
    _called(f"{cls.__name__} in training", loop.train)
    for episode in watch.played:
        metrics = episode.metrics
        assert isinstance(metrics, dict), f"{cls.__name__}.metrics returned {metrics!r}, not a dict"
        for name, value in metrics.items():
            number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf"
            number = number and isinstance(name, str)
            assert number, (
                f"{cls.__name__}.metrics has {name!r}: {value!r}; expected names and numbers"
            )
    twin, again = _driven(make)
    _called(f"{cls.__name__} in training", twin.train)
    for one, other in zip(watch.played, again.played, strict=True):
        assert _same(one.actions, other.actions), (
            f"two agents of {cls.__name__} with one seed acted differently in episode "
            f"{one.number}: draw from self.rng alone, and keep no state on the class"
        )
    return watch.actions


def _check_evaluation(cls: type, make: Any, actions: list[Any]) -> None:
    loop, watch = _driven(make, episodes_per_eval=2)
    _called(f"{cls.__name__} in training and evaluation", loop.train)
    for number, (with_it, without) in enumerate(zip(watch.actions, actions, strict=True)):
        assert _same(with_it, without), (
            f"evaluating changed what {cls.__name__} did in training, from episode {number} on: "
            "while self.training is False, change nothing in place"
        )
    assert loop.agent.training is True, f"{cls.__name__} left training False after an evaluation"


def _check_saving(cls: type, make: Any, actions: list[Any]) -> None:
    """Check that an agent goes on from a checkpoint as if nothing had happened."""
    half = _episodes(make) // 2
    with tempfile.TemporaryDirectory() as directory:
        for seed, stop_after in ((0, half), (1, None)):  # the second begins as another agent
            loop, watch = _driven(make, seed, stop_after)
            loop.directory, keeper = Path(directory), Checkpoints()
            loop.observers["checkpoints"] = keeper
            _called(f"{cls.__name__}.load(directory)", loop.notify, "restore", loop)
            loop.notify("begin", loop)
            half = loop.episodes  # rounds come to their own end
            _called(f"{cls.__name__}, saved and loaded,", loop.train)
    for number, (after, before) in enumerate(zip(watch.actions, actions[half:], strict=True), half):
        assert _same(after, before), (
            f"{cls.__name__} went on differently after save and load, in episode {number}: save "
            "everything that its future depends on"
        )


# Loops.


class _Noting(BaseAgent):
    """Acts at random and notes every call, with whether it was in training."""

    log: list[Any]

    def act(self, state: Any, episode_num: int) -> int:
        action = int(self.rng.integers(self.action_space.n))
        self.log.append(("act", self.training, episode_num, state, action))
        return action

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        self.log.append(("memorize", self.training, last_ob, action, reward, done, ob))

    def update(self, episode_num: int) -> None:
        self.log.append(("update", self.training, episode_num))

    def begin_episode(self, episode_num: int) -> None:
        self.log.append(("begin_episode", self.training, episode_num))

    def end_episode(self, episode_num: int, truncated: bool) -> None:
        self.log.append(("end_episode", self.training, episode_num, truncated))


class _Trials:
    """Constructs loops of a class around what notes what they do."""

    def __init__(self, cls: type, parameters: dict[str, Any], directory: Path) -> None:
        self.cls, self.parameters, self.directory = cls, parameters, directory
        self.name = cls.__name__

    def __call__(
        self, *, seed: int = 0, length: int = 8, stop_after: int | None = None, **more: Any
    ) -> tuple[Any, list[Any], _Watch]:
        """Return a loop, the log of what happens in it, and its observer."""
        spaces = _spaces()
        log: list[Any] = []
        pair = (spaces.Box(-1.0, 1.0, (3,), np.float32), spaces.Discrete(4))
        watch, cls = _Watch(stop_after), self.cls
        streams.seed_all(seed)
        for space in pair:
            space.seed(seed)
        agent = _Noting(observation_space=pair[0], action_space=pair[1])
        agent.log = log
        kind: Any = cls
        parameters = {**kind.get_default_parameters(), **self.parameters, **more}

        def make(mode: str) -> Any:
            def factory(**_: Any) -> _Env:
                return _Env(pair, name=mode, length=length, log=log)

            return kind.make_env(factory, parameters, mode)

        loop = kind(agent, make("train"), **self.parameters | more)
        loop.seed, loop.directory, loop.observers = seed, self.directory, {"watch": watch}
        loop.make_eval_env = lambda: make("eval")
        return loop, log, watch

    def run(self, method: str, loop: Any) -> Any:
        """Call `train` or `evaluate`."""
        return _called(f"{self.name}.{method}()", getattr(loop, method))


def _training(log: list[Any]) -> list[Any]:
    """Return what in `log` is of training: of its environment, and of the agent while learning."""
    return [event for event in log if event[1] is True or event[1] == "train"]


def _seeds(log: list[Any], mode: str) -> list[int]:
    return [event[2] for event in log if event[:2] == ("reset", mode)]


def _check_training(trial: _Trials) -> None:
    """Check the order of calls within episodes, and what is passed."""
    name = trial.name
    loop, log, _ = trial()
    trial.run("train", loop)
    events = iter(_training(log))
    episodes = 0
    for event in events:
        if event[0] == "begin_episode":  # before reset or after it, as the loop likes
            number = event[2]
            _expect(name, events, "reset", "begin_episode")
        elif event[0] == "reset":
            number = _expect(name, events, "begin_episode", "reset")[2]
        else:
            raise AssertionError(
                f"{name} called {event[0]} before begin_episode and the environment's reset"
            )
        assert number == episodes, f"{name} numbered episode {episodes} as {number}"
        _check_steps(name, events, number)
        episodes += 1
    assert episodes, f"{name}.train() played no episode; give check_loop parameters that let it"


def _expect(name: str, events: Iterator[Any], wanted: str, before: str) -> Any:
    event = next(events, ("nothing",))
    assert event[0] == wanted, f"{name} called {event[0]} after {before}; expected {wanted}"
    return event


def _check_steps(name: str, events: Iterator[Any], number: int) -> None:
    """Check an episode from its first `act` to `end_episode`."""
    ob, over = None, False
    before = "the start of an episode"
    while not over:
        _, _, told, state, action = _expect(name, events, "act", before)
        assert told == number, f"{name} told act episode {told} in episode {number}"
        assert ob is None or _same(state, ob), f"{name} did not act on the last observation"
        _, _, done_action, ob, reward, terminated, truncated = _expect(name, events, "step", "act")
        assert done_action == action, f"{name} stepped with another action than act returned"
        memory = _expect(name, events, "memorize", "step")[2:]
        assert memory[3] == terminated, (
            f"{name} gave memorize done={memory[3]} where terminated={terminated}, "
            f"truncated={truncated}: done is the environment's terminated alone"
        )
        for value, wanted, what in zip(
            memory, (state, action, reward, terminated, ob), METHODS["memorize"], strict=True
        ):
            assert _same(value, wanted), f"{name} gave memorize a wrong {what}"
        told = _expect(name, events, "update", "memorize")[2]
        assert told == number, f"{name} told update episode {told} in episode {number}"
        over, before = terminated or truncated, "update"
    _, _, told, was_truncated = _expect(name, events, "end_episode", "the episode's last update")
    assert told == number, f"{name} told end_episode episode {told} in episode {number}"
    assert was_truncated == truncated, (
        f"{name} gave end_episode truncated={was_truncated} where the environment said {truncated}"
    )


def _check_time_limit(trial: _Trials, limited: bool) -> None:
    """Check `max_episode_len`, where the loop has it."""
    if not limited:
        return
    loop, log, _ = trial(length=ENDLESS, max_episode_len=LIMIT)
    trial.run("train", loop)
    steps = 0
    for event in _training(log):
        steps += event[0] == "step"
        if event[0] == "memorize":
            assert not event[5], f"{trial.name} gave memorize done=True at its own time limit"
        if event[0] == "end_episode":
            assert steps == LIMIT, f"{trial.name} played {steps} steps with max_episode_len={LIMIT}"
            assert event[3] is True, (
                f"{trial.name} gave end_episode truncated={event[3]} at its own time limit"
            )
            steps = 0


def _check_seeds(trial: _Trials) -> None:
    """Check that an episode's reset seed depends on (seed, episode) alone."""
    name, seeds = trial.name, []
    for seed, length in ((0, 8), (0, 3), (1, 8)):
        loop, log, _ = trial(seed=seed, length=length)
        trial.run("train", loop)
        trial.run("evaluate", loop)
        seeds.append((_seeds(log, "train"), _seeds(log, "eval")))
    (train, evaluation), shorter, other = seeds
    assert None not in train, f"{name} reset the environment without a seed"
    assert len(set(train)) == len(train), f"{name} gave two training episodes one reset seed"
    common = min(len(train), len(shorter[0]))
    assert train[:common] == shorter[0][:common], (
        f"{name}'s reset seeds depend on what happened in the episodes before, not only on the "
        "seed and the episode's number"
    )
    assert train != other[0], f"{name}'s reset seeds do not depend on its seed"
    assert not set(train) & set(evaluation), f"{name} evaluates on the seeds of training"


def _check_loop_evaluation(trial: _Trials, periodic: bool) -> None:
    """Check that evaluation learns nothing, returns its episodes, and changes nothing."""
    name = trial.name
    loop, alone, _ = trial()
    trial.run("train", loop)
    alone = _training(alone)

    loop, log, _ = trial(**({"episodes_per_eval": 2} if periodic else {}))
    episodes = trial.run("evaluate", loop)
    for event in log:
        assert event[0] not in ("memorize", "update"), f"{name} called {event[0]} in evaluation"
        assert event[1] is not True, f"{name} called {event[0]} in evaluation with training True"
        assert event[1] != "train", f"{name} evaluated in the environment of training"
    assert loop.agent.training is True, f"{name} left the agent's training False"
    try:
        returns = [episode.ret for episode in episodes]
    except (TypeError, AttributeError):
        raise AssertionError(f"{name}.evaluate() returned {episodes!r}, not its episodes") from None
    sums, seeds = _returns(log), _seeds(log, "eval")
    right = len(returns) == len(sums) and np.allclose(returns, sums)
    assert right, f"{name}.evaluate() returned returns {returns}; the rewards sum to {sums}"
    trial.run("train", loop)
    assert _same(_training(log), alone), f"evaluating changed what {name} did in training"
    before = len(log)
    trial.run("evaluate", loop)
    assert _seeds(log[before:], "eval") == seeds, (
        f"{name}'s evaluation has other reset seeds after training than before"
    )


def _returns(log: list[Any]) -> list[float]:
    """Return the sum of rewards of each episode of evaluation."""
    sums: list[float] = []
    for event in log:
        if event[:2] == ("reset", "eval"):
            sums.append(0.0)
        elif event[:2] == ("step", "eval"):
            sums[-1] += event[4]
    return sums


def _check_watching(trial: _Trials) -> None:
    """Check the counters, what observers are told, and that `stop` ends training."""
    name = trial.name
    loop, log, watch = trial()
    trial.run("train", loop)
    counts = (len(_seeds(log, "train")), sum(event[:2] == ("step", "train") for event in log))
    assert (loop.episodes, loop.steps) == counts, (
        f"{name} counts {loop.episodes} episodes and {loop.steps} steps; it played "
        f"{counts[0]} and {counts[1]}"
    )
    wanted = ["begin_episode", "end_episode", "end_cycle"] * counts[0] + ["end_training"]
    assert watch.events == wanted, (
        f"{name} does not tell its observers of each training episode (begin_episode, end_episode, "
        "end_cycle) and of the end (end_training)"
    )
    assert watch.steps == counts[1], (
        f"{name} steps another environment than `episode.env`, which an observer may have wrapped "
        "to record every step"
    )
    if counts[0] > 1:
        loop, log, _ = trial(stop_after=1)
        trial.run("train", loop)
        played = len(_seeds(log, "train"))
        assert played == 1, f"{name} played {played - 1} more episodes after its `stop` was set"
