"""Searches whose jobs Slurm or a Ray cluster runs."""

import json
import os
import signal
from collections import Counter

import pytest

pytest.importorskip("optuna", reason="needs the extra search")

from tests.search.conftest import SHORT, THINGS, X, runs, study
from tests.sweeps import fake_slurm
from tests.sweeps.conftest import wait_until
from tests.sweeps.test_engines import cluster  # noqa: F401

pytestmark = pytest.mark.slow


def words(*more):
    fixed = [*THINGS, *SHORT, X, "hydra/sweeper=search", "hydra.sweep.dir=search"]
    return ["-m", *fixed, "hydra.sweeper.seeds=2", "hydra.launcher.n_jobs=3", *more]


def check(folder, n_trials):
    """All trials are there, each with all of its jobs, and none was played twice."""
    trials = study(folder).trials
    assert len(trials) == n_trials
    found = runs(folder)
    assert len(found) == 2 * n_trials
    for name, run in found.items():
        played = (folder / name / "episodes.csv").read_text().splitlines()[1:]
        numbers = [int(line.partition(",")[0]) for line in played]
        assert numbers == list(range(run["episodes"])), name
    return found


@pytest.fixture
def slurm(tmp_path):
    pytest.importorskip("submitit", reason='needs the extra: pip install "gym-loop[slurm]"')
    environment = fake_slurm.install(tmp_path)
    yield environment
    fake_slurm.end_all(tmp_path / "slurm")


def submissions(folder):
    """How often each job was submitted."""
    lines = [json.loads(line) for line in (folder / "submitted.jsonl").open()]
    return Counter(name for line in lines for name in line.get("jobs", ()))


def test_slurm_gets_the_jobs_of_a_search_as_others_end(cli, slurm, tmp_path):
    more = ["hydra/launcher=slurm", "hydra.sweeper.n_trials=5"]
    done = cli(*words(*more), environment=slurm)
    assert done.returncode == 0, done.stderr
    found = check(tmp_path / "search", 5)
    states = Counter(run["ended_by"] for run in found.values())
    assert states["paused"] >= 2
    assert states["max_episodes"] >= 2
    # A promoted job is submitted once for each stretch that it plays.
    asked = submissions(tmp_path / "search")
    assert {name: run["launches"] for name, run in found.items()} == asked


def test_a_search_on_slurm_whose_launch_was_killed_follows_the_jobs_that_are_there(
    cli, start, slurm, tmp_path
):
    more = ["hydra/launcher=slurm", "hydra.sweeper.n_trials=3", "hydra.sweeper.pruner=none"]
    pause = "agent.pause=0.3"
    process = start(*words(*more, pause), env={**os.environ, **slurm})
    wait_until(lambda: len(list((tmp_path / "search").glob("*/episodes.csv"))) >= 2, 90)
    process.send_signal(signal.SIGKILL)
    process.wait()

    done = cli(*words(*more, pause), environment=slurm)

    assert done.returncode == 0, done.stderr
    found = check(tmp_path / "search", 3)
    assert {run["launches"] for run in found.values()} == {1}
    assert set(submissions(tmp_path / "search").values()) == {1}


def test_jobs_of_a_search_that_a_launch_has_left_can_be_cancelled(cli, start, slurm, tmp_path):
    more = ["hydra/launcher=slurm", "hydra.sweeper.n_trials=3", "hydra.sweeper.pruner=none"]
    process = start(*words(*more, "agent.pause=2"), env={**os.environ, **slurm})
    wait_until(lambda: len(list((tmp_path / "search").glob("*/episodes.csv"))) >= 2, 90)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nothing is cancelled" in err

    listed = json.loads(cli("ls", "search", "--json", environment=slurm).stdout)
    assert {run["state"] for run in listed} == {"running"}
    done = cli("cancel", "search", environment=slurm)

    assert "3 jobs: 0 done" in done.stdout, done.stdout + done.stderr
    listed = json.loads(cli("ls", "search", "--json", environment=slurm).stdout)
    assert "running" not in {run["state"] for run in listed}


def test_two_launches_into_one_search_on_two_ray_nodes_keep_the_total(
    start,
    cluster,  # noqa: F811
    tmp_path,
):
    more = ["hydra/launcher=ray", f"hydra.launcher.init.address={cluster.address}"]
    more += ["hydra.sweeper.n_trials=6", "agent.pause=0.02"]
    launches = [start(*words(*more)) for _ in range(2)]
    for launch in launches:
        out, err = launch.communicate(timeout=500)
        assert launch.returncode == 0, out + err
    found = check(tmp_path / "search", 6)
    asked = submissions(tmp_path / "search")
    assert {name: run["launches"] for name, run in found.items()} == asked
    assert {run["state"] for run in found.values()} == {"stopped", "finished"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "needs hydra.launcher.n_jobs=8"),
        (["hydra.launcher.wait=false"], "a search asks for jobs as others end"),
        (["hydra.launcher.n_jobs=0"], "expected at least 1"),
        (["hydra.launcher.n_jobs=2", "hydra.launcher.wait=false"], "submits all jobs at once"),
    ],
)
def test_what_an_engine_needs_for_a_search_is_said_in_one_line(cli, slurm, tmp_path, more, said):
    given = [word for word in words("hydra/launcher=slurm") if "n_jobs" not in word]
    done = cli(*given, *more, environment=slurm)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "search").exists()
