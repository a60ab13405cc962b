"""Launching from Python: in a script, a notebook, or another program that uses Hydra.

Each function does what the command of its name does, with the same words. What a launch changes
in the process (signal handlers, loggers, random streams, the working directory) is put back.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from gym_loop import errors, launch, streams
from gym_loop.config import by_value
from gym_loop.config.stored import quoted
from gym_loop.mistake import Mistake
from gym_loop.runs.run import Run, Runs

Named = str | type | Callable[..., Any] | None  # a class, a function that makes one, or a name


def run(
    *words: str,
    agent: Named = None,
    env: Named = None,
    loop: Named = None,
    directory: str | Path | None = None,
) -> Run:
    """Train and evaluate, as `gym-loop WORDS` does, and return the run.

    Ctrl-C ends it after the current episode, and returns it, too: `resume` goes on from there.

    Args:
        words: overrides as on the command line, such as `"loop.max_episodes=50"`.
        agent: a class, or its name as in `agent=`.
        env: likewise.
        loop: likewise.
        directory: of the run; a new one below `outputs` when None. A finished run of this config
            in it is returned as it is, an unfinished one is continued.

    Raises:
        Mistake: something is wrong with what was asked for; nothing has been started.
        Exception: what the code of the agent or the environment raised; the run has `failed`.
    """
    return _run([*words, *_options(agent=agent, env=env, loop=loop)], directory)


def sweep(
    *words: str,
    agent: Named = None,
    env: Named = None,
    loop: Named = None,
    directory: str | Path | None = None,
) -> Runs:
    """Run every combination of values, as `gym-loop -m WORDS` does, and return the runs.

    Args:
        words: overrides, of which some have several values: `"agent.lr=0.1,0.01"`.
        agent: as for `run`.
        env: likewise.
        loop: likewise.
        directory: of the sweep; a new one below `multirun` when None. In a sweep's own directory
            only what is missing is run.

    Raises:
        Mistake: something is wrong with what was asked for; nothing has been started. A job that
            fails raises nothing: its run's `state` tells.
    """
    place = Path(directory or f"multirun/{datetime.now():%Y-%m-%d/%H-%M-%S-%f}")
    given = [*words, *_options(agent=agent, env=env, loop=loop)]
    with _as_command("-m", *given):
        launch.launch(["-m", *given, f"hydra.sweep.dir={quoted(place)}"])
    return Runs(place)


def _run(words: list[str], directory: str | Path | None, config_name: str = "config") -> Run:
    places = [Path(directory)] if directory is not None else []
    own = [f"hydra.run.dir={quoted(places[0])}"] if places else []

    def task(cfg: Any) -> Any:
        places[:] = [Path(HydraConfig.get().runtime.output_dir)]
        return launch.run(cfg)

    with _as_command(*words, *own):
        launch.launch([*words, *own], config_name, task)
    return Run(places[0])


def _options(**groups: Named) -> list[str]:
    """Return the words that choose what was given as objects or names."""
    return [
        f"{group}={kind if isinstance(kind, str) else by_value.target(kind)}"
        for group, kind in groups.items()
        if kind is not None
    ]


@contextlib.contextmanager
def _as_command(*words: str) -> Iterator[None]:
    """Let the block launch as a command of these words would, and leave the process as it was.

    A launch ends with SystemExit where a process would end: for a finished run (0), jobs that
    failed (1), and a stop by a signal (128 and its number). Here that is told by the run's state.
    """
    root = logging.getLogger()
    handlers, level, here, argv = root.handlers[:], root.level, os.getcwd(), sys.argv
    random = streams.get_state()
    sys.argv = ["gym-loop", *words]
    try:
        yield
    except Mistake:
        raise
    except SystemExit as end:
        if not isinstance(end.code, int) or 1 < end.code <= 128:
            raise
    except Exception as error:
        line = errors.explanation(error)
        if line is None:
            raise
        raise Mistake(line) from error
    finally:
        sys.argv = argv
        os.chdir(here)
        streams.set_state(random)
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
