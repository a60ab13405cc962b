"""When a loop has played what was asked for, and when it evaluates."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gym_loop.loops.base_loop import BaseLoop


def limit_is_reached(loop: "BaseLoop") -> bool:
    """Return whether the number of episodes or steps that was asked for has been played."""
    episodes, steps = loop.parameters["max_episodes"], loop.parameters["max_steps"]
    return bool(loop.episodes >= (episodes or math.inf) or loop.steps >= (steps or math.inf))


def evaluation_is_due(loop: "BaseLoop", episodes: int, steps: int) -> bool:
    """Return whether to evaluate, after so many more `episodes` and `steps` have been played."""
    get = loop.parameters.get
    every, every_steps = get("episodes_per_eval"), get("steps_per_eval")
    if not (every or every_steps) or not get("eval_episodes", 1):
        return False
    return bool(every and loop.episodes // every > (loop.episodes - episodes) // every) or bool(
        every_steps and loop.steps // every_steps > (loop.steps - steps) // every_steps
    )
