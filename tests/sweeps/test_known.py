"""A finished job is recognised without composing it, and only while its config is the same."""

import json
import os
from pathlib import Path

import pytest

from gym_loop.sweeps import known
from gym_loop.sweeps.compose import Composer

AGENT = """
from gym_loop.agents import RandomAgent

class Mine(RandomAgent):
    @staticmethod
    def get_default_parameters():
        return {"rate": 0.5}
"""
OPTION = "_target_: mine.py:Mine\nrate: 0.25\n"
WORDS = ("agent=mine", "env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=0")
REFUSED = 2


@pytest.fixture
def sweep(as_a_child, tmp_path, monkeypatch):
    """Launch a sweep in a process of its own; return it, and which jobs were composed."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(AGENT)
    Path("conf/agent").mkdir(parents=True)
    Path("conf/agent/mine.yaml").write_text(OPTION)
    log, compose = tmp_path.with_name(f"{tmp_path.name}-composed"), Composer.compose

    def noting(self, overrides, number):
        with open(log, "a") as file:
            print(next(word for word in overrides if word.startswith("seed=")), file=file)
        return compose(self, overrides, number)

    monkeypatch.setattr(Composer, "compose", noting)

    def run(seeds, *words):
        log.write_text("")
        words = (*WORDS, *words, "hydra.sweep.dir=sweep")
        done = as_a_child(["-m", f"seed={seeds}", *words], tmp_path)
        return done, sorted(log.read_text().split())

    return run


def contents(folder):
    """The files below `folder`, and what is in them."""
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.slow
def test_jobs_that_a_launch_has_finished_are_recognised_by_the_next(sweep):
    done, _ = sweep("0,1,2")
    assert done.returncode == 0, done.stderr
    before = contents("sweep")
    done, composed = sweep("0,1,2")
    assert "3 jobs: 0 done, 3 skipped, 0 failed" in done.stdout
    assert composed == []
    after = contents("sweep")
    assert {name for name in after if after[name] != before.get(name)} <= {"sweep/sweep.json"}


@pytest.mark.slow
def test_without_the_record_each_finished_job_is_compared_once_more(sweep):
    sweep("0,1")
    Path("sweep", known.FILE).unlink()
    assert sweep("0,1")[1] == ["seed=0", "seed=1"]
    assert sweep("0,1")[1] == []
    Path("sweep", known.FILE).write_text("[1")
    assert sweep("0,1")[1] == ["seed=0", "seed=1"]


@pytest.mark.slow
@pytest.mark.parametrize("edited", ["option", "default", "override"])
def test_what_was_edited_since_is_refused(sweep, edited):
    if edited == "default":
        Path("conf/agent/mine.yaml").write_text("_target_: mine.py:Mine\n")
    sweep("0,1")
    if edited == "option":
        Path("conf/agent/mine.yaml").write_text(OPTION.replace("0.25", "0.125"))
    elif edited == "default":
        Path("newer.py").write_text(AGENT.replace("0.5", "0.625"))
        os.replace("newer.py", "mine.py")
    else:
        path = Path("sweep/seed=0/config.yaml")
        path.write_text(path.read_text().replace("0.25", "0.75"))
    before = contents("sweep")
    done, _ = sweep("0,1")
    assert done.returncode == REFUSED
    assert "job seed=0: " in done.stderr
    assert "would change what has already happened" in done.stderr
    assert contents("sweep") == before


@pytest.mark.slow
def test_a_job_that_was_extended_is_refused_and_runs_anew_where_it_is_moved(
    sweep, as_a_child, tmp_path
):
    sweep("0,1")
    as_a_child(["resume", "sweep/seed=1", "loop.max_episodes=2"], tmp_path)
    done, _ = sweep("0,1")
    assert done.returncode == REFUSED
    assert "job seed=1: " in done.stderr
    assert "with loop.max_episodes=2" in done.stderr
    Path("sweep/seed=1").rename("elsewhere")  # as the line advises
    done, _ = sweep("0,1")
    assert "2 jobs: 1 done, 1 skipped, 0 failed" in done.stdout


@pytest.mark.slow
def test_a_job_whose_run_is_gone_or_has_not_ended_is_run(sweep):
    sweep("0,1,2,3")
    path = Path("sweep/seed=1/run.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "running"}))
    Path("sweep/seed=2").rename("elsewhere")
    done, composed = sweep("0,1,2,3")
    assert "4 jobs: 2 done, 2 skipped, 0 failed" in done.stdout
    assert set(composed) == {"seed=1", "seed=2"}
    assert json.loads(path.read_text())["state"] == "finished"


@pytest.mark.slow
def test_values_from_the_environment_are_compared_each_time(sweep, monkeypatch):
    monkeypatch.setenv("RATE", "0.1")
    word = "agent.rate='${oc.decode:${oc.env:RATE}}'"
    sweep("0,1", word)
    assert sweep("0,1", word)[1] == ["seed=0", "seed=1"]
    monkeypatch.setenv("RATE", "0.2")
    done, _ = sweep("0,1", word)
    assert done.returncode == REFUSED
    assert "agent.rate comes from ${oc.env:RATE}" in done.stderr


@pytest.mark.parametrize(
    ("seeds", "words", "job"),
    [
        ("0,1,-1", (), "seed=-1"),
        ("0,1,1.5", (), "seed=1.5"),
        ("1,2,0", ("loop.max_steps=${seed}",), "seed=0"),
        ("1,0", ("+agent.limit=${seed}", "loop.max_steps=${agent.limit}"), "seed="),
    ],
)
def test_a_bad_seed_or_what_comes_of_it_starts_nothing(sweep, seeds, words, job):
    done, _ = sweep(seeds, *words)
    assert done.returncode == REFUSED
    assert f"job {job}" in done.stderr
    assert not Path("sweep").exists()


@pytest.mark.slow
def test_jobs_that_differ_in_the_seed_alone_are_checked_once(sweep):
    words = ("agent.rate=0.1,0.2", "hydra.launcher.dry_run=true")
    assert sweep("range(5)", *words)[1] == ["seed=0", "seed=0"]
    done, composed = sweep("0,1", "agent.rate=0.1,0.2")
    assert "4 jobs: 4 done, 0 skipped, 0 failed" in done.stdout
    done, composed = sweep("0,1,2,3", "agent.rate=0.1,0.2")
    assert "8 jobs: 4 done, 4 skipped, 0 failed" in done.stdout
    assert "seed=0" not in composed
    rates = {path.parent.name: path.read_text() for path in Path("sweep").glob("*/config.yaml")}
    for name, text in rates.items():  # each was started with its own
        rate, _, seed = name.removeprefix("agent.rate=").partition(",")
        assert f"rate: {rate}\n" in text
        assert f"{seed.replace('=', ': ')}\n" in text


@pytest.mark.slow
def test_where_users_name_the_directories_jobs_are_composed(sweep):
    word = "hydra.sweep.subdir=run-${seed}"
    sweep("0,1", word)
    assert sweep("0,1", word)[1] == ["seed=0", "seed=1"]
    assert sorted(path.name for path in Path("sweep").glob("run-*")) == ["run-0", "run-1"]
