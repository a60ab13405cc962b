"""run.json, read whatever it is, and the lock of a run's directory."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from omegaconf import OmegaConf

from gym_loop.config import kept
from gym_loop.observers.manifest import Manifest
from gym_loop.runs import manifest

HOLD = """
import sys, time
from pathlib import Path
from gym_loop.runs.manifest import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("removed", [False, True])
def test_one_process_at_a_time_has_the_lock_even_if_its_file_is_removed(holder, tmp_path, removed):
    if removed:
        (tmp_path / manifest.LOCK).unlink()

    assert manifest.is_locked(tmp_path)
    with pytest.raises(manifest.InUse):
        manifest.Lock(tmp_path)

    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not manifest.is_locked(tmp_path)
    with manifest.Lock(tmp_path):
        assert manifest.is_locked(tmp_path)
    assert not manifest.is_locked(tmp_path)


def test_what_a_process_has_forked_does_not_hold_its_lock(tmp_path):
    lock = manifest.Lock(tmp_path)
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
    child.start()
    os.kill(child.pid, 0)

    lock.release()
    try:
        assert child.is_alive()
        manifest.Lock(tmp_path, seconds=10).release()
    finally:
        child.kill()
        child.join()


def test_a_run_that_another_process_has_just_finished_is_left_alone(tmp_path):
    makers = {"agent": "agents.RandomAgent", "env": "envs.make_gym", "loop": "loops.DefaultLoop"}
    groups = {group: {"_target_": f"gym_loop.{name}"} for group, name in makers.items()}
    cfg = OmegaConf.create(kept.completed(groups) | {"seed": 0})
    kept.write(tmp_path, cfg, tmp_path)
    manifest.write(tmp_path, {"state": "finished", "result": 3.0, **kept.record(cfg, tmp_path)})
    before = (tmp_path / manifest.NAME).read_bytes()
    observer = Manifest()

    with pytest.raises(manifest.Finished) as end:
        observer.open(cfg, tmp_path)
    observer.close(end.value)

    assert end.value.code == 0
    assert (tmp_path / manifest.NAME).read_bytes() == before
    assert not manifest.is_locked(tmp_path)


def test_a_run_json_that_no_run_has_written_is_none(tmp_path):
    file = tmp_path / manifest.NAME
    for text in ("", "[]", "{", "[" * 100_000, '{"state": "%s"}' % ("x" * manifest.LARGEST)):
        file.write_text(text)
        assert manifest.read(tmp_path) is None
    file.unlink()
    os.mkfifo(file)
    assert manifest.read(tmp_path) is None
