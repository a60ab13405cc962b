"""Prove that stopping and resuming changes nothing."""

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
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gym_loop.commands import exit_on_signals, run_click, run_process
from gym_loop.mistake import Failure, Mistake
from gym_loop.observers import Observer
from gym_loop.proxy import Wrapper
from gym_loop.runs import parting, tables

if TYPE_CHECKING:
    from gym_loop.loops import BaseLoop, Episode

MOMENT, STORY = "moment.json", "story.json"  # what a launch is told to do; what it did
# How a run is stopped, in this order; the last stop comes in an evaluation, where there is one.
KILL, AT_ONCE, LATER, SIGTERM = (
    "killed in mid-episode",
    "killed right after a checkpoint",
    "killed between two checkpoints",
    "asked to stop (SIGTERM)",
)
EVALUATION = "killed in an evaluation"
EARLY = 50  # the first stop is within the first 50th of the run
SHOWN = 10  # differences


@click.command(
    "verify-resume",
    epilog="Example: gym-loop verify-resume env=cartpole loop.max_episodes=300 --kills 3",
)
@click.option(
    "--kills",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="How often to stop it.",
)
@click.option("--seed", default=0, show_default=True, help="Of the moments at which to stop.")
@click.option("--keep", is_flag=True, help="Keep the two runs' directories.")
@click.argument("overrides", nargs=-1)
def verify_resume(kills: int, seed: int, keep: bool, overrides: tuple[str, ...]) -> None:
    """Run the config of OVERRIDES twice, once untouched and once stopped, and compare.

    The second run is stopped N times, early and late: killed within an episode, right after a
    checkpoint, some episodes after one and within an evaluation, and asked to stop by SIGTERM. A
    checkpoint is written shortly before each, and a new process goes on from there. All of
    episodes.csv and evaluations.csv but the seconds, the last checkpoint with agent, streams and
    environment, TensorBoard's points, the traces and files that your own code has written into the
    run's directory have to be equal; what cannot be compared counts as different. It takes twice
    the run's time, and N + 2 starts. Both are without W&B, MLflow and `code/`.
    """
    if any(word.startswith("-") for word in overrides):
        raise Mistake("verify-resume takes overrides only, no sweep")
    exit_on_signals()
    with contextlib.ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="gym-loop-verify-")
        if keep:
            print(f"runs: {folder}")
        else:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        ok = verify(Path(folder), list(overrides), kills, random.Random(seed))
    sys.exit(0 if ok else 1)


def verify(folder: Path, overrides: list[str], kills: int, rng: random.Random) -> bool:
    """Return whether the stopped run equals the untouched one; print what was found.

    Raises:
        Failure: a run failed, or nothing was proved.
    """
    from gym_loop.config import stored
    from gym_loop.runs import compare, manifest

    untouched, stopped = folder / "untouched", folder / "stopped"
    overrides = [*overrides, *without_observers()]
    began = time.monotonic()
    code = run([*overrides, f"hydra.run.dir={stored.quoted(untouched)}"], None)
    took = time.monotonic() - began
    if code == 2:
        sys.exit(2)  # what is wrong was said
    known = manifest.read(untouched) or {}
    if code or known.get("state") != "finished":
        how = f"exit code {code}" if code else f"state {known.get('state')!r}"
        raise Failure(f"the untouched run ended with {how}; nothing to compare")
    moments = plan(untouched, kills, rng)
    total = known["episodes"]
    start = max(took - known["seconds"], 0)
    rest = took + start * kills + known["seconds"] * kills / total
    print(f"untouched: {total} episodes in {took:.1f} s; stopped {kills} times: about {rest:.0f} s")
    observer = f"{{_target_: {Stop.__module__}.Stop, folder: {stored.quoted(folder)}}}"
    own = [f"+observers.stop={observer}", f"hydra.run.dir={stored.quoted(stopped)}"]
    launch = [*overrides, *own]
    resumed = run_with_stops(folder, launch, stopped, moments, 60 + 10 * took)
    if not any(0 < episode < total for episode in resumed):
        raise Failure(
            "nothing is proved: nowhere was a checkpoint followed by more training; raise "
            "loop.max_episodes (or, with loop=vector, lower loop.episodes_per_round)"
        )
    _import_classes(known["config"])
    found = list(compare.differences(untouched, stopped))
    for line in found[:SHOWN]:
        print(f"differs: {line}")
    if len(found) > SHOWN:
        print(f"... and {len(found) - SHOWN} more")
    points = f"continued from episodes {', '.join(map(str, resumed))} of {total}"
    if not found:
        compared = [what for what, *_ in compare.parts(untouched)]
        compared += ["files of your code"] if compare.others(untouched) else []
        print(f"equal: {', '.join(compared)}; {points}")
        return True
    print(f"different; {points}")
    first = parting.of_table(untouched, stopped, tables.EPISODES)["from"]
    if first is not None and first < resumed[0]:
        print(
            f"they differ from episode {first} on, before the first stop: the run does not repeat "
            "itself, stopped or not (a clock, a stream without a seed, the order of a set?)"
        )
    return False


