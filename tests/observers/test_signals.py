"""Signals in a run, and in children that are forked while it has taken them over."""

import json
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


SIGNALS_ITSELF = """
import os, signal
from gym_loop.agents import RandomAgent

class Told(RandomAgent):
    @staticmethod
    def get_default_parameters():
        return {"episode": 1, "times": 1}

    def begin_episode(self, episode_num):
        if not self.training and episode_num == self.parameters["episode"]:
            for _ in range(self.parameters["times"]):
                os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_in_the_final_evaluation_comes_too_late_to_stop_the_run(cli, tmp_path):
    (tmp_path / "told.py").write_text(SIGNALS_ITSELF)
    words = ["agent=told.py:Told", "env=cartpole", "loop.max_episodes=2", "loop.eval_episodes=3"]
    done = cli(*words, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert (
        "SIGTERM: training is over, and the final evaluation goes on" in done.stdout + done.stderr
    )
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert (run["state"], run["ended_by"]) == ("finished", "max_episodes")
    assert len((tmp_path / "run/evaluations.csv").read_text().splitlines()) == 1 + 3


@pytest.mark.slow
def test_two_signals_in_the_final_evaluation_stop_the_run_and_resume_only_evaluates(cli, tmp_path):
    (tmp_path / "told.py").write_text(SIGNALS_ITSELF)
    words = ["agent=told.py:Told", "env=cartpole", "loop.max_episodes=2", "loop.eval_episodes=3"]
    stopped = cli(*words, "agent.times=2", "hydra.run.dir=run")
    assert stopped.returncode == 128 + signal.SIGTERM
    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "stopped"
    rows = (tmp_path / "run/episodes.csv").read_bytes()

    # Of another length: within a second, Python takes what it has compiled of a file as long.
    (tmp_path / "told.py").write_text(SIGNALS_ITSELF.replace("SIGTERM", "SIGCONT") + "\n# edited\n")
    done = cli("resume", "run")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "finished"
    assert (tmp_path / "run/episodes.csv").read_bytes() == rows
    assert len((tmp_path / "run/evaluations.csv").read_text().splitlines()) == 1 + 3


def test_a_signal_in_an_evaluation_during_training_stops_the_run(cli, tmp_path):
    (tmp_path / "told.py").write_text(SIGNALS_ITSELF)
    words = ["agent=told.py:Told", "env=cartpole", "loop.max_episodes=9", "loop.eval_episodes=3"]
    stopped = cli(*words, "loop.episodes_per_eval=2", "hydra.run.dir=run")
    assert stopped.returncode == 128 + signal.SIGTERM
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert (run["state"], run["ended_by"], run["episodes"]) == ("stopped", "SIGTERM", 2)


def block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM))


def test_a_run_stops_on_a_signal_that_its_starter_had_blocked(start, tmp_path):
    process = start(
        *("agent=random", "env=cartpole", "loop.max_episodes=null", "hydra.run.dir=run"),
        preexec_fn=block_signals,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "episodes.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.02)

    process.terminate()

    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "stopped"


@pytest.mark.slow
def test_a_sweep_whose_starter_had_blocked_signals_hears_that_its_jobs_have_ended(cli):
    done = cli(
        *("-m", "agent=random", "env=cartpole", "loop.max_episodes=3", "seed=0,1,2"),
        "hydra.sweep.dir=sweep",
        preexec_fn=block_signals,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert "3 done" in done.stdout
