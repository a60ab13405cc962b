"""When training is over, and when a loop evaluates."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gym_loop.loops.base_loop import BaseLoop


def training_is_over(loop: "BaseLoop") -> bool:
    """Return whether it was told to stop or end, or has the episodes or steps asked for."""
    if loop.stop or loop.ended:
        return True
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
