"""Launching from Python: in a script, a notebook, or another program that uses Hydra.

Each function does what the command of its name does, with the same words. What a launch changes
in the process (signal handlers, loggers, random streams, the working directory) is put back.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from gym_loop import errors, launch, relaunch, streams
from gym_loop.compat.standard_library import own_logging
from gym_loop.config import by_value, stored
from gym_loop.config.stored import preparations, quoted
from gym_loop.mistake import Mistake
from gym_loop.output import open_streams
from gym_loop.runs import claim
from gym_loop.runs.run import Run, Runs
from gym_loop.sweeps import resume as sweeps

_launching = threading.RLock()  # a launch changes what all threads share
Named = str | type | Callable[..., Any] | None  # a class, a function that makes one, or a name


def run(
    *words: str,
    agent: Named = None,
    env: Named = None,
    loop: Named = None,
    wrap: Sequence[Named] = (),
    directory: str | Path | None = None,
) -> Run:
    """Train and evaluate, as `gym-loop WORDS` does, and return the run.

    Ctrl-C ends it after the current episode, and returns it, too: `resume` goes on from there.

    Args:
        words: overrides as on the command line, such as `"loop.max_episodes=50"`.
        agent: a class, or its name as in `agent=`.
        env: likewise.
        loop: likewise.
        wrap: the environment's wrappers, innermost first; each likewise.
        directory: of the run; a new one below `outputs` when None. A finished run of this config
            in it is returned as it is, an unfinished one is continued.

    Raises:
        Mistake: something is wrong with what was asked for; nothing has been started.
        Exception: what the code of the agent or the environment raised; the run has `failed`.
    """
    given = _overrides([*words, *_options(wrap, agent=agent, env=env, loop=loop)])
    given += _run_directory(directory)
    with _as_command(*given), _noting_directories() as places:
        launch.launch(given)
    return Run(places[-1])


def sweep(
    *words: str,
    agent: Named = None,
    env: Named = None,
    loop: Named = None,
    wrap: Sequence[Named] = (),
    directory: str | Path | None = None,
) -> Runs:
    """Run every combination of values, as `gym-loop -m WORDS` does, and return the runs.

    Args:
        words: overrides, of which some have several values: `"agent.lr=0.1,0.01"`.
        agent: as for `run`.
        env: likewise.
        loop: likewise.
        wrap: the environment's wrappers, innermost first; each likewise.
        directory: of the sweep; a new one below `multirun` when None. In a sweep's own directory
            only what is missing is run.

    Raises:
        Mistake: something is wrong with what was asked for; nothing has been started. A job that
            fails raises nothing: its run's `state` tells.
    """
    if any(word.startswith("hydra.sweep.dir=") for word in words):
        raise Mistake("hydra.sweep.dir is directory=... of gym_loop.sweep")
    new = f"multirun/{datetime.now():%Y-%m-%d/%H-%M-%S-%f}"
    place = _place(new if directory is None else directory)
    given = _overrides([*words, *_options(wrap, agent=agent, env=env, loop=loop)])
    with _as_command("-m", *given):
        launch.launch(["-m", *given, f"hydra.sweep.dir={quoted(place)}"])
    return Runs(place)


@overload
def resume(run: Run, *words: str) -> Run: ...
@overload
def resume(run: Runs, *words: str) -> Runs: ...
@overload
def resume(run: str | Path, *words: str) -> Run | Runs: ...
def resume(run: Run | Runs | str | Path, *words: str) -> Run | Runs:
    """Continue a run from its newest sound checkpoint, or complete a sweep, and return it, read.

    Unpickles what the run has saved: only for runs that are trusted.

    Args:
        run: the run, the runs of a sweep, or the directory of either.
        words: overrides, such as `"loop.max_episodes=400"`: the run goes on as if that had been
            asked for in the first place.

    Raises:
        Mistake: there is nothing to continue, or the words would change what has happened.
        Exception: what the code of the agent or the environment raised; the run has `failed`.
    """
    path = _path(run)
    with _as_command("resume", str(path), *words):
        relaunch.resume(path, _overrides(words))
    return Runs(path) if sweeps.is_sweep(path) else Run(path)


def fork(
    run: Run | str | Path,
    *words: str,
    agent: Named = None,
    env: Named = None,
    loop: Named = None,
    wrap: Sequence[Named] = (),
    checkpoint: str | int = "latest",
    at: int | None = None,
    directory: str | Path | None = None,
) -> Run:
    """Start a new run from a checkpoint of another, which is left as it is, and return it.

    Unpickles what the run has saved: only for runs that are trusted.

    Args:
        run: the parent, or its directory.
        words: overrides, such as `"agent.lr=0.01"`: what is different from there on.
        agent: as for `run`.
        env: likewise.
        loop: likewise.
        wrap: the environment's wrappers, innermost first; each likewise.
        checkpoint: `latest`, `best`, or after how many training episodes. Where none is kept of
            that episode, training is played again up to it.
        at: the older name of `checkpoint`.
        directory: of the new run; one below `outputs` when None.

    Raises:
        Mistake: there is no such checkpoint, or something is wrong with the words.
        Exception: what the code of the agent or the environment raised; the run has `failed`.
    """
    path, options = _path(run), _options(wrap, agent=agent, env=env, loop=loop)
    given = [*_overrides([*words, *options]), *_run_directory(directory)]
    which = checkpoint if at is None else at
    command = ("fork", str(path), "--checkpoint", str(which), *given)
    with _as_command(*command), _noting_directories() as places:
        relaunch.fork(path, which, given)
    return Run(places[-1])


def evaluate(
    run: Run | str | Path, *words: str, checkpoint: str | int = "latest"
) -> npt.NDArray[np.float64]:
    """Have the agent of a run's checkpoint play, without learning.

    Unpickles what the run has saved: only for runs that are trusted. Nothing in the run's
    directory changes, recordings of evaluation aside.

    Args:
        run: the run, or its directory.
        words: overrides, such as `"loop.eval_episodes=100"`.
        checkpoint: as for `fork`.

    Returns:
        The episodes' returns, shape (`loop.eval_episodes`,).

    Raises:
        Mistake: there is no checkpoint, or something is wrong with the words.
        Exception: what the code of the agent or the environment raised.
    """
    path = _path(run)
    with _as_command("evaluate", str(path), "--checkpoint", str(checkpoint), *words):
        relaunch.evaluate(path, _overrides(words), checkpoint)
    if relaunch.Returns.newest is None:
        raise KeyboardInterrupt  # it was cut off
    return np.array(relaunch.Returns.newest, np.float64)


def _overrides(words: Sequence[str]) -> list[str]:
    """Return overrides, among which there are none of the command line's flags.

    Raises:
        Mistake: a word is not an override.
    """
    for word in words:
        if not isinstance(word, str) or word.startswith("-"):
            raise Mistake(f"expected an override such as 'loop.max_episodes=50', not {word!r:.60}")
    return list(words)


def _run_directory(directory: str | Path | None) -> list[str]:
    if directory is None:
        return []
    return [f"hydra.run.dir={quoted(_place(directory))}"]


def _place(named: str | Path) -> Path:
    """Return the directory of a name; an empty one is not the current directory."""
    return stored.directory(os.path.expanduser(named), f"the directory is {str(named)!r}")


def _path(run: Run | Runs | str | Path) -> Path:
    """Return the directory of a run or a sweep."""
    if isinstance(run, Runs):
        if len(run.directories) != 1:
            raise Mistake("expected the runs of one sweep: Runs(DIRECTORY)")
        return run.directories[0]
    return run.path if isinstance(run, Run) else _place(run)


@contextlib.contextmanager
def _noting_directories() -> Iterator[list[Path]]:
    """Yield a list that gets the directory of each run that is launched in the block."""
    places: list[Path] = []

    def note(cfg: Any) -> None:
        places.append(Path(cfg.hydra.run.dir).absolute())

    launch.parts()
    first = launch.prepare.index(claim.claim)  # which ends the launch of a finished run
    with preparations(*launch.prepare[:first], note, *launch.prepare[first:]):
        yield places


def _options(wrap: Sequence[Named], **groups: Named) -> list[str]:
    """Return the overrides for what was given as objects or names: wrappers, and other groups.

    Raises:
        Mistake: `wrap` is no list.
    """
    if isinstance(wrap, str) or not isinstance(wrap, Sequence):
        raise Mistake(f"expected wrap=[...], a list of wrappers, innermost first, not {wrap!r:.60}")
    options = [f"{group}={_name(kind)}" for group, kind in groups.items() if kind is not None]
    return [*options, f"wrap=[{','.join(map(_name, wrap))}]"] if wrap else options


def _name(kind: Named) -> str:
    return kind if isinstance(kind, str) else by_value.target(kind)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let no other thread launch during the block.

    Raises:
        Mistake: another one does.
    """
    if not _launching.acquire(blocking=False):
        raise Mistake(
            "another thread has a launch under way, and a process has one at a time; "
            "for several runs at once: gym_loop.sweep, or processes"
        )
    try:
        yield
    finally:
        _launching.release()


@contextlib.contextmanager
def _as_command(*words: str) -> Iterator[None]:
    """Let the block launch as a command of these words would, and leave the process as it was.

    A launch ends with SystemExit where a process would end: for a finished run (0), jobs that
    failed (1), and a stop by a signal (128 and its number). Here that is told by the run's state.
    """
    with _alone():
        here, argv, random = os.getcwd(), sys.argv, streams.get_state()
        given = sys.stdin, sys.stdout, sys.stderr
        open_streams()  # whether a run finishes does not depend on who reads what it prints
        sys.argv = ["gym-loop", *words]
        try:
            with own_logging(), errors.mistakes_raised():
                yield
        except SystemExit as end:  # a Mistake's code is its line
            if not isinstance(end.code, int) or 1 < end.code <= 128:
                raise
        finally:
            sys.argv = argv
            for stream in (sys.stdout, sys.stderr):
                if stream and stream not in given:
                    with contextlib.suppress(OSError, ValueError):  # an agent may have closed it
                        stream.flush()
            sys.stdin, sys.stdout, sys.stderr = given
            os.chdir(here)
            streams.set_state(random)
