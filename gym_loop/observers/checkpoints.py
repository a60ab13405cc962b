"""Checkpoints from which a run goes on bit for bit."""

import contextlib
import functools
import logging
import math
import os
import pickle
import shutil
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gym_loop import files, streams
from gym_loop.agents import pickled
from gym_loop.agents.base_agent import FILE, BaseAgent
from gym_loop.compat.torch import write_errors
from gym_loop.loops import BaseLoop, Episode
from gym_loop.mistake import Failure, Mistake, text_of
from gym_loop.observers import Observer, beside, environments
from gym_loop.observers.restoring import (
    COUNTERS,
    ENVIRONMENTS,
    drawn,
    is_rendered,
    quicken,
    restore,
)
from gym_loop.runs import manifest, tables
from gym_loop.runs.checkpoints import (
    WRAPPERS,
    checksum_of,
    episode,
    load_state,
    names,
    point,
    read_state,
    sound,
    write_state,
)
from gym_loop.runs.versions import versions
from gym_loop.terminal import printable, short

MAX_SHARE_OF_TIME = 0.02  # of a launch, for checkpoints; above it, one that is due waits
MIN_SECONDS_BETWEEN = 3.0  # two checkpoints: the disk may be shared with other runs
LARGE_CHECKPOINT = 32_000_000  # bytes; a fork costs more than to write a smaller one
MAX_SHARE_BESIDE = 0.1  # of the time, for a child that writes: it takes a core, and the disk
PATIENCE = 60.0, 20.0  # a child may take so many seconds, and times those of a write in the loop

log = logging.getLogger(__name__)


