import base64
import csv
import html
import json
import os

import numpy as np
import pytest

pytest.importorskip("scipy", reason='needs the extra: pip install "gym-loop[report]"')
pytest.importorskip("jinja2", reason='needs the extra: pip install "gym-loop[report]"')

from gym_loop.commands.report import main
from gym_loop.mistake import Mistake
from gym_loop.reports import statistics, verdicts
from tests.run_directories import EVALUATION, HEADER, write_run


def edit(directory, **changes):
    content = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps(content | changes))


def score(directory, value):
    """Let a run's final evaluation come to `value`."""
    (directory / "evaluations.csv").write_text(f"{EVALUATION}0,50,100,10,{value},1,0,0,1.0\n")
    edit(directory, result=value)
    return directory


@pytest.fixture
def sweep(tmp_path):
    """A function that writes runs with these scores, one for each seed."""

    def write(agent, scores, env="CartPole-v1", **more):
        folder = (
            tmp_path
            / "multirun"
            / f"{agent}-{env}-{'-'.join(map(str, (more.get('parameters') or {0: 0}).values()))}"
        )
        return [
            score(write_run(folder / str(seed), agent, env, seed, **more), value)
            for seed, value in enumerate(scores)
        ]

    return write


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """Run the command within this process; return what it prints, and its warnings."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        main(list(words))
        return capsys.readouterr()

    return run


@pytest.fixture
def report(told):
    return lambda *words: json.loads(told("--json", *words).out)


@pytest.fixture
def mistake(told):
    """Return the one line that tells of a mistake."""

    def run(*words):
        with pytest.raises(Mistake) as raised:
            told(*words)
        return raised.value.message

    return run


def test_runs_that_differ_in_nothing_but_the_seed_are_one_group(sweep, report):
    sweep("ars", [1, 2, 3], parameters={"a": 1})
    sweep("ars", [4, 5, 6, 7], parameters={"a": 2, "b": 3})
    sweep("dqn", [8, 9])
    groups = {group["name"]: group for group in report()["groups"]}
    assert {name: group["seeds"] for name, group in groups.items()} == {
        "ars a=1": 3,
        "ars a=2 b=3": 4,
        "dqn": 2,
    }
    assert groups["dqn"]["scores"] == {"CartPole-v1": [8, 9]}


def test_an_evaluation_after_no_number_of_steps_is_not_drawn(sweep, report):
    for run, steps in zip(sweep("ars", [1, 2]), (10, "nan"), strict=True):
        rows = f"0,5,{steps},10,7.0,1,0,0,0.5\n1,50,100,10,{run.name}.0,1,0,0,1.0\n"
        (run / "evaluations.csv").write_text(EVALUATION + rows)
    content = report()  # JSON holds no NaN
    assert content["metric"] == "evaluation" and content["curves"] == "training"


def test_a_seed_that_is_handed_on_to_the_agent_is_the_runs_seed(sweep, report):
    for run in sweep("ppo", [3.0, 4.0, 5.0]):
        config = json.loads((run / "run.json").read_text())["config"]
        config["agent"]["seed"] = config["seed"]
        edit(run, config=config)
    (group,) = report()["groups"]
    assert (group["label"], group["seeds"]) == ("ppo", 3)


def test_an_agents_own_seed_that_was_asked_for_makes_a_group(sweep, report):
    for number, run in enumerate(sweep("ppo", [3.0, 4.0], parameters={"seed": 0})):
        content = json.loads((run / "run.json").read_text())
        content["config"]["agent"]["seed"] = number
        edit(run, config=content["config"], overrides=["seed=7", f"agent.seed={number}"])
    assert len(report()["groups"]) == 2


def test_what_is_kept_of_a_run_makes_no_group_of_its_own(sweep, report):
    first, second, _ = sweep("ars", [1, 2, 3])
    for directory, loop in ((first, {"record": True}), (second, {"keep_checkpoints": 9})):
        config = json.loads((directory / "run.json").read_text())["config"]
        config["loop"] |= loop
        config["observers"] = {"wandb": {"project": "mine"}}
        edit(directory, config=config)
    (group,) = report()["groups"]
    assert group["seeds"] == 3


def add_info(run, file, values):
    """Give a table of a run a column `is_success`, and its config the key."""
    config = json.loads((run / "run.json").read_text())["config"]
    config["loop"]["info_keys"] = ["is_success"]
    edit(run, config=config)
    lines = (run / file).read_text().splitlines()
    column = ["is_success", *map(str, values)]
    whole = [f"{line},{cell}\n" for line, cell in zip(lines, column, strict=True)]
    (run / file).write_text("".join(whole))


def test_an_info_key_is_a_metric(sweep, report):
    for run, share in zip(sweep("ars", [9, 8, 7]), [0.25, 0.5, 1.0], strict=True):
        add_info(run, "evaluations.csv", [share])
        add_info(run, "episodes.csv", [0.0] * 50)
    content = report("--metric", "is_success")
    assert content["metric_is"] == "mean is_success of the final evaluation"
    [group] = content["groups"]
    assert group["scores"] == {"CartPole-v1": [0.25, 0.5, 1.0]}


def test_an_info_key_that_evaluation_lacks_is_one_of_training(sweep, report):
    for run in sweep("ars", [9, 8]):
        add_info(run, "evaluations.csv", [1.0])
        add_info(run, "episodes.csv", [0.0, 1.0] * 20 + ["nan"] * 10)
    [run] = sweep("dqn", [7])
    add_info(run, "evaluations.csv", ["nan"])
    add_info(run, "episodes.csv", [1.0] * 50)
    content = report("--metric", "is_success")
    assert content["metric_is"] == "mean is_success of the last 100 training episodes"
    scores = {group["name"]: group["scores"]["CartPole-v1"] for group in content["groups"]}
    assert scores == {"ars": [0.5, 0.5], "dqn": [1.0]}
    assert content["notes"] == [
        "Scored by training: in 1 of 3 runs no episode of the final evaluation has is_success."
    ]
    notes = {group["name"]: group["notes"] for group in content["groups"]}
    assert "20 of 100 episodes lack is_success: the score is of the others" in notes["ars"]
    assert not any("lack" in note for note in notes["dqn"])


def test_of_how_many_episodes_an_info_key_is_known_is_said(tmp_path, report):
    for seed, known in enumerate([[1, "nan", "nan", 0], [1, 1, "nan", 1]]):
        run = write_run(tmp_path / "multirun" / str(seed), "ars", seed=seed, evaluations=4)
        add_info(run, "evaluations.csv", known)
        add_info(run, "episodes.csv", ["nan"] * 50)
    content = report("--metric", "is_success")
    [group] = content["groups"]
    assert group["scores"] == {"CartPole-v1": [0.5, 1.0]}
    assert "3 of 8 episodes lack is_success: the score is of the others" in group["notes"]
    assert content["notes"] == []


def evaluate(run, *values):
    """Evaluate a run after each ten episodes, two episodes each time."""
    rows = "".join(
        f"{k},{10 * (k // 2 + 1)},{500 * (k // 2 + 1)},9,5.0,1,0,0,1.0\n"
        for k in range(len(values))
    )
    (run / "evaluations.csv").write_text(EVALUATION + rows)
    content = json.loads((run / "run.json").read_text())
    content["config"]["loop"]["eval_episodes"] = 2
    edit(run, config=content["config"])
    add_info(run, "evaluations.csv", values)


def test_the_curves_are_of_the_metric_that_is_asked_for(tmp_path, report, told):
    for seed in range(3):
        run = write_run(tmp_path / "multirun" / str(seed), seed=seed)
        evaluate(run, 0.0, 0.5, 0.5, "nan", 1.0, 1.0)
        add_info(run, "episodes.csv", [0.25, "nan"] * 25)
    curve = report("--metric", "is_success")["groups"][0]["curve"]
    assert (curve["steps"], curve["mean"]) == ([500, 1000, 1500], [0.25, 0.5, 1.0])
    told("--metric", "is_success", "--html", "page.html", "--figure", "curve.svg")
    assert "is_success in evaluation, mean and" in (tmp_path / "page.html").read_text()
    assert "<!-- is_success -->" in (tmp_path / "curve.svg").read_text()
    assert max(report()["groups"][0]["curve"]["mean"]) == 5.0
    evaluate(run, 0.0, 0.5, "nan", "nan", 1.0, 1.0)  # of this one's second, nothing is known
    content = report("--metric", "is_success")
    assert content["curves"] == "training"
    assert set(content["groups"][0]["curve"]["mean"]) == {0.25}


def test_a_metric_that_no_run_has_is_named_with_those_they_have(sweep, mistake):
    [run] = sweep("ars", [9])
    add_info(run, "episodes.csv", [0.0] * 50)
    message = mistake("--metric", "is_succes")
    assert "did you mean 'is_success'?" in message
    assert "steps_per_second, is_success" in message


def test_a_group_has_its_figures(sweep, report):
    sweep("ars", [1, 2, 3, 4, 5, 6, 7, 100])
    (group,) = report()["groups"]
    assert group["iqm"] == pytest.approx(4.5)  # of 3, 4, 5, 6
    assert group["median"] == pytest.approx(4.5)
    assert group["best"] == 100
    low, high = group["interval"]
    assert 1 < low < 4.5 < high <= 100


def test_better_is_said_only_where_the_seeds_can_tell(sweep, report):
    sweep("good", [10, 11, 12, 13, 14])
    sweep("same", [9.5, 10.5, 11.5, 12.5, 14.5])
    sweep("bad", [1, 2, 3, 4, 5])
    content = report()
    names = [group["agent"] for group in content["groups"]]
    pairs = {frozenset(names[place] for place in pair["groups"]): pair for pair in content["pairs"]}
    assert len(pairs) == 3
    clear = pairs[frozenset(("good", "bad"))]
    assert names[clear["better"]] == "good"
    assert clear["probability"] == 1
    assert "good is better than bad on CartPole-v1" in clear["sentence"]
    open_ = pairs[frozenset(("good", "same"))]
    assert open_["better"] is None
    assert "cannot tell" in open_["sentence"]
    assert min(open_["more_seeds"]) > 100
    assert f"{open_['more_seeds'][0]} more" in open_["sentence"]


def test_the_best_is_named_first_with_what_is_told_of_the_rest(sweep, told, report):
    for rate, scores in ((0.3, range(9, 18)), (0.2, range(8, 17)), (0.1, range(9))):
        sweep("ars", scores, parameters={"lr": rate, "env.lr": 1})
    (verdict,) = report()["verdicts"]
    assert verdict["sentence"] == (
        "CartPole-v1: best: lr=0.3; not told apart from lr=0.2; surely better than lr=0.1."
    )
    printed = told().out
    assert verdict["sentence"] in printed
    assert "1 more pair: --pairs" in printed
    assert "lr=0.2 is better than lr=0.1" not in printed
    assert "lr=0.2 is better than lr=0.1" in told("--pairs").out


def test_a_narrow_terminal_breaks_between_words_and_a_column_has_one_number_of_decimals():
    from gym_loop.reports import text

    assert text.broken("learning_rate=0.3 is better-known", 20).splitlines() == [
        "learning_rate=0.3 is",
        "  better-known",
    ]
    shown = text.aligned([-1.5, 20.25, None])
    assert [shown(value) for value in (-1.5, 20.25, None)] == ["−1.50", "20.25", "–"]
    assert text.aligned([3.0, 1200.0])(1200.0) == "1,200"


def test_three_seeds_each_cannot_tell_however_far_apart_they_are(sweep, report):
    sweep("good", [100, 110, 120])
    sweep("bad", [1, 2, 3])
    (pair,) = report()["pairs"]
    assert pair["interval"] == [1, 1]
    assert pair["better"] is None
    assert pair["more_seeds"][0] >= 1


def test_a_find_among_many_pairs_is_said_to_be_perhaps_chance(sweep, report, told, tmp_path):
    for number in range(6):
        sweep(f"a{number}", np.array([0, 1, 2, 3, 4]) + 0.01 * number)
    sweep("low", [-2, -3, -4, -5])
    told("--html", "page.html")
    content, page = report(), (tmp_path / "page.html").read_text()
    found = [pair for pair in content["pairs"] if pair["verdict"] == "perhaps better"]
    assert found
    caveat = "among 21 comparisons this may be chance"
    for pair in found:
        assert pair["p"] < 0.05 < pair["p_corrected"]
        assert pair["better"] is None
        assert pair["caveat"] == caveat
        assert caveat in pair["sentence"]
        assert html.escape(pair["sentence"]) in page
    assert page.count(f">perhaps better: {caveat}</td>") == len(found)
    assert "<td>better" not in page
    said = [line for line in told("--pairs").out.splitlines() if "is perhaps better" in line]
    assert len(said) == len(found)
    assert all(caveat in line for line in said)


def test_the_correction_counts_every_environment_and_the_pairs_that_are_not_shown(
    sweep, report, monkeypatch
):
    for env in ("CartPole-v1", "Pendulum-v1"):
        for number in range(4):
            sweep(f"a{number}", np.arange(5) + 10.0 * number, env=env)
    content = report()
    assert {pair["comparisons"] for pair in content["pairs"]} == {12}
    assert {round(pair["p_corrected"] / pair["p"]) for pair in content["pairs"]} == {12}
    monkeypatch.setattr(verdicts, "MOST_PAIRS", 10)
    few = report()
    assert len(few["pairs"]) == 6
    assert {pair["comparisons"] for pair in few["pairs"]} == {12}
    assert {round(pair["p_corrected"] / pair["p"]) for pair in few["pairs"]} == {12}


def test_the_command_says_what_the_functions_say(sweep, report):
    rng = np.random.default_rng(11)
    agents, envs = ("a", "b", "c"), ("CartPole-v1", "Pendulum-v1")
    scores = {
        (agent, env): (rng.normal(2 * (agent == "a"), 1, size=7) * 10).round(2)
        for agent in agents
        for env in envs
    }
    for (agent, env), own in scores.items():
        sweep(agent, own.tolist(), env=env)
    for by, count in (("agent", 3), ("agent,env", 6)):
        content = report("--by", by)
        groups = content["groups"]
        sides = []
        for pair in content["pairs"]:
            x, y = (groups[place]["agent"] for place in pair["groups"])
            sides.append(tuple([scores[agent, env] for env in pair["envs"]] for agent in (x, y)))
        expected = statistics.verdicts(sides, count)
        assert len(expected) == count
        for pair, (x, y), verdict in zip(content["pairs"], sides, expected, strict=True):
            assert pair["verdict"] == verdict.word
            assert pair["p"] == pytest.approx(verdict.p)
            assert pair["p_corrected"] == pytest.approx(verdict.p_corrected)
            assert pair["probability"] == pytest.approx(statistics.improvement(x, y))
        assert any(pair["verdict"] == "better" for pair in content["pairs"])


def fork_of(parent, directory, episode, **changes):
    """Write a run that was forked from another."""
    write_run(directory, **changes)
    edit(directory, parent={"directory": str(parent.absolute()), "episode": episode})
    return directory


def test_forks_of_one_run_are_one_seed_and_no_members_of_those_trained_from_the_start(
    sweep, report, tmp_path
):
    trained = sweep("ars", [1, 2, 3], parameters={"lr": 2})
    (parent,) = sweep("ars", [4])
    folder = tmp_path / "multirun"
    for seed in range(4):
        settings = {"seed": seed, "parameters": {"lr": 2}}
        score(fork_of(parent, folder / f"fork-{seed}", 20, **settings), 100 + seed)
    score(fork_of(trained[0], folder / "other", 20, seed=9, parameters={"lr": 2}), 200)
    fresh = fork_of(parent, folder / "fresh", 0, seed=7, parameters={"lr": 2})  # shares nothing
    score(fresh, 4)
    groups = {group["name"]: group for group in report()["groups"]}
    assert sorted(group["scores"]["CartPole-v1"] for group in groups.values()) == [
        *([1, 2, 3, 4], [4], [100, 200])
    ]
    (forks,) = [group for group in groups.values() if "parent.episode=20" in group["name"]]
    assert "3 of 5 runs not scored: they share episodes with another" in forks["notes"][0]
    # Pooled with the run that they were forked from, they are one with it.
    (pooled,) = report("--by", "agent")["groups"]
    assert sorted(pooled["scores"]["CartPole-v1"]) == [1, 2, 3, 4, 4]


@pytest.fixture
def forked(sweep, tmp_path):
    """Seven runs, and a better fork of each with another learning rate; seven of another agent."""
    sweep("dqn", [-1, -2, -3, -4, -5, -6, -7])
    for seed, parent in enumerate(sweep("ars", [1, 2, 3, 4, 5, 6, 7], parameters={"lr": 1})):
        settings = {"seed": seed, "parameters": {"lr": 2}}
        score(fork_of(parent, tmp_path / "multirun" / f"fork-{seed}", 20, **settings), 100 + seed)


def test_forks_are_not_tested_against_what_they_share_episodes_with(forked, told, report, tmp_path):
    content = report("--html", "page.html")
    verdicts = {frozenset(pair["groups"]): pair for pair in content["pairs"]}
    names = [group["label"] for group in content["groups"]]
    assert names == ["ars lr=2 parent.episode=20", "ars lr=1", "dqn"]
    assert (
        verdicts[frozenset((0, 2))]["verdict"] == verdicts[frozenset((1, 2))]["verdict"] == "better"
    )
    pair = verdicts[frozenset((0, 1))]
    assert (pair["verdict"], pair["caveat"]) == ("not tested", "they share episodes")
    assert [pair[name] for name in ("p", "p_corrected", "interval", "better", "more_seeds")] == [
        None
    ] * 5
    assert (pair["probability"], pair["seeds"], pair["comparisons"]) == (1.0, [7, 7], 2)
    assert content["verdicts"][0]["sentence"] == (
        "CartPole-v1: best: ars lr=2 parent.episode=20; not tested against ars lr=1, with which it "
        "shares episodes; surely better than dqn."
    )
    assert ">not tested: they share episodes</td>" in (tmp_path / "page.html").read_text()
    assert f"Not tested: {names[0]} and {names[1]} share episodes" in told().out.replace("\n ", "")


def test_forks_and_their_parents_belong_together_after_both_have_been_moved(
    forked, report, tmp_path
):
    folder = tmp_path / "multirun"
    for seed in range(7):
        rows = (folder / f"ars-CartPole-v1-1/{seed}/episodes.csv").read_text().splitlines()
        table = folder / f"fork-{seed}" / "episodes.csv"
        table.write_text("\n".join([*rows[:20], *table.read_text().splitlines()[20:], ""]))
    folder.rename(tmp_path / "outputs")
    assert [pair["verdict"] for pair in report()["pairs"]].count("not tested") == 1


def test_of_a_group_with_a_few_forks_the_rest_is_tested(sweep, report, tmp_path):
    parents = sweep("ars", [1, 2, 3, 4, 5, 6], parameters={"lr": 1})
    sweep("ars", [11, 12, 13, 14, 15], parameters={"lr": 2})
    fork = fork_of(parents[0], tmp_path / "multirun" / "fork", 20, seed=9, parameters={"lr": 2})
    score(fork, 0)
    (pair,) = report("--by", "agent.lr")["pairs"]
    x, y = [np.array([11.0, 12, 13, 14, 15])], [np.array([1.0, 2, 3, 4, 5, 6])]
    assert pair["p"] == pytest.approx(statistics.p_value(x, y))
    assert (pair["seeds"], pair["left_out"], pair["probability"]) == ([5, 6], 1, 1.0)
    caveat = "without 1 fork that shares episodes with the other group"
    assert (pair["verdict"], pair["caveat"]) == ("better", caveat)
    assert caveat in pair["sentence"]


def test_forks_of_forks_share_the_first_ones_episodes(sweep, report, tmp_path):
    (parent,) = sweep("ars", [4])
    folder = tmp_path / "multirun"
    for number in range(3):
        directory = folder / f"fork-{number}"
        score(fork_of(parent, directory, 20, seed=number, parameters={"lr": 2}), number)
        origin = {"directory": str(folder / f"gone-{number}"), "episode": 20}
        above = {"directory": str(parent.absolute()), "episode": 10}
        edit(directory, parent={**origin, "parent": above})
    group = next(g for g in report()["groups"] if "parent.episode" in g["name"])
    assert group["seeds"] == 1


def test_the_best_ignores_what_is_not_finite_and_says_so(sweep, report):
    for directory in sweep("ars", [1, 2]):
        rows = [f"{k},{k + 1},1,{r},1,0,0,1.0" for k, r in enumerate(("3.0", "nan", "inf", "2.0"))]
        (directory / "episodes.csv").write_text("\n".join([HEADER.strip(), *rows, ""]))
    (group,) = report("--metric", "best")["groups"]
    assert group["scores"] == {"CartPole-v1": [3, 3]}
    assert any("4 episodes whose return is not finite" in note for note in group["notes"])


def test_a_run_with_returns_that_overflow_is_left_out_alone(sweep, report):
    for agent in ("ars", "dqn"):
        runs = sweep(agent, [1, 2, 3])
        rows = [f"{k},{k + 1},1,{-1e308 if k % 3 else 1e308!r},1,0,0,1.0" for k in range(50)]
        (runs[0] / "episodes.csv").write_text("\n".join([HEADER.strip(), *rows, ""]))
    for metric in ("best", "mean", "return"):
        assert [g["seeds"] for g in report("--metric", metric)["groups"]] == [2, 2]


def test_the_speed_is_that_of_training(sweep, report):
    (directory,) = sweep("ars", [1])
    # Ten steps a second; after every second episode, an evaluation of 100 s.
    seconds, training, evaluations = 0.0, [], []
    for k in range(10):
        seconds += 1.0
        training.append(f"{k},{10 * (k + 1)},10,1.0,1,0,0,{seconds}")
        if k % 2:
            for n in range(4):
                seconds += 25.0
                evaluations.append(f"{n},{k + 1},{10 * (k + 1)},9,1.0,1,0,0,{seconds}")
    (directory / "episodes.csv").write_text("\n".join([HEADER.strip(), *training, ""]))
    (directory / "evaluations.csv").write_text("\n".join([EVALUATION.strip(), *evaluations, ""]))
    edit(directory, steps=100, episodes=10, seconds=seconds)
    (group,) = report("--metric", "steps_per_second")["groups"]
    assert group["iqm"] == pytest.approx(10)


def test_an_evaluation_that_was_cut_counts_for_nothing(sweep, report):
    (directory,) = sweep("ars", [1], evaluations=3)
    rows = [f"{k},{20 + 10 * (k // 3)},90,9,{k}.0,1,0,0,1.0" for k in range(8)]
    (directory / "evaluations.csv").write_text("\n".join([EVALUATION.strip(), *rows, ""]))
    edit(directory, state="running", result=None)  # killed
    (group,) = report("--unfinished")["groups"]
    assert group["scores"] == {"CartPole-v1": [4]}  # of 3, 4, 5; not of 6 and 7
    assert group["curve"]["mean"] == [1, 4]
    (group,) = report("--unfinished", "--metric", "auc")["groups"]
    assert group["scores"] == {"CartPole-v1": [2.5]}


@pytest.mark.parametrize("how", ["a file", "a folder", "a path", "an absolute path"])
def test_a_page_holds_no_file_from_outside_of_a_run(sweep, told, tmp_path, how):
    secret = tmp_path / "private"
    secret.mkdir()
    (secret / "episode-000000.mp4").write_bytes(b"my private key")
    first, second = sweep("ars", [1, 2])
    records = first / "episode_records"
    if how == "a file":
        records.mkdir()
        (records / "episode-000000.mp4").symlink_to(secret / "episode-000000.mp4")
    elif how == "a folder":
        records.symlink_to(secret)
    else:
        config = json.loads((first / "run.json").read_text())["config"]
        config["loop"]["record_dir"] = "../../../private" if how == "a path" else str(secret)
        edit(first, config=config)
    own = second / "episode_records"
    own.mkdir()
    (own / "episode-000001.mp4").write_bytes(b"an own film")
    moved = tmp_path / "link to runs"
    moved.symlink_to(tmp_path / "multirun")
    warnings = told("--html", "page.html", f"{moved}/").err
    assert "leads out of the run's directory" in warnings
    page = (tmp_path / "page.html").read_text()
    assert base64.b64encode(b"my private key").decode() not in page
    assert base64.b64encode(b"an own film").decode() in page


def test_groups_of_different_environments_are_not_compared(sweep, report, told):
    sweep("ars", [1, 2, 3], env="CartPole-v1")
    sweep("dqn", [1, 2, 3], env="Pendulum-v1")
    assert report()["pairs"] == []
    assert "nothing to compare" in told().out


def test_groups_that_differ_in_the_environment_alone_are_named_by_it_once(sweep, told):
    for env in ("CartPole-v1", "Acrobot-v1"):
        sweep("ars", [1, 2, 3], env)
    table = told("multirun").out.split("\n\n")[1].splitlines()
    assert [line.split()[:2] for line in table] == [
        ["group", "env"],
        ["ars", "Acrobot-v1"],
        ["ars", "CartPole-v1"],
    ]
    table = told("multirun", "--by", "env").out.split("\n\n")[1].splitlines()
    assert [line.split()[:2] for line in table] == [
        ["group", "seeds"],
        ["Acrobot-v1", "3"],
        ["CartPole-v1", "3"],
    ]


def test_one_seed_is_reported_without_an_interval(sweep, report, told):
    sweep("ars", [7])
    sweep("dqn", [8])
    content = report()
    assert [group["interval"] for group in content["groups"]] == [None, None]
    assert [group["iqm"] for group in content["groups"]] == [8, 7]
    text = told().out
    assert "one seed only: no interval" in text
    assert "at least 4 of each are needed" in text


def test_the_curve_is_the_mean_over_seeds_on_a_common_grid(sweep, report):
    directories = sweep("ars", [1, 2])
    for level, directory in enumerate(directories):
        rows = [f"{k},{10 * (k + 1)},10,{level * 10.0},1,0,0,1.0" for k in range(100 + 50 * level)]
        header = "episode,steps,length,return,terminated,truncated,seed,seconds"
        (directory / "episodes.csv").write_text("\n".join([header, *rows, ""]))
        edit(directory, steps=10 * len(rows), episodes=len(rows))
    (group,) = report()["groups"]
    curve = group["curve"]
    assert curve["steps"][-1] == pytest.approx(1000, abs=15)  # no line of the one that goes on
    assert set(curve["mean"]) == {5}  # of 0 and 10
    assert len(curve["low"]) == len(curve["high"]) == len(curve["mean"])
    assert all(
        0 <= low <= 5 <= high <= 10 for low, high in zip(curve["low"], curve["high"], strict=True)
    )


def test_evaluations_are_drawn_where_they_are_ranked_as_far_as_all_seeds_go(sweep, report):
    for seed, directory in enumerate(sweep("ars", [1, 2])):
        rows = "".join(f"0,{k},{100 * k},9,{k + seed},1,0,0,1.0\n" for k in range(1, 4 + seed))
        (directory / "evaluations.csv").write_text(EVALUATION + rows)
    content = report()
    assert content["curves"] == "evaluation"
    curve = content["groups"][0]["curve"]
    assert (curve["steps"], curve["mean"]) == ([100, 200, 300], [1.5, 2.5, 3.5])


def test_runs_that_have_not_finished_are_left_out_and_counted(sweep, report):
    runs = sweep("ars", [1, 2, 3, 4])
    edit(runs[0], state="failed")
    edit(runs[1], state="running")
    content = report()
    assert content["groups"][0]["scores"] == {"CartPole-v1": [3, 4]}
    assert content["groups"][0]["notes"][0] == "2 of 4 runs not scored: 1 failed, 1 dead"
    assert report("--unfinished")["groups"][0]["seeds"] == 4


def test_seeds_may_be_numbers_and_texts_and_an_empty_text(sweep, report):
    runs = sweep("ars", [1, 2, 3])
    for run, seed in zip(runs, (1, "", "a"), strict=True):
        config = json.loads((run / "run.json").read_text())["config"]
        edit(run, config=config | {"seed": seed})
    (group,) = report()["groups"]
    assert group["scores"]["CartPole-v1"] == [1, 2, 3]


def test_a_seed_that_was_run_twice_counts_once(sweep, report):
    runs = sweep("ars", [1, 2, 3])
    config = json.loads((runs[2] / "run.json").read_text())["config"]
    config["seed"] = 1
    edit(runs[2], config=config, start="2026-11-23T08:00:00+00:00")
    (group,) = report()["groups"]
    assert group["scores"] == {"CartPole-v1": [1, 3]}
    assert "seed 1 was run 2 times" in group["notes"][0]
    assert "the results differ" in group["notes"][0]


def test_runs_of_several_commits_are_noted(sweep, report):
    runs = sweep("ars", [1, 2, 3, 4, 5])
    edit(runs[0], git={"commit": "aaaaaaaaaaaaaaaa", "dirty": False})
    (group,) = report()["groups"]
    assert any("2 commits" in note for note in group["notes"])


def test_by_agent_pools_environments_as_strata_on_one_scale(sweep, report):
    for env, scale in (("CartPole-v1", 1), ("Pendulum-v1", -1000)):
        sweep("ars", scale * np.array([5.0, 6.0, 7.0]), env=env)
        sweep("dqn", scale * np.array([1.0, 2.0, 3.0]), env=env)
    content = report("--by", "agent")
    assert [group["name"] for group in content["groups"]] == ["ars", "dqn"]
    assert content["rescaled"]
    values = [v for group in content["groups"] for own in group["scores"].values() for v in own]
    assert (min(values), max(values)) == (0, 1)
    (pair,) = content["pairs"]
    assert pair["envs"] == ["CartPole-v1", "Pendulum-v1"]
    assert pair["probability"] == 0.5  # better on the one, worse on the other
    finer = report("--by", "agent,env")
    assert len(finer["groups"]) == 4
    assert len(finer["pairs"]) == 2


def test_by_a_config_key_groups_by_its_value(sweep, report):
    sweep("ars", [1, 2], parameters={"a": 1})
    sweep("ars", [3, 4], parameters={"a": 2, "b": 1})
    sweep("dqn", [5, 6])
    names = {group["name"] for group in report("--by", "agent.a")["groups"]}
    assert names == {"a=1", "a=2", "a=–"}


def test_other_metrics_come_from_the_episodes(sweep, report):
    (directory,) = sweep("ars", [1])
    with open(directory / "episodes.csv") as file:
        returns = [float(row["return"]) for row in csv.DictReader(file)]
    for metric, expected in (
        *(("return", np.mean(returns)), ("mean", np.mean(returns)), ("best", max(returns))),
        ("steps_per_second", 5000),
    ):
        (group,) = report("--metric", metric)["groups"]
        assert group["iqm"] == pytest.approx(expected, rel=1e-3), metric


def test_the_training_return_is_taken_when_not_every_group_was_evaluated(sweep, report):
    sweep("ars", [1, 2])
    for directory in sweep("dqn", [1, 2]):
        (directory / "evaluations.csv").unlink()
        edit(directory, result=None)
    content = report()
    assert content["metric"] == "return"
    assert "not every group has an evaluation" in content["notes"][0]
    content = report("--metric", "evaluation")
    assert content["groups"][-1]["notes"][0] == "2 of 2 runs not scored: 2 without evaluation"


def test_damaged_directories_are_warned_of_and_the_rest_is_reported(sweep, told, cli, tmp_path):
    runs = sweep("ars", [1, 2, 3, 4])
    (runs[0] / "run.json").write_text("")
    os.truncate(runs[1] / "episodes.csv", 700)
    (runs[2] / ".hydra").rmdir()
    content = json.loads(told("--json", "--html", "page.html").out)
    assert content["groups"][0]["scores"] == {"CartPole-v1": [2, 3, 4]}
    assert {line.partition(": ")[2] for line in content["warnings"]} == {
        "run.json is empty",
        "episodes.csv: the last row is cut",
        "no .hydra: Hydra's own record of the config is missing",
    }
    page = (tmp_path / "page.html").read_text()
    assert all(line in page for line in ("run.json is empty", "the last row is cut"))
    done = cli("report")
    assert done.returncode == 0
    assert done.stderr.count("warning: ") == 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["empty"], "no runs found in empty"),
        (["multirun", "--metric", "retrun"], "no metric 'retrun'; did you mean 'return'?"),
        (["multirun", "--by", "agnet"], "did you mean 'agent'?"),
        (["multirun", "--by", "agent.stepsize"], "did you mean 'agent.step_size'?"),
        (["multirun", "--html", "nowhere/page.html"], "cannot write nowhere/page.html"),
        (["multirun", "--html", "a.pdf"], "--html a.pdf: expected a name that ends in .html"),
        (["multirun", "--htm", "page.html"], "did you mean '--html'?"),
    ],
)
def test_a_mistake_is_one_line_that_helps(mistake, sweep, tmp_path, words, line):
    sweep("ars", [1, 2], parameters={"step_size": 1})
    (tmp_path / "empty").mkdir()
    assert line in mistake(*words)


def test_runs_without_a_common_metric_are_a_mistake(cli, mistake, sweep):
    for directory in sweep("ars", [1, 2]):
        (directory / "episodes.csv").unlink()
        edit(directory, steps=0, episodes=0)
    for directory in sweep("dqn", [1, 2]):
        (directory / "evaluations.csv").unlink()
        edit(directory, result=None)
    done = cli("report")
    assert done.returncode == 2
    assert "no metric in common: of 2 groups, evaluation in 1, return in 1" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    line = mistake("multirun/dqn-CartPole-v1-0", "--metric", "evaluation")
    assert "no run has the metric 'evaluation'; they have: return, mean, best" in line


def test_without_scipy_the_install_command_is_named(cli, sweep, tmp_path):
    sweep("ars", [1, 2])
    (tmp_path / "scipy.py").write_text("raise ImportError('no scipy')\n")
    done = cli("report")
    assert done.returncode == 2
    assert 'pip install "gym-loop[report]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert cli("ls").returncode == 0


def test_runs_none_of_which_has_finished_are_a_mistake_that_says_what_to_do(mistake, sweep):
    for directory in sweep("ars", [1, 2]):
        edit(directory, state="failed")
    assert "(2 failed)" in (line := mistake())
    assert "--unfinished" in line


@pytest.mark.slow
def test_real_runs_are_reported(cli, tmp_path):
    words = ["-m", "env=cartpole,acrobot", "seed=0,1,2", "loop.max_episodes=5"]
    assert cli(*words, "loop.eval_episodes=2", "loop.max_episode_len=50").returncode == 0
    done = cli("report", "--html", "page.html", "--figure", "curves.pdf")
    assert done.returncode == 0, done.stderr
    assert "CartPole-v1" in done.stdout
    assert (tmp_path / "page.html").stat().st_size > 20_000
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")


def test_a_figure_is_drawn_in_the_format_of_its_ending(told, mistake, sweep, tmp_path):
    pytest.importorskip("matplotlib", reason='needs the extra: pip install "gym-loop[report]"')
    sweep("ars", [1, 2, 3])
    told("--figure", "curves.svg")
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    assert ".pdf" in mistake("--figure", "curves.doc")


def test_groups_are_named_by_their_wrappers_and_by_what_differs_in_these(told, tmp_path):
    def run(name, **wrappers):
        own = {key: {"_target_": f"x.{key}", "_partial_": True, **v} for key, v in wrappers.items()}
        directory = write_run(tmp_path / "runs" / name, "ars")
        content = json.loads((directory / "run.json").read_text())
        content["config"]["env"] |= {"wrappers": own} if own else {}
        (directory / "run.json").write_text(json.dumps(content))

    run("bare")
    run("slow", stack={"size": 4}, scale={"gamma": 0.9})
    run("fast", stack={"size": 4}, scale={"gamma": 0.99})
    run("other", scale={"gamma": 0.99})
    labels = {group["label"] for group in json.loads(told("runs", "--json").out)["groups"]}
    assert labels == {
        "ars",
        "wrap=[stack,scale] scale.gamma=0.9",
        "wrap=[stack,scale] scale.gamma=0.99",
        "wrap=[scale] scale.gamma=0.99",
    }


def test_runs_from_before_the_loop_had_a_parameter_belong_to_those_that_have_its_default(
    sweep, report
):
    loop = {"_target_": "gym_loop.loops.DefaultLoop", "max_episodes": 50}
    for number, directory in enumerate(sweep("ars", [10, 20, 30, 40])):
        config = json.loads((directory / "run.json").read_text())["config"]
        more = {"steps_per_eval": (None, None, 100, 100)[number]} if number else {}
        edit(directory, config=config | {"loop": loop | more})
    content = report()
    assert sorted(group["runs"] for group in content["groups"]) == [2, 2]
    assert list(content["differences"]) == ["loop.steps_per_eval"]
