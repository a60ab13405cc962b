"""The best trials: confirmed, reported, and left as a run config."""

import json
import os
import shutil
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="needs the extra search")

from gym_loop.commands import best, ls, report  # noqa: E402
from gym_loop.mistake import Mistake  # noqa: E402
from gym_loop.runs import manifest  # noqa: E402
from gym_loop.search.report import Found, binned  # noqa: E402
from gym_loop.search.space import Dimension, Dimensions  # noqa: E402
from gym_loop.search.study import Study  # noqa: E402
from gym_loop.search.trials import CLAIMS, STEPS, Claims  # noqa: E402
from tests.run_directories import write_run  # noqa: E402
from tests.search.conftest import THINGS, X, runs  # noqa: E402

DEFINITION = {"hydra.sweeper.objective": "evaluation", "hydra.sweeper.seeds": "0,1"}


@pytest.fixture
def played(tmp_path, monkeypatch):
    """Return a function that leaves a search of two seeds: the value of each trial x=0, x=1, ..."""
    monkeypatch.chdir(tmp_path)

    def leave(values, direction="maximize"):
        whole = Dimension("agent.x", "range(9)", optuna.distributions.IntDistribution(0, 8))
        space = Dimensions({"agent.x": whole})
        (tmp_path / "search").mkdir()
        study = Study(
            tmp_path / "search",
            {**space.describe(), **DEFINITION},
            space,
            direction,
            lambda number: optuna.samplers.RandomSampler(seed=number),
        )
        study.enqueue([{"agent.x": x} for x in range(len(values))])
        for number, value in enumerate(values):
            study.ask(0)
            study.note(number, STEPS, (20, 40, 10, 30)[number])
            study.tell(number, value)
            for seed in (0, 1):
                run(f"agent.x={number}", seed, value)
        return Found(tmp_path / "search")

    def run(words, seed, level, folder="search"):
        name = ",".join(filter(None, [words, f"seed={seed}"]))
        parameters = {"x": int(words[-1]) if words else 8}
        result = {"parameters": parameters, "seed": seed, "level": level}
        write_run(tmp_path / folder / name, **result, result=level)
        table = tmp_path / folder / name / "evaluations.csv"
        head, *rows = table.read_text().splitlines()
        fields = [row.split(",") for row in rows]
        cells = [",".join([*row[:4], f"{level}", *row[5:]]) for row in fields]
        table.write_text("\n".join([head, *cells, ""]))

    def confirm(words, levels, first=2):
        for seed, level in enumerate(levels, first):
            run(words, seed, level, "search/confirm")

    return leave, confirm


def named(capsys):
    """The first line of `gym-loop best`, and what `gym-loop report` calls the best."""
    best.main(["search"])
    run = capsys.readouterr().out.splitlines()[0]
    report.main(["search"])
    text = capsys.readouterr().out
    return run, [line for line in text.splitlines() if "est: " in line]


def test_without_a_confirmation_the_best_of_the_search_is_named_by_all(played, capsys):
    leave, _ = played
    found = leave([3.0, 9.0, 5.0, 9.0])
    assert found.best().trial.number == 1
    run, said = named(capsys)
    assert run.startswith("search/agent.x=1,seed=")
    assert said == ["Best: trial 1: mean evaluation of the seeds 0,1: 9"]


def test_once_confirmed_the_best_by_the_fresh_seeds_is_named_by_all(played, capsys):
    pytest.importorskip("scipy", reason="needs the extra report")
    leave, confirm = played
    found = leave([3.0, 9.0, 8.0])
    confirm("agent.x=1", [1.0, 1.0, 1.0, 90.0])  # the mean is higher, the middle half is not
    confirm("agent.x=2", [6.0, 7.0, 5.0, 6.0])
    assert found.best().trial.number == 1  # the agent's defaults are played last
    confirm("", [2.0, 2.0, 2.0, 2.0])
    assert (found.best().trial.number, found.best().value) == (2, 6.0)
    run, [first, verdict] = named(capsys)
    assert run == "search/confirm/agent.x=2,seed=3"
    assert first.startswith("Best: trial 2: interquartile mean of evaluation over the fresh seeds")
    assert "best: trial 2;" in verdict
    assert "; the agent's defaults reach 2 on the same seeds: perhaps beaten" in first
    assert found.unconfirmed() == ""
    with pytest.raises(Mistake, match="no metric 'x'"):
        best.main(["search", "--metric", "x"])  # an option compares the runs


def test_a_confirmation_that_is_not_complete_tells_nothing(played, capsys):
    leave, confirm = played
    found = leave([3.0, 9.0, 8.0])
    confirm("agent.x=1", [1.0, 1.0])
    confirm("agent.x=2", [6.0, 7.0])
    confirm("", [2.0])
    assert (found.confirmation(), found.best().trial.number) == (None, 1)
    said = "Not confirmed to the end: gym-loop resume search"
    assert found.unconfirmed() == said
    for command in (report.main, best.main):
        command(["search"])
        assert said in capsys.readouterr().out


