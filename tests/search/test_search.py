"""Searches from the command line: what is run, what is told, and what another launch adds."""

import json
import os
import traceback

import pytest

pytest.importorskip("optuna", reason="needs the extra search")

from optuna.trial import TrialState

from gym_loop import files
from gym_loop.search import jobs
from tests.conftest import rows
from tests.search.conftest import SHORT, THINGS, X, runs, study
from tests.sweeps.conftest import processes

NONE = "hydra.sweeper.pruner=none"


def contents(folder):
    """Every file of the jobs, by its path."""
    return {path: path.read_bytes() for path in folder.glob("*/**/*") if path.is_file()}


def last(result):
    """The line that tells what has become of the trials."""
    [line] = [line for line in result.stdout.splitlines() if " trials: " in line]
    return line.partition(" trials: ")[2]


@pytest.mark.slow
def test_a_search_without_pruning_plays_each_trial_with_each_seed(search, tmp_path):
    result = search(X, NONE, "hydra.sweeper.n_trials=4")

    assert result.returncode == 0, result.stderr
    assert last(result).startswith("4 complete; best -")
    trials = study(tmp_path / "search").trials
    found = runs(tmp_path / "search")
    assert len(found) == 8
    for trial in trials:
        names = [f"agent.x={trial.params['agent.x']},seed={seed}" for seed in (0, 1)]
        results = [found[name]["result"] for name in names]
        assert trial.value == pytest.approx(sum(results) / 2)
        assert results[0] != results[1]
        assert all(found[name]["state"] == "finished" for name in names)
        assert sorted(trial.intermediate_values) == [1, 2, 3, 4, 5]
    assert processes(tmp_path) == []


@pytest.mark.slow
def test_a_search_that_is_launched_again_or_grown_plays_only_what_is_new(search, cli, tmp_path):
    search(X, NONE, "hydra.sweeper.n_trials=2")
    before = contents(tmp_path / "search")

    again = search(X, NONE, "hydra.sweeper.n_trials=2")
    assert last(again).startswith("2 complete")
    assert again.stderr == ""  # as nothing is asked for, its order is no news
    assert contents(tmp_path / "search") == before

    grown = cli("resume", "search", "hydra.sweeper.n_trials=3")
    assert grown.returncode == 0, grown.stderr
    assert last(grown).startswith("3 complete")
    after = contents(tmp_path / "search")
    assert before.items() <= after.items()
    assert len(runs(tmp_path / "search")) == 6


@pytest.mark.slow
def test_a_trial_that_raises_has_failed_and_is_not_asked_for_again(search, tmp_path):
    points = "hydra.sweeper.enqueue=[{agent.x: 0.75},{agent.x: 0.25}]"
    words = (X, NONE, points, "agent.fate=raise", "hydra.sweeper.n_trials=2")
    result = search(*words)

    assert result.returncode == 0, result.stderr
    assert last(result).startswith("1 complete, 1 failed")
    said = "failed: trial 0: ValueError: too large for me  log: "
    [log] = [line for line in result.stderr.splitlines() if line.startswith(said)]
    assert "too large for me" in (tmp_path / log.removeprefix(said)).read_text()
    states = [trial.state for trial in study(tmp_path / "search").trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE]
    launches = [run["launches"] for run in runs(tmp_path / "search").values()]
    assert last(search(*words)).startswith("1 complete, 1 failed")
    assert [run["launches"] for run in runs(tmp_path / "search").values()] == launches


LOST = """
from gym_loop import BaseAgent


class Lost(BaseAgent):
    def __init__(self, x=0.0, **given):
        super().__init__(**given)

    def act(self, state, episode_num):
        return [float("nan")]

    def memorize(self, *transition):
        pass

    def update(self, episode_num):
        pass
"""


@pytest.mark.slow
def test_a_trial_that_comes_to_nan_has_failed_and_it_is_said(search, tmp_path):
    (tmp_path / "lost.py").write_text(LOST)
    result = search(X, "agent=lost.py:Lost", NONE, "hydra.sweeper.n_trials=1")
    assert result.returncode == 1
    assert "failed: trial 0: its evaluation is NaN\n" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["evaluation", "return"])