def without_observers() -> list[str]:
    """Return overrides that leave out what tells others of a run, and what keeps its code."""
    from gym_loop.launch import CONF

    sinks = [file.stem for file in (CONF / "sink").glob("*.yaml")]
    return [f"++observers.{name}=null" for name in sorted(["code", *sinks])]


def run_with_stops(
    folder: Path,
    launch: list[str],
    directory: Path,
    moments: list[dict[str, Any]],
    limit: float,
) -> list[int]:
    """Launch a run, stop it at each of `moments` and resume it; let it end at last.

    Returns the episode that each stop was followed from.

    Args:
        folder: where the run is told when to stop, and tells what happened.
        launch: the words of the first launch.
        directory: the run's.
        moments: as `plan` returns them.
        limit: seconds that a launch may take.

    Raises:
        Failure: the run failed.
    """
    resumed: list[int] = []
    said = ""
    for moment in [*moments, None]:
        (folder / STORY).write_text("{}")
        (folder / MOMENT).write_text(json.dumps(moment))
        code = run(launch, limit)
        launch = ["resume", str(directory)]
        story = json.loads((folder / STORY).read_text())
        if said:
            print(f"{said}, to go on from episode {story.get('from', 0)}")
            resumed.append(story.get("from", 0))
        said = story.get("stopped", "")
        if not said:
            if code:
                raise Failure(f"the stopped run ended with exit code {code}; nothing to compare")
            return resumed
    return resumed


