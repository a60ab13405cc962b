"""gym_loop: launch reinforcement-learning experiments without writing the training loop again.

Each name below is imported when it is first used, so that `import gym_loop` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gym_loop import testing as testing
    from gym_loop.agents.base_agent import BaseAgent as BaseAgent
    from gym_loop.api import evaluate as evaluate
    from gym_loop.api import fork as fork
    from gym_loop.api import resume as resume
    from gym_loop.api import run as run
    from gym_loop.api import sweep as sweep
    from gym_loop.loops.base_loop import BaseLoop as BaseLoop
    from gym_loop.loops.base_loop import Episode as Episode
    from gym_loop.loops.default_loop import DefaultLoop as DefaultLoop
    from gym_loop.mistake import Mistake as Mistake
    from gym_loop.observers import Observer as Observer
    from gym_loop.runs.run import Run as Run
    from gym_loop.runs.run import Runs as Runs

__version__ = "0.1.0"

_HOMES = {
    "BaseAgent": "gym_loop.agents.base_agent",
    "BaseLoop": "gym_loop.loops.base_loop",
    "DefaultLoop": "gym_loop.loops.default_loop",
    "Episode": "gym_loop.loops.base_loop",
    "Mistake": "gym_loop.mistake",
    "Observer": "gym_loop.observers",
    "Run": "gym_loop.runs.run",
    "Runs": "gym_loop.runs.run",
    "evaluate": "gym_loop.api",
    "fork": "gym_loop.api",
    "resume": "gym_loop.api",
    "run": "gym_loop.api",
    "sweep": "gym_loop.api",
}
__all__ = [
    "BaseAgent",
    "BaseLoop",
    "DefaultLoop",
    "Episode",
    "Mistake",
    "Observer",
    "Run",
    "Runs",
    "evaluate",
    "fork",
    "resume",
    "run",
    "sweep",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name == "testing":
        return importlib.import_module("gym_loop.testing")
    if name in _HOMES:
        value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