class Checkpoints(Observer):
    """Restores the run from its newest sound checkpoint; writes `checkpoints/episode-000010/`.

    A checkpoint is due every `episodes_per_checkpoint` episodes or `time_per_checkpoint` seconds.
    One that is due waits while checkpoints have taken more than 2 % of this launch's time, and
    until three seconds have passed since the last one, or `time_per_checkpoint` if that is less.
    The first, the last, the one on a stop, and the best by evaluation do not wait.

    Where the one before was large, a child process writes the next one beside training, from the
    memory at its fork: see `beside`. It counts once it is whole and on the disk. The first, the
    last and the one on a stop are written in the loop, and all are once a child has failed.
    """

    def __init__(self) -> None:
        self.best: float | None = None  # mean return of the best evaluation during training
        self.best_name: str | None = None
        self.best_episode: int | None = None  # episodes played before it, in this launch
        self.per_episodes = self.per_time = math.inf
        self.earliest = time.monotonic()  # when one that is due may be written
        self.unpicklable: set[str] = set()  # environments by their attributes' names
        self.said: set[str] = set()  # names of links that a warning was given of
        self.is_first = True  # whether this launch has written none yet
        self.size, self.seconds = 0, 0.0  # of the last one that was written in the loop
        self.pending: Writing | None = None
        self.best_written: tuple[float | None, str | None] = (None, None)  # and its name
        self.may_fork = True  # no child has failed
        self.removing: threading.Thread | None = None  # old checkpoints

    def open(self, cfg: DictConfig, directory: Path) -> None:
        """Check that checkpoints can be written.

        Raises:
            Mistake: something else lies where checkpoints belong, or they are out of reach: the run
                would begin anew.
        """
        folder = directory / "checkpoints"
        if folder.exists() and not folder.is_dir():
            raise Mistake(f"{short(folder)} is no directory; move it away, and the run begins anew")
        if folder.is_symlink() and not folder.exists():
            raise Mistake(f"{short(folder)} is a link that leads nowhere: {os.readlink(folder)}")
        if folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise Mistake(f"cannot read and write {short(folder)}: no permission")

    def restore(self, loop: BaseLoop) -> None:
        """Restore the newest sound checkpoint of the run's directory, if there is one."""
        directory = loop.directory / "checkpoints"
        files.remove_leftovers(directory)
        passed, unused = list[Path](), list[Path]()  # changed once another one has been read
        for path in sound(directory):
            if _is_passed_over(loop, path):
                passed.append(path)
            elif lack := _lacks(loop, path):
                log.warning("%s: %s; trying the checkpoint before it", printable(path), lack)
                unused.append(path)
            else:
                restore(loop, path)
                log.info("continuing from episode %d (%s)", loop.episodes, printable(path))
                break
        else:
            name = short(loop.directory)
            if len(names(directory)) > len(passed):
                log.warning(
                    "no checkpoint in %s/checkpoints can be used: the run starts anew", name
                )
            elif passed:
                since = "before the round that its limit had cut"
                log.info("%s has no checkpoint %s: it begins anew", name, since)
            elif (loop.directory / tables.EPISODES).exists():
                log.info("%s has no checkpoint yet: the run begins anew", name)
        for path in passed:
            files.remove(path)
        for path in unused:
            _set_aside(path)

    def begin(self, loop: BaseLoop) -> None:
        """Read from the parameters when checkpoints are due; say what the agent says of them.

        From now on this observer is the last to hear of anything: what the others do to agent and
        environment between two episodes is in the checkpoint that is written there.
        """
        others_first = sorted(loop.observers.items(), key=lambda item: item[1] is self)
        loop.observers = dict(others_first)
        steps = loop.parameters.get("max_steps")
        for line in getattr(loop.agent, "about_checkpoints", lambda _: [])(steps):
            log.warning("%s", line)
        if slots := _slots(type(loop.agent)):
            log.warning(
                "%s has %s in __slots__, which no checkpoint keeps, nor evaluation puts back: "
                "leave __slots__ out of the class",
                *(type(loop.agent).__name__, ", ".join(slots)),
            )
        self.per_episodes = loop.parameters.get("episodes_per_checkpoint") or math.inf
        per_time = loop.parameters.get("time_per_checkpoint")
        self.per_time = math.inf if per_time is None else per_time
        self._schedule(loop)

    def end_evaluation(self, loop: BaseLoop, episodes: list[Episode]) -> None:
        """Have a checkpoint written if this evaluation is the best so far."""
        mean = sum(episode.ret for episode in episodes) / max(len(episodes), 1)
        if math.isfinite(mean) and episodes and not (self.best is not None and mean <= self.best):
            self.best, self.best_name, self.best_episode = mean, _name(loop), loop.episodes

    def end_cycle(self, loop: BaseLoop) -> None:
        """Write a checkpoint where one is due, or begin to."""
        now = time.monotonic()
        if self.pending and not self._settle(wait=False):
            self.write(loop)
        elif loop.episodes == self.best_episode or (
            not self.pending
            and now >= self.earliest
            and (loop.episodes >= self.next_episode or now >= self.next_time)
        ):
            self.write(loop, in_the_loop=False)

    def end_training(self, loop: BaseLoop) -> None:
        """Write the last checkpoint, from which the run can be extended."""
        if self.pending and self.pending.path.name not in (_name(loop), self.best_name):
            self._give_up()  # the last one takes its place
        self.write(loop)

    def close(self, error: BaseException | None) -> None:
        """Wait for a checkpoint that a child is writing, unless the run is to end at once."""
        if self.pending and isinstance(error, SystemExit | KeyboardInterrupt):
            self._give_up()
        elif self.pending:
            self._settle(wait=True)
        if self.removing:
            self.removing.join()

    def write(self, loop: BaseLoop, in_the_loop: bool = True) -> None:
        """Write a checkpoint of `loop` and delete those that are not to be kept.

        Args:
            loop: at the end of an episode.
            in_the_loop: False: have a child write it where that can be, which `end_cycle` hears of.

        Raises:
            Failure: it cannot be written; the ones before it are untouched.
        """
        if self.pending:
            self._settle(wait=True)  # one at a time
        began, path = time.monotonic(), loop.directory / "checkpoints" / _name(loop)
        with _disk_errors_as_failure(path.parent):
            path.parent.mkdir(exist_ok=True)
            if read_state(path) is None and (path.exists() or path.is_symlink()):
                _set_aside(path)
            elif path.exists() and load_state(path) is None:
                files.remove(path)
            writing = Writing(loop, path, files.temporary(path), (self.best, self.best_name))
            if path.exists():
                self._tidy(writing)
            elif in_the_loop or not self._fork(writing):
                write_agent(writing, self._state)
                self._publish(writing)
                self.seconds = time.monotonic() - began
                self.size = sum(file.stat().st_size for file in path.rglob("*"))
            quicken(loop)
        self._wait_after(began, MIN_SECONDS_BETWEEN)
        self._schedule(loop)

    def _fork(self, writing: "Writing") -> bool:
        """Have a child write the agent where that pays, and return whether one does."""
        if not self.may_fork or self.size < LARGE_CHECKPOINT or not beside.is_possible():
            return False
        state = self._state(writing)  # tables are synced by this process
        work = functools.partial(write_agent, writing, lambda _: state)
        try:
            writing.child = beside.Beside(work, max(PATIENCE[0], PATIENCE[1] * self.seconds))
        except OSError as error:
            self._refuse(writing, str(error.strerror))
            return False
        self.pending = writing
        return True

    def _settle(self, wait: bool) -> bool:
        """Publish what the child has written, if it has ended; return whether it has not failed."""
        writing, began = self.pending, time.monotonic()
        assert writing and writing.child
        reason = writing.child.reason(wait)
        if reason:
            self._refuse(writing, reason)
            self._give_up()
        elif reason is not None:
            self.pending = None
            with _disk_errors_as_failure(writing.path.parent):
                self._publish(writing)
            took = began - writing.child.began
            self._wait_after(began, max(MIN_SECONDS_BETWEEN, took / MAX_SHARE_BESIDE))
        return not reason

    def _refuse(self, writing: "Writing", reason: str) -> None:
        """Warn that a child could not write; all later checkpoints are written in the loop."""
        self.may_fork = False
        log.warning(
            "%s was not written beside training (%s): from now on training waits for checkpoints",
            writing.path,
            reason,
        )

    def _give_up(self) -> None:
        """End the child, and remove what it has written."""
        writing, self.pending = self.pending, None
        assert writing and writing.child
        writing.child.kill()
        shutil.rmtree(writing.unfinished, ignore_errors=True)
        if writing.path.name == self.best_name:
            self.best, self.best_name = self.best_written

    def _publish(self, writing: "Writing") -> None:
        """Give what is whole and on the disk its name."""
        directory = writing.loop.directory
        if self.is_first:  # the names of what has been made in the run's directory, and its own
            files.sync(directory, directory.parent)
            self.is_first = False
        writing.unfinished.rename(writing.path)
        files.sync(writing.path.parent)
        self.best_written = writing.best
        self._tidy(writing)

    def _tidy(self, writing: "Writing") -> None:
        """Have the links point to the newest checkpoint and to the best; remove old ones."""
        if self.removing:
            self.removing.join()
        directory, best_name = writing.path.parent, writing.best[1]
        self._point(directory / "latest", writing.path.name)
        if best_name and (directory / best_name).exists():
            self._point(directory / "best", best_name)
        own = [name for name in names(directory) if read_state(directory / name)]
        newest = own[: writing.loop.parameters.get("keep_checkpoints", 2)]
        keep = {writing.path.name, best_name, *newest}
        old = [directory / name for name in set(own) - keep]

        def remove() -> None:
            for path in old:
                files.remove(path)

        if writing.child:  # large ones, whose removal takes half a second
            self.removing = threading.Thread(target=remove)
            self.removing.start()
        else:
            remove()

    def _wait_after(self, began: float, pause: float) -> None:
        """Let no checkpoint be due for a while: training has stood still since `began`."""
        now = time.monotonic()
        lost = (now - began) / MAX_SHARE_OF_TIME
        self.earliest = max(self.earliest + lost, now + min(pause, self.per_time))

    def _schedule(self, loop: BaseLoop) -> None:
        self.next_episode = loop.episodes + self.per_episodes
        self.next_time = time.monotonic() + self.per_time

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_name": self.best_name}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_name = state.get("best"), state.get("best_name")
        self.best_written = self.best, self.best_name

    def _state(self, writing: "Writing") -> dict[str, Any]:
        """Write all but the agent; return the counters, whose tables are on the disk by then."""
        loop = writing.loop
        rest = {
            "streams": streams.get_state(),
            "drawn": drawn(loop.agent),
            "envs": {name: self._saved(loop, name) for name in ENVIRONMENTS},
            "rendered": {name: is_rendered(loop, name) for name in ENVIRONMENTS},
        }
        writing.unfinished.mkdir(parents=True, exist_ok=True)
        (writing.unfinished / "loop.pkl").write_bytes(pickled.dumps(rest))
        state: list[Any] = getattr(loop.env, "learnt_by_wrappers", list)()
        if state:
            (writing.unfinished / WRAPPERS).write_bytes(pickle.dumps(state, protocol=5))
        return {"versions": versions(), **state_dict(loop)}

    def _saved(self, loop: BaseLoop, name: str) -> environments.Saved | None:
        env = getattr(loop, name)
        if env is None or name in self.unpicklable or (name == "eval_env" and env is loop.env):
            return None
        try:
            return environments.save(env, by_value=True)
        except Exception as error:
            if not self.unpicklable:
                log.warning(
                    "the environment does not pickle (%s): a resumed run starts it anew. That is "
                    "exact unless it keeps something from one episode to the next",
                    text_of(error),
                )
            self.unpicklable.add(name)
        return None

    def _point(self, link: Path, name: str) -> None:
        """Make `link` a link to `name`, or warn once: links are for people, nothing reads them."""
        if (failure := point(link, name)) and link.name not in self.said:
            self.said.add(link.name)
            log.warning("%s %s; it is for people alone, and nothing else is missing", link, failure)


