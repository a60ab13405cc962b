"""The contract of loops, as code."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gym_loop import streams
from gym_loop.agents.base_agent import BaseAgent
from gym_loop.loops.base_loop import BaseLoop
from gym_loop.testing.shared import (
    ENDLESS,
    METHODS,
    UNKNOWN,
    Env,
    Watch,
    called,
    check_method,
    check_parameters,
    check_refusal,
    equal,
    gym_spaces,
    streams_kept,
)

LIMIT = 7  # steps, in the check of `max_episode_len`


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
    with streams_kept(), tempfile.TemporaryDirectory() as directory:
        check_parameters(cls)
        for name in ("train", "evaluate"):
            check_method(cls, name, (), BaseLoop)
        known = cls.get_default_parameters()  # type: ignore[attr-defined]
        few = {"max_episodes": 6, "max_episode_len": 50, "eval_episodes": 3}
        given = {name: value for name, value in few.items() if name in known} | parameters
        trial = _Trials(cls, given, Path(directory))
        check_refusal(cls, lambda: trial(**{UNKNOWN: 0}))
        _check_training(trial)
        _check_time_limit(trial, "max_episode_len" in known)
        _check_seeds(trial)
        _check_loop_evaluation(trial, "episodes_per_eval" in known)
        _check_watching(trial)


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

    def __init__(self, cls: Any, parameters: dict[str, Any], directory: Path) -> None:
        self.cls, self.parameters, self.directory = cls, parameters, directory
        self.name = cls.__name__

    def __call__(
        self, *, seed: int = 0, length: int = 8, stop_after: int | None = None, **more: Any
    ) -> tuple[Any, list[Any], Watch]:
        """Return a loop, the log of what happens in it, and its observer."""
        spaces = gym_spaces()
        log: list[Any] = []
        pair = (spaces.Box(-1.0, 1.0, (3,), np.float32), spaces.Discrete(4))
        watch, cls = Watch(stop_after), self.cls
        streams.seed_all(seed)
        for space in pair:
            space.seed(seed)
        agent = _Noting(observation_space=pair[0], action_space=pair[1])
        agent.log = log
        parameters = {**cls.get_default_parameters(), **self.parameters, **more}

        def make(mode: str) -> Any:
            def factory(**_: Any) -> Env:
                return Env(pair, name=mode, length=length, log=log)

            return cls.make_env(factory, parameters, mode)

        loop = cls(agent, make("train"), **self.parameters | more)
        loop.seed, loop.directory, loop.observers = seed, self.directory, {"watch": watch}
        loop.make_eval_env = lambda: make("eval")
        return loop, log, watch

    def run(self, method: str, loop: Any) -> Any:
        """Call `train` or `evaluate`."""
        return called(f"{self.name}.{method}()", getattr(loop, method))


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
        assert ob is None or equal(state, ob), f"{name} did not act on the last observation"
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
            assert equal(value, wanted), f"{name} gave memorize a wrong {what}"
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
    assert equal(_training(log), alone), f"evaluating changed what {name} did in training"
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
