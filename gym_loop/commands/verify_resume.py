"""Prove that a killed run of yours ends as an untouched one."""

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from gym_loop.commands import run_click
from gym_loop.mistake import Failure, Mistake

SECONDS = 0.05  # from one checkpoint of the killed run to the next


@click.command("verify-resume")
@click.option(
    "--kills",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="How often to kill.",
)
@click.option("--seed", default=0, show_default=True, help="Of the moments at which to kill.")
@click.option("--keep", is_flag=True, help="Keep the two runs' directories.")
@click.argument("overrides", nargs=-1)
def verify_resume(kills: int, seed: int, keep: bool, overrides: tuple[str, ...]) -> None:
    """Run the config of OVERRIDES twice, once untouched and once killed, and compare.

    SIGKILL comes at random moments. All of episodes.csv and evaluations.csv but the seconds, the
    agent's last checkpoint, TensorBoard's points and the traces have to be equal.
    """
    if any(word.startswith("-") for word in overrides):
        raise Mistake("verify-resume takes overrides only, no sweep")
    with contextlib.ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="gym-loop-verify-")
        if keep:
            print(f"runs: {folder}")
        else:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        ok = verify(Path(folder), list(overrides), kills, random.Random(seed))
    sys.exit(0 if ok else 1)


def verify(folder: Path, overrides: list[str], kills: int, rng: random.Random) -> bool:
    """Return whether the killed run equals the untouched one; print what was found."""
    from gym_loop import launch
    from gym_loop.observers import checkpoints
    from gym_loop.runs import compare, manifest

    untouched, killed = folder / "untouched", folder / "killed"
    process = start(overrides, untouched)
    if (code := process.wait()) == 2:
        sys.exit(2)  # what is wrong was said
    if code:
        raise Failure(f"the untouched run ended with exit code {code}; nothing to compare")
    rows = count_rows(untouched)
    known = json.loads((untouched / manifest.NAME).read_text())
    config, pace = known["config"], known["seconds"] / max(rows, 1)
    if config["loop"].get("time_per_checkpoint", 0) is None:  # a quick run is to have several
        overrides = [*overrides, f"loop.time_per_checkpoint={SECONDS}"]
    print(f"untouched: {rows} episodes")
    resumed = 0
    moments = sorted(rng.randint(0, max(rows - 1, 0)) for _ in range(kills))
    for moment in moments:
        process = start(overrides, killed)
        while count_rows(killed) < moment and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.random() * min(0.05, pace))  # somewhere within the episode
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            saved = [*map(checkpoints.episode, killed.glob("checkpoints/episode-*"))]
            print(f"killed after {count_rows(killed)} episodes", end="")
            print(f", to go on from episode {max(saved)}" if saved else "")
            resumed += bool(saved) and (manifest.read(killed) or {}).get("state") != "finished"
        else:
            print(f"ended before it could be killed after {moment} episodes")
        process.wait()
        if (manifest.read(killed) or {}).get("state") == "finished":
            break
    if (manifest.read(killed) or {}).get("state") != "finished" and start(overrides, killed).wait():
        raise Failure(f"the killed run could not be continued: see {killed / 'gym_loop.log'}")
    importlib.import_module("gym_loop.envs")  # keeps gym quiet when a space is unpickled
    launch.locate(config["agent"]["_target_"])  # what its checkpoint needs to be unpickled
    found = list(compare.differences(untouched, killed))
    for line in found[:10]:
        print(f"differs: {line}")
    if len(found) > 10:
        print(f"... and {len(found) - 10} more")
    if not (found or resumed):
        raise Failure(
            "equal, but nothing is proved: whenever it was killed, the run had ended or had no "
            "checkpoint yet; raise loop.max_episodes"
        )
    if not found:
        print("equal: episodes, evaluations, the agent's checkpoint, TensorBoard points, traces")
    return not found


def start(overrides: list[str], directory: Path) -> "subprocess.Popen[bytes]":
    """Launch the config in `directory`, as a user would, quietly."""
    from gym_loop.runs import stored

    command = [sys.executable, "-m", "gym_loop", *overrides]
    return subprocess.Popen(
        [*command, f"hydra.run.dir={stored.quoted(directory)}"], stdout=subprocess.DEVNULL
    )


def count_rows(directory: Path) -> int:
    """Return how many episodes a run has written down."""
    try:
        return max((directory / "episodes.csv").read_bytes().count(b"\n") - 1, 0)
    except FileNotFoundError:
        return 0


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(verify_resume, arguments)
