"""Plays recorded episodes again, each in an environment of its own, on all cores."""

import contextlib
import copy
import functools
import importlib.metadata
import math
import multiprocessing
import platform
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from gym_loop import errors, launch
from gym_loop.config import kept, locate, options, stored
from gym_loop.loops.copies import copied
from gym_loop.mistake import Failure, Mistake, text_of
from gym_loop.output import open_streams
from gym_loop.runs import manifest, traces
from gym_loop.runs.traces import Trace, Traces, load
from gym_loop.streams import NO_SEED, seed_all
from gym_loop.sums import as_float, total


@launch.surroundings()
def make_env(
    run: Path, kind: str, episode: int, render_mode: str | None = None, bare: bool = True
) -> Any:
    """Return a new environment of the config that an episode of `run` was played with.

    Unless told otherwise it is bare: traces are taken below the wrappers.

    Raises:
        Mistake: it cannot be made, or cannot render; the line says what to do.
        Failure: its code raised; the message is the traceback from there on.
    """
    known, cfg = played_by(run, kind, episode)
    check_sources(known, {"env": known["config"]["env"]})
    try:
        other = cfg.get("eval_env") if kind == "eval" else None
        node = other or cfg.env
        options.load_class(node._target_, "env._target_")  # says how one near it is called
        make = launch.instantiate(without_wrappers(node) if bare else node, partial=True)
        seed_all(cfg.seed)  # as the launcher does, for what the constructor draws
        parameters = {**cfg.loop, "eval_record": render_mode is not None, "eval_render": False}
        return launch.locate(cfg.loop._target_).make_env(make, parameters, "eval")
    except Exception as error:
        said = text_of(error) if isinstance(error, TypeError) else ""
        if render_mode and any(each in said for each in ("render_mode", "takes no arguments")):
            raise Mistake(
                f"{cfg.env._target_} cannot render: it takes no render_mode; replay without "
                "--video, --gif or --human to check the episode alone"
            ) from error
        if line := errors.explanation(error):
            raise Mistake(line) from error
        raise Failure(f"the environment cannot be made: {errors.message(error)}") from error


def recorded(run: Path, file: Path, numbers: Iterable[int]) -> list[Trace]:
    """Return episodes of a trace file of `run`, with actions as the environment got them.

    Raises:
        Failure: the file is damaged, or the class of an action is gone.
    """

    def find(module: str, name: str) -> Any:
        try:
            return traces.find_class(module, name)
        except Failure:  # the agent brings it: what lies beside its file, or where that is now
            with contextlib.suppress(Exception):
                locate.locate(manifest.load(run)["config"]["agent"]["_target_"])
            return traces.find_class(module, name)

    return traces.episodes(load(file), numbers, find)


def without_wrappers(section: DictConfig) -> DictConfig:
    """Return the section of an environment that is bare: with what is below its tape alone."""
    from gym_loop.envs import wrappers

    resolved: Any = OmegaConf.to_container(section, resolve=True)
    below = wrappers.bare(resolved).get(wrappers.KEY, ())
    section = copy.deepcopy(section)
    with open_dict(section):
        all_of_them = section.pop(wrappers.KEY, None)
        if below:
            section[wrappers.KEY] = {name: all_of_them[name] for name in below}
    return section


def check_sources(known: dict[str, Any], config: dict[str, Any]) -> None:
    """Check a run's files, and its values from outside.

    Args:
        known: what `manifest.load` returns.
        config: the sections of the run's config that are to be built.

    Raises:
        Mistake: a file is gone, or a value from outside has changed.
    """
    kept.refuse_changed(known, None)
    stored.check_files(config, None)


@dataclass
class Job:
    """Episodes in one file that a process is to play again, and to film if there is a `video`."""

    run: Path
    kind: str
    file: Path
    episodes: list[int]
    returns: dict[int, float] = field(default_factory=dict)  # as the table of episodes has them
    video: Path | None = None
    caption: bool = False


class Playback:
    """An episode that is being played again: iterate to play it.

    Yields the count of steps, the observation and the return so far: after `reset`, and after
    each step. What is played differently from the recording is in `difference`; playing goes on
    after it, for as long as the environment does.

    Args:
        env: a new one.
        trace: the recording.
        recorded: the return as the table of episodes has it.
    """

    def __init__(self, env: Any, trace: Trace, recorded: float | None = None) -> None:
        self.env, self.trace, self.recorded = env, trace, recorded
        self.ret = 0.0
        self.difference: str | None = None

    def __iter__(self) -> Iterator[tuple[int, Any, float]]:
        """Play.

        Raises:
            Mistake: the episode began without a seed of its own.
            Failure: the environment's code raised; the message is the traceback from there on.
        """
        refuse_unseeded(self.trace)
        env, trace, last = self.env, self.trace, len(self.trace.rewards) - 1
        rewards, so_far = list[float](), 0.0
        with _naming("reset"):
            observation, _ = env.reset(seed=trace.seed)
        yield 0, observation, 0.0
        for step, recorded in enumerate(trace.rewards.tolist()):
            with _naming(f"step {step + 1}"):
                # A copy: an environment may change its action, which is still to be exported.
                given = copied(trace.actions[step])
                observation, reward, terminated, truncated, _ = env.step(given)
            rewards.append(as_float(reward))
            if not same(rewards[-1], recorded):
                self._differs(step, f"the reward is {rewards[-1]!r}, recorded is {recorded!r}")
            # A truncation that is recorded may be the loop's, and is none of the environment's.
            at_end = step == last
            if bool(terminated) != (at_end and trace.terminated) or (
                truncated and not (at_end and trace.truncated)
            ):
                how = "was terminated" if trace.terminated else "was truncated"
                then = how if at_end else "went on"
                now = "is terminated" if terminated else "is truncated" if truncated else "goes on"
                self._differs(step, f"the episode {now}, the recorded one {then}")
            so_far += rewards[-1]
            yield step + 1, observation, so_far
            if (terminated or truncated) and not at_end:
                break
        self.ret = total(rewards)
        if self.recorded is not None and not same(self.ret, self.recorded):
            self._differs(last, f"the return is {self.ret!r}, recorded is {self.recorded!r}")

    def _differs(self, step: int, what: str) -> None:
        self.difference = self.difference or f"differs at step {step + 1}: {what}"


