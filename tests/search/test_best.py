"""The best trials: confirmed, reported, and left as a run config."""

import pytest

optuna = pytest.importorskip("optuna", reason="needs the extra search")

from gym_loop.search.report import binned  # noqa: E402
from tests.search.conftest import THINGS, X, runs  # noqa: E402


@pytest.mark.slow
def test_the_best_are_confirmed_with_fresh_seeds_and_left_as_a_run_config(search, cli, tmp_path):
    pytest.importorskip("scipy", reason="needs the extra report")
    points = "hydra.sweeper.enqueue=[{agent.x: 0.3},{agent.x: 0.6},{agent.x: 0.0}]"
    words = (X, points, "hydra.sweeper.pruner=none", "hydra.sweeper.n_trials=3")
    result = search(*words, "hydra.sweeper.confirm=4")

    assert result.returncode == 0, result.stderr
    confirmed = runs(tmp_path / "search/confirm")
    assert len(confirmed) == 4 * 4
    assert {run["seed"] for run in confirmed.values()} == {2, 3, 4, 5}
    assert sorted(name for name in confirmed if name.startswith("seed=")) == [
        f"seed={seed}" for seed in (2, 3, 4, 5)
    ]
    assert all(run["config"]["agent"]["x"] == 0.9 for n, run in confirmed.items() if n[0] == "s")

    assert cli("train", "-c", "search/best.yaml", "hydra.run.dir=again").returncode == 0
    again = runs(tmp_path)["again"]
    assert again["config"]["agent"]["x"] == 0.3
    assert again["result"] == runs(tmp_path / "search")["agent.x=0.3,seed=0"]["result"]

    report = cli("report", "search")
    assert report.returncode == 0, report.stderr
    assert "3 trials: 3 complete" in report.stdout
    assert "agent.x = 0.3" in report.stdout
    assert "fresh seeds; the agent's defaults are x=0.9:" in report.stdout
    [line] = [line for line in report.stdout.splitlines() if line.startswith("x=0.3  ")]
    assert line.split()[1] == "4"  # seeds
    listed = cli("ls", "search")
    assert len(listed.stdout.splitlines()) == 4

    before = {path: path.read_bytes() for path in tmp_path.glob("search/**/*.csv")}
    repeated = search(*words, "hydra.sweeper.confirm=5")
    assert "20 jobs: 4 done, 16 skipped" in repeated.stdout
    assert all(path.read_bytes() == data for path, data in before.items())


@pytest.mark.slow
def test_the_config_of_the_best_does_not_depend_on_where_one_is(search, cli, tmp_path):
    assert search(X, "hydra.sweeper.pruner=none", "hydra.sweeper.n_trials=1").returncode == 0
    (tmp_path / "elsewhere").mkdir()
    done = cli("train", "-c", "../search/best.yaml", "--cfg", "job", cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    assert THINGS[0].partition("=")[2] in done.stdout
    assert "pause" not in done.stdout.replace("pause: 0.0", "")


def test_parts_of_a_range_are_equal_on_its_own_scale():
    log = optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
    assert binned(log, [(2e-4, 1.0), (0.5, 2.0), (1.0, 3.0)]) == [
        ("0.0001 to 0.001", [1.0]),
        ("0.1 to 1", [2.0, 3.0]),
    ]
    choice = optuna.distributions.CategoricalDistribution([64, "[8]", 32])
    assert binned(choice, [("[8]", 1.0), (64, 2.0), (64, 3.0)]) == [
        ("64", [2.0, 3.0]),
        ("[8]", [1.0]),
    ]
