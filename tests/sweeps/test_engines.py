"""Sweeps on engines, through the same directory."""

import json
import os
import signal

import pytest

from tests.conftest import rows
from tests.sweeps.conftest import AGENT, SHORT, states, wait_until


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_preempted_job_is_requeued_and_ends_as_an_undisturbed_one(start, sweep, tmp_path, number):
    pytest.importorskip("submitit", reason='needs the extra: pip install "gym-loop[slurm]"')
    words = ["seed=0,1", "loop.max_episodes=20"]
    slurm = ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.sweep.dir=preempted"]
    process = start("-m", AGENT, *SHORT, *words, "agent.pause=0.2", *slurm)
    job = tmp_path / "preempted" / "seed=0"
    wait_until((job / "episodes.csv").exists)

    os.kill(json.loads((job / "run.json").read_text())["pid"], number)

    out, _ = process.communicate()
    assert process.returncode == 0, out
    assert "2 done" in out
    assert json.loads((job / "run.json").read_text())["launches"] == 2
    sweep(*words)
    for name in states(tmp_path / "sweep"):
        assert rows(tmp_path / "preempted" / name) == rows(tmp_path / "sweep" / name)


@pytest.mark.slow
def test_ray_starts_a_killed_job_again_and_one_that_always_dies_costs_only_itself(cli, tmp_path):
    pytest.importorskip("ray", reason='needs the extra: pip install "gym-loop[ray]"')
    ray = ["hydra/launcher=ray", "hydra.launcher.init.address=null", "hydra.sweep.dir=sweep"]
    retries = "hydra.launcher.remote.max_retries=1"

    result = cli("-m", AGENT, *SHORT, "agent.fate=a,kill,raise", *ray, retries)

    assert result.returncode == 1
    assert "3 jobs: 1 done, 0 skipped, 2 failed" in result.stdout
    assert "WorkerCrashedError" in result.stdout
    assert "no idea what to do" in result.stdout
    killed = json.loads((tmp_path / "sweep/agent.fate=kill/run.json").read_text())
    assert killed["launches"] == 2


@pytest.fixture
def cluster(monkeypatch):
    """A Ray cluster of two nodes on this machine, each for one job at a time; its address."""
    pytest.importorskip("ray", reason='needs the extra: pip install "gym-loop[ray]"')
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.mark.slow
def test_a_ray_cluster_keeps_jobs_when_the_launch_has_left(cli, start, cluster, tmp_path):
    ray = ["hydra/launcher=ray", f"hydra.launcher.init.address={cluster.address}"]
    long = ["loop.max_episodes=100000000", "loop.eval_episodes=1", "seed=range(3)"]
    words = ["-m", AGENT, "env=cartpole", "agent.pause=0.1", *long, *ray, "hydra.sweep.dir=sweep"]
    waiting = start(*words)
    playing = wait_until(
        lambda: len(p := list(tmp_path.glob("sweep/*/episodes.csv"))) == 2 and p, 150
    )
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert "nothing is cancelled" in err

    again = cli(*words, "hydra.launcher.wait=false")
    assert "0 jobs submitted, 3 waiting or running already" in again.stderr, again.stderr
    listed = json.loads(cli("ls", "sweep", "--json").stdout)
    assert sorted(run["state"] for run in listed) == ["pending", "running", "running"]
    assert {run["node"] != "" for run in listed if run["state"] == "running"} == {True}

    done = cli("cancel", "sweep")
    assert "3 jobs: 0 done, 0 skipped, 0 failed, 3 stopped" in done.stdout, done.stdout
    for path in playing:
        run = json.loads((path.parent / "run.json").read_text())
        saved = (path.parent / "checkpoints/latest/state.json").read_text()
        assert json.loads(saved.split("\n", 1)[1])["episodes"] == run["episodes"] > 0
        assert run["launches"] == 1


@pytest.mark.slow
def test_a_job_whose_ray_node_is_lost_goes_on_on_another(start, cluster, tmp_path):
    ray = ["hydra/launcher=ray", f"hydra.launcher.init.address={cluster.address}"]
    words = ["-m", AGENT, "env=cartpole", "agent.pause=0.1", "loop.max_episodes=150", "seed=0,1"]
    process = start(*words, "loop.eval_episodes=1", *ray, "hydra.sweep.dir=sweep")
    wait_until(lambda: len(list(tmp_path.glob("sweep/*/episodes.csv"))) == 2, 150)

    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)

    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert "2 done" in out
    launches = [json.loads(p.read_text())["launches"] for p in tmp_path.glob("sweep/*/run.json")]
    assert sorted(launches) == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["pool", "slurm"])
def test_jobs_are_taken_as_they_come(launcher, tmp_path, monkeypatch):
    from gym_loop.launch import launch
    from gym_loop.sweeps.engines import SlurmLauncher
    from gym_loop.sweeps.pool import PoolLauncher

    if launcher == "slurm":
        pytest.importorskip("submitit", reason='needs the extra: pip install "gym-loop[slurm]"')
    kind = {"pool": PoolLauncher, "slurm": SlurmLauncher}[launcher]
    execute, asked = kind.execute, []

    def fed(self, jobs, skipped, total):
        def source():
            first, second = jobs
            yield first
            while first.state != "finished":
                asked.append(first.state)
                yield None
            yield second

        return execute(self, source(), skipped, total)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kind, "execute", fed)
    words = ["-m", AGENT, *SHORT, "seed=0,1", f"hydra/launcher={launcher}", "hydra.sweep.dir=s"]
    launch([*words, "hydra.launcher.cluster=local"] if launcher == "slurm" else words)

    first, second = (json.loads((tmp_path / f"s/seed={n}/run.json").read_text()) for n in (0, 1))
    assert asked
    assert second["state"] == "finished"
    assert second["start"] >= first["end"]