def test_fresh_seeds_that_no_run_has_finished_are_not_among_those_named(played):
    leave, confirm = played
    found = leave([3.0, 9.0])
    for words, level in (("agent.x=1", 9.0), ("", 2.0)):
        confirm(words, [level, level])
        confirm(words, [level], first=5)
    assert "over the fresh seeds 2, 3, 5: 9" in str(found.best())


@pytest.mark.slow
def test_where_all_trials_have_failed_others_are_to_be_asked_for(search, cli):
    points = "hydra.sweeper.enqueue=[{agent.x: 0.75}]"
    failed = search(
        X, points, "agent.fate=raise", "hydra.sweeper.pruner=none", "hydra.sweeper.n_trials=1"
    )
    assert failed.returncode == 1
    told = cli("best", "search")
    assert "gym-loop resume search hydra.sweeper.n_trials=2 asks for others" in told.stderr


def test_of_equal_interquartile_means_the_mean_tells(played, capsys):
    pytest.importorskip("scipy", reason="needs the extra report")
    leave, confirm = played
    leave([9.0, 8.0, 3.0])
    confirm("agent.x=0", [5.0, 5.0, 5.0, 1.0])
    confirm("agent.x=1", [5.0, 5.0, 5.0, 5.0])
    confirm("", [2.0, 2.0, 2.0, 2.0])
    _, [first, verdict] = named(capsys)
    assert first.startswith("Best: trial 1")
    assert "best: trial 1;" in verdict


def test_where_less_is_better_the_report_and_the_best_have_less(played, capsys):
    pytest.importorskip("scipy", reason="needs the extra report")
    leave, confirm = played
    leave([4.0, 9.0, 5.0], direction="minimize")
    for number, level in ((0, 7.0), (2, 3.0)):
        confirm(f"agent.x={number}", [level + seed / 10 for seed in range(4)])
    confirm("", [8.0, 8.1, 8.2, 8.3])
    run, [first, verdict] = named(capsys)
    assert run == "search/confirm/agent.x=2,seed=2"
    assert first.startswith("Best: trial 2")
    assert "best: trial 2; " in verdict


def test_a_better_trial_that_was_not_confirmed_is_said_to_be_there(played, capsys):
    pytest.importorskip("scipy", reason="needs the extra report")
    leave, confirm = played
    found = leave([3.0, 9.0, 20.0])
    for words in ("agent.x=0", "agent.x=1", ""):
        confirm(words, [5.0, 6.0])
    assert found.best().trial.number == 1  # of those that are equal, the better in the search
    said = "Trial 2, the best by the seeds of the search, was not confirmed"
    report.main(["search"])
    assert said in " ".join(capsys.readouterr().out.split())
    best.main(["search"])
    assert said in capsys.readouterr().out
    best.main(["search", "--json"])
    [facts] = json.loads(capsys.readouterr().out)
    assert facts["directory"] == "search/confirm/agent.x=1,seed=3"
    assert (facts["group"], facts["score"], facts["group_score"]) == ("trial 1", 6.0, 5.5)


def test_agents_defaults_that_are_not_beaten_are_said_to_be_so_by_all(played, capsys):
    pytest.importorskip("scipy", reason="needs the extra report")
    leave, confirm = played
    found = leave([3.0, 9.0])
    confirm("agent.x=1", [1.0, 2.0, 3.0, 4.0])
    confirm("", [2.0, 3.0, 2.0, 4.0])
    beside = (
        "the agent's defaults reach 2.5 on the same seeds: not beaten (these seeds cannot tell)"
    )
    assert str(found.best()).endswith(f": 2.5; {beside}")
    for seed in range(2, 12):
        confirm("agent.x=1", [1.0 + seed / 100], seed + 4)
        confirm("", [20.0 + seed / 100], seed + 4)
    _, [first, verdict] = named(capsys)
    assert first.endswith("on the same seeds: not beaten")
    assert "best: defaults; surely better than trial 1" in verdict
    best.main(["search"])
    assert "on the same seeds: not beaten; in this run" in capsys.readouterr().out


