"""Films for the page: the best and the worst episode of each group's best run, played again."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gym_loop.machine import cores
from gym_loop.terminal import printable, short

RANKS = ("best", "worst")
# What `gym-loop replay` prints of an episode that it has filmed: number, return, how it compares.
LINE = re.compile(r"^(?:evaluation )?episode (\d+): \d+ steps, return (\S+), (.*?) -> ", re.M)


def make(content: dict[str, Any], folder: Path) -> None:
    """Film the episodes into `folder`, which is made, and set them as the groups' recordings.

    They are played by `gym-loop replay`, in processes of their own: the environment's code runs. Of
    an episode that cannot be played, the `warnings` in a comparison's `content` tell why.

    Raises:
        OSError: the folder cannot be made.
    """
    folder.mkdir(exist_ok=True)
    runs = {place: best_run(content, place) for place in range(len(content["groups"]))}
    wanted = [(place, run, rank) for place, run in runs.items() if run for rank in RANKS]
    files = [folder / f"{place + 1:02d}-{rank}.mp4" for place, _, rank in wanted]
    with ThreadPoolExecutor(cores()) as pool:
        played = list(pool.map(_play, [(run, rank) for _, run, rank in wanted], files))
    for (place, run, rank), file, (episode, value, said) in zip(wanted, files, played, strict=True):
        recordings = content["groups"][place]["recordings"]
        if rank == RANKS[0]:
            recordings.clear()
        if value is None:
            where = short(Path(run["directory"]))
            content["warnings"].append(f"{where}: no film of its {rank} episode: {said}")
            continue
        remark = "" if said == "as recorded" else f", played again: {said}"
        what = f"seed {printable(run['seed'])}, training episode {episode}{remark}"
        recordings[rank] = {
            "return": value,
            "directory": str(folder),
            "file": str(file),
            "what": what,
        }


def best_run(content: dict[str, Any], place: int) -> dict[str, Any] | None:
    """Return the run of a group with the highest score, finished ones first; None: none has one."""
    metric = content["metric"]
    own = [run for run in content["runs"] if run["group"] == place]
    scored = [run for run in own if run["scores"].get(metric) is not None]
    return max(
        scored,
        key=lambda run: (run["state"] == "finished", run["scores"][metric], run["directory"]),
        default=None,
    )


def _play(wanted: tuple[dict[str, Any], str], file: Path) -> tuple[str, float | None, str]:
    """Return the episode's number, its return, and how it compares; or None, and why not."""
    run, rank = wanted
    done = subprocess.run(
        command(run["directory"], rank, file),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if file.is_file() and (found := LINE.search(done.stdout)):
        return found[1], float(found[2]), printable(found[3])
    return "", None, why(done.stderr) or "it was not played"


def command(run: str, episode: str, video: Path) -> list[str]:
    """Return the command that films an episode, in one process."""
    words = [sys.executable, "-m", "gym_loop", "replay", run, "--episode", episode]
    return [*words, "--video", str(video), "--caption", "--jobs", "1"]


def why(complaints: str) -> str:
    """Return the line in which a command said what is wrong; of a traceback, what was raised."""
    lines = [line for line in complaints.splitlines() if line.strip()] or [""]
    line = next((line for line in lines if line.startswith("gym-loop: ")), lines[-1])
    line = line.removeprefix("gym-loop: ").replace("Traceback (most recent call last):", lines[-1])
    return printable(line)[:500]
