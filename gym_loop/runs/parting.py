"""Where the results of two runs part: the episode, and in it the step, by tables and traces.

Nothing is unpickled or instantiated, and no link is followed out of a run's directory.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gym_loop.mistake import Mistake
from gym_loop.runs import tables
from gym_loop.terminal import printable

if TYPE_CHECKING:
    from gym_loop.runs.traces import Trace

TABLES = {tables.EPISODES: "training", tables.EVALUATIONS: "evaluation"}
KINDS = {tables.EPISODES: "train", tables.EVALUATIONS: "eval"}
LONGEST = 60  # characters of an action that is shown


def of_table(first: Path, second: Path, table: str, most: int = sys.maxsize) -> dict[str, Any]:
    """Return from which episode on a table of two runs differs, the clock aside.

    `from` is None when all that both have is equal; `rows` says how much each has; `values` has
    what differs in that row, and `step` where in the episode, as `of_episode` returns it.

    Args:
        first: a run's directory.
        second: another one.
        table: its name.
        most: how many rows are compared.
    """
    found_in = [_cells(run, table) for run in (first, second)]
    (names, one), (others, two) = found_in
    one, two = one[:most], two[:most]
    shared = [name for name in names if name in others and name != tables.CLOCK]
    places = [[header.index(name) for name in shared] for header, _ in found_in]
    found: dict[str, Any] = {"rows": [len(one), len(two)], "from": None, "values": {}}
    for number, (a, b) in enumerate(zip(one, two, strict=False)):
        cells = [
            [row[p] if p < len(row) else "" for p in own]
            for row, own in zip((a, b), places, strict=True)
        ]
        if cells[0] != cells[1]:
            found["from"] = number
            found["values"] = {
                name: [printable(x), printable(y)]
                for name, x, y in zip(shared, *cells, strict=True)
                if x != y
            }
            found["step"] = of_episode(first, second, KINDS[table], number)
            break
    return found


def of_episode(first: Path, second: Path, kind: str, number: int) -> dict[str, Any] | None:
    """Return the first step in which an episode differs; None: nowhere, or there is no trace.

    It has the keys `step`, counted from 1 (0: the reset), `what` (`reset seed`, `action`, `reward`
    or `end`) and `values`, one of each run.

    Args:
        first: a run's directory.
        second: another one.
        kind: "train" or "eval".
        number: of the episode.
    """
    try:
        one, two = (_trace(run, kind, number) for run in (first, second))
    except (Mistake, Exception):  # whatever lies there
        return None
    return of_traces(one, two)


def of_traces(one: "Trace", two: "Trace") -> dict[str, Any] | None:
    """Return the first step in which two episodes differ, as `of_episode` does; None: nowhere."""
    if one.seed != two.seed:
        return _step(0, "reset seed", one.seed, two.seed)
    actions = [[*map(_text, trace.actions)] for trace in (one, two)]
    steps = zip(*actions, one.rewards.tolist(), two.rewards.tolist(), strict=False)
    for step, (a, b, x, y) in enumerate(steps, 1):
        if a != b:
            return _step(step, "action", a[:LONGEST], b[:LONGEST])
        if repr(x) != repr(y):  # NaN is itself
            return _step(step, "reward", x, y)
    ends = [
        f"{len(trace.rewards)} steps, terminated {trace.terminated}, truncated {trace.truncated}"
        for trace in (one, two)
    ]
    last = min(len(one.rewards), len(two.rewards))
    return _step(last, "end", *ends) if ends[0] != ends[1] else None


def told(step: dict[str, Any]) -> str:
    """Return what `of_episode` has found as a part of a sentence."""
    where = "at its reset" if step["step"] == 0 else f"at step {step['step']}"
    return f"{where}: {difference(step)}"


def difference(step: dict[str, Any]) -> str:
    """Return what differs in the step that `of_episode` has found, and what may be the cause."""
    one, two = step["values"]
    before = {
        "action": ", after the same rewards: the agent, or what it observes",
        "reward": ", after the same actions: the environment",
        "end": ", after the same actions and rewards: the environment, or a limit",
    }
    return f"{step['what']} {one} and {two}{before.get(step['what'], '')}"


def _cells(run: Path, table: str) -> tuple[list[str], list[list[str]]]:
    try:
        return tables.cells(run, table)
    except OSError:
        return [], []


def _trace(run: Path, kind: str, number: int) -> Any:
    from gym_loop.runs import traces  # NumPy, which two equal runs do without

    if tables.inside(run, traces.FOLDER) is None:
        raise OSError("the traces lie outside of the run's directory")
    for first, path in reversed(traces.files(run / traces.FOLDER, kind)):
        if first <= number and tables.inside(run, path.relative_to(run)):
            return traces.episodes(traces.load(path), [number])[0]
    raise Mistake("no trace")


def _text(action: Any) -> str:
    """Return an action as text, its type included, all of its digits."""
    if hasattr(action, "tolist"):
        return f"{action.tolist()!r} ({action.dtype})"
    return repr(action)


def _step(step: int, what: str, one: Any, two: Any) -> dict[str, Any]:
    return {"step": step, "what": what, "values": [printable(one), printable(two)]}
