"""Which environment an episode is played in again, and work that is shared among processes."""

import os
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gym_loop.config import kept
from gym_loop.launch import instantiate
from gym_loop.literal import literal
from gym_loop.mistake import Failure
from gym_loop.runs import manifest
from gym_loop.runs.playback import in_parallel, make_env

ENVS = Path(__file__).parents[1] / "sample_envs.py"


def put_run(directory, length, parent, env=f"{ENVS}:Counter"):
    directory.mkdir(parents=True)
    config = {
        "agent": {"_target_": "gym_loop.agents.RandomAgent"},
        "env": {"_target_": env, "length": length},
        "loop": {"_target_": "gym_loop.loops.DefaultLoop"},
        "seed": 0,
    }
    cfg = OmegaConf.create(config)
    kept.write(directory, cfg, Path.cwd())
    parent = parent and {"directory": str(parent[0]), "episode": parent[1]}
    known = {"state": "finished", "parent": parent, **kept.record(cfg, Path.cwd())}
    manifest.write(directory, known)


def test_an_environment_is_given_texts_with_dollars_and_tuples_as_the_run_has_given_them(tmp_path):
    file = tmp_path / "told.py"
    file.write_text(
        "import gym\nfrom omegaconf import OmegaConf\n\n"
        "OmegaConf.register_new_resolver('both', lambda *all: all, replace=True)\n\n"
        "class Told(gym.Env):\n"
        "    def __init__(self, length):\n        self.length = length\n"
    )
    given = ["${seed}", {"a": "\\\\${x}"}]
    put_run(tmp_path / "run", [*literal(given), {"a": "${both:1,2}"}], None, f"{file}:Told")
    cfg = OmegaConf.load(tmp_path / "run" / kept.FILE)
    assert make_env(tmp_path / "run", "train", 0).length == instantiate(cfg.env, True)().length
    assert make_env(tmp_path / "run", "train", 0).length == [*given, {"a": (1, 2)}]


def test_an_episode_from_before_a_fork_is_played_as_the_ancestor_played_it(tmp_path):
    put_run(tmp_path / "first", 4, None)
    put_run(tmp_path / "second", 5, (tmp_path / "first", 10))
    put_run(tmp_path / "third", 6, (tmp_path / "second", 20))
    lengths = [make_env(tmp_path / "third", "train", n).length for n in (9, 10, 20)]
    assert lengths == [4, 5, 6]
    assert make_env(tmp_path / "third", "eval", 9).length == 6


def test_runs_that_name_each_other_as_their_parents_are_read_once(tmp_path):
    put_run(tmp_path / "one", 4, (tmp_path / "other", 9))
    put_run(tmp_path / "other", 5, (tmp_path / "one", 9))
    assert make_env(tmp_path / "one", "train", 0).length == 5


def test_a_run_s_config_is_read_once_for_all_episodes_that_are_played(tmp_path, monkeypatch):
    put_run(tmp_path / "first", 4, None)
    put_run(tmp_path / "fork", 5, (tmp_path / "first", 10))
    read, files = kept.read, []
    monkeypatch.setattr(kept, "read", lambda folder: (files.append(folder), read(folder))[1])
    lengths = [make_env(tmp_path / "fork", "train", n).length for n in range(20)]
    assert lengths == [4] * 10 + [5] * 10
    assert sorted(files) == [tmp_path / "first", tmp_path / "fork"]


def test_a_run_in_the_place_of_another_is_played_in_its_own_environment(tmp_path, monkeypatch):
    for folder, length in (("a", 4), ("b", 5)):
        put_run(tmp_path / folder / "run", length, None)
        monkeypatch.chdir(tmp_path / folder)
        assert make_env(Path("run"), "train", 0).length == length
    shutil.rmtree(tmp_path / "b" / "run")
    put_run(tmp_path / "b" / "run", 6, None)
    assert make_env(Path("run"), "train", 0).length == 6


def test_results_come_in_order_from_several_processes():
    assert list(in_parallel(abs, range(-20, 20), 2)) == [abs(n) for n in range(-20, 20)]


def test_a_process_that_dies_ends_the_work_in_one_line():
    with pytest.raises(Failure, match="died; --jobs 1 plays them in this one"):
        list(in_parallel(os._exit, [3] * 8, 2))


def test_nobody_waits_for_work_that_is_not_wanted_any_more():
    import time

    done = in_parallel(time.sleep, [0, *[1000] * 7], 2)
    assert next(done) is None
    done.close()
