"""Sweeps on Slurm: who is where, whatever happens to launches, jobs, nodes and the accounting."""

import json
import os
import signal
import sys
from collections import Counter

import pytest

from gym_loop.mistake import Mistake
from gym_loop.sweeps import slurm as slurm_commands
from gym_loop.sweeps import submitted
from tests.conftest import rows
from tests.sweeps import fake_slurm
from tests.sweeps.conftest import AGENT, states, summary, wait_until

pytest.importorskip("submitit", reason='needs the extra: pip install "gym-loop[slurm]"')
pytestmark = pytest.mark.slow
LONG = "loop.max_episodes=100000000"


class Slurm:
    """A fake Slurm, and sweeps that are launched to it in the folder `sweep`."""

    def __init__(self, tmp_path, cli, start):
        self.folder, self.cli, self.popen = tmp_path / "slurm", cli, start
        self.env = fake_slurm.install(tmp_path)
        self.sweep = tmp_path / "sweep"

    def words(self, *words):
        fixed = [AGENT, "env=cartpole", "loop.eval_episodes=1", "hydra.sweep.dir=sweep"]
        fixed += [] if any("max_episodes" in word for word in words) else ["loop.max_episodes=3"]
        return ["-m", *fixed, "hydra/launcher=slurm", *words]

    def launch(self, *words):
        return self.run(*self.words(*words))

    def leave(self, *words):
        done = self.launch(*words, "hydra.launcher.wait=false")
        assert done.returncode == 0, done.stderr
        return done

    def run(self, *words):
        return self.cli(*words, environment=self.env)

    def start(self, *words):
        return self.popen(*self.words(*words), env={**os.environ, **self.env})

    def tasks(self):
        return fake_slurm.tasks(self.folder)

    def set(self, name, content=""):
        (self.folder / name).write_text(content)

    def clear(self, name):
        (self.folder / name).unlink()

    def submissions(self):
        """How often each job was submitted."""
        lines = [json.loads(line) for line in (self.sweep / "submitted.jsonl").open()]
        return Counter(name for line in lines for name in line.get("jobs", ()))

    def wait_for_episode(self, name):
        wait_until((self.sweep / name / "episodes.csv").exists)

    def shown(self):
        """State and node that `ls` shows of each job."""
        done = self.run("ls", "sweep", "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        return {os.path.basename(run["directory"]): (run["state"], run["node"]) for run in found}


@pytest.fixture
def slurm(tmp_path, cli, start):
    made = Slurm(tmp_path, cli, start)
    yield made
    fake_slurm.end_all(made.folder)


def test_a_launch_leaves_and_wait_ends_with_the_table(slurm):
    slurm.set("hold")
    done = slurm.leave("seed=0,1")
    assert "gym-loop wait sweep" in done.stdout
    assert slurm.shown() == {"seed=0": ("pending", ""), "seed=1": ("pending", "")}

    slurm.clear("hold")
    done = slurm.run("wait", "sweep")

    assert done.returncode == 0, done.stderr
    assert summary(done) == "2 jobs: 2 done, 0 skipped, 0 failed"


def test_wait_ends_with_1_where_a_job_has_failed(slurm):
    slurm.leave("agent.fate=none,raise")
    done = slurm.run("wait", "sweep")
    assert done.returncode == 1
    assert "no idea what to do" in done.stdout


def test_a_second_launch_submits_only_what_no_one_has(slurm):
    slurm.set("hold")
    slurm.leave("seed=0,1", "agent.pause=0.1")
    listed = slurm.launch("seed=0,1", "agent.pause=0.1", "hydra.launcher.dry_run=true").stdout
    assert listed.splitlines() == ["pending  seed=0", "pending  seed=1"]
    slurm.leave("seed=0,1,2", "agent.pause=0.1")
    slurm.clear("hold")
    done = slurm.run("resume", "sweep", "hydra.launcher.wait=true")

    assert done.returncode == 0, done.stderr
    assert "0 failed" in done.stdout
    assert set(states(slurm.sweep).values()) == {"finished"}
    assert set(slurm.submissions().values()) == {1}
    assert len(slurm.tasks()) == 3
    runs = [json.loads(path.read_text()) for path in slurm.sweep.glob("*/run.json")]
    assert [run["launches"] for run in runs] == [1, 1, 1]


def test_two_launches_at_once_submit_each_job_once(slurm):
    slurm.set("hold")
    both = [slurm.start("seed=range(6)") for _ in range(2)]
    wait_until(lambda: len(slurm.tasks()) >= 6)
    slurm.clear("hold")
    said = [process.communicate() for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert set(slurm.submissions().values()) == {1}
    assert len(slurm.tasks()) == 6


def test_the_pool_leaves_to_slurm_what_slurm_has(slurm):
    slurm.set("hold")
    slurm.leave("seed=choice(0)")
    done = slurm.launch("seed=0,1", "hydra/launcher=pool")
    assert "1 done, 0 skipped, 0 failed, 1 running elsewhere" in done.stdout
    assert states(slurm.sweep) == {"seed=1": "finished"}


def test_ctrl_c_of_a_waiting_launch_cancels_nothing_and_says_so(slurm):
    process = slurm.start("seed=0,1", LONG)
    slurm.wait_for_episode("seed=0")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "nothing is cancelled" in err
    assert "gym-loop cancel sweep" in err
    assert slurm.shown()["seed=0"] == ("running", fake_slurm.NODE)
    assert {task["state"] for task in slurm.tasks().values()} <= {"RUNNING", "PENDING"}


def test_cancel_stops_with_a_checkpoint_and_takes_back_what_waits(slurm):
    slurm.leave("seed=choice(0)", LONG)
    slurm.wait_for_episode("seed=0")
    slurm.set("hold")
    slurm.leave("seed=0,1,2", LONG)

    done = slurm.run("cancel", "sweep", "seed=1")
    assert "1 job: 0 done, 0 skipped, 0 failed, 1 stopped" in done.stdout
    assert slurm.shown()["seed=1"] == ("stopped", "")
    done = slurm.run("cancel", "sweep")

    assert "2 jobs: 0 done, 0 skipped, 0 failed, 2 stopped" in done.stdout
    run = json.loads((slurm.sweep / "seed=0/run.json").read_text())
    saved = (slurm.sweep / "seed=0/checkpoints/latest/state.json").read_text()
    assert json.loads(saved.split("\n", 1)[1])["episodes"] == run["episodes"] > 0
    assert not (slurm.sweep / "seed=1").exists()


def test_a_preempted_job_is_requeued_and_goes_on_exactly(slurm, sweep, tmp_path):
    slurm.leave("seed=0,1", "loop.max_episodes=20", "agent.pause=0.2")
    slurm.wait_for_episode("seed=0")
    slurm.set("hold")
    pid = json.loads((slurm.sweep / "seed=0/run.json").read_text())["pid"]
    os.kill(pid, signal.SIGUSR2)
    wait_until(
        lambda: [n for n, t in slurm.tasks().items() if t["state"] == "PENDING" and "_0" in n]
    )

    assert slurm.shown()["seed=0"] == ("pending", "")
    slurm.leave("seed=0,1", "loop.max_episodes=20", "agent.pause=0.2")
    slurm.clear("hold")
    done = slurm.run("wait", "sweep")

    assert done.returncode == 0, done.stdout
    assert set(slurm.submissions().values()) == {1}
    assert json.loads((slurm.sweep / "seed=0/run.json").read_text())["launches"] == 2
    fixed = [AGENT, "env=cartpole", "loop.eval_episodes=1", "loop.max_episodes=20"]
    slurm.cli("-m", *fixed, "seed=0,1", "hydra.sweep.dir=undisturbed")
    for job in ("seed=0", "seed=1"):
        assert rows(slurm.sweep / job) == rows(tmp_path / "undisturbed" / job)


@pytest.mark.parametrize("accounting", [True, False])
def test_a_job_whose_node_fails_is_lost_and_submitted_again_once(slurm, accounting):
    slurm.leave("seed=0,1", LONG)
    slurm.wait_for_episode("seed=0")
    [name] = [name for name in slurm.tasks() if name.endswith("_0")]
    fake_slurm.end(name, "NODE_FAIL", slurm.folder)
    fake_slurm.forget(name, slurm.folder)
    if not accounting:
        slurm.set("no_accounting")
    assert slurm.shown()["seed=0"] == ("lost", "")

    slurm.leave("seed=0,1", LONG)
    slurm.leave("seed=0,1", LONG)

    assert slurm.submissions() == {"seed=0": 2, "seed=1": 1}
    wait_until(lambda: slurm.shown()["seed=0"] == ("running", fake_slurm.NODE))


def test_a_waiting_launch_submits_a_lost_job_again_and_no_second_time(slurm):
    process = slurm.start("seed=choice(0)", LONG)
    for times in (1, 2):
        [*_, name] = wait_until(lambda times=times: len(t := [*slurm.tasks()]) == times and t)
        wait_until(lambda name=name: slurm.tasks()[name]["state"] == "RUNNING")
        fake_slurm.end(name, "NODE_FAIL", slurm.folder)
    out, _ = process.communicate(timeout=120)

    assert process.returncode == 1
    assert f"lost: NODE_FAIL on {fake_slurm.NODE}" in out
    assert slurm.submissions() == {"seed=0": 2}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("TIMEOUT", "over its time limit"),
        ("OUT_OF_MEMORY", "out of memory"),
        ("CANCELLED by 0", "cancelled"),
    ],
)
def test_a_job_that_slurm_ends_is_told_with_the_reason_and_not_submitted_again(slurm, state, told):
    slurm.set("no_accounting")
    process = slurm.start("seed=choice(0)", LONG)
    slurm.wait_for_episode("seed=0")
    [name] = slurm.tasks()
    fake_slurm.end(name, state, slurm.folder)
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert told in out
    assert slurm.submissions() == {"seed=0": 1}


