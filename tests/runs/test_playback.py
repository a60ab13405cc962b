"""Work that is shared among processes."""

import os

import pytest

from gym_loop.mistake import Failure
from gym_loop.runs.playback import in_parallel


def test_results_come_in_order_from_several_processes():
    assert list(in_parallel(abs, range(-20, 20), 2)) == [abs(n) for n in range(-20, 20)]


def test_a_process_that_dies_ends_the_work_in_one_line():
    with pytest.raises(Failure, match="died; --jobs 1 plays them in this one"):
        list(in_parallel(os._exit, [3] * 8, 2))


def test_nobody_waits_for_work_that_is_not_wanted_any_more():
    import time

    done = in_parallel(time.sleep, [0, *[1000] * 7], 2)
    assert next(done) is None
    done.close()
