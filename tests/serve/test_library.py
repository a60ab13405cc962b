"""Which runs are found, what changes, and what lies in directories that nobody vouches for."""

import json
import os
import shutil
import threading

import pytest

from gym_loop.serve import details, files
from gym_loop.serve.library import Library
from tests.run_directories import write_run


@pytest.fixture
def look(tmp_path):
    """A library of tmp_path, and a way to ask for what has changed since last time."""
    library = Library([tmp_path])
    known = {"era": -1, "version": -1}

    def changes():
        library._due = 0.0
        content = library.changes(known["era"], known["version"])
        known.update(era=content["era"], version=content["version"])
        return content

    changes.library = library
    return changes


def change(directory, **facts):
    content = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps(content | facts, indent=2))


def test_a_new_run_and_a_new_state_are_told_and_nothing_is_read_twice(look, tmp_path):
    assert look()["runs"] == []
    first = write_run(tmp_path / "a")
    (run,) = look()["runs"]
    assert (run["name"], run["state"], run["episodes"]) == ("a", "finished", 50)
    read_at = look.library.entries[run["id"]].read_at

    write_run(tmp_path / "x" / "b", seed=1)
    assert [run["name"] for run in look()["runs"]] == ["x/b"]
    assert look()["runs"] == []
    assert look.library.entries[run["id"]].read_at == read_at

    change(first, state="stopped")
    assert [(run["name"], run["state"]) for run in look()["runs"]] == [("a", "stopped")]


def test_runs_with_a_searchs_fresh_seeds_are_no_group_with_those_it_has_chosen_by(look, tmp_path):
    (tmp_path / "search").mkdir()
    (tmp_path / "search/study.log").touch()
    for place in ("search/seed=0", "search/seed=1", "search/confirm/seed=2", "confirm/seed=3"):
        write_run(tmp_path / place, seed=int(place[-1]))
    configs = {run["name"]: run["config"] for run in look()["runs"]}
    fresh = configs.pop("search/confirm/seed=2")
    assert {fresh}.isdisjoint(configs.values())
    assert len(set(configs.values())) == 1


def test_runs_that_hand_their_seed_on_to_the_agent_have_one_config(look, tmp_path):
    for seed in (4, 5):
        run = write_run(tmp_path / str(seed), seed=seed)
        config = json.loads((run / "run.json").read_text())["config"]
        config["agent"]["seed"] = seed
        change(run, config=config)
    content = look()
    assert len({run["config"] for run in content["runs"]}) == 1
    assert content["columns"] == []


def test_a_run_that_is_gone_leaves_the_table(look, tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1)
    look()
    shutil.rmtree(tmp_path / "a")
    content = look()
    assert content["whole"]
    assert [run["name"] for run in content["runs"]] == ["b"]


def test_a_run_whose_place_another_folder_takes_leaves_the_table(look, tmp_path):
    first = write_run(tmp_path / "a")
    (run,) = look()["runs"]
    shutil.rmtree(first)
    write_run(first / "inner")
    look()  # it is damaged; the next look is into it
    look()
    assert sorted(entry.row["name"] for entry in look.library.entries.values()) == ["a/inner"]
    assert look.library.get(run["id"]) is None


def test_a_link_that_has_just_taken_a_runs_place_is_not_followed(look, tmp_path):
    first, other = write_run(tmp_path / "runs" / "a"), write_run(tmp_path / "elsewhere" / "b")
    runs = Library([tmp_path / "runs"])
    (run,) = runs.changes(-1, -1)["runs"]
    assert runs.get(run["id"])
    shutil.rmtree(first)
    first.symlink_to(other)
    assert runs.get(run["id"]) is None


def test_wrappers_are_one_column_and_what_differs_in_them_others(look, tmp_path):
    for name, own in {
        "slow": {"scale": {"_target_": "x.scale", "_partial_": True, "gamma": 0.9}},
        "fast": {"scale": {"_target_": "x.scale", "_partial_": True, "gamma": 0.99}},
    }.items():
        directory = write_run(tmp_path / name)
        config = json.loads((directory / "run.json").read_text())["config"]
        config["env"]["wrappers"] = own
        change(directory, config=config)
    write_run(tmp_path / "bare")
    content = look()
    assert content["columns"] == ["env.wrappers.scale.gamma", "wrap"]
    named = {run["name"]: content["configs"][run["config"]].get("wrap") for run in content["runs"]}
    assert named == {"bare": None, "slow": "[scale]", "fast": "[scale]"}


def test_columns_are_what_varies_and_the_rest_is_said_once(look, tmp_path):
    for number, lr in enumerate((0.1, 0.1, 0.2)):
        write_run(tmp_path / str(number), "ppo", seed=number, parameters={"lr": lr, "gamma": 0.9})
    write_run(tmp_path / "other", "dqn", parameters={"memory": 100})
    content = look()
    assert content["columns"] == ["agent._target_", "agent.lr"]
    assert content["constants"]["env.id"] == "CartPole-v1"
    assert "agent.memory" not in content["constants"]
    assert len(content["configs"]) == 3


