"""The best of many runs: by its group, by a column, by an episode."""

import contextlib
import json
import os
import pty
import subprocess
import sys

import pytest

import gym_loop
from tests.run_directories import write_run

pytest.importorskip("scipy", reason='needs the extra: pip install "gym-loop[report]"')


@pytest.fixture
def runs(tmp_path):
    """Five seeds of a good agent and five of a bad one, and two of another environment."""
    for seed in range(5):
        write_run(tmp_path / "all" / f"good-{seed}", agent="ars", seed=seed, level=400)
        write_run(tmp_path / "all" / f"bad-{seed}", agent="random", seed=seed, level=20)
    for seed in range(2):
        write_run(tmp_path / "all" / f"other-{seed}", env="Acrobot-v1", seed=seed, level=90)
    return tmp_path / "all"


def evaluations(runs, name):
    found = {path: gym_loop.Run(path).result for path in runs.glob(f"{name}-*")}
    return max(found, key=found.get)


def test_best_names_the_best_run_of_each_environment_and_what_to_do_with_it(runs, as_a_child):
    done = as_a_child(["best", "all"], runs.parent)
    assert done.returncode == 0, done.stderr
    blocks = [block.splitlines() for block in done.stdout.strip().split("\n\n")]
    assert [block[0] for block in blocks] == [
        f"all/{evaluations(runs, 'other').name}",
        f"all/{evaluations(runs, 'good').name}",
    ]
    commands = [line.split()[1] for line in blocks[1] if line.startswith("  gym-loop ")]
    assert commands == ["replay", "evaluate", "export", "resume"]


def test_programs_are_told_the_best_run_of_each_environment(runs, as_a_child):
    done = as_a_child(["best", "all", "--json"], runs.parent)
    assert done.returncode == 0, done.stderr
    other, good = json.loads(done.stdout)
    assert good["directory"] == f"all/{evaluations(runs, 'good').name}"
    assert good["score"] == gym_loop.Run(runs.parent / good["directory"]).result > 300
    assert (good["group"], other["metric"]) == ("ars CartPole-v1", "evaluation")


def test_where_a_run_is_expected_a_directory_of_runs_is_said_to_hold_some(runs):
    for name in ("all", "."):
        with pytest.raises(gym_loop.Mistake) as told:
            gym_loop.Run(runs.parent / name)
        hint = f"; it holds runs: gym-loop best {runs} names the best"
        assert told.value.message.endswith(hint) == (name == "all")


def test_best_says_when_the_seeds_cannot_tell(runs, as_a_child):
    for seed in range(5):
        write_run(runs / f"rival-{seed}", agent="q_learning", seed=seed + 50, level=400)
    done = as_a_child(["best", "all", "--by", "agent,env"], runs.parent)
    assert "These seeds cannot tell" in done.stdout


def test_sentences_of_best_are_as_wide_as_the_terminal_and_commands_are_whole(runs):
    for seed in range(5):
        write_run(runs / f"rival-{seed}", agent="q_learning", seed=seed + 50, level=400)
    main, terminal = pty.openpty()
    words = [sys.executable, "-m", "gym_loop", "best", "all", "--by", "agent,env"]
    surroundings = {**os.environ, "COLUMNS": "40"}
    shown = b""
    with subprocess.Popen(words, cwd=runs.parent, env=surroundings, stdout=terminal):
        os.close(terminal)
        with contextlib.suppress(OSError), open(main, "rb", 0) as screen:  # its end is an error
            while part := screen.read(1000):
                shown += part
    told = [line for line in shown.decode().splitlines() if line.startswith("  ")]
    commands = [line for line in told if line.startswith("  gym-loop")]
    assert any(line.startswith("  gym-loop resume all/good") for line in commands)
    assert max(map(len, commands)) > 40
    assert max(len(line) for line in told if line not in commands) <= 40


def test_ls_sorts_by_a_column(runs, as_a_child):
    done = as_a_child(["ls", "all", "--sort", "evaluation", "--json"], runs.parent)
    values = [run["evaluation"] for run in json.loads(done.stdout)]
    assert values == sorted(values, reverse=True)
    assert len(values) == 12


def test_ls_names_the_columns_that_it_sorts_by(runs, as_a_child):
    done = as_a_child(["ls", "all", "--sort", "evalution"], runs.parent)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "did you mean 'evaluation'? expected evaluation, return, " in done.stderr


def test_the_best_episode_of_a_sweep_is_played_again(tmp_path, as_a_child):
    words = ("env=cartpole", "loop.max_episodes=6", "loop.eval_episodes=0", "seed=range(3)")
    sweep = gym_loop.sweep(*words, "hydra/launcher=basic", directory=tmp_path / "s" / "weep")
    best = max(sweep, key=lambda run: run.episodes["return"].max())
    done = as_a_child(["replay", "weep", "--episode", "best"], tmp_path / "s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"run: weep/{best.path.name}"
    assert f"return {best.episodes['return'].max():g}, as recorded" in done.stdout
    done = as_a_child(["replay", "weep"], tmp_path / "s")
    assert done.returncode == 2
    assert "weep holds 3 runs; expected the directory of one, or --episode best" in done.stderr


@pytest.mark.parametrize("result", [2**63, 2**70, 10**300, 10**400])
def test_a_foreign_run_whose_result_is_a_number_of_many_digits_costs_no_other(
    runs, as_a_child, result
):
    write_run(runs / "foreign", agent="random", seed=9, result=result)
    done = as_a_child(["best", "all"], runs.parent)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert "all/other" in done.stdout


@pytest.mark.parametrize("group", ["agent", "loop"])
@pytest.mark.parametrize("section", [3, "text", [{}], True])
def test_a_run_whose_config_is_damaged_is_named_all_the_same(tmp_path, as_a_child, group, section):
    run = write_run(tmp_path / "run")
    known = json.loads((run / "run.json").read_text())
    known["config"][group] = section
    (run / "run.json").write_text(json.dumps(known))
    done = as_a_child(["best", "run"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "run"
