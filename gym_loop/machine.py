"""What the machine offers to this process, and which other processes it runs."""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

# What tells libraries of linear algebra how many threads to start.
THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)
PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)


def cores() -> int:
    """Return how many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory() -> int:
    """Return how many bytes of memory this process has had at most."""
    try:
        return memory(os.getpid())["VmHWM"]
    except (OSError, KeyError):  # getrusage may count the program that started this one in
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory(process: int) -> dict[str, int]:
    """Return the bytes of memory that a process of Linux has (VmRSS) and has had (VmHWM).

    Raises:
        OSError: there is no such process, or this is not Linux.
    """
    status = Path(f"/proc/{process}/status").read_text()
    fields = (line.split() for line in status.splitlines() if line.startswith(("VmRSS", "VmHWM")))
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in fields}


@contextlib.contextmanager
def signals_unblocked(numbers: Collection[int]) -> Iterator[None]:
    """Have signals reach this thread, and what it starts within the block.

    The program that has started this one may have blocked them: a child's end would then not be
    heard of, nor a request to stop.
    """
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers).intersection(numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)


@contextlib.contextmanager
def variables_set(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables within the block; at its end they are what they were before."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def process_exists(number: int) -> bool:
    """Return whether there is a process with this id; for a negative one, a group of processes."""
    try:
        os.kill(number, 0)
    except PermissionError:
        return True  # of another user
    except (ProcessLookupError, OverflowError):
        return False
    return True


def end_with(parent: int) -> None:
    """Have Linux kill this process, which `parent` has just forked, when that one dies."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before that
            os._exit(1)
