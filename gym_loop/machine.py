"""What the machine offers to this process, and which other processes it runs."""

import os
import sys


def cores() -> int:
    """Return how many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_exists(number: int) -> bool:
    """Return whether there is a process with this id; for a negative one, a group of processes."""
    try:
        os.kill(number, 0)
    except PermissionError:
        return True  # of another user
    except (ProcessLookupError, OverflowError):
        return False
    return True
