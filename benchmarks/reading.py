"""How long ls and report take on many runs, against what it takes to parse their tables.

    python benchmarks/reading.py [--runs 1000] [--episodes 1000]

The rival is a bare loop over the directories that loads run.json and hands episodes.csv to
numpy.loadtxt. Prints seconds, their ratio to the rival's, and the peak of memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

RIVAL = """
import json, pathlib, sys
import numpy
for directory in pathlib.Path(sys.argv[1]).iterdir():
    json.loads((directory / "run.json").read_text())
    numpy.loadtxt(directory / "episodes.csv", delimiter=",", skiprows=1)
"""


def main() -> None:
    """Write the runs, time the commands, print the table."""
    from run_directories import write_run

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--episodes", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs, page = Path(folder, "runs"), Path(folder, "page.html")
        for number in range(options.runs):
            group, seed = divmod(number, 10)
            size = {"step_size": 0.01 * (group // 10 + 1)}
            env = f"Env{group % 10}-v0"
            write_run(
                runs / str(number), "ars", env, seed, episodes=options.episodes, parameters=size
            )
        module = [sys.executable, "-m", "gym_loop"]
        commands = {
            "numpy.loadtxt": [sys.executable, "-c", RIVAL, str(runs)],
            "bare python": [sys.executable, "-c", ""],
            "ls, one run": [*module, "ls", str(runs / "0")],
            "ls": [*module, "ls", str(runs)],
            "report": [*module, "report", str(runs)],
            "report --html": [*module, "report", str(runs), "--html", str(page)],
        }
        print(f"{options.runs} runs of {options.episodes} episodes")
        print(f"{'':16}{'seconds':>9}{'ratio':>9}{'peak MB':>9}")
        rival = 0.0
        for name, command in commands.items():
            took, memory = min(measure(command) for _ in range(3))
            rival = rival or took
            print(f"{name:16}{took:9.2f}{took / rival:9.3f}{memory:9.0f}")
        print(f"the page: {page.stat().st_size / 1e6:.2f} MB")


def measure(command: list[str]) -> tuple[float, float]:
    """Return seconds and the peak of memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    scale = 1e6 if sys.platform == "darwin" else 1e3
    return time.perf_counter() - began, usage.ru_maxrss / scale


if __name__ == "__main__":
    main()