def test_results_whose_sum_no_float_holds_end_no_search(search, tmp_path, objective):
    (tmp_path / "huge.py").write_text(
        "from tests.sample_envs import Counter\n\n\n"
        "class Huge(Counter):\n"
        "    def reward(self, action):\n"
        "        return 1.7e308\n"
    )
    huge = (f"env={tmp_path}/huge.py:Huge", "env.length=1", f"hydra.sweeper.objective={objective}")
    result = search(X, *huge, NONE, "hydra.sweeper.n_trials=1", "loop.eval_episodes=2")
    assert result.returncode == 0, result.stderr
    assert "1 trials: 1 complete; best inf" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("words", "lacks"), [("observers=none", "manifest"), (None, "episodes")])
def test_a_search_whose_jobs_leave_no_trace_of_how_far_they_are_is_refused(
    search, tmp_path, words, lacks
):
    refused = search(X, NONE, words or f"~observers.{lacks}")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert f"a job has no observers.{lacks}" in refused.stderr
    assert not (tmp_path / "search").exists()


@pytest.mark.slow
@pytest.mark.parametrize("fate", ["kill", "memory"])
def test_a_job_that_was_killed_or_ran_out_of_memory_is_tried_again(search, tmp_path, fate):
    points = "hydra.sweeper.enqueue=[{agent.x: 0.75}]"
    words = (X, NONE, points, f"agent.fate={fate}", f"agent.marks={tmp_path}")
    result = search(*words, "hydra.sweeper.n_trials=1")

    assert result.returncode == 0, result.stdout + result.stderr
    assert last(result).startswith("1 complete")
    assert all(run["episodes"] == 8 for run in runs(tmp_path / "search").values())
    assert (tmp_path / "mark-0.75").exists()


@pytest.mark.parametrize("number", files.DISK_FULL)
def test_a_job_whose_own_file_finds_no_room_or_quota_is_tried_again(number):
    error = OSError(number, os.strerror(number), "notes.txt")
    (line,) = traceback.format_exception_only(error)
    assert not jobs.Progress("failed", error=line).failed
    assert jobs.Progress("failed", error=line.replace(f"{number}", "2")).failed


@pytest.mark.slow
def test_a_full_disk_fails_no_trial(search, cli, tmp_path):
    points = "hydra.sweeper.enqueue=[{agent.x: 0.75},{agent.x: 0.25}]"
    words = (X, NONE, points, "agent.fate=disk", f"agent.marks={tmp_path}")

    full = search(*words, "hydra.sweeper.n_trials=2")
    (tmp_path / "room").touch()
    resumed = cli("resume", "search")

    assert full.returncode == 1
    assert "No space left on device" in full.stdout
    assert "failed: trial" not in full.stderr
    assert resumed.returncode == 0, resumed.stderr
    assert last(resumed).startswith("2 complete")
    assert all(run["episodes"] == 8 for run in runs(tmp_path / "search").values())


@pytest.mark.slow
def test_a_job_that_is_always_killed_is_left_for_another_launch(search, tmp_path):
    points = "hydra.sweeper.enqueue=[{agent.x: 0.75},{agent.x: 0.25}]"
    words = (X, NONE, points, f"agent.marks={tmp_path}", "hydra.sweeper.n_trials=2")
    result = search(*words, "agent.fate=kill always")

    assert result.returncode == 1
    assert last(result).startswith("1 complete, 1 stopped")
    assert "killed by SIGKILL" in result.stdout
    assert "continue with: gym-loop resume" in result.stdout


@pytest.mark.slow
def test_a_trial_that_crashes_in_each_try_has_failed_and_holds_the_search_up_no_more(
    search, tmp_path
):
    points = "hydra.sweeper.enqueue=[{agent.x: 0.55},{agent.x: 0.0}]"
    result = search(X, points, "agent.fate=crash", "hydra.sweeper.n_trials=2")

    assert result.returncode == 0, result.stderr
    assert last(result).startswith("1 complete, 1 failed")
    assert "failed: trial 0: killed by SIGABRT" in result.stderr
    assert (tmp_path / "search/best.yaml").exists()


@pytest.mark.slow
def test_a_config_that_is_refused_in_mid_search_fails_its_trial_alone(search, tmp_path):
    (tmp_path / "space.py").write_text(
        "def space(trial):\n"
        "    n = trial.suggest_int('n', 0, 9)\n"
        "    return {'agent.x': 9.0 if trial.number == 0 and n == 7 else n / 10}\n"
    )
    points = "hydra.sweeper.enqueue=[{n: 7},{n: 4}]"
    result = search(NONE, "hydra.sweeper.space=space.py:space", points, "hydra.sweeper.n_trials=2")

    assert result.returncode == 0, result.stderr
    assert last(result).startswith("1 complete, 1 failed")
    assert "expected at most 5" in result.stderr
    assert list(runs(tmp_path / "search")) == ["agent.x=0.4,seed=0", "agent.x=0.4,seed=1"]


