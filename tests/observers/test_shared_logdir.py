"""Event files of several runs, and of other programs, in one folder."""

from pathlib import Path

import pytest

from gym_loop.__main__ import dispatch
from gym_loop.observers.tensorboard import PREFIX
from gym_loop.runs.compare import read_events
from tests.conftest import rows

WORDS = ("agent=random", "env=cartpole", "loop.eval_episodes=1")


@pytest.mark.slow
def test_runs_that_share_a_folder_keep_theirs_and_touch_no_other_file(launch, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    other = shared / f"{PREFIX}1.some-other-tool"
    other.write_bytes(b"other")
    words = (*WORDS, f"loop.logdir={shared}")
    for seed in range(3):
        launch(*words, f"seed={seed}", directory=f"run{seed}")
    files = {path: path.read_bytes() for path in shared.iterdir()}
    assert len(files) == 4
    dispatch("resume", "run1", "loop.max_episodes=9")
    dispatch("fork", "run0", "loop.max_episodes=9", "hydra.run.dir=fork")
    assert {path: path.read_bytes() for path in files} == files
    assert len(list(shared.iterdir())) == 6


def test_a_foreign_file_in_a_runs_own_log_folder_stays(launch):
    run = launch(*WORDS)
    other = run / "logs" / f"{PREFIX}1.some-other-tool"
    other.write_bytes(b"other")
    dispatch("resume", "run", "loop.max_episodes=9")
    assert other.read_bytes() == b"other"


@pytest.mark.slow
def test_what_a_killed_launch_wrote_after_the_checkpoint_is_gone_also_in_a_moved_run(launch):
    run = launch(*WORDS, "loop.max_episodes=4")
    (file,) = (run / "logs").iterdir()
    later = file.with_name(file.name.replace(PREFIX, f"{PREFIX}9")[: len(file.name)])
    stamp = int(file.name.split(".")[3]) + 1
    later = file.with_name(file.name.replace(file.name.split(".")[3], f"{stamp:010d}"))
    later.write_bytes(file.read_bytes())
    moved = run.rename(run.with_name("moved"))
    dispatch("resume", "moved", "loop.max_episodes=9")
    assert not (moved / "logs" / later.name).exists()
    points = read_events(moved / "logs")["train/return"]
    assert [step for step, _ in points] == [int(row["steps"]) for row in rows(moved)]


@pytest.mark.slow
def test_training_and_evaluation_may_log_to_one_folder(launch):
    words = (*WORDS, "loop.logdir=both", "loop.eval_logdir=both", "loop.episodes_per_eval=2")
    run = launch(*words, "loop.max_episodes=4")
    dispatch("resume", "run", "loop.max_episodes=8")
    whole = launch(*words, "loop.max_episodes=8", directory="whole")
    one, two = read_events(run / "both"), read_events(whole / "both")
    for points in (one, two):
        points.pop("time/steps_per_second", None)  # of a machine that took a second
    assert one == two


def test_a_launch_into_a_folder_with_files_deletes_none(launch, tmp_path):
    mine = [".tmp-mydata/deep/x", ".tmp-notes", f"logs/{PREFIX}1.other", f"{PREFIX}2.hparams"]
    for name in mine:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("precious")
    launch(*WORDS, directory=".")
    assert [(Path(tmp_path, name)).read_text() for name in mine] == ["precious"] * 4
