"""How long `ls` and `report` take on many runs, against what it takes to parse their tables.

The rival goes over the directories, loads each run.json and hands each episodes.csv to
numpy.loadtxt.
"""

import importlib.util
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, launch, process, show, skipped, spread, take_turns

RUNS, EPISODES, TURNS = 1_000, 1_000, 2
RIVAL = """
import json, pathlib
import numpy
for directory in pathlib.Path("runs").iterdir():
    json.loads((directory / "run.json").read_text())
    numpy.loadtxt(directory / "episodes.csv", delimiter=",", skiprows=1)
"""


def rows() -> Iterator[Row]:
    """Yield a row for each command."""
    from tests.run_directories import write_run

    with tempfile.TemporaryDirectory() as folder:
        for number in range(RUNS):
            group, seed = divmod(number, 10)
            write_run(
                *(Path(folder, "runs", str(number)), "ars", f"Env{group % 10}-v0", seed),
                episodes=EPISODES,
                parameters={"step_size": 0.01 * (group // 10 + 1)},
            )
        rival = (sys.executable, "-c", RIVAL)
        commands = {
            "ls": ("ls", "runs"),
            "report": ("report", "runs"),
            "report --html": ("report", "runs", "--html", "page.html"),
        }
        for named, words in commands.items():
            what = f"`{named}` on {RUNS:,} runs of {EPISODES:,} episodes"
            against = "numpy.loadtxt of their tables"
            if words[0] == "report" and importlib.util.find_spec("scipy") is None:
                yield skipped(what, against, "", 'pip install "gym-loop[report]"')
                continue
            pairs = take_turns(
                lambda words=words: launch(*words, cwd=folder),
                lambda: process(rival, folder),
                TURNS,
            )
            peak = statistics.median(cost.memory for cost in pairs.ours) / 1e6
            yield Row(
                *(what, against, "", f"{spread(pairs.times_the_cost())} times, {peak:.0f} MB"),
                *(None, spread(pairs.times_the_cost("cpu")), pairs.both("s", 1)),
            )


if __name__ == "__main__":
    show(rows())