@dataclass
class Writing:
    """A checkpoint that is being written: where, and the best evaluation up to it."""

    loop: BaseLoop
    path: Path
    unfinished: Path
    best: tuple[float | None, str | None]
    child: beside.Beside | None = None


def write_agent(writing: Writing, state: Callable[[Writing], dict[str, Any]]) -> None:
    """Write the agent, then what `state` returns with all checksums; bring all to the disk."""
    unfinished = writing.unfinished
    (unfinished / "agent").mkdir(parents=True)
    save_agent(writing.loop.agent, unfinished / "agent")
    counters = state(writing)
    written = sorted(filter(Path.is_file, unfinished.rglob("*")))
    sums = {str(file.relative_to(unfinished)): checksum_of(file) for file in written}
    write_state(unfinished, {**counters, "files": sums})
    folders = filter(Path.is_dir, unfinished.rglob("*"))
    files.sync(*written, unfinished / "state.json", *folders, unfinished)


@contextlib.contextmanager
def _disk_errors_as_failure(directory: Path) -> Iterator[None]:
    """Raise a Failure where a checkpoint cannot be written in `directory`."""
    try:
        yield
    except OSError as error:
        files.remove_leftovers(directory)
        raise Failure(files.cannot_write(error, directory)) from error


def save_agent(agent: BaseAgent, directory: Path) -> None:
    """Let the agent save itself.

    Raises:
        Failure: an attribute cannot be pickled, or what was saved could not be loaded.
    """
    try:
        with write_errors():
            agent.save(directory)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        for name, value in vars(agent).items():
            try:
                pickle.dumps(value)
            except Exception:
                raise Failure(
                    f"{type(agent).__name__}.{name} cannot be saved ({text_of(error)}); override "
                    "save(directory) and load(directory), or keep it out of the agent"
                ) from error
        raise
    if not (directory / FILE).exists() and getattr(type(agent), "load", None) is BaseAgent.load:
        name = type(agent).__name__
        raise Failure(f"{name}.save() wrote no {FILE}, which load() reads: write a load() as well")