def test_a_search_has_no_planned_number_of_jobs(look, tmp_path):
    write_run(tmp_path / "search" / "agent.x=0.5,seed=0", state="stopped", ended_by="paused")
    (tmp_path / "search" / "sweep.json").write_text(json.dumps({"jobs": {}}))
    content = look()
    assert [sweep["jobs"] for sweep in content["sweeps"].values()] == [None]
    assert [run["state"] for run in content["runs"]] == ["paused"]


def test_a_sweep_is_known_with_the_number_of_its_jobs(look, tmp_path):
    jobs = {f"seed={n}": [f"seed={n}"] for n in range(5)}
    for name in list(jobs)[:2]:
        write_run(tmp_path / "sweep" / name)
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    content = look()
    ((key, sweep),) = content["sweeps"].items()
    assert sweep == {"name": "sweep", "jobs": 5}
    assert {run["sweep"] for run in content["runs"]} == {key}


HOSTILE = {
    "a run.json that is a link": lambda d, secret: relink(d / "run.json", secret),
    "tables that are links": lambda d, secret: relink(d / "episodes.csv", secret),
    "a log that is a link": lambda d, secret: (d / "gym_loop.log").symlink_to(secret),
    "a pipe": lambda d, secret: os.mkfifo(d / "gym_loop.log"),
    "a pipe for a table": lambda d, secret: repipe(d / "evaluations.csv"),
    "a huge run.json": lambda d, secret: os.truncate(d / "run.json", 50_000_000_000),
    "a huge table": lambda d, secret: os.truncate(d / "episodes.csv", 50_000_000_000),
    "a run.json of lists": lambda d, secret: (d / "run.json").write_text("[" * 1_000_000),
    "a state of a million letters": lambda d, secret: change(d, state="x" * 1_000_000),
    "giant numbers": lambda d, secret: change(d, episodes=10**400, steps=-(10**400), seconds=1e999),
    "a giant seed": lambda d, secret: change(d, seed=10**400, config={"seed": 10**400}),
    "types at random": lambda d, secret: change(d, seed=[], config={"agent": 3, "env": {"id": {}}}),
}


def relink(path, target):
    path.unlink()
    path.symlink_to(target)


def repipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_directory_is_a_row_and_the_others_are_shown(look, tmp_path, what):
    secret = tmp_path.with_name(f"{tmp_path.name}-secret")
    secret.write_text(json.dumps({"state": "SECRET", "config": {"SECRET": 1}}))
    hostile = write_run(tmp_path / "hostile")
    HOSTILE[what](hostile, secret)
    write_run(tmp_path / "sound", seed=1)

    content = look()
    rows = {run["name"]: run for run in content["runs"]}
    assert rows["sound"]["state"] == "finished"
    assert rows["hostile"]["state"] in ("damaged", "finished", "x" * 300)
    text = json.dumps(content, allow_nan=False)
    assert "SECRET" not in text
    assert len(text) < 20_000
    shown = json.dumps(
        details.details(look.library.get(rows["hostile"]["id"])), allow_nan=False, default=None
    )
    assert "SECRET" not in shown
    assert "link" not in what or "links are not followed" in text


def test_linked_directories_are_not_followed(look, tmp_path):
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    write_run(outside / "a")
    (tmp_path / "link").symlink_to(outside)
    assert look()["runs"] == []


def test_a_log_shows_its_end_as_text(tmp_path):
    log = tmp_path / "gym_loop.log"
    log.write_bytes(b"first\n" + b"x" * 100_000 + b"\n\x1b[31mred\xff\nlast\n")
    lines = files.tail(log).splitlines()
    assert lines[-1] == "last"
    assert "\x1b" not in "".join(lines)
    assert len("\n".join(lines)) <= files.LOG_TAIL


def test_commands_are_quoted_and_left_out_where_a_terminal_would_obey_the_path(look, tmp_path):
    write_run(tmp_path / "it's $(here)")
    write_run(tmp_path / "esc\x1b[2J", seed=1)
    rows = {run["name"]: run["id"] for run in look()["runs"]}
    commands = {
        name: details.details(look.library.get(key))["commands"] for name, key in rows.items()
    }
    assert """'"'"'s $(here)'""" in commands["it's $(here)"][0]["command"]
    assert [c for name, c in commands.items() if name.startswith("esc")] == [[]]


def test_a_runs_page_warns_of_damaged_rows(look, tmp_path):
    run = write_run(tmp_path / "a", warnings=["the first"])
    with open(run / "episodes.csv", "a") as file:
        file.write("not,a,row\n")
    look()
    (entry,) = look.library.entries.values()
    warnings = details.details(entry)["warnings"]
    assert warnings == ["the first", "episodes.csv: 1 damaged row left out"]


@pytest.mark.slow
def test_checkpoints_that_a_run_replaces_meanwhile_do_not_hide_the_others(tmp_path):
    (tmp_path / "kept").mkdir()

    def replace():
        for number in range(3000):
            (tmp_path / f"{number}").mkdir()
            (tmp_path / ".link").symlink_to(f"{number}")
            (tmp_path / ".link").rename(tmp_path / "latest")
            (tmp_path / f"{number}").rmdir()

    thread = threading.Thread(target=replace)
    thread.start()
    while thread.is_alive():
        assert "kept" in [each["name"] for each in details.checkpoints(tmp_path)]
    thread.join()