def test_runs_with_fresh_seeds_are_groups_of_their_own_by_trial(played, capsys):
    pytest.importorskip("scipy", reason="needs the extra report")
    leave, confirm = played
    leave([3.0, 9.0])
    confirm("agent.x=1", [1.0, 2.0, 3.0])
    confirm("", [2.0, 3.0, 2.0])
    report.main(["search"])
    text = capsys.readouterr().out
    assert "\n  trial 1: agent.x=1\n  defaults: agent.x=8\n" in text
    report.main(["search", "--json"])
    content = json.loads(capsys.readouterr().out)
    groups = {group["name"]: group["seeds"] for group in content["groups"]}
    assert groups == {"x=0": 2, "x=1": 2, "trial 1 x=1": 3, "defaults x=8": 3}
    shutil.rmtree("search/agent.x=1,seed=0")
    Path("search/study.log").write_text("")  # of no study it is not known which trial
    report.main(["search", "--json"])
    groups = [group["name"] for group in json.loads(capsys.readouterr().out)["groups"]]
    assert "fresh seeds x=1" in groups


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
    assert "\n  defaults: agent.x=0.9\n" in report.stdout
    [line] = [line for line in report.stdout.splitlines() if line.startswith("trial 0  ")]
    assert line.split()[2] == "4"  # seeds
    listed = cli("ls", "search")
    assert len(listed.stdout.splitlines()) == 4
    told = f"{Found(tmp_path / 'search').best()}"
    assert f"\n{told}: search/best.yaml" in result.stdout
    assert (tmp_path / "search/best.yaml").read_text().startswith(f"# The best is {told}. ")
    assert f"\nBest: {told}\n" in report.stdout
    assert told in cli("best", "search").stdout

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


@pytest.mark.parametrize(
    ("sort", "direction", "order"),
    [
        ([], "maximize", "3210"),
        (["--sort", "evaluation"], "maximize", "2013"),
        (["--sort", "evaluation"], "minimize", "3102"),
        (["--sort", "steps"], "maximize", "1302"),
    ],
)
def test_ls_sorts_the_trials_of_a_search(played, capsys, sort, direction, order):
    leave, _ = played
    leave([3.0, 2.0, 9.0, 1.0], direction)
    ls.main(["search", *sort])
    rows = capsys.readouterr().out.splitlines()[1:]
    assert "".join(row.split()[0] for row in rows) == order


def test_a_trial_that_nothing_plays_any_more_has_stopped(played, capsys, tmp_path):
    leave, _ = played
    found = leave([3.0, 2.0])
    first, second = found.trials
    for trial in found.trials:
        trial.state = optuna.trial.TrialState.RUNNING
    assert found.counts() == {"stopped": 2}
    job = tmp_path / "search/agent.x=1,seed=1"
    change(job, state="running", ended_by=None)
    with manifest.Lock(job):  # as who resumes it by hand does
        again = Found(tmp_path / "search")
        assert [again.state(first), again.state(second)] == ["stopped", "running"]
    ready, end = os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        claims = Claims(tmp_path / "search" / CLAIMS)
        os.write(ready[1], b"-")
        os.read(end[0], 1)
        os._exit(claims.file.closed)
    os.read(ready[0], 1)
    launched = Found(tmp_path / "search")
    assert [launched.state(first), launched.state(second)] == ["running", "running"]
    os.write(end[1], b"-")
    os.waitpid(child, 0)
    assert found.counts() == {"stopped": 2}


def change(job, **facts):
    content = json.loads((job / "run.json").read_text())
    (job / "run.json").write_text(json.dumps(content | facts))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([3.0, 9.0], "Importances need 4 complete trials; so far: 2 of 2."),
        ([3.0, 3.0, 3.0, 3.0], "Importances cannot be told from 4 complete trials."),
        ([3.0, 9.0, 1.0, 4.0], "Importances are Optuna's (PED-ANOVA), of 4 complete trials."),
    ],
)
@pytest.mark.filterwarnings("error")
def test_it_is_said_what_importances_rest_on_or_what_they_lack(played, capsys, values, said):
    leave, _ = played
    leave(values)
    report.main(["search"])
    assert said in " ".join(capsys.readouterr().out.split())


def test_ls_names_the_columns_of_trials_that_it_sorts_by(played):
    leave, _ = played
    leave([3.0])
    with pytest.raises(Mistake, match="expected evaluation, evaluations, steps"):
        ls.main(["search", "--sort", "episodes"])
    with pytest.raises(Mistake, match=r"did you mean 'evaluation'\?"):
        ls.main(["search", "--sort", "evaluaton"])


def test_parts_of_a_range_are_equal_on_its_own_scale():
    log = optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
    assert binned("lr", log, [(2e-4, 1.0), (0.5, 2.0), (1.0, 3.0)]) == [
        ("0.0001 to 0.001", [1.0]),
        ("0.1 to 1", [2.0, 3.0]),
    ]
    choice = optuna.distributions.CategoricalDistribution([64, "[8]", 32])
    assert binned("size", choice, [("[8]", 1.0), (64, 2.0), (64, 3.0)]) == [
        ("64", [2.0, 3.0]),
        ("[8]", [1.0]),
    ]
