"""How far a job of a search is, read from its directory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gym_loop import files
from gym_loop.runs import manifest, reading, tables
from gym_loop.search.study import END
from gym_loop.sums import mean
from gym_loop.sweeps.directory import job_name

WINDOW = reading.WINDOW
# What trials are compared by: the score of a run's evaluations (mean returns) and of its training
# episodes (returns) up to a moment.
OBJECTIVES: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "evaluation": lambda evaluations, returns: evaluations[-1],
    "auc": lambda evaluations, returns: mean(evaluations),  # the area, over their number
    "return": lambda evaluations, returns: mean(returns[-WINDOW:]),
    "mean": lambda evaluations, returns: mean(returns),
    "best": lambda evaluations, returns: max(returns),
}
# How errors begin that are none of a job's own code: for want of memory, or of a disk.
OUTSIDE = (
    *("MemoryError", "gym_loop.mistake.Failure: cannot write "),
    *(f"OSError: [Errno {number}]" for number in files.DISK_FULL),
)
EVALUATED = ("evaluation", "auc")  # those that need no training episodes


@dataclass
class Progress:
    """How far a job is.

    Attributes:
        state: of its run.json; `new` where there is none.
        values: the objective after each evaluation; of a finished job, the last one is the result.
        steps: of training.
        error: what it failed of.
        ended_by: what stopped it, or which limit ended it.
    """

    state: str = "new"
    values: list[float] = field(default_factory=list)
    steps: int = 0
    error: str = ""
    ended_by: str = ""

    def has_reached(self, goal: int) -> bool:
        """Return whether the job has come to evaluation `goal`, or to its end."""
        if self.state == "finished":
            return True
        return self.state == "stopped" and goal != END and len(self.values) >= goal

    @property
    def failed(self) -> bool:
        """Whether its own code has raised. One that ran out of memory or disk is tried again."""
        return self.state == "failed" and not self.error.startswith(OUTSIDE)


def name_of(words: Sequence[str], seed: int) -> str:
    """Return the name of the job with a trial's overrides and a seed."""
    given = (*words, f"seed={seed}")
    return job_name(dict(reading.key_and_value(word) for word in given))


def progress(directory: Path, objective: str) -> Progress:
    """Return how far the job in `directory` is: not begun, where its run.json is damaged."""
    known = manifest.read(directory)
    if known is None:
        return Progress()
    try:
        size = int(known["config"]["loop"].get("eval_episodes") or 0)
        steps = int(known.get("steps") or 0)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):  # somebody edited it
        return Progress()
    values = _values(directory, objective, size) if known["state"] != "running" else []
    error = str(known.get("error") or "").partition("\n")[0]
    return Progress(known["state"], values, steps, error, str(known.get("ended_by")))


def _values(directory: Path, objective: str, size: int) -> list[float]:
    """Return the objective after each evaluation of `size` episodes, and at the run's end."""
    score = OBJECTIVES[objective]
    table = tables.columns(directory, tables.EVALUATIONS, ("at_episode", "return"))
    count = len(table["return"]) // size if size else 0
    means = [mean(table["return"][size * k : size * (k + 1)]) for k in range(count)]
    if objective in EVALUATED:
        return [score(means[: k + 1], ()) for k in range(count)]
    returns = tables.columns(directory, tables.EPISODES, ("return",))["return"]
    ends = [int(table["at_episode"][size * k]) for k in range(count)]
    if not ends and returns:
        ends = [len(returns)]
    return [score(means, returns[:end]) for end in ends if end]
