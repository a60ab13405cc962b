"""The jobs of a study's trials: what is said of them while they run."""

from collections import Counter
from types import SimpleNamespace

import pytest

pytest.importorskip("optuna", reason="needs the extra search")

from gym_loop.search.trials import Standing, TrialTable
from gym_loop.sweeps.directory import Job


def test_the_line_on_a_search_tells_trials_from_jobs(tmp_path, capsys):
    standing = Standing(Counter(paused=2, running=1))
    table = TrialTable(12, SimpleNamespace(standing=standing))
    table.due = 0.0
    table.show([Job(f"seed={n}", [], n, tmp_path / f"seed={n}") for n in (0, 1)])
    line = capsys.readouterr().err
    assert line.startswith("12 trials: 2 paused, 1 running, 2 jobs running, ")
