"""Before the first job starts: everything is checked, and a mistake leaves nothing behind."""

import os

import pytest

from gym_loop.launch import launch
from gym_loop.mistake import Mistake
from tests.sweeps.conftest import AGENT, SHORT


@pytest.fixture
def asked_for(tmp_path, monkeypatch):
    """Ask for a sweep within this process; what it exits with, nothing of which starts a job."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr("sys.argv", ["gym-loop"])

    def run(*words):
        with pytest.raises(SystemExit) as end:
            launch(["-m", *SHORT, *words])
        return end.value

    return run


@pytest.mark.parametrize(
    ("words", "job", "fault"),
    [
        (["seed=0,1", "env=cartpole,cartpol"], "env=cartpol,seed=0", "cartpol"),
        (["loop.max_episodes=3,-1"], "loop.max_episodes=-1", "max_episodes"),
        (["+loop.max_episode=3,4"], "loop.max_episode=3", "max_episode"),
        (["agent=random,nowhere.py:Agent"], "agent=nowhere.py:Agent", "nowhere.py"),
    ],
)
def test_one_bad_value_names_its_job_and_starts_nothing(asked_for, tmp_path, words, job, fault):
    end = asked_for(*words, "hydra.sweep.dir=sweep")

    assert isinstance(end, Mistake)
    assert f"job {job}: " in end.message
    assert fault in end.message.partition(": ")[2]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("hydra.launcher.n_jobs=0", "n_jobs=0; expected at least 1"),
        ("hydra.launcher.n_jobs=two", "n_jobs=two; expected at least 1"),
        ("hydra.launcher.timeout=-1", "timeout=-1; expected seconds above 0"),
        ("hydra.launcher.timeout=nan", "timeout=nan; expected seconds above 0"),
    ],
)
def test_a_bad_option_of_the_launcher_is_one_line(asked_for, tmp_path, word, told):
    assert told in asked_for("seed=0,1", word).message
    assert os.listdir(tmp_path) == []


def test_a_dry_run_prints_the_jobs_and_leaves_nothing(asked_for, tmp_path, capsys):
    end = asked_for("seed=0,1", "env=cartpole,taxi", "hydra.launcher.dry_run=true")

    assert end.code == 0
    assert (
        capsys.readouterr().out.splitlines()
        == [f"new  env={env},seed={seed}" for env in ("cartpole", "taxi") for seed in (0, 1)]
        or os.listdir(tmp_path) == []
    )
    assert os.listdir(tmp_path) == []


def test_a_directory_with_something_else_is_refused(asked_for, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("buy milk")

    assert "notes is not a sweep: it holds todo.txt" in (
        asked_for("seed=0,1", "hydra.sweep.dir=notes").message
    )
    assert os.listdir(tmp_path / "notes") == ["todo.txt"]


def test_the_directory_of_a_single_run_is_said_to_be_none_of_a_sweep(asked_for, capsys):
    asked_for("seed=0,1", "loop.max_episode=3", "hydra.run.dir=mine")
    assert "hydra.run.dir is of a single run" in capsys.readouterr().err


def test_a_file_is_no_directory_for_a_sweep(asked_for, tmp_path):
    (tmp_path / "file").touch()

    assert "file is a file" in asked_for("seed=0,1", "hydra.sweep.dir=file").message
    assert "file is a file" in asked_for("seed=0,1", "hydra.sweep.dir=file/sweep").message


@pytest.mark.parametrize(("name", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed_is_named_with_the_command(
    asked_for, tmp_path, monkeypatch, name, module
):
    monkeypatch.setitem(__import__("sys").modules, module, None)  # as if it were not there

    end = asked_for("seed=0,1", f"hydra/launcher={name}")

    assert f'pip install "gym-loop[{name}]"' in end.message
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_what_a_job_returns_reaches_the_sweeper_also_when_it_is_skipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    words = ["-m", AGENT, *SHORT, "agent.fate=a,raise", "hydra.sweep.dir=sweep"]

    results = []
    for _ in range(2):
        from gym_loop.sweeps.launcher import GridSweeper

        def sweep(self, arguments):
            jobs = [["agent.fate=a"], ["agent.fate=raise"]]
            common = [word for word in words[1:4] if "=" in word]
            results.append(
                self.launcher.launch([[*common, *job] for job in jobs], initial_job_idx=0)
            )

        monkeypatch.setattr(GridSweeper, "sweep", sweep)
        launch(words)

    for done, failed in results:
        assert done.return_value == results[0][0].return_value > 0
        with pytest.raises(Exception, match="no idea what to do"):
            _ = failed.return_value
