"""The contract of agents, as code."""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gym_loop import streams
from gym_loop.agents.base_agent import BaseAgent
from gym_loop.loops.default_loop import DefaultLoop
from gym_loop.mistake import Mistake
from gym_loop.observers.checkpoints import Checkpoints
from gym_loop.testing.shared import (
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
    with streams_kept():
        check_parameters(cls)
        for name, arguments in METHODS.items():
            check_method(cls, name, arguments, BaseAgent)
        make = _maker(cls, observation_space, action_space, parameters)
        make.num_envs = num_envs  # type: ignore[attr-defined]
        _check_construction(cls, make, parameters)
        _check_rng(cls, make)
        actions = _check_learning(cls, make)
        _check_evaluation(cls, make, actions)
        _check_saving(cls, make, actions)


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
    spaces = gym_spaces()
    box, discrete = spaces.Box(-1.0, 1.0, (3,), np.float32), spaces.Discrete(4)
    observations = (box, discrete) if observation_space is None else (observation_space,)
    actions = (discrete, box) if action_space is None else (action_space,)
    return [(ob, action) for ob in observations for action in actions]


def _check_construction(cls: type, make: Any, parameters: dict[str, Any]) -> None:
    check_refusal(cls, lambda: make(0, **{UNKNOWN: 0}))
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


def _episodes(make: Any) -> int:
    """Return how many episodes an agent is checked over."""
    return EPISODES * max(int(make.num_envs), 1)


def _driven(
    make: Any, seed: int = 0, stop_after: int | None = None, **parameters: Any
) -> tuple[DefaultLoop, Watch]:
    """Return a loop around the agent of `seed`, and who watches it."""
    watch = Watch(stop_after)
    parameters = {"max_episodes": _episodes(make), "eval_episodes": 2, **parameters}
    loop: DefaultLoop
    if make.num_envs:
        from gym_loop.vector.loop import VectorLoop

        own = {"num_envs": make.num_envs, "episodes_per_round": 4 * make.num_envs}
        env = VectorLoop.make_env(
            lambda: Env(make.spaces), VectorLoop.get_default_parameters() | own, "train"
        )
        loop = VectorLoop(make(seed), env, **own, **parameters)
    else:
        loop = DefaultLoop(make(seed), Env(make.spaces), **parameters)
    loop.make_eval_env = lambda: Env(make.spaces, name="eval")
    loop.observers = {"watch": watch}
    return loop, watch


def _check_learning(cls: type, make: Any) -> list[Any]:
    """Check training; return the actions of its episodes."""
    loop, watch = _driven(make)
    called(f"{cls.__name__} in training", loop.train)
    for episode in watch.played:
        metrics = episode.metrics
        assert isinstance(metrics, dict), f"{cls.__name__}.metrics returned {metrics!r}, not a dict"
        for name, value in metrics.items():
            number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf"
            number = number and isinstance(name, str)
            assert number, (
                f"{cls.__name__}.metrics has {name!r}: {value!r}; expected names and numbers"
            )
    if loop.agent.needs_env:
        assert "env" not in vars(loop.agent), (
            f"{cls.__name__} keeps its environment as an attribute, which is saved with it; "
            "self.env is looked up where it is needed"
        )
        assert loop.agent.env is loop.env, f"{cls.__name__}.env is not the loop's environment"
    twin, again = _driven(make)
    called(f"{cls.__name__} in training", twin.train)
    for one, other in zip(watch.played, again.played, strict=True):
        assert equal(one.actions, other.actions), (
            f"two agents of {cls.__name__} with one seed acted differently in episode "
            f"{one.number}: draw from self.rng alone, and keep no state on the class"
        )
    return watch.actions


def _check_evaluation(cls: type, make: Any, actions: list[Any]) -> None:
    loop, watch = _driven(make, episodes_per_eval=2)
    called(f"{cls.__name__} in training and evaluation", loop.train)
    for number, (with_it, without) in enumerate(zip(watch.actions, actions, strict=True)):
        assert equal(with_it, without), (
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
            called(f"{cls.__name__}.load(directory)", loop.notify, "restore", loop)
            loop.notify("begin", loop)
            half = loop.episodes  # a round plays its episodes to their ends
            called(f"{cls.__name__}, saved and loaded,", loop.train)
    for number, (after, before) in enumerate(zip(watch.actions, actions[half:], strict=True), half):
        assert equal(after, before), (
            f"{cls.__name__} went on differently after save and load, in episode {number}: save "
            "everything that its future depends on"
        )
