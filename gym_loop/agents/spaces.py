"""The kinds of spaces, of gym, of Gymnasium or of a user, and the agents that fit them.

A space's kind is told from its attributes, not from its class, so that neither library has to be
imported.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from gym_loop.mistake import Mistake

BASIC = ("Box", "Discrete", "MultiBinary", "MultiDiscrete")
BASIC_OR_DICT = (*BASIC, "Dict")

# Agent options: the kinds of observations and of actions that each can take.
FITS: dict[str, tuple[Collection[str], Collection[str]]] = {
    "q_learning": (("Discrete", "Tuple of Discrete"), ("Discrete",)),
    "ars": (("Box",), ("Box", "Discrete")),
    "sb3/ppo": (BASIC_OR_DICT, BASIC),
    "sb3/a2c": (BASIC_OR_DICT, BASIC),
    "sb3/dqn": (BASIC_OR_DICT, ("Discrete",)),
    "sb3/sac": (BASIC_OR_DICT, ("Box",)),
    "sb3/td3": (BASIC_OR_DICT, ("Box",)),
    "sb3/ddpg": (BASIC_OR_DICT, ("Box",)),
}


def kind(space: Any) -> str:
    """Return "Discrete", "Box", "MultiDiscrete", "MultiBinary", "Tuple of Discrete", ...

    A space of another kind has the name of its class.
    """
    if hasattr(space, "nvec"):
        return "MultiDiscrete"
    if hasattr(space, "low") and hasattr(space, "high"):
        return "Box"
    if isinstance(getattr(space, "spaces", None), tuple | list):
        inner = {kind(part) for part in space.spaces}
        return "Tuple of Discrete" if inner == {"Discrete"} else "Tuple"
    if hasattr(space, "n"):
        return "MultiBinary" if getattr(space, "shape", ()) else "Discrete"
    return type(space).__name__


def describe(space: Any) -> str:
    """Return the space in a few characters: `Box(3,)`, `Discrete(4)`, `Tuple(Discrete(2), ...)`."""
    name = kind(space)
    if name == "Box":
        return f"Box{tuple(space.shape)}"
    if name in ("Discrete", "MultiBinary"):
        return f"{name}({space.n})"
    if name == "MultiDiscrete":
        return f"MultiDiscrete({[int(n) for n in space.nvec.ravel()]})"
    if name.startswith("Tuple"):
        return f"Tuple({', '.join(describe(part) for part in space.spaces)})"
    return name


def misfit(space: Any, value: Any, what: str = "the observation") -> str:
    """Return in which part a value is not in its space, and why; "" if it is in it."""
    if space.contains(value):
        return ""
    inner, parts = getattr(space, "spaces", None), list[tuple[str, Any, Any]]()
    if isinstance(inner, Mapping) and isinstance(value, Mapping):
        if inner.keys() != value.keys():
            return f"{what} has the keys {[*value]}; expected {[*inner]}"
        parts = [(f"{what}[{key!r}]", inner[key], value[key]) for key in inner]
    elif isinstance(inner, tuple | list) and isinstance(value, tuple) and len(inner) == len(value):
        parts = [(f"{what}[{n}]", *both) for n, both in enumerate(zip(inner, value, strict=True))]
    for name, own, part in parts:
        if found := misfit(own, part, name):
            return found
    if kind(space) == "Box" and isinstance(value, np.ndarray):
        if value.shape != space.shape:
            return f"{what} has the shape {value.shape}; expected {space.shape}"
        if not np.can_cast(value.dtype, space.dtype):
            return f"{what} is of dtype {value.dtype}; expected {space.dtype}"
        outside = np.argwhere(~((value >= space.low) & (value <= space.high)))
        if len(outside):
            place = tuple(outside[0].tolist())
            low, high = space.low[place], space.high[place]
            return f"{what} is {value[place]} at {[*place]}; expected {low} to {high}"
    return f"{what} is {value!r:.60}; expected one of {describe(space)}"


def require(
    agent: str,
    observation_space: Any,
    action_space: Any,
    *,
    observations: Collection[str] | None = None,
    actions: Collection[str] | None = None,
) -> None:
    """Check that an agent fits the two spaces of its environment.

    Args:
        agent: the option's name, as in `agent=q_learning`.
        observation_space: of the environment.
        action_space: of the environment.
        observations: the kinds of observations that the agent takes; None: those in `FITS`.
        actions: the kinds of actions; None: those in `FITS`.

    Raises:
        Mistake: it does not; the line names what the agent needs, what it got, and which agents
            fit.
    """
    needed = FITS.get(agent, ((), ()))
    needed = (observations or needed[0], actions or needed[1])
    got = {"observations": observation_space, "actions": action_space}
    wrong = [
        f"{describe(space)} {name}"
        for (name, space), kinds in zip(got.items(), needed, strict=True)
        if kind(space) not in kinds
    ]
    if wrong:
        fit = [name for name in fitting(observation_space, action_space) if name != agent]
        raise Mistake(
            f"{agent} needs {_needs(*needed)}; got {' and '.join(wrong)}; "
            f"try agent={_listed(fit or ['random'])}"
        )


def to_gymnasium(space: Any) -> Any:
    """Return gym's `space` as one of Gymnasium's; what is no space of gym's is returned as is."""
    from gymnasium import spaces

    if isinstance(space, spaces.Space) or not hasattr(space, "sample"):
        return space
    names = {each.__name__ for each in type(space).__mro__}
    if "Box" in names:
        return spaces.Box(space.low, space.high, space.shape, space.dtype)
    if "Discrete" in names:
        return spaces.Discrete(int(space.n), start=int(space.start))
    if "MultiDiscrete" in names:
        return spaces.MultiDiscrete(space.nvec, dtype=space.dtype)
    if "MultiBinary" in names:
        return spaces.MultiBinary(space.n)
    if "Text" in names:
        characters = frozenset(space.character_set)
        return spaces.Text(space.max_length, min_length=space.min_length, charset=characters)
    if "Dict" in names:
        return spaces.Dict({key: to_gymnasium(part) for key, part in space.spaces.items()})
    if "Tuple" in names:
        return spaces.Tuple([to_gymnasium(part) for part in space.spaces])
    return space


def fitting(observation_space: Any, action_space: Any) -> list[str]:
    """Return the agent options, other than `random`, that fit an environment's spaces."""
    return [
        name
        for name, (observations, actions) in FITS.items()
        if kind(observation_space) in observations and kind(action_space) in actions
    ]


def _needs(observations: Collection[str], actions: Collection[str]) -> str:
    if set(observations) == set(actions):
        return f"{_listed(observations)} observations and actions"
    return f"{_listed(observations)} observations and {_listed(actions)} actions"


def _listed(names: Collection[str]) -> str:
    """Return "a", "a or b", "a, b or c"."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
