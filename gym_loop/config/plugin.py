"""Registers how a config comes about, and how a job is run and told of."""

import contextlib
import gc
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from types import FrameType

from omegaconf import DictConfig

from gym_loop import errors, launch
from gym_loop.compat import hydra, hydra_job, omegaconf
from gym_loop.config.kept import noting_what_is_read, prepare_to_keep
from gym_loop.config.locate import locate
from gym_loop.config.options import Options, SearchPath

LONG = 2.0  # seconds of a launch


@contextlib.contextmanager
def our_hydra() -> Iterator[None]:
    """Give the block a Hydra of its own that knows our options."""
    with (
        hydra.own_state(),
        hydra.plugins([SearchPath, Options]),
        hydra.options_in_folders(),
        hydra.single_keys(),
        omegaconf.parsing_in_c((launch.CONF, hydra.CONF)),
    ):
        yield


@contextlib.contextmanager
def fewer_collections() -> Iterator[None]:
    """Have the garbage collector run less often, and skip the objects that imports have made.

    Composing and copying configs makes many objects and no garbage; so do most agents. Collecting
    was a tenth of a short run. At the end of a longer one it is done once: environments in cycles
    may hold what their library (ALE, with nanobind) reports as leaked when the process ends.
    """
    before, began = gc.get_threshold(), time.monotonic()
    gc.freeze()
    gc.set_threshold(20_000)
    try:
        yield
    finally:
        if time.monotonic() - began > LONG:
            gc.collect()
        gc.set_threshold(*before)
        gc.unfreeze()


@contextlib.contextmanager
def without_the_warning_of_instantiate() -> Iterator[None]:
    """Hide Hydra 1.4's warning that a config names what is built, as a launcher's config does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"hydra\.utils\.instantiate\(\) resolved", UserWarning)
        yield


@contextlib.contextmanager
def keeping_interrupts() -> Iterator[None]:
    """Have a Ctrl-C within the block end it, also where a library loses the KeyboardInterrupt.

    One that comes while OmegaConf appends to a list raises an AttributeError instead, and what
    takes that for an answer (`hasattr`) goes on. Runs and sweeps have handlers of their own.
    """
    came = list[int]()

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    def check(cfg: DictConfig | None = None) -> None:
        if came:
            raise KeyboardInterrupt

    default = signal.default_int_handler
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not default:
        yield
        return
    signal.signal(signal.SIGINT, handle)
    launch.prepare.append(check)  # before anything starts
    try:
        yield
    finally:
        launch.prepare.remove(check)
        if signal.getsignal(signal.SIGINT) is handle:
            signal.signal(signal.SIGINT, default)
        check()


launch.around += [
    keeping_interrupts,
    our_hydra,
    fewer_collections,
    without_the_warning_of_instantiate,
]
launch.around += [noting_what_is_read, errors.no_success_by_leaving]
launch.prepare.append(prepare_to_keep)
launch.locate = locate
launch.run_job = hydra_job.run_job
launch.tell = errors.report
