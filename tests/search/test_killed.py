"""Searches that are killed, and two launches into one search."""

import json
import os
import random
import signal
import time

import pytest

pytest.importorskip("optuna", reason="needs the extra search")

from optuna.trial import TrialState

from gym_loop.search.study import is_paused
from tests.search.conftest import X, runs, study, words
from tests.search.test_search import last
from tests.sweeps.conftest import processes, wait_until

RANDOM = "hydra.sweeper.sampler=random"  # a trial's parameters depend on its number alone


def tables(folder):
    """The rows of each job's two tables but for the seconds, by the job's name."""
    return {
        path.parent.name: [
            [line.rpartition(",")[0] for line in (path.parent / name).read_text().splitlines()]
            for name in ("episodes.csv", "evaluations.csv")
        ]
        for path in sorted(folder.glob("*/episodes.csv"))
    }


def jobs_of(folder):
    """The ids of the processes that run the search's jobs."""
    found = []
    for path in folder.glob("search/*/run.json"):
        known = json.loads(path.read_text())
        if known["state"] == "running" and os.path.exists(f"/proc/{known['pid']}"):
            found.append(known["pid"])
    return found


@pytest.mark.long
def test_a_search_that_is_killed_ten_times_ends_with_all_its_trials_and_exact_rows(
    search, start, tmp_path
):
    rng, dice = random.Random(0), ["launcher", "job", "both"]
    more = (X, RANDOM, "agent.pause=0.03", "hydra.sweeper.n_trials=30")
    kills = 0
    process = start(*words(*more))
    while kills < 10:
        before = len(list(tmp_path.glob("search/*/episodes.csv")))
        begun = time.monotonic()
        wait_until(
            lambda before=before, process=process, begun=begun: (
                (
                    jobs_of(tmp_path)
                    and (
                        len(list(tmp_path.glob("search/*/episodes.csv"))) > before + 2
                        or time.monotonic() > begun + 3
                    )
                )
                or process.poll() is not None
            ),
            seconds=120,
        )
        assert process.poll() is None, "the search ended before it had been killed ten times"
        what = dice[kills % 3]
        for pid in jobs_of(tmp_path)[:1] if what != "launcher" else ():
            if rng.random() < 0.9:
                os.kill(pid, signal.SIGKILL)
        kills += 1
        if what != "job":
            process.send_signal(signal.SIGKILL)
            process.wait()
            wait_until(lambda: not processes(tmp_path))
            process = start(*words(*more))
    process.communicate()
    result = search(*more)

    assert result.returncode == 0, result.stderr
    trials = study(tmp_path / "search").trials
    assert [trial.number for trial in trials] == list(range(30))
    assert all(t.state is TrialState.COMPLETE or is_paused(t) for t in trials)
    undisturbed = search(*more, "hydra.sweep.dir=other")
    assert last(undisturbed).startswith(tuple("123456789"))
    one, two = tables(tmp_path / "search"), tables(tmp_path / "other")
    assert one.keys() == two.keys()
    assert len(one) == 60
    for name, own in one.items():
        for rows, others in zip(own, two[name], strict=True):
            shorter = min(len(rows), len(others))  # who is promoted depends on the order
            assert shorter > 1
            assert rows[:shorter] == others[:shorter], name


@pytest.mark.slow
def test_two_launches_into_one_search_share_its_trials(start, tmp_path):
    more = (X, "agent.pause=0.02", "hydra.sweeper.n_trials=10")
    launches = [start(*words(*more)) for _ in range(2)]
    said = [launch.communicate(timeout=300) for launch in launches]

    assert [launch.returncode for launch in launches] == [0, 0], said
    trials = study(tmp_path / "search").trials
    assert len(trials) == 10
    assert all(t.state is TrialState.COMPLETE or is_paused(t) for t in trials)
    found = runs(tmp_path / "search")
    assert len(found) == 20
    for name, run in found.items():
        rows = (tmp_path / "search" / name / "episodes.csv").read_text().splitlines()[1:]
        assert [int(row.partition(",")[0]) for row in rows] == list(range(run["episodes"]))
        assert run["episodes"] in (2, 6, 8)
        rungs = {2: 1, 6: 2, 8: 3}[run["episodes"]]
        assert run["launches"] <= rungs, f"{name} was started more often than it was promoted"