@pytest.mark.slow
def test_a_trial_whose_job_has_a_damaged_run_goes_on_when_that_is_moved_away(search, tmp_path):
    more = (X, NONE, "hydra.sweeper.n_trials=2", "agent.fate=disk")
    search(*more)  # no job comes to its end
    job = next((tmp_path / "search").glob("*/run.json"))
    job.write_text("")
    (tmp_path / "room").touch()

    refused = search(*more)

    assert refused.returncode == 1
    assert f"not finished  {job.parent.name}  " in refused.stdout
    assert "move the directory away" in refused.stdout
    assert "failed" not in last(refused)

    job.parent.rename(tmp_path / "away")
    assert last(search(*more)).startswith("2 complete")


@pytest.mark.slow
def test_unpromising_trials_are_paused_and_the_promoted_equal_undisturbed_runs(
    search, cli, tmp_path
):
    result = search(X, "hydra.sweeper.n_trials=7", "loop.max_episodes=20")

    assert result.returncode == 0, result.stderr
    assert "paused" in last(result)
    assert "of the steps saved" in last(result)
    found = runs(tmp_path / "search")
    paused = [name for name, run in found.items() if run["ended_by"] == "paused"]
    finished = [name for name, run in found.items() if run["state"] == "finished"]
    assert len(paused) + len(finished) == len(found) == 14
    assert paused
    for name in paused:
        assert len(rows(tmp_path / "search" / name)) in (2, 6, 18)
    promoted = next(name for name in finished if found[name]["launches"] > 1)
    x, seed = promoted.split(",")
    words = [*THINGS, *SHORT, "loop.max_episodes=20", x, seed, "hydra.run.dir=never"]
    assert cli(*words).returncode == 0
    assert table(tmp_path / "never") == table(tmp_path / "search" / promoted)
    best = study(tmp_path / "search").best_trial
    assert f"agent.x={best.params['agent.x']},seed=0" in finished


def table(run):
    """The rows of episodes and evaluations, all but the seconds."""
    names = ("episodes.csv", "evaluations.csv")
    return [line.rpartition(",")[0] for n in names for line in (run / n).read_text().splitlines()]


@pytest.mark.slow
def test_a_search_says_no_secret_of_a_trial_that_comes_again(search, cli, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from gym_loop.agents import RandomAgent\n"
        "class Mine(RandomAgent):\n"
        "    @staticmethod\n"
        "    def get_default_parameters():\n"
        "        return {'api_token': ''}\n"
    )
    words = ["-m", "hydra/sweeper=search", "hydra.sweep.dir=search", "agent=mine.py:Mine", *SHORT]
    words += ["env=cartpole", "hydra.sweeper.seeds=1", "hydra.sweeper.n_trials=2", NONE]
    result = cli(*words, "agent.api_token=choice(abc-1)", "hydra.launcher.n_jobs=1")
    assert "is the same as trial 0 (agent.api_token=(hidden))" in result.stderr
    assert "abc-1" not in result.stdout + result.stderr


@pytest.mark.slow
def test_a_paused_job_is_revived_by_hand_and_the_search_takes_it_as_it_is(search, cli, tmp_path):
    search(X, "hydra.sweeper.n_trials=4")
    found = runs(tmp_path / "search")
    name = next(name for name, run in found.items() if run["ended_by"] == "paused")

    assert cli("resume", f"search/{name}").returncode == 0

    assert runs(tmp_path / "search")[name]["state"] == "finished"
    before = contents(tmp_path / "search")
    assert search(X, "hydra.sweeper.n_trials=4").returncode == 0
    assert contents(tmp_path / "search") == before
    # Without pruning all are played to their ends; that one is there already.
    assert cli("resume", "search", NONE).returncode == 0
    after = runs(tmp_path / "search")
    assert {run["state"] for run in after.values()} == {"finished"}
    assert after[name]["launches"] == 2


