"""Training played again, up to an episode of which no checkpoint is kept."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gym_loop import launch, streams
from gym_loop.compat.standard_library import own_logging
from gym_loop.config import kept, stored
from gym_loop.loops import BaseLoop
from gym_loop.mistake import Failure, Mistake
from gym_loop.observers import Observer
from gym_loop.runs import checkpoints, manifest, planting, tables
from gym_loop.terminal import duration, short

COMPARED = ("episode", "length", "return")  # columns of episodes.csv that have to be as recorded
# What a training that is played again is given, whatever the run has: none of it changes a result.
SHOWING = ("record", "render", "eval_record", "eval_render")
QUIET = {"max_time": None, **dict.fromkeys(SHOWING, False)}


class Until(Observer):
    """Stops the run once `episodes` training episodes have been played."""

    def __init__(self, episodes: int) -> None:
        self.episodes = episodes

    def end_cycle(self, loop: BaseLoop) -> None:
        """Stop between two episodes, or rounds."""
        if loop.episodes >= self.episodes:
            loop.stop = loop.stop or "repeated"


@contextlib.contextmanager
def repeated(run: Path, number: int) -> Iterator[tuple[Path, Path]]:
    """Play the training of `run` again up to episode `number`; yield run and checkpoint.

    It begins from the nearest earlier checkpoint, or from the start, in a temporary directory with
    the history before it; `run` is left as it is. What a fork has taken over from its parent is
    played as the parent did, and the parent is yielded.

    Raises:
        Mistake: `number` is out of range, or the parent is gone.
        Failure: an episode went another way than it had.
    """
    known = manifest.load(run)
    kept.refuse_changed(known, None)
    recorded = _rows(run)
    first, last = min(recorded, default=0), max(recorded, default=known["episodes"] - 1)
    if not first < number <= last + 1:
        raise Mistake(
            f"{short(run)} has no episode {number} to go on from; expected {first + 1} to "
            f"{last + 1}, latest or best"
        )
    number = _rounded(known, number, last + 1)
    if (path := checkpoints.find(run, number)) is not None:
        yield run, path
        return
    parent, start = known.get("parent"), checkpoints.before(run, number)
    if parent and start is None:
        origin = Path(parent["directory"])
        if not manifest.read(origin):
            raise Mistake(
                f"{short(run)} was forked at episode {parent['episode']} from {short(origin)}, "
                "which is gone: nothing before can be played again"
            )
        with checkpoints.at(origin, min(number, parent["episode"])) as found:
            if number <= parent["episode"]:
                yield found
                return
            with _played(run, known, found, number, recorded) as path:
                yield run, path
        return
    with _played(run, known, (run, start) if start else None, number, recorded) as path:
        yield run, path


@contextlib.contextmanager
def _played(
    run: Path,
    known: dict[str, Any],
    start: tuple[Path, Path] | None,
    number: int,
    recorded: dict[int, tuple[float, ...]],
) -> Iterator[Path]:
    """Play from `start`, a run and its checkpoint, to episode `number`; yield the checkpoint."""
    count = checkpoints.episode(start[1]) if start else 0
    clock = {n: row[-1] for n, row in recorded.items()}
    seconds = clock.get(number - 1, 0.0) - clock.get(count - 1, 0.0)
    origin = f"the checkpoint at {count}" if start else "the start"
    print(
        f"no checkpoint is kept at episode {number}: training is played again from {origin}, "
        f"{number - count} episodes, about {duration(max(seconds, 0.0))}",
        file=sys.stderr,
        flush=True,
    )
    before = manifest.load(start[0]) if start else known
    config = {**known["config"], "observers": _observers(known["config"], number)}
    config["loop"] = config["loop"] | {k: v for k, v in QUIET.items() if k in config["loop"]}
    with tempfile.TemporaryDirectory(prefix="gym-loop-") as folder:
        directory = Path(folder) / "run"
        prepare = [*launch.prepare]
        if start:
            parent, path = start
            prepare.append(lambda cfg: planting.plant(parent, path, before, cfg))
        words = [f"hydra.run.dir={stored.quoted(directory)}"]
        here, random = os.getcwd(), streams.get_state()
        try:
            with own_logging(), stored.preparations(*prepare):
                launch.launch(words, stored.compose_with(config, words))
        finally:
            os.chdir(here)
            streams.set_state(random)
        now = _rows(directory)
        for episode in range(count, number):
            if episode in recorded and recorded[episode][:-1] != now[episode][:-1]:
                raise Failure(
                    f"episode {episode} went another way than in {short(run)}: its training does "
                    "not repeat itself, was extended with a schedule, or another version of a "
                    "library plays differently"
                )
        path = checkpoints.find(directory, number) or directory
        if path == directory:
            raise Failure(f"the training of {short(run)} ended before episode {number} this time")
        yield path


def _rows(run: Path) -> dict[int, tuple[float, ...]]:
    """Return length, return and seconds of each training episode in a run's table."""
    columns = tables.columns(run, tables.EPISODES, (*COMPARED, tables.CLOCK))
    rows = zip(*(columns[name] for name in (*COMPARED, tables.CLOCK)), strict=True)
    return {int(episode): tuple(rest) for episode, *rest in rows}


def _rounded(known: dict[str, Any], number: int, last: int) -> int:
    """Return the episode nearest to `number` at which the run's loop has a state to keep.

    `loop=vector` has one at the end of its rounds alone.
    """
    loop: Any = OmegaConf.to_container(OmegaConf.create(known["config"]).loop, resolve=True)
    round_size = getattr(launch.locate(loop["_target_"]), "round_size", None)
    start = (known.get("parent") or {}).get("episode", 0)
    if round_size is None or number <= start:
        return number
    size: int = round_size(loop)
    ends = [*range(start + size, last, size), last]
    nearest: int = min(ends, key=lambda end: abs(end - number))
    if nearest != number:
        print(
            f"note: episode {nearest} instead of {number}: with loop=vector there is a state to go "
            f"on from at the end of rounds of {size} episodes alone",
            file=sys.stderr,
        )
    return nearest


def _observers(config: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the observers that keep state or change the run, and what stops it at `number`."""
    observers = {
        name: section
        for name, section in (config.get("observers") or {}).items()
        if section and not getattr(launch.locate(section["_target_"]), "only_shows", False)
    }
    needed = {"manifest": "manifest.Manifest", "checkpoints": "checkpoints.Checkpoints"}
    for name, kind in needed.items():
        observers.setdefault(name, {"_target_": f"{__package__}.{kind}"})
    folders = [Path(str(config["loop"].get(key) or "")) for key in ("logdir", "eval_logdir")]
    if any(folder.is_absolute() or ".." in folder.parts for folder in folders):
        observers.pop("tensorboard", None)  # it would write into a folder that others share
    return {**observers, "until": {"_target_": f"{__name__}:{Until.__name__}", "episodes": number}}
