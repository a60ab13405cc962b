"""Registers the run directory, a quicker `run_job` and the error messages with the launcher."""

import contextlib
import gc
import warnings
from collections.abc import Iterator

from gym_loop import launch
from gym_loop.compat.hydra_job import run_job
from gym_loop.config.kept import noting_what_is_read, settle
from gym_loop.errors import report
from gym_loop.runs.claim import claim


@contextlib.contextmanager
def fewer_collections() -> Iterator[None]:
    """Let the garbage collector look less often, and not at what has been imported.

    Composing and copying configs makes many objects and no garbage; so do most agents. Collecting
    was a tenth of a short run.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextlib.contextmanager
def without_the_warning_of_instantiate() -> Iterator[None]:
    """Hide Hydra 1.4's warning that a config names what is built: a launcher is there for that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"hydra\.utils\.instantiate\(\) resolved", UserWarning)
        yield


launch.prepare += [settle, claim]
launch.around += [fewer_collections, noting_what_is_read, without_the_warning_of_instantiate]
launch.report = report
launch.run_job = run_job
