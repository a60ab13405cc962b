"""A run goes on after a power cut with every row, event and trace, or says what is gone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gym_loop.runs import compare
from tests.conftest import AGENTS, rows

SYNCED = Path(__file__).with_name("synced.py")
RUN = (f"agent={AGENTS}:Learner", "env=pendulum", "loop.max_episodes=24", "loop.eval_episodes=2")
RUN = (*RUN, "loop.episodes_per_eval=3", "loop.time_per_checkpoint=0")

OTHERS = {
    "many environments": (
        *(f"agent={AGENTS.with_name('vector_agents.py')}:Learner", "env=cartpole", "loop=vector"),
        *("loop.num_envs=4", "loop.num_workers=2", "loop.episodes_per_round=3"),
    ),
    "wrappers that learn": (
        f"agent={AGENTS}:Learner",
        *("env=pendulum", "wrap=[normalize_observation,normalize_reward]"),
    ),
}


def cuts_of_a_run(tmp_path, words=RUN):
    """The states of the disk at the fsyncs of a run, in order, and what the run itself left."""
    disk, cuts = tmp_path / "disk", tmp_path / "cuts"
    disk.mkdir()
    cuts.mkdir()
    command = [sys.executable, SYNCED, disk, cuts, *words, f"hydra.run.dir={disk}/run"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(list(map(str, command)), cwd=tmp_path, env=environment, check=True)
    return sorted(cuts.iterdir()), disk / "run"


def check(cuts, untouched, cli, words=RUN):
    from gym_loop.config.locate import load_file

    load_file(words[0].partition("=")[2].rpartition(":")[0])  # what the checkpoints name
    assert any((cut / "run" / "checkpoints").is_dir() for cut in cuts)
    for cut in cuts:
        done = cli(*words, f"hydra.run.dir={cut}/run")
        assert done.returncode == 0, (cut.name, done.stderr)
        assert list(compare.differences(cut / "run", untouched)) == [], cut.name
        known = json.loads((cut / "run" / "run.json").read_text())
        assert (known["state"], known["warnings"]) == ("finished", []), cut.name


@pytest.mark.slow
def test_a_run_goes_on_exactly_from_what_was_on_the_disk(tmp_path, cli):
    cuts, untouched = cuts_of_a_run(tmp_path)
    check(cuts[3 :: len(cuts) // 5], untouched, cli)


@pytest.mark.long
def test_a_run_goes_on_exactly_from_what_was_on_the_disk_at_50_moments(tmp_path, cli):
    cuts, untouched = cuts_of_a_run(tmp_path)
    assert len(cuts) >= 50
    check(cuts[:: len(cuts) // 50], untouched, cli)


@pytest.mark.long
@pytest.mark.parametrize("kind", OTHERS)
def test_runs_of_other_kinds_go_on_exactly_from_what_was_on_the_disk(tmp_path, cli, kind):
    words = (*OTHERS[kind], "loop.max_episodes=9", *RUN[3:])
    cuts, untouched = cuts_of_a_run(tmp_path, words)
    check(cuts[1 :: len(cuts) // 12 | 1], untouched, cli, words)


@pytest.mark.slow
def test_whatever_finished_says_is_on_the_disk(tmp_path):
    """The state `finished` is written after everything that the run has written before."""
    cuts, untouched = cuts_of_a_run(tmp_path)
    last = cuts[-1]
    for table in ("episodes.csv", "evaluations.csv"):
        assert (last / "run" / table).read_bytes() == (untouched / table).read_bytes()
    for folder in ("logs", "eval_logs", "traces"):
        for file in (untouched / folder).iterdir():
            assert (last / "run" / folder / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_a_power_cut_on_ext4_loses_no_row(start, cli, tmp_path):
    """The image is copied while the run stands still: what a disk holds when the power goes."""
    image, cut, mounted = tmp_path / "image", tmp_path / "cut", tmp_path / "mounted"
    mounted.mkdir()
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    make = ["mkfs.ext4", "-q", str(image)]
    mount = ["mount", "-o", "loop", str(image), str(mounted)]
    if shutil.which(make[0]) is None or subprocess.run(make, check=False).returncode:
        pytest.skip("needs mkfs.ext4")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount an image")
    try:
        words = ("env=cartpole", "loop.max_episodes=20000", "loop.eval_episodes=2")
        words = (*words, "loop.time_per_checkpoint=0.5")
        run = mounted / "run"
        process = start(*words, f"hydra.run.dir={run}")
        while len(list(run.glob("checkpoints/episode-*"))) < 2:
            time.sleep(0.1)
            assert process.poll() is None
        process.send_signal(signal.SIGSTOP)
        shutil.copyfile(image, cut)
        process.kill()
        process.communicate()
        subprocess.run(["umount", str(mounted)], check=True)
        mount[-2] = str(cut)
        subprocess.run(mount, check=True)
        done = cli("resume", run)
        assert done.returncode == 0, done.stderr
        assert [int(row["episode"]) for row in rows(run)] == list(range(20000))
        assert json.loads((run / "run.json").read_text())["state"] == "finished"
    finally:
        subprocess.run(["umount", str(mounted)], check=False)
