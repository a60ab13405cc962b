"""The jobs of a study's trials: what is said of them while they run."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest

pytest.importorskip("optuna", reason="needs the extra search")

from gym_loop.search import best, jobs
from gym_loop.search.study import OVERRIDES
from gym_loop.search.trials import Standing, TrialTable
from gym_loop.sweeps.directory import Job


def test_the_line_on_a_search_tells_trials_from_jobs(tmp_path, capsys):
    standing = Standing(Counter(paused=2, running=1))
    table = TrialTable(12, SimpleNamespace(standing=standing))
    table.due = 0.0
    table.show([Job(f"seed={n}", [], n, tmp_path / f"seed={n}") for n in (0, 1)])
    line = capsys.readouterr().err
    assert line.startswith("12 trials: 2 paused, 1 running, 2 jobs running, ")


def test_the_jobs_of_a_confirmation_are_shown_by_what_they_play(tmp_path):
    started = []

    def execute(missing, skipped, total):
        started.extend(job.label for job in missing)
        for job in missing:
            job.state = "finished"
        return 0

    def make(number, words, seed):
        return Job(f"{words},seed={seed}", words, number, tmp_path / f"{number}"), None

    launcher = SimpleNamespace(directory=tmp_path, execute=execute)
    finalist = SimpleNamespace(number=12, user_attrs={OVERRIDES: ["agent.x=1"]})
    best.confirm(launcher, make, [finalist], [2, 3])
    assert started == [f"{who}, seed {n}" for who in ("trial 12", "defaults") for n in (2, 3)]


@pytest.mark.parametrize("edited", [{"steps": "a"}, {"config": [1]}, {"config": {"loop": "a"}}])
def test_a_job_whose_run_json_was_edited_has_come_nowhere(tmp_path, edited):
    known = {"state": "stopped", "steps": 4, "config": {"loop": {"eval_episodes": 2}}}
    (tmp_path / "run.json").write_text(json.dumps(known))
    assert jobs.progress(tmp_path, "evaluation").steps == 4
    (tmp_path / "run.json").write_text(json.dumps(known | edited))
    assert jobs.progress(tmp_path, "evaluation") == jobs.Progress()
