"""The contract of agents, as code."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from gym_loop import streams
from gym_loop.agents.base_agent import BaseAgent
from gym_loop.loops.default_loop import DefaultLoop
from gym_loop.mistake import Mistake, summary_of
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
        make = _Maker(cls, num_envs, parameters)
        make.choose_spaces(observation_space, action_space)
        _check_construction(make)
        _check_rng(make)
        actions = _check_learning(make)
        _check_evaluation(make, actions)
        _check_saving(make, actions)


class _Maker:
    """Constructs the agent of a seed as the launcher does.

    Attributes:
        spaces: of observations and of actions.
        episodes: that an agent is checked over.
    """

    spaces: tuple[Any, Any]

    def __init__(self, cls: Any, num_envs: int, parameters: dict[str, Any]) -> None:
        self.cls, self.num_envs, self.parameters = cls, num_envs, parameters
        self.name, self.episodes = cls.__name__, EPISODES * max(num_envs, 1)

    def __call__(self, seed: int, **more: Any) -> Any:
        streams.seed_all(seed)
        observations, actions = spaces = copy.deepcopy(self.spaces)
        for space in spaces:
            space.seed(seed)
        given = {**self.parameters, **more}
        return self.cls(observation_space=observations, action_space=actions, **given)

    def choose_spaces(self, observation_space: Any, action_space: Any) -> None:
        """Take the first pair of spaces that the class does not refuse."""
        refusals = []
        for pair in _candidates(observation_space, action_space):
            self.spaces = pair
            try:
                self(0)
            except Mistake as mistake:
                refusals.append(mistake.message)
            except Exception as error:
                raise AssertionError(
                    f"{self.name}(observation_space=..., action_space=...) raised "
                    f"{summary_of(error)} (for {pair[0]} and {pair[1]})"
                ) from error
            else:
                return
        raise AssertionError(
            f"{self.name} refused every pair of spaces; give check_agent those that it is made "
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


def _check_construction(make: _Maker) -> None:
    check_refusal(make.cls, lambda: make(0, **{UNKNOWN: 0}))
    agent = make(0)
    for name in ("observation_space", "action_space", "parameters", "rng"):
        assert hasattr(agent, name), (
            f"{make.name} has no attribute {name!r}; its __init__ must pass the spaces and "
            "**parameters on to super().__init__"
        )
    wanted = {**make.cls.get_default_parameters(), **make.parameters}
    assert agent.parameters == wanted, (
        f"{make.name}.parameters is {agent.parameters}; expected the defaults updated with what "
        f"was given: {wanted}"
    )
    assert agent.training is True, (
        f"{make.name}.training is {agent.training!r} in a new agent; only the loop sets it"
    )


def _check_rng(make: _Maker) -> None:
    agents = make(0), make(0), make(1)
    for agent in agents:
        assert isinstance(agent.rng, np.random.Generator), (
            f"{make.name}.rng is a {type(agent.rng).__name__}, not a numpy.random.Generator"
        )
    first, again, other = (agent.rng.bit_generator.state for agent in agents)
    assert agents[0].rng is not agents[1].rng, f"two agents of {make.name} share one rng"
    assert first == again, f"{make.name}.rng differs between two agents of one seed"
    assert first != other, f"{make.name}.rng does not depend on the run's seed"


def _driven(
    make: _Maker, seed: int = 0, stop_after: int | None = None, **parameters: Any
) -> tuple[DefaultLoop, Watch]:
    """Return a loop around the agent of `seed`, and who watches it."""
    watch = Watch(stop_after)
    parameters = {"max_episodes": make.episodes, "eval_episodes": 2, **parameters}
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


def _check_learning(make: _Maker) -> list[Any]:
    """Check training; return the actions of its episodes."""
    loop, watch = _driven(make)
    called(f"{make.name} in training", loop.train)
    for episode in watch.played:
        metrics = episode.metrics
        assert isinstance(metrics, dict), f"{make.name}.metrics returned {metrics!r}, not a dict"
        for name, value in metrics.items():
            number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf"
            number = number and isinstance(name, str)
            assert number, (
                f"{make.name}.metrics has {name!r}: {value!r}; expected names and numbers"
            )
    if loop.agent.needs_env:
        assert "env" not in vars(loop.agent), (
            f"{make.name} keeps its environment as an attribute, which is saved with it; "
            "self.env is looked up where it is needed"
        )
        assert loop.agent.env is loop.env, f"{make.name}.env is not the loop's environment"
    twin, again = _driven(make)
    called(f"{make.name} in training", twin.train)
    for one, other in zip(watch.played, again.played, strict=True):
        assert equal(one.actions, other.actions), (
            f"two agents of {make.name} with one seed acted differently in episode "
            f"{one.number}: draw from self.rng alone, and keep no state on the class"
        )
    return watch.actions


def _check_evaluation(make: _Maker, actions: list[Any]) -> None:
    loop, watch = _driven(make, episodes_per_eval=2)
    called(f"{make.name} in training and evaluation", loop.train)
    for number, (with_it, without) in enumerate(zip(watch.actions, actions, strict=True)):
        assert equal(with_it, without), (
            f"evaluating changed what {make.name} did in training, from episode {number} on: "
            "while self.training is False, change nothing in place"
        )
    assert loop.agent.training is True, f"{make.name} left training False after an evaluation"


def _check_saving(make: _Maker, actions: list[Any]) -> None:
    """Check that an agent goes on from a checkpoint as if nothing had happened."""
    half = make.episodes // 2
    with tempfile.TemporaryDirectory() as directory:
        for seed, stop_after in ((0, half), (1, None)):  # the second begins as another agent
            loop, watch = _driven(make, seed, stop_after)
            loop.directory, keeper = Path(directory), Checkpoints()
            loop.observers["checkpoints"] = keeper
            called(f"{make.name}.load(directory)", loop.notify, "restore", loop)
            loop.notify("begin", loop)
            half = loop.episodes  # a round plays its episodes to their ends
            called(f"{make.name}, saved and loaded,", loop.train)
    for number, (after, before) in enumerate(zip(watch.actions, actions[half:], strict=True), half):
        assert equal(after, before), (
            f"{make.name} went on differently after save and load, in episode {number}: save "
            "everything that its future depends on"
        )
