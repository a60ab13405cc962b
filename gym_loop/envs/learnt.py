"""What a wrapper has learnt, taken from it and given to another one.

It is the run's: it is in its checkpoints, and evaluation has a frozen copy. A wrapper that learns
has `get_state()`, which returns what it has learnt as pickle holds it, and `set_state(state)`,
which takes a copy; while its attribute `training` is False it does not learn. The normalizers of
gym and Gymnasium have neither, and are known by their attributes.
"""

import copy
from typing import Any

from gym_loop.envs.undo import attributes
from gym_loop.mistake import Mistake, text_of

STATISTICS = ("obs_rms", "return_rms")  # objects with a mean, a variance, a count, and `update`
RUNNING = ("returns", "discounted_reward")  # numbers of the episode that runs


def learns(layer: Any) -> bool:
    """Return whether a wrapper learns."""
    return gives_state(layer) or bool(set(STATISTICS) & attributes(layer).keys())


def gives_state(layer: Any) -> bool:
    """Return whether a wrapper says what it has learnt, and takes it back."""
    return all(hasattr(type(layer), name) for name in ("get_state", "set_state"))


def check_switch(layer: Any) -> None:
    """Refuse, before the run starts, a wrapper that evaluation could not keep from learning.

    Raises:
        Mistake: its `training` cannot be set.
    """
    if not gives_state(layer):
        return
    try:
        layer.training = getattr(layer, "training", True)
    except AttributeError as error:
        raise Mistake(
            f"{type(layer).__name__} learns, and its training cannot be set ({text_of(error)}): "
            "expected a plain attribute, which is False in evaluation"
        ) from error


def learnt(layer: Any) -> Any:
    """Return a copy of what a wrapper has learnt."""
    if gives_state(layer):
        return copy.deepcopy(layer.get_state())
    own = attributes(layer)
    kept: dict[str, Any] = {name: own[name] for name in RUNNING if name in own}
    for name in STATISTICS:
        if name in own:
            kept[name] = {key: each for key, each in vars(own[name]).items() if key != "update"}
    return copy.deepcopy(kept)


def put_learnt(layer: Any, state: Any) -> None:
    """Give a wrapper a copy of what `learnt` returned."""
    state = copy.deepcopy(state)
    if gives_state(layer):
        layer.set_state(state)
        return
    for name, value in state.items():
        if name in STATISTICS:
            vars(vars(layer)[name]).update(value)
        else:
            vars(layer)[name] = value


def freeze(layer: Any) -> None:
    """Have a wrapper learn no more."""
    if gives_state(layer):
        layer.training = False
    for name in set(STATISTICS) & attributes(layer).keys():
        attributes(layer)[name].update = _idle  # gym has no switch for it


def _idle(*arguments: Any) -> None:
    """Learn nothing: takes the place of a frozen statistic's `update`."""