def plan(directory: Path, kills: int, rng: random.Random) -> list[dict[str, Any]]:
    """Return the moments at which to stop a run like the one in `directory`, in their order.

    Each is a dict: `way` (how to stop), `after` (episodes of training that a checkpoint is written
    after), `skipped` (episodes between that and the one in which it is stopped), `step` (of that
    episode; None: at its end).

    Raises:
        Failure: the run is too short.
    """
    lengths = [int(n) for n in tables.columns(directory, tables.EPISODES, ("length",))["length"]]
    evaluations = tables.columns(directory, tables.EVALUATIONS, ("at_episode", "length"))
    total = len(lengths)
    if total < 2:
        raise Failure(
            f"nothing can be proved by a run of {total} episodes: raise loop.max_episodes"
        )
    # One early, for what only the beginning shows; the others each in a part of their own.
    spread = max(kills - 1, 1)
    points = [rng.randint(1, max(total // EARLY, 1))] if kills > 1 else []
    points += [int((part + rng.random()) * total / spread) for part in range(spread)]
    moments = []
    for way, point in zip(cycle((KILL, AT_ONCE, SIGTERM, LATER)), points, strict=False):
        after = min(max(point, 1), total - 1)
        step = None if way == LATER else rng.randint(1, max(lengths[after], 1))
        skipped = min(2, total - 1 - after) if way == LATER else 0
        moments.append({"way": way, "after": after, "skipped": skipped, "step": step})
    if evaluations["length"] and kills > 1:
        # The final evaluation is without a stop of its own where others come before it.
        ends = sorted({*map(int, evaluations["at_episode"])})
        end = rng.choice(ends[:-1] or ends)
        both = zip(evaluations["at_episode"], evaluations["length"], strict=True)
        of_it = [int(length) for at_episode, length in both if at_episode == end]
        skipped = rng.randrange(len(of_it))
        step = rng.randint(1, max(of_it[skipped], 1))
        after = max(end - 1, 1) if ends[:-1] else end
        moments[-1] = {"way": EVALUATION, "after": after, "skipped": skipped, "step": step}
    return sorted(moments, key=lambda moment: moment["after"])


class Stop(Observer):
    """Writes a checkpoint and then stops the run, at the moment that `folder` tells.

    It changes the run as the stop does, and in nothing else.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.moment: dict[str, Any] = {}  # empty: not to be stopped
        self.armed = False  # the checkpoint is written; the stop comes next
        self.story: dict[str, Any] = {}

    def begin(self, loop: "BaseLoop") -> None:
        """Read when to stop; note from which episode the run goes on."""
        self.moment = json.loads((self.folder / MOMENT).read_text()) or {}
        self._tell({"from": loop.episodes})

    def end_cycle(self, loop: "BaseLoop") -> None:
        """Write the checkpoint, between two episodes."""
        from gym_loop.observers.checkpoints import Checkpoints

        if self.armed or not self.moment or loop.episodes < self.moment["after"]:
            return
        writers = [each for each in loop.observers.values() if isinstance(each, Checkpoints)]
        if not writers:
            raise Failure("verify-resume needs the run's checkpoints; leave observers.checkpoints")
        writers[0].write(loop)
        self.armed = True
        if self.moment["way"] == AT_ONCE:
            self._stop(f"after {loop.episodes} episodes")

    def begin_episode(self, loop: "BaseLoop", episode: "Episode") -> None:
        """Watch the steps of the episode in which to stop."""
        step = self.moment.get("step")
        if self._is_awaited(episode) and step and not self.moment["skipped"]:
            where = f"episode {episode.number}, step {step}"
            episode.env = _Until(episode.env, step, lambda: self._stop(where))

    def end_episode(self, loop: "BaseLoop", episode: "Episode") -> None:
        """Stop at the episode's end, where it has not been done in a step."""
        if not self._is_awaited(episode):
            return
        if self.moment["skipped"]:
            self.moment["skipped"] -= 1
        else:
            self._stop(f"end of episode {episode.number}")

    def _is_awaited(self, episode: "Episode") -> bool:
        """Return whether an episode is of the kind in which to stop: training or evaluation."""
        is_evaluation = self.moment.get("way") == EVALUATION
        return bool(self.armed and self.moment) and episode.training != is_evaluation

    def _stop(self, where: str) -> None:
        way, self.moment = self.moment["way"], {}
        self._tell({"stopped": f"{way}: {where}"})
        os.kill(os.getpid(), signal.SIGTERM if way == SIGTERM else signal.SIGKILL)

    def _tell(self, more: dict[str, Any]) -> None:
        self.story |= more
        (self.folder / STORY).write_text(json.dumps(self.story))


class _Until(Wrapper):
    """An episode's environment; `stop` is called instead of its step number `step`."""

    def __init__(self, env: Any, step: int, stop: Any) -> None:
        super().__init__(env)
        self.left, self.stop = step, stop

    def step(self, action: Any) -> Any:
        """Step the environment, unless this is where to stop."""
        self.left -= 1
        if self.left == 0:
            self.stop()
        return self.env.step(action)


def run(words: list[str], limit: float | None) -> int:
    """Run `gym-loop WORDS` in a new process, without its output; return the exit code.

    Raises:
        Failure: it took longer than `limit`, in seconds.
    """
    command = [sys.executable, "-m", "gym_loop", *words]
    try:
        return run_process(command, limit, stdout=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Failure(f"different: the stopped run did not end within {limit:.0f} s") from None


def _import_classes(config: dict[str, Any]) -> None:
    """Import what checkpoints name, so that they can be unpickled in this process."""
    from gym_loop import launch

    importlib.import_module("gym_loop.envs")  # keeps gym quiet when a space is unpickled
    for module in config["env"].get("imports") or ():
        importlib.import_module(module)
    for group in ("agent", "env"):
        launch.locate(config[group]["_target_"])


def main(arguments: list[str]) -> None:
    """Run the command."""
    from gym_loop import launch

    with launch.surroundings():  # what is unpickled to be compared imports environments
        run_click(verify_resume, arguments)