def refuse_unseeded(trace: Trace) -> None:
    """Check that an episode began with a seed of its own.

    Raises:
        Mistake: it did not.
    """
    if trace.seed == NO_SEED:
        raise Mistake(
            f"episode {trace.episode} was begun without a seed of its own, by a vector "
            "environment itself or by a wrapper that loses it, and cannot be played alone; "
            f"episodes.csv has those that can: their seed is not {NO_SEED}"
        )


def playable(traces: Traces, numbers: list[int]) -> list[int]:
    """Return the episodes that can be played alone; print how many are left out."""
    if len(numbers) == 1:
        return numbers  # playing the only one tells why it cannot be played
    wanted, seeded = set(numbers), set[int]()
    for path, _ in traces.chunks(numbers, sys.maxsize):
        index = load(path, ("episode", "seed"))
        seeded.update(index["episode"][index["seed"] != NO_SEED].tolist())
    left_out = len(wanted - seeded)
    if left_out == len(wanted):
        return numbers[:1]
    if left_out:
        print(
            f"left out: {left_out} episodes that the vector environment began itself, without a "
            "seed of their own"
        )
    return [number for number in numbers if number in seeded]


def versions(run: Path) -> Iterator[str]:
    """Yield two lines: the versions that a run was played with, and those of now."""
    then = dict(manifest.load(run)["versions"])
    now = {"python": platform.python_version()}
    for package in then.keys() - {"python"}:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            now[package] = importlib.metadata.version(package.replace("_", "-"))
    for name, known in (("then", then), ("now", now)):
        listed = ", ".join(f"{package} {known.get(package, 'absent')}" for package in then)
        yield f"  {name + ':':<6}{listed}"


def in_parallel(work: Callable[[Any], Any], jobs: Iterable[Any], workers: int) -> Iterator[Any]:
    """Yield `work(job)` for each job in order, from `workers` processes; memory stays bounded.

    Raises:
        Mistake, Failure: what `work` raised, or a process died.
    """
    if workers <= 1:
        yield from map(work, jobs)
        return
    # A worker's end is then known also where it has forked others, and no library is shared.
    context = multiprocessing.get_context("forkserver")
    others = {*multiprocessing.active_children()}
    pool = ProcessPoolExecutor(workers, context, _begin)
    waiting: deque[Future[Any]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise Failure(
            "a process that played episodes died; --jobs 1 plays them in this one"
        ) from error
    finally:
        if waiting:  # jobs whose results nobody will read
            for process in {*multiprocessing.active_children()} - others:
                process.kill()
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Begin a worker: Ctrl-C is left to the process that stops it; environments may print."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    open_streams()


def played_by(run: Path, kind: str, episode: int) -> tuple[dict[str, Any], DictConfig]:
    """Return run.json and config of the run that played an episode: a parent's, before the fork."""
    found, seen = _load(run), {run.resolve()}
    count = "episode" if kind == "train" else "evaluated"  # older forks do not have the latter
    while (parent := found[0].get("parent")) and episode < parent.get(count, 0):
        origin = Path(parent["directory"]).resolve()
        if origin in seen or not manifest.read(origin):
            break
        seen.add(origin)
        found = _load(origin)
    return found


def _load(run: Path) -> tuple[dict[str, Any], DictConfig]:
    """Return run.json and config of a run, which are read again when they have changed."""
    marks = list[tuple[int, int]]()
    for name in (manifest.NAME, kept.FILE):
        with contextlib.suppress(OSError):  # runs of earlier versions have no config.yaml
            status = (run / name).stat()
            marks.append((status.st_ino, status.st_mtime_ns))
    return _load_marked(run.absolute(), tuple(marks))


@functools.lru_cache(64)  # reading takes longer than a short episode
def _load_marked(
    run: Path, marks: tuple[tuple[int, int], ...]
) -> tuple[dict[str, Any], DictConfig]:
    known = manifest.load(run)
    return known, OmegaConf.create(known["config"])


def same(a: float, b: float) -> bool:
    """Return whether two numbers are equal, or neither is one."""
    return a == b or (math.isnan(a) and math.isnan(b))


@contextlib.contextmanager
def _naming(when: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise Failure(f"the environment raised at {when}: {errors.message(error)}") from error
