"""Children that are forked while a run has taken over the signals."""

import multiprocessing
import os
import signal
import time

import pytest

from gym_loop.observers.signals import Signals

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def signals(tmp_path):
    """An observer that has taken over the signals of this process."""
    observer = Signals()
    observer.open(None, tmp_path)
    yield observer
    observer.close(None)


@pytest.fixture
def child(signals):
    """A forked child that would sleep for long."""
    process = FORK.Process(target=time.sleep, args=(1000,))
    process.start()
    yield process
    process.kill()
    process.join()


def test_a_forked_child_ends_on_sigterm_at_once(child):
    child.terminate()
    child.join(20)
    assert child.exitcode == -signal.SIGTERM


def test_a_forked_child_within_native_code_ends_on_sigterm(signals):
    def sleep():
        import ctypes

        ctypes.PyDLL(None).sleep(1000)

    process = FORK.Process(target=sleep)
    process.start()
    process.terminate()
    process.join(20)
    assert process.exitcode == -signal.SIGTERM


def test_a_forked_child_ends_on_the_second_ctrl_c_as_the_run_does(child):
    os.kill(child.pid, signal.SIGINT)
    child.join(1)
    assert child.is_alive()  # the run may need it to finish its episode

    os.kill(child.pid, signal.SIGINT)
    child.join(20)
    assert child.exitcode == 1


def test_children_forked_after_the_run_keep_the_handlers_that_they_are_given(signals):
    signals.close(None)
    previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        process = FORK.Process(target=time.sleep, args=(0.5,))
        process.start()
        process.terminate()
        process.join(20)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert process.exitcode == 0