@pytest.mark.slow
def test_paused_trials_whose_jobs_were_all_revived_by_hand_are_complete(search, cli, tmp_path):
    lower = "hydra.sweeper.pruner={_target_: optuna.pruners.ThresholdPruner, lower: 1.0}"
    words = ("agent.x=choice(0.25,0.5)", lower, "hydra.launcher.n_jobs=1")
    result = search(*words, "hydra.sweeper.n_trials=4", "hydra.sweeper.confirm=2")
    assert (result.returncode, last(result)) == (1, "4 paused")
    assert "no trial has come to its end: nothing to confirm. To play" in result.stdout
    assert "gym-loop resume search hydra.sweeper.pruner=none" in result.stdout
    assert result.stderr.count("is the same as trial") == 1
    found = runs(tmp_path / "search")
    for name in found:
        assert cli("resume", f"search/{name}").returncode == 0

    point = "hydra.sweeper.enqueue=[{agent.x: 0.25}]"
    again = cli("resume", "search", "hydra.sweeper.n_trials=5", "hydra.sweeper.confirm=0", point)
    assert again.returncode == 0, again.stderr
    assert last(again).startswith("5 complete; best -")
    assert "enqueue: 1 of 1 points were asked for before" in again.stderr
    assert len(runs(tmp_path / "search")) == len(found) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "pruner", ["median", "{_target_:optuna.pruners.ThresholdPruner,lower:-1.0}"]
)
def test_pruners_of_optunas_judge_evaluation_by_evaluation(search, tmp_path, pruner):
    points = "hydra.sweeper.enqueue=[{agent.x: 0.95},{agent.x: 0.3}]"
    words = (X, points, f"hydra.sweeper.pruner={pruner}", "hydra.sweeper.n_trials=2")
    result = search(*words)
    assert result.returncode == 0, result.stderr
    trials = study(tmp_path / "search").trials
    if pruner == "median":  # it wants more trials before it prunes
        assert [len(trial.intermediate_values) for trial in trials] == [5, 5]
    else:
        assert [len(trial.intermediate_values) for trial in trials] == [1, 5]
        assert runs(tmp_path / "search")["agent.x=0.95,seed=0"]["episodes"] == 2


@pytest.mark.slow
def test_seed_by_seed_no_further_seed_is_spent_on_a_trial_that_is_worse(search, cli, tmp_path):
    pytest.importorskip("scipy", reason="WilcoxonPruner needs it")
    points = "hydra.sweeper.enqueue=[{agent.x: 0.31},{agent.x: 0.9},{agent.x: 0.3}]"
    pruner = "hydra.sweeper.pruner={_target_: optuna.pruners.WilcoxonPruner}"
    words = (X, points, pruner, "hydra.sweeper.n_trials=3", "hydra.sweeper.seeds=7")
    result = search(*words, "loop.episodes_per_eval=null", "hydra.launcher.n_jobs=1")

    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    assert last(result).startswith("2 complete, 1 paused")
    good, bad, close = study(tmp_path / "search").trials
    assert [len(trial.intermediate_values) for trial in (good, bad, close)] == [7, 4, 7]
    found = runs(tmp_path / "search")
    assert len(found) == 7 + 4 + 7
    assert {(run["state"], run["launches"]) for run in found.values()} == {("finished", 1)}
    played = {n for name, run in found.items() if "0.9" in name for n in [run["seed"]]}
    assert played == {0, 1, 2, 3}
    results = [found[f"agent.x=0.31,seed={seed}"]["result"] for seed in range(7)]
    assert list(good.intermediate_values.values()) == results
    assert good.value == pytest.approx(sum(results) / 7)
    assert "seeds" in cli("ls", "search").stdout.splitlines()[0].split()

    before = contents(tmp_path / "search")
    refused = cli("resume", "search", "hydra.sweeper.pruner=none")
    assert refused.returncode == 2
    assert "comparison was seed by seed, now by evaluation" in refused.stderr
    grown = cli("resume", "search", "hydra.sweeper.n_trials=4")
    assert grown.returncode == 0, grown.stderr
    assert before.items() <= contents(tmp_path / "search").items()


@pytest.mark.slow
def test_a_search_one_job_at_a_time_repeats_itself(search, tmp_path):
    words = (X, "hydra.launcher.n_jobs=1", "hydra.sweeper.n_trials=6")
    assert search(*words).returncode == 0
    other = "hydra.sweep.dir=other"
    one = search(*words, other, "hydra.sweeper.n_trials=3")
    assert "side by side" not in one.stderr
    search(*words, other)  # in two launches
    names = [set(runs(tmp_path / folder)) for folder in ("search", "other")]
    assert names[0] == names[1]


