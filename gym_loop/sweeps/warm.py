"""Imported by the process that all jobs of a sweep are forked from, to make it warm."""

import atexit
import contextlib
import functools
import gc
import importlib
import os
import signal
from types import FrameType

MODULES = "GYM_LOOP_WARM"  # the environment variable that names what is to be imported


@functools.cache
def enter_surroundings() -> contextlib.ExitStack:
    """Enter `launch.surroundings` for good, unless the process this was forked from has done so.

    Returns what leaves them. Nobody calls it, but to drop it would be to leave: the exit functions
    of a process are dropped in what `multiprocessing` forks from it, by Python 3.13.
    """
    from gym_loop import launch

    surroundings = contextlib.ExitStack()
    surroundings.enter_context(launch.surroundings())
    atexit.register(surroundings.close)  # a job's process ends without
    set_up_hydra()
    return surroundings


def set_up_hydra() -> None:
    """Make what Hydra's launch makes once in a process: its resolvers and singletons."""
    from hydra import version
    from hydra.core.utils import JobRuntime, setup_globals

    from gym_loop import launch

    setup_globals()
    if launch.VERSION_BASE:
        version.setbase(launch.VERSION_BASE["version_base"])
    JobRuntime.instance()


def warm_up(modules: list[str]) -> None:
    """Import what jobs import, and do once what takes longer the first time."""
    enter_surroundings()
    for name in (*modules, "multiprocessing.popen_forkserver"):  # which each job is a process of
        # The job will tell what is wrong with a module. It must not end this process.
        with contextlib.suppress(BaseException):
            importlib.import_module(name)

    from omegaconf import OmegaConf

    from gym_loop.code import used
    from gym_loop.runs.versions import versions

    # The grammar's parser learns from what it parses: this is the log file's name.
    name = "${hydra.runtime.output_dir}/${hydra.job.name}.log"
    hydra = {"runtime": {"output_dir": "a"}, "job": {"name": "b"}}
    OmegaConf.to_container(OmegaConf.create({"hydra": hydra, "name": name}), resolve=True)
    versions()
    used.remember()
    gc.collect()
    gc.freeze()  # memory stays shared with the jobs: their collectors do not write to these objects


def ignore_sigterm() -> None:
    """Leave SIGTERM, which may reach all processes of a sweep, to the launching process."""
    own = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a job that has not begun yet
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, handle)


if MODULES in os.environ:
    ignore_sigterm()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launching process's
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # it was blocked until now
    warm_up(os.environ.pop(MODULES).split(","))
