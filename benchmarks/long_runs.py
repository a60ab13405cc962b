"""Whether a long run is what a short one is: memory and speed, then resuming and reading it."""

import importlib.util
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import Apart, Cost, Pairs, Row, launch, show, skipped, spread, take_turns
from benchmarks.loop import Run

STEPS, FIRST = 2_000_000, 100_000
LONG, SHORT = 100_000, 1_000
TURNS = 2

# Watches a run from within: memory and sizes of files at each 100,000 steps.
WATCHER = """
import json, os
from gym_loop.observers import Observer

class Watcher(Observer):
    def __init__(self):
        self.rows = []
    def begin(self, loop):
        self.note(loop, 0, 0)
    def end_cycle(self, loop):
        if loop.steps >= len(self.rows) * {first}:
            table = os.path.getsize(loop.directory / "episodes.csv")
            events = sum(file.stat().st_size for file in (loop.directory / "logs").iterdir())
            self.note(loop, table, events)
    def note(self, loop, table, events):
        pages = int(open("/proc/self/statm").read().split()[1])
        memory = pages * os.sysconf("SC_PAGESIZE")
        self.rows.append([loop.steps, memory, table, events, loop.episodes])
    def close(self, error):
        open("watched.json", "w").write(json.dumps(self.rows))
"""


def rows() -> Iterator[Row]:
    """Yield rows about one run of many steps, then about one of many episodes."""
    with tempfile.TemporaryDirectory() as folder:
        yield from steps(folder)
    yield speed()
    with tempfile.TemporaryDirectory() as folder:
        yield from episodes(folder)


def steps(folder: str) -> Iterator[Row]:
    """Yield what becomes of a run of `STEPS` steps."""
    import json

    if not Path("/proc/self/statm").exists():
        return
    Path(folder, "watcher.py").write_text(WATCHER.replace("{first}", str(FIRST)))
    words = ("env=cartpole", "loop.max_episodes=null", f"loop.max_steps={STEPS}")
    watched = "+observers.watcher._target_=watcher.Watcher"
    launch(*words, watched, "hydra.run.dir=run", "loop.eval_episodes=1", cwd=folder)
    table = np.array(json.loads(Path(folder, "watched.json").read_text()))
    what, against = f"CartPole, {STEPS:,} steps in one run", f"its own first {FIRST:,}"
    growth = (table[-1, 1] - table[1, 1]) / 1e6
    both = f"{table[-1, 1] / 1e6:.0f} and {table[1, 1] / 1e6:.0f} MB"
    yield Row(
        f"{what}: memory", against, "at most 10 MB more", f"{growth:.1f} MB", growth <= 10, "", both
    )
    for name, column in (("`episodes.csv`", 2), ("events", 3)):
        per_episode = table[1:, column] / table[1:, 4]
        ratio = per_episode[-1] / per_episode[0]
        yield Row(
            # Numbers get longer: an episode's is one digit at first, and five in the end.
            *(f"{what}: {name}", against, "linear (bytes an episode within 15 %)"),
            *(f"{ratio:.3f} times", abs(ratio - 1) <= 0.15, ""),
            f"{per_episode[-1]:.1f} and {per_episode[0]:.1f} bytes an episode",
        )


class Firsts:
    """Runs of which each call plays another one's first steps."""

    def __init__(self, count: int) -> None:
        self.runs = [Run(FIRST, 2, "env=cartpole") for _ in range(count)]
        self.left = self.runs[:]

    def __call__(self) -> int:
        """Play; return how many steps that were."""
        return self.left.pop()()

    def close(self) -> None:
        """Leave them all."""
        for run in self.runs:
            run.close()


def speed() -> Row:
    """Return the row of a long run's blocks of steps, each beside the first block of a new run."""
    blocks = STEPS // FIRST
    sides = Apart(lambda: Run(FIRST, blocks, "env=cartpole")), Apart(lambda: Firsts(blocks))
    costs: list[list[Cost]] = [[], []]
    for _ in range(blocks):
        for side, found in zip(sides, costs, strict=True):
            done, wall, cpu = side.block()
            found.append(Cost(wall / done, cpu / done))
    for side in sides:
        side.close()
    pairs = Pairs(*costs)
    ratios = pairs.times_as_fast()
    return Row(
        *(f"CartPole, {STEPS:,} steps in one run: speed", f"new runs' first {FIRST:,}, beside it"),
        *("within 5 %", spread(ratios), statistics.median(ratios) >= 0.95),
        *(spread(pairs.times_as_fast("cpu")), pairs.both("us a step", 1e6)),
    )


def episodes(folder: str) -> Iterator[Row]:
    """Yield how long commands take on a run of `LONG` episodes, against one of `SHORT`."""
    for name, count in (("long", LONG), ("short", SHORT)):
        words = ("env=cartpole", f"loop.max_episodes={count}", f"hydra.run.dir={name}")
        launch(*words, "loop.eval_episodes=1", cwd=folder)

    done = {"long": LONG, "short": SHORT}

    def command(*words: str):
        def run(name: str):
            if words[0] == "resume":  # each time by one more episode
                done[name] += 1
                more = (f"loop.max_episodes={done[name]}", "loop.eval_episodes=1")
                return launch("resume", name, *more, cwd=folder)
            last = ("--episode", str(done[name] - 1)) if words[0] == "replay" else ()
            return launch(*words, name, *last, cwd=folder)

        return run

    for words in (("ls",), ("report",), ("replay",), ("resume",)):
        what, rival = f"`{words[0]}` on a run of {LONG:,} episodes", f"one of {SHORT:,}"
        if words[0] == "report" and importlib.util.find_spec("scipy") is None:
            yield skipped(what, rival, "at most 2 s", 'pip install "gym-loop[report]"')
            continue
        run = command(*words)
        pairs = take_turns(lambda run=run: run("long"), lambda run=run: run("short"), TURNS)
        seconds = statistics.median(cost.wall for cost in pairs.ours)
        yield Row(
            *(what, rival, "at most 2 s"),
            *(f"{seconds:.2f} s, {spread(pairs.times_the_cost())} times", seconds <= 2),
            *(spread(pairs.times_the_cost("cpu")), pairs.both("ms", 1e3)),
        )


if __name__ == "__main__":
    show(rows())
