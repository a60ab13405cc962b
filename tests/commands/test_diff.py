import json

import numpy as np
import pytest

from tests.run_directories import write_run


def edit(directory, **changes):
    content = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps(content | changes))


def test_two_runs_of_one_config_and_seed_are_the_same(cli, tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name)
    done = cli("diff", "a", "b")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[3:] == [
        "config: the same",
        "packages: the same",
        "code: the same commit",
        "training: the same in all 50 episodes",
        "evaluation: the same in all 10 episodes",
    ]


def test_runs_outside_of_git_are_not_said_to_be_of_one_commit(cli, tmp_path):
    for name in ("a", "b"):
        edit(write_run(tmp_path / name), git=None)
    assert "code: neither was in a git repository" in cli("diff", "a", "b").stdout


def test_config_commit_packages_and_the_parting_episode_are_named(cli, tmp_path):
    one = write_run(tmp_path / "a", parameters={"step_size": 0.1})
    two = write_run(tmp_path / "b", parameters={"step_size": 0.1})
    content = json.loads((two / "run.json").read_text())
    content["config"]["agent"] |= {"step_size": 0.2, "noise": None}
    edit(
        two,
        config=content["config"],
        git={"commit": "fedcba", "dirty": True},
        versions={"python": "3.11.7", "numpy": "1.26.4", "torch": "2.13.0"},
    )
    lines = (two / "episodes.csv").read_text().splitlines()
    cells = lines[18].split(",")  # episode 17
    cells[3], cells[7] = "-1.5", "99.0"
    lines[18] = ",".join(cells)
    lines[5] = ",".join([*lines[5].split(",")[:-1], "77.0"])  # only the clock: no difference
    (two / "episodes.csv").write_text("\n".join([*lines, ""]))
    found = json.loads(cli("diff", "a", "b", "--json").stdout)
    assert found["config"] == {
        "agent.step_size": ["0.1", "0.2"],
        "agent.noise": ["(absent)", "null"],
    }
    assert found["commit"] == ["0123456789abcdef", "fedcba with changes"]
    assert found["versions"] == {"numpy": ["2.4.6", "1.26.4"], "torch": ["(absent)", "2.13.0"]}
    assert found["training"]["from"] == 17
    assert list(found["training"]["values"]) == ["return"]
    assert found["evaluation"]["from"] is None
    text = cli("diff", one, two).stdout
    assert "  + agent.step_size=0.2" in text
    assert "training: the results part at episode 17" in text


def test_a_longer_run_of_the_same_is_the_same_as_far_as_it_goes(cli, tmp_path):
    write_run(tmp_path / "a")
    two = write_run(tmp_path / "b")
    lines = (two / "episodes.csv").read_text().splitlines()
    (two / "episodes.csv").write_text("\n".join([*lines[:31], ""]))
    (two / "evaluations.csv").unlink()
    text = cli("diff", "a", "b").stdout
    assert "training: the same in all 30 that both have (50 and 30)" in text
    assert "evaluation: only one has episodes (10 and 0)" in text


@pytest.mark.slow
def test_real_runs_part_where_their_seeds_do(launch, cli):
    launch("env=cartpole", "loop.max_episodes=3", directory="a")
    launch("env=cartpole", "loop.max_episodes=5", directory="b")
    launch("env=cartpole", "loop.max_episodes=3", "seed=1", directory="c")
    assert json.loads(cli("diff", "a", "b", "--json").stdout)["training"]["from"] is None
    found = json.loads(cli("diff", "a", "c", "--json").stdout)
    assert found["config"] == {"seed": ["0", "1"]}
    assert found["training"]["from"] == 0


@pytest.mark.slow
def test_the_step_and_what_differs_on_the_machines_are_named(launch, cli):
    words = ("env=cartpole", "loop.max_episodes=3", "loop.eval_episodes=1")
    runs = [launch(*words, directory=name) for name in ("a", "b")]
    path = runs[1] / "traces" / "train-000000.npz"
    arrays = dict(np.load(path))
    arrays["reward"] = arrays["reward"].astype(np.float64)
    arrays["reward"][int(arrays["length"][0]) + 4] = 0.5  # of the fifth step of episode 1
    np.savez(path, **arrays)
    lines = (runs[1] / "episodes.csv").read_text().splitlines()
    cells = lines[2].split(",")
    cells[3] = str(float(cells[3]) - 0.5)
    (runs[1] / "episodes.csv").write_text("\n".join([*lines[:2], ",".join(cells), lines[3], ""]))
    kept = runs[1] / "code" / "environment.json"
    description = json.loads(kept.read_text())
    description["cpu"], description["packages"]["numpy"] = "another", "1.26.4"
    description["threads"] |= {"OMP_NUM_THREADS": "8"}
    description["cpu_features"].remove(known := description["cpu_features"][0])
    kept.unlink()
    kept.write_text(json.dumps(description))
    found = json.loads(cli("diff", "a", "b", "--json").stdout)
    assert found["training"]["step"] == {"step": 5, "what": "reward", "values": ["1.0", "0.5"]}
    assert found["versions"] == {"numpy": [np.__version__, "1.26.4"]}
    assert set(found["machine"]) == {
        *("CPU", "threads, OMP_NUM_THREADS", "CPU features that only one has")
    }
    assert found["machine"]["CPU features that only one has"] == [known, ""]
    text = cli("diff", "a", "b").stdout
    assert "  at step 5: reward 1.0 and 0.5, after the same actions: the environment" in text
    assert "  + CPU=another" in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["runs", "runs/0"], "runs holds 2 runs; name one of them: runs/0, runs/1"),
        (["runs/0", "runs/2"], "no directory runs/2"),
        (["runs/0"], "Missing argument"),
    ],
)
def test_a_mistake_is_one_line(cli, tmp_path, words, line):
    for name in ("0", "1"):
        write_run(tmp_path / "runs" / name)
    done = cli("diff", *words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert line in done.stderr
