"""loop.num_workers: results are the same with any number; what ends a worker, and what it ends."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from gym_loop.launch import parts
from gym_loop.machine import process_exists
from gym_loop.mistake import Failure, Mistake
from gym_loop.runs import compare
from gym_loop.vector import placing, workers
from gym_loop.vector.copies import Copies
from tests import worker_envs
from tests.conftest import rows

ENVS = str(Path(__file__).parents[1] / "worker_envs.py")
AGENTS = str(Path(__file__).parents[1] / "vector_agents.py")
VECTOR = ("agent=random", "loop=vector", "loop.num_envs=5", "loop.episodes_per_round=15")
LIMITS = ("loop.max_episodes=45", "loop.eval_episodes=2", "loop.info_keys=[played,far]")


@pytest.fixture
def moved(tmp_path, monkeypatch):
    """Put copies of an environment into workers, which are gone when the test ends.

    Some environments write into the directory that they are in.
    """
    monkeypatch.chdir(tmp_path)
    made = []

    def move(kind, count, **arguments):
        made.append(workers.Workers(Copies([kind(**arguments) for _ in range(3)]), count))
        return made[-1]

    yield move
    for each in made:
        each.close()


def children(of):
    """Return the ids of the processes that a process has started."""
    found = subprocess.run(["pgrep", "-P", str(of)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def wait_for(what, seconds=60.0):
    limit = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Walk", "Rebuilt"])
def test_the_result_is_the_same_with_any_number_of_workers(kind, alone):
    one, *others = [
        alone(f"env={ENVS}:{kind}", *VECTOR, *LIMITS, f"loop.num_workers={n}", directory=f"n{n}")
        for n in (0, 1, 2, 7)
    ]
    assert {row["played"] for row in rows(one)} > {"1.0", "4.0"}  # it is kept across episodes
    for other in others:
        assert not list(compare.differences(one, other))


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrapped",
    [("env=cartpole", "wrap=[time_limit,clip_reward]"), ("env=cartpole", "agent=file")],
)
def test_wrappers_and_learners_have_the_same_result_in_workers(wrapped, alone):
    words = [f"agent={AGENTS}:Learner" if word == "agent=file" else word for word in wrapped]
    words += ["env.wrappers.time_limit.max_episode_steps=30"] if "wrap" in wrapped[1] else []
    one, other = [
        alone(*VECTOR, *words, *LIMITS[:2], f"loop.num_workers={n}", directory=f"n{n}")
        for n in (0, 2)
    ]
    assert not list(compare.differences(one, other))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Walk", "Rebuilt"])
def test_a_killed_run_goes_on_with_another_number_of_workers(kind, alone, start, cli, tmp_path):
    words = (f"env={ENVS}:{kind}", *VECTOR, "loop.max_episodes=150", "loop.eval_episodes=1")
    words = (*words, "loop.time_per_checkpoint=0", "env.pause=0.003")
    untouched = alone(*words, "loop.num_workers=0", directory="untouched")
    process = start(*words, "loop.num_workers=2", "hydra.run.dir=killed")
    wait_for((tmp_path / "killed" / "checkpoints" / "latest").exists)
    own = children(process.pid)
    assert len(own) == 1  # the run's own process steps the other share
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(process_exists, own)))
    done = cli("resume", "killed", "loop.num_workers=3")
    assert done.returncode == 0, done.stderr
    assert "continuing from episode" in done.stdout + done.stderr
    assert not list(compare.differences(untouched, tmp_path / "killed"))


@pytest.mark.slow
def test_ctrl_c_stops_a_run_with_workers_in_order(start, cli, tmp_path):
    words = (f"env={ENVS}:Walk", *VECTOR, "loop.max_episodes=null", "env.pause=0.001")
    process = start(*words, "loop.num_workers=2", "hydra.run.dir=run", start_new_session=True)
    wait_for((tmp_path / "run" / "episodes.csv").exists)
    own = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "continue with: gym-loop resume run" in out
    assert not any(map(process_exists, own))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", "ArithmeticError: no ground below"),
        ("panic", "Panic: no ground below"),
        ("kill", "worker 1 of 2, with environments 0 to 1, was killed by SIGKILL"),
    ],
)
def test_a_run_ends_with_the_reason_of_its_worker(how, said, cli, tmp_path):
    done = cli(f"env={ENVS}:Breaks", *VECTOR, f"env.how={how}", "loop.num_workers=3")
    assert done.returncode == 1
    assert said in done.stderr
    assert "gym_loop/vector" not in done.stderr  # of the user's own code alone
    assert how == "kill" or "worker_envs.py" in done.stderr
    if how != "kill":
        assert (tmp_path / "closed_in_workers").read_text().count(
            "closed"
        ) == 8  # copies on trial, too


@pytest.fixture
def servers(tmp_path):
    """Return a function that names the processes of `Forks` that are there; end them afterwards."""

    def running():
        return [int(file.stem) for file in tmp_path.glob("*.server") if alive(int(file.stem))]

    yield running
    for each in running():
        os.kill(each, signal.SIGKILL)


def alive(process):
    """Return whether a process is there that has not ended, as one has that nobody waits for."""
    shown = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip()[:1] not in ("", "Z")


@pytest.mark.slow
def test_a_killed_worker_is_noticed_though_what_it_forked_lives_on(moved, servers, tmp_path):
    env = moved(worker_envs.Forks, 2)
    env.start([1, 2, 3])
    forked = servers()
    assert len(forked) >= 3
    env.processes[0].kill()
    with pytest.raises(Failure, match="was killed by SIGKILL"):
        env.step(np.zeros(3, int))
    assert servers() == forked


@pytest.mark.slow
def test_workers_of_a_killed_run_end_though_what_it_forked_lives_on(start, servers, tmp_path):
    words = (f"env={ENVS}:Forks", *VECTOR, "loop.max_episodes=null", "env.pause=0.001")
    process = start(*words, "loop.num_workers=2", "hydra.run.dir=run")
    wait_for((tmp_path / "run" / "episodes.csv").exists)
    own = {*children(process.pid)} - {*servers()}
    assert len(own) == 1
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(alive, own)), seconds=10)
    assert servers()


@pytest.mark.slow
def test_a_run_waits_for_what_workers_write_as_they_close(moved, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS_TO_END", 0.0)
    env = moved(worker_envs.Closes, 3, seconds=0.5)
    env.start([1, 2, 3])
    env.start([4, 5, 6])
    env.close()
    assert (tmp_path / "closed_in_workers").read_text() == "closed\n" * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fails", "said"),
    [(True, "no room on the disk"), (False, "worker 1 of 1, .* has not closed them within 0.1 s")],
)
def test_a_worker_that_cannot_close_its_environments_is_a_failure(moved, monkeypatch, fails, said):
    monkeypatch.setattr(workers, "SECONDS_TO_CLOSE", 0.1)
    monkeypatch.setattr(workers, "SECONDS_TO_END", 0.1)
    env = moved(worker_envs.Closes, 2, seconds=0.0 if fails else 60.0, fails=fails)
    env.start([1, 2, 3])
    env.start([4, 5, 6])
    [worker] = env.processes
    with pytest.raises(Failure, match=said):
        env.close()
    assert worker.returncode is not None


@pytest.mark.slow
def test_what_pickles_of_an_info_comes_from_a_worker(moved):
    env = moved(worker_envs.Tells, 2)
    env.start([1, 2, 3])
    env.step(np.zeros(3, int))
    for row in range(3):
        assert env.info_of(row)["played"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["env=gymnasium_vector:CartPole-v1"], 2, "steps many by itself"),
        (["env=gymnasium:CartPole-v1", "wrap=normalize_observation"], 2, "a wrapper learns"),
        ([f"env={ENVS}:Unpicklable"], 1, "does not pickle"),
    ],
)
def test_what_cannot_be_in_workers_is_refused_in_one_line(words, code, said, cli):
    done = cli(*VECTOR, *words, "loop.num_workers=2")
    assert done.returncode == code, done.stderr
    [line] = done.stderr.splitlines()
    assert said in line
    assert "loop.num_workers=2" in line


@pytest.mark.parametrize("value", ["many", "-1", "1.5", "null"])
def test_another_value_than_a_number_or_auto_is_refused(value, launch):
    with pytest.raises(Mistake, match="num_workers"):
        launch("env=cartpole", *VECTOR, f"loop.num_workers={value}")


@pytest.mark.slow
def test_drawing_from_the_stream_that_all_share_is_refused(moved):
    env = moved(worker_envs.DrawsFromAll, 2)
    env.start([1, 2, 3])
    env.step(np.zeros(3, int))
    for ends in (lambda: env.start([4, 5, 6]), lambda: env.each_copy(type)):
        with pytest.raises(Failure, match="global stream"):
            ends()


@pytest.mark.slow
def test_a_batch_that_a_step_has_returned_does_not_change(moved):
    env = moved(worker_envs.Walk, 2)
    before = env.start([1, 2, 3])
    kept = before["place"].copy()
    after, *_ = env.step(np.ones(3, int))
    assert (before["place"] == kept).all()
    assert (after["place"] != kept).all()


@pytest.mark.parametrize("kind", [worker_envs.Walk, worker_envs.DrawsFromAll, worker_envs.Misfit])
@pytest.mark.parametrize("seconds", [0.0001, 0.002])
def test_workers_start_when_they_would_have_saved_more_than_they_take(kind, seconds, monkeypatch):
    monkeypatch.setattr(placing, "cores", lambda: 2)
    monkeypatch.setattr(placing, "Workers", lambda env, count, exactly: (count, exactly))
    copies = Copies([kind() for _ in range(3)])
    trial = placing.measured(copies)
    trial.env.start([1, 2, 3])
    trial.step(np.zeros(3, int))
    assert len(trial.seconds) == 1
    trial.seconds = [seconds]
    pays = kind is worker_envs.Walk and seconds > 0.001
    assert trial.placed(5) is copies
    assert trial.decided is not pays
    if pays:
        assert trial.placed(100_000) == (2, True)
        assert trial.decided


@pytest.mark.slow
@pytest.mark.parametrize(("count", "cores"), [(2, 2), (3, 2)])
def test_who_waits_sleeps_at_once_where_cores_are_shared(moved, monkeypatch, count, cores):
    monkeypatch.setattr(workers, "cores", lambda: cores)
    assert (moved(worker_envs.Walk, count).awake == 0) is (count > cores)


@pytest.mark.slow
def test_auto_leaves_environments_where_they_are_that_would_come_back_as_new(moved):
    parts()  # what saves more of an environment than its pickle is a part
    copies = Copies([worker_envs.Rebuilt() for _ in range(3)])
    copies.start([1, 2, 3])
    closed = []
    for env in copies.envs:
        env.close = lambda: closed.append(1)
    with pytest.raises(Failure, match="what was put back is played"):
        workers.Workers(copies, 2, exactly=True)
    assert [env.played for env in copies.envs] == [1, 1, 1]
    assert not closed


@pytest.mark.slow
def test_auto_leaves_environments_where_they_are_that_draw_from_a_shared_stream_in_a_reset():
    parts()
    copies = Copies([worker_envs.ResetDrawsFromAll() for _ in range(3)])
    with pytest.raises(Failure, match="global stream"):
        workers.Workers(copies, 2, exactly=True)


@pytest.mark.slow
def test_auto_moves_a_run_and_says_so(launch, monkeypatch):
    monkeypatch.setattr(placing, "SECONDS_TO_START", 0.0)
    monkeypatch.setattr(placing, "SECONDS_OF_A_STEP", 0.0)
    monkeypatch.setattr(placing, "SECONDS_TO_WAKE", 0.0)
    monkeypatch.setattr(placing, "cores", lambda: 2)
    words = (f"env={ENVS}:Walk", *VECTOR, "loop.max_episodes=45", "loop.eval_episodes=1")
    one, other = (launch(*words, f"loop.num_workers={n}", directory=f"n{n}") for n in ("0", "auto"))
    assert not list(compare.differences(one, other))
    log = (other / "gym_loop.log").read_text()
    assert log.count("loop.num_workers=auto: a step of all environments takes") == 1
    assert "from here on 2 processes step them" in log
