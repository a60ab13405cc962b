"""What people are used to from Hydra works here as it does there."""

import json

import hydra
import pytest

from gym_loop import __version__, launch
from tests.conftest import rows

SHORT = ["env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=0"]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "work"
    for name, text in {
        "conf/experiment/seeds.yaml": "# @package _global_\nhydra: {mode: MULTIRUN}\n",
        "conf/experiment/params.yaml": (
            "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,2'}}}\n"
        ),
        "conf/experiment/plain.yaml": (
            "# @package _global_\ndefaults:\n  - override /hydra/launcher: basic\n"
            "  - override /hydra/sweeper: basic\nhydra: {sweep: {subdir: 'n${hydra.job.num}'}}\n"
        ),
        "conf/agent/random.yaml": "_target_: nowhere.Agent\n",
        "elsewhere/mine.yaml": "defaults: [config, _self_]\nseed: 4\nloop: {max_episodes: 2}\n",
        "elsewhere/env/pole.yaml": "_target_: gym_loop.envs.make_gym\nid: CartPole-v1\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def played(folder, done):
    assert done.returncode == 0, done.stderr
    return sorted(path.parent.name for path in folder.rglob("run.json"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["+experiment=seeds", "seed=1,2"],
        ["hydra.mode=MULTIRUN", "seed=choice(1,2)"],
        ["seed=1,2", "-m", "hydra.sweep.subdir=${hydra.job.override_dirname}"],
        ["+experiment=params"],
    ],
)
def test_a_config_that_says_so_is_swept_over(words, folder, as_a_child):
    names = played(folder, as_a_child([*words, *SHORT, "hydra.sweep.dir=s"], folder))
    assert [name.rpartition("seed=")[2] for name in names] == ["1", "2"]


@pytest.mark.slow
def test_an_experiment_chooses_launcher_and_sweeper(folder, as_a_child):
    words = ["-m", "+experiment=plain", "seed=1,2", *SHORT, "hydra.sweep.dir=s"]
    assert played(folder, as_a_child(words, folder)) == ["n0", "n1"]
    assert not (folder / "s" / "sweep.json").exists(), "Hydra's own launcher ran it"


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_config_dir_and_config_name_go_together(flags, folder, as_a_child):
    words = ["--config-dir", "elsewhere", "--config-name", "mine", *flags, "env=pole"]
    done = as_a_child([*words, "loop.eval_episodes=0"], folder)
    assert done.returncode == 0, done.stderr
    [file] = folder.rglob("run.json")
    known = json.loads(file.read_text())
    assert (known["seed"], known["episodes"], known["config"]["env"]["id"]) == (4, 2, "CartPole-v1")


def test_a_file_that_is_hidden_by_one_of_ours_is_named(folder, as_a_child):
    done = as_a_child([*SHORT, "hydra.run.dir=run"], folder)
    assert done.returncode == 0, done.stderr
    assert "conf/agent/random.yaml is not read" in done.stderr


def test_the_version_is_that_of_gym_loop(folder, as_a_child):
    assert as_a_child(["--version"], folder).stdout.startswith(f"gym_loop {__version__}")


def test_plain_hydra_makes_the_environment_of_a_composed_config(tmp_path, monkeypatch):
    (tmp_path / "registers_pole.py").write_text(
        "import gymnasium\ngymnasium.register('Pole-v7', entry_point="
        "'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=7)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["env=gymnasium:Pole-v7", "env.imports=[registers_pole]"]
    with (
        launch.surroundings(),
        hydra.initialize_config_dir(str(launch.CONF), **launch.VERSION_BASE),
    ):
        cfg = hydra.compose("config", words)
    assert hydra.utils.instantiate(cfg.env).spec.max_episode_steps == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "key"),
    [("loop.max_episodes=2e0", "max_episodes"), ("loop.max_steps=3e1", "max_steps")],
)
def test_a_whole_number_may_be_written_with_an_exponent(word, key, folder, as_a_child):
    words = ["env=cartpole", "loop.eval_episodes=0", "hydra.run.dir=run", word]
    assert as_a_child(words, folder).returncode == 0
    value = json.loads((folder / "run" / "run.json").read_text())["config"]["loop"][key]
    assert (type(value), value) == (int, int(float(word.partition("=")[2])))
    assert as_a_child(["resume", "run", "loop.max_episodes=4"], folder).returncode == 0
    assert len(rows(folder / "run")) >= 2


@pytest.mark.parametrize("place", [[], ["hydra.run.dir=mine"]])
def test_a_mistake_that_building_finds_leaves_no_run(place, folder, as_a_child):
    before = {*folder.iterdir()}
    done = as_a_child(["agent=q_learning", "env=cartpole", *place], folder)
    assert done.returncode == 2
    assert {*folder.iterdir()} == before


def test_what_a_directory_held_before_stays_when_building_fails(folder, as_a_child):
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("mine")
    done = as_a_child(["agent=q_learning", "env=cartpole", "hydra.run.dir=mine"], folder)
    assert done.returncode == 2
    assert [path.name for path in (folder / "mine").iterdir()] == ["notes.txt"]