def test_an_array_is_cut_where_the_site_allows_no_larger_one(slurm):
    slurm.set("max_array_size", "3")
    done = slurm.launch("seed=range(7)", "loop.max_episodes=1")

    assert "7 done" in done.stdout, done.stderr
    calls = (slurm.folder / "calls").read_text().splitlines()
    assert sum(call.startswith("sbatch") for call in calls) == 3
    assert set(slurm.submissions().values()) == {1}


def test_configs_are_composed_array_by_array_and_one_refused_by_then_fails_alone(
    slurm, tmp_path, monkeypatch, capsys
):
    from gym_loop.launch import launch
    from gym_loop.sweeps.engines import SlurmLauncher

    slurm.set("hold")
    slurm.set("max_array_size", "3")
    packed, submit_part = SlurmLauncher.packed, SlurmLauncher.submit_part
    composed, seen = [], []

    def noting(self, job):
        config = packed(self, job)
        composed.append(job.name)
        return config

    def submitting(self, jobs, *rest):
        seen.append(len(composed))
        if len(seen) == 1:  # another's run, in the meantime
            done = slurm.run("env=cartpole", "loop.max_episodes=1", "hydra.run.dir='sweep/seed=5'")
            assert done.returncode == 0, done.stderr
        submit_part(self, jobs, *rest)

    monkeypatch.setattr(SlurmLauncher, "packed", noting)
    monkeypatch.setattr(SlurmLauncher, "submit_part", submitting)
    monkeypatch.chdir(tmp_path)
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        launch(slurm.words("seed=range(7)", "hydra.launcher.wait=false"))

    assert seen == [3, 5, 6]
    assert set(slurm.submissions()) == {f"seed={n}" for n in (0, 1, 2, 3, 4, 6)}
    said = capsys.readouterr().err
    assert "6 jobs submitted" in said
    assert "failed: seed=5: " in said
    assert "holds a run with" in said


