"""Pausing the jobs of a search."""

import math
import os
from typing import TYPE_CHECKING, Any

from gym_loop.observers import Observer
from gym_loop.runs.manifest import PAUSED

if TYPE_CHECKING:
    from gym_loop.loops import BaseLoop, Episode

# After how many evaluations the run in this process is to pause. A search sets it for its jobs;
# who resumes a job by hand has not, and plays it to its end.
VARIABLE = "GYM_LOOP_PAUSE_AT_EVALUATION"


class Pause(Observer):
    """Stops the run, with a checkpoint, when it has been evaluated as often as a search asks for.

    It stops between two episodes, as on a signal, and can be resumed exactly.
    """

    def __init__(self) -> None:
        self.evaluations = 0  # that have ended
        self.limit = float(os.environ.get(VARIABLE, math.inf))

    def begin(self, loop: "BaseLoop") -> None:
        """Stop at once if the run has come so far already."""
        self.end_cycle(loop)

    def end_evaluation(self, loop: "BaseLoop", episodes: "list[Episode]") -> None:
        """Count the evaluation."""
        self.evaluations += 1

    def end_cycle(self, loop: "BaseLoop") -> None:
        """Stop when there have been enough."""
        if self.evaluations >= self.limit and not loop.stop:
            loop.stop = PAUSED

    def state_dict(self) -> dict[str, Any]:
        return {"evaluations": self.evaluations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.evaluations = state.get("evaluations", 0)