def _slots(kind: type) -> list[str]:
    """Return the attributes of a class's instances that are not in their `__dict__`."""
    found = (vars(base).items() for base in kind.__mro__ if "__slots__" in vars(base))
    return [n for items in found for n, v in items if type(v) is types.MemberDescriptorType]


def _is_passed_over(loop: BaseLoop, path: Path) -> bool:
    """Return whether the loop cannot go on from the checkpoint; a fork can from its first one."""
    if not hasattr(loop, "passes_over"):
        return False
    parent = (manifest.read(loop.directory) or {}).get("parent") or {}
    return parent.get("episode") != episode(path) and bool(loop.passes_over(load_state(path)))


def _lacks(loop: BaseLoop, path: Path) -> str:
    """Return what of the observers' files the checkpoint at `path` refers to and is gone, or ""."""
    states = (read_state(path) or {}).get("observers", {})
    each = (o.lacks(loop, states.get(name, {})) for name, o in loop.observers.items())
    return next(filter(None, each), "")


def _set_aside(path: Path) -> None:
    """Rename what cannot be used, so that nothing finds it as a checkpoint."""
    aside, count = path.with_name(f"unused-{path.name}"), 1
    while aside.exists() or aside.is_symlink():
        count += 1
        aside = path.with_name(f"unused-{count}-{path.name}")
    path.rename(aside)
    log.warning("%s is now called %s", printable(path), printable(aside.name))


def state_dict(loop: BaseLoop) -> dict[str, Any]:
    """Return a loop's counters and each observer's own state, as JSON can hold it."""
    counters = {name: getattr(loop, name) for name in COUNTERS}
    counters["whole"] = getattr(loop, "whole", True)
    watched = {name: observer.state_dict() for name, observer in loop.observers.items()}
    return counters | {"seconds": loop.seconds, "observers": watched}


def _name(loop: BaseLoop) -> str:
    return f"episode-{loop.episodes:06d}"
