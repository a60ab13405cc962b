"""What is shown of a sweep."""

import io
from pathlib import Path

import pytest

from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.table import Table, progress, summary, time_left

HEADER = "episode,steps,length,return,terminated,truncated,seed,seconds\n"


@pytest.fixture
def job(tmp_path):
    return Job("seed=3", [], 0, tmp_path, episodes=10)


def test_a_running_job_is_known_by_the_end_of_its_table(job, tmp_path):
    table = tmp_path / "episodes.csv"
    assert progress(job) == ("0/10", "", "")
    table.write_text(HEADER)
    assert progress(job) == ("0/10", "", "")
    table.write_text(HEADER + "0,20,20,20.0,1,0,7,30.0\n1,50,30,12.5,1,0,7,60.0\n2,70,2")
    assert progress(job) == ("2/10", "16.25", "4m00s")


def test_only_the_end_of_a_long_table_is_read(job, tmp_path, monkeypatch):
    table = tmp_path / "episodes.csv"
    table.write_text(HEADER + "".join(f"{n},1,1,{n}.0,1,0,1,1.0\n" for n in range(50_000)))

    monkeypatch.setattr("gym_loop.runs.tables.lines", None)
    assert progress(job)[:2] == ("50000/10", "49949.5")


def test_the_time_left_is_known_before_the_first_job_has_ended(job, tmp_path):
    table = Table(3)
    table.counts["skipped"] = 1
    assert table.left([job], table.began + 60) == "?"
    (tmp_path / "episodes.csv").write_text(
        HEADER + "".join(f"{n},1,1,1,1,0,1,1\n" for n in range(5))
    )
    assert table.left([job], table.began + 60) == "3m00s"
    table.counts["finished"] = 1
    assert table.left([job], table.began + 60) == "20s"


def test_the_live_table_of_a_thousand_jobs_fits_the_terminal(tmp_path):
    from rich.console import Console

    console = Console(width=80, height=24, file=io.StringIO(), force_terminal=True)
    table = Table(1000)
    table.live = type("Live", (), {"console": console})
    jobs = [Job(f"seed={n}", [], n, tmp_path / str(n)) for n in range(1000)]
    jobs[1].label = "trial 7, seed 3"

    lines = console.render_lines(table.render(jobs, table.began + 1))

    text = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert len(lines) <= 24
    assert "seed=0" in text
    assert "trial 7, seed 3" in text and "seed=1 " not in text
    assert "more" in text
    assert "0 of 1000 jobs" in text


def test_the_summary_counts_and_says_why(tmp_path):
    jobs = [Job(f"seed={n}", [], n, Path(f"s/seed={n}"), log=Path(f"s/{n}.log")) for n in range(4)]
    for job, state in zip(jobs, ("finished", "skipped", "failed", "new"), strict=True):
        job.state = state
    jobs[2].reason = "killed by SIGKILL"

    assert summary(Path("s"), jobs).splitlines() == [
        "s: 4 jobs: 1 done, 1 skipped, 1 failed, 1 not started",
        "failed  seed=2  killed by SIGKILL  s/2.log",
    ]


def test_a_single_job_is_no_plural():
    job = Job("seed=1", [], 0, Path("s/seed=1"), state="finished")

    assert summary(Path("s"), [job]) == "s: 1 job: 1 done, 0 skipped, 0 failed"


def test_on_a_narrow_terminal_a_log_has_a_line_of_its_own(monkeypatch):
    job = Job("seed=1", [], 0, Path("s"), state="failed", reason="r" * 70, log=Path("s/1.log"))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    assert summary(Path("s"), [job]).splitlines()[1:] == [
        f"failed  seed=1  {'r' * 70}",
        "  log: s/1.log",
    ]


def test_time_left():
    assert time_left(10, 0, 5) == "?"
    assert time_left(10, 1, 5) == "40s"
    assert time_left(3600, 1, 3) == "2h00m"