def test_what_was_submitted_by_a_launch_that_was_killed_at_it_is_found_again(slurm):
    slurm.set("hold")
    slurm.leave("seed=0,1,2")
    record = slurm.sweep / "submitted.jsonl"
    first = record.read_text().splitlines()[0]
    record.write_text(f'{first}\n{{"submission": 0, "ids": ["10')  # a power cut, too

    slurm.leave("seed=0,1,2")

    assert len(slurm.tasks()) == 3
    assert slurm.shown()["seed=2"] == ("pending", "")


def test_nothing_is_submitted_while_slurm_cannot_be_asked(slurm):
    slurm.set("hold")
    slurm.leave("seed=choice(0)")
    slurm.set("down")
    done = slurm.launch("seed=0,1")

    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "Unable to contact slurm controller" in line
    assert len(slurm.tasks()) == 1
    assert "Unable to contact" in slurm.run("ls", "sweep").stderr


def test_a_slurm_that_does_not_answer_is_not_waited_for_without_an_end(tmp_path, monkeypatch):
    for name in ("squeue", "sacct", "scontrol", "scancel"):
        (tmp_path / name).write_text("#!/bin/sh\nexec sleep 1000\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm_commands, "PATIENCE", 0.1)
    job = submitted.Handed("slurm", "slurm", 0, "1000_0", "seed=0")
    assert slurm_commands.max_array_size() == slurm_commands.MAX_ARRAY_SIZE
    assert slurm_commands.ask_sacct(["1000"]) == {}
    with pytest.raises(Mistake, match=r"submitted to Slurm: squeue: no answer in 0\.1 seconds"):
        slurm_commands.where(tmp_path, {job})
    with pytest.raises(Mistake, match="scancel: no answer"):
        slurm_commands.cancel(tmp_path, [job])


def test_what_cannot_be_waited_for_is_one_line(slurm, tmp_path):
    slurm.launch("seed=choice(0)", "hydra/launcher=pool")
    (tmp_path / "notes").mkdir()
    for words, told in [
        (["wait", "sweep"], "no job of sweep was submitted"),
        (["wait", "notes"], "notes is not a sweep"),
        (["cancel", "nowhere"], "nowhere is not a sweep"),
    ]:
        done = slurm.run(*words)
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert told in line


def test_a_machine_without_slurm_is_told_before_anything_is_left(cli, tmp_path):
    bare = tmp_path / "bin"
    bare.mkdir()
    (bare / "python").symlink_to(sys.executable)
    words = ["-m", AGENT, "seed=0,1", "hydra/launcher=slurm", "hydra.sweep.dir=sweep"]
    done = cli(*words, environment={"PATH": str(bare)})

    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "no sbatch on this machine" in line
    assert not (tmp_path / "sweep").exists()


def test_submitits_local_cluster_goes_on_without_its_launch(cli, tmp_path):
    words = ["-m", AGENT, "env=cartpole", "loop.max_episodes=30", "agent.pause=0.1", "seed=0,1"]
    words += ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.sweep.dir=sweep"]
    assert cli(*words, "hydra.launcher.wait=false").returncode == 0
    assert cli(*words, "hydra.launcher.wait=false").returncode == 0
    done = cli("wait", "sweep")
    assert summary(done) == "2 jobs: 2 done, 0 skipped, 0 failed"
    runs = [json.loads(path.read_text()) for path in (tmp_path / "sweep").glob("*/run.json")]
    assert [run["launches"] for run in runs] == [1, 1]