WITHOUT = """
import importlib.abc, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "cmaes":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.slow
def test_what_a_sampler_or_a_pruner_lacks_is_said_before_anything_starts(search, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    without = {"PYTHONPATH": str(tmp_path)}
    for key, name, said in (
        ("sampler", "samplers.CmaEsSampler", " needs cmaes: pip install cmaes"),
        ("sampler", "samplers.BruteForceSampler", "step must be given"),
        ("sampler", "samplers.TPSampler", "has no 'TPSampler'; did you mean 'TPESampler'?"),
        ("pruner", "pruners.NopPrner", "has no 'NopPrner'; did you mean 'NopPruner'?"),
        ("pruner", "pruners.PatientPruner", "missing 2 required positional arguments"),
    ):
        chosen = f"hydra.sweeper.{key}={{_target_: optuna.{name}}}"
        refused = search(X, chosen, environment=without)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert f"hydra.sweeper.{key}=optuna.{name}" in refused.stderr
        assert said in refused.stderr
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def space(trial):\n    trial.suggest_float('agent.y', 0, 1)\n")
    refused = search("hydra.sweeper.space=wrong.py:space")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "hydra.sweeper.space=wrong.py:space: job agent.y=" in refused.stderr
    assert "no key 'agent.y'" in refused.stderr
    assert not (tmp_path / "search").exists()


@pytest.mark.slow
def test_a_space_among_the_sweepers_parameters_is_recorded_once(search, cli, tmp_path):
    params = "hydra.sweeper.params={agent.x: 'interval(0.1,0.2)'}"
    assert search(params, NONE, "hydra.sweeper.n_trials=1").returncode == 0
    for number in (1, 2):
        assert cli("resume", "search", f"hydra.sweeper.n_trials={number}").returncode == 0
    overrides = json.loads((tmp_path / "search/sweep.json").read_text())["overrides"]
    assert overrides.count("agent.x=interval(0.1,0.2)") == 1
    assert len(runs(tmp_path / "search")) == 4


@pytest.mark.slow
def test_an_edited_space_and_another_environment_are_refused(search, cli, tmp_path):
    file = tmp_path / "thin.py"
    text = "def space(trial):\n    trial.suggest_float('agent.x', 0, 1)\n"
    file.write_text(text)
    assert (
        search(NONE, "hydra.sweeper.space=thin.py:space", "hydra.sweeper.n_trials=1").returncode
        == 0
    )
    before = contents(tmp_path / "search")
    assert cli("resume", "search").returncode == 0
    file.write_text(text.replace("agent.x", "env"))
    for words, said in (
        (["hydra.sweeper.space=thin.py:space"], "hydra.sweeper.space's file was thin.py with"),
        (["hydra.sweeper.space=thin.py:space", "hydra.sweep.dir=b"], "env= is no parameter"),
        ([X, "env=cartpole,taxi", "hydra.sweep.dir=b"], "env= is no parameter of a search"),
        ([X, "seed=1,2", "hydra.sweep.dir=b"], "seed= is no parameter of a search; its trials"),
        ([X, "env.id=a,b", "hydra.sweep.dir=b"], "env.id= is no parameter of a search"),
    ):
        refused = search(NONE, *words)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert said in refused.stderr
    assert contents(tmp_path / "search") == before
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_a_total_below_what_is_there_asks_for_nothing_and_says_so(search, tmp_path):
    search(X, NONE, "hydra.sweeper.n_trials=2")
    before = contents(tmp_path / "search")
    fewer = search(X, NONE, "hydra.sweeper.n_trials=1")
    assert fewer.returncode == 0, fewer.stderr
    assert "n_trials=1 is a total, and 2 trials are there already" in fewer.stderr
    assert contents(tmp_path / "search") == before


@pytest.mark.slow
def test_a_search_of_something_else_is_refused_before_anything_starts(search, tmp_path):
    points = [X, NONE, "hydra.sweeper.n_trials=1"]
    assert search(*points).returncode == 0
    before = contents(tmp_path / "search")
    for words, said in (
        (["agent.x=interval(0,2)"], "agent.x was interval(0,1), now interval(0,2)"),
        ([X, "hydra.sweeper.seeds=3"], "hydra.sweeper.seeds was 0,1, now 0,1,2"),
        ([X, "hydra.sweeper.objective=best"], "objective was evaluation, now best"),
        ([X, "loop.eval_episodes=3"], "loop.eval_episodes=2 then, loop.eval_episodes=3 now"),
    ):
        refused = search(*words, NONE)
        assert refused.returncode == 2
        [line] = [line for line in refused.stderr.splitlines() if line]
        assert said in line
    assert contents(tmp_path / "search") == before
    sweep = json.loads((tmp_path / "search/sweep.json").read_text())
    assert X in sweep["overrides"]
