"""create-default, train and evaluate."""

import json
import re

import pytest
import yaml

from gym_loop.loops import DefaultLoop
from gym_loop.mistake import Mistake
from tests.conftest import AGENTS, rows


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a sub-command within this process and return what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        from gym_loop.__main__ import dispatch

        dispatch(*map(str, words))
        return capsys.readouterr().out

    return run


def test_create_default_writes_every_parameter_at_its_default(command, tmp_path):
    command("create-default", "--agent", f"{AGENTS}:Learner", "--run-config", "mine.yaml")
    config = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    loop = {name: value for name, value in config["loop"].items() if name != "_target_"}
    assert loop == DefaultLoop.get_default_parameters()
    assert (config["agent"]["lr"], config["agent"]["capacity"]) == (0.1, 300)
    assert config["env"]["id"] == "Pendulum-v1"
    assert config["seed"] == 0


def test_create_default_gives_each_parameter_its_comment(command, tmp_path):
    command("create-default", "--run-config", "mine.yaml")
    lines = (tmp_path / "mine.yaml").read_text().splitlines()
    assert "  max_episode_len: 5000  # steps after which an episode is truncated" in lines
    for name in DefaultLoop.get_default_parameters():
        assert re.search(rf"^  {name}: .+  # \w", "\n".join(lines), re.MULTILINE), name


def test_create_default_does_not_overwrite_without_force(command, tmp_path):
    (tmp_path / "mine.yaml").write_text("precious")
    with pytest.raises(Mistake, match=r"mine\.yaml"):
        command("create-default", "--run-config", "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == "precious"
    command("create-default", "--run-config", "mine.yaml", "--force")
    assert "agent" in yaml.safe_load((tmp_path / "mine.yaml").read_text())


@pytest.mark.parametrize("env", ["CartPole-v1", "gym:Acrobot-v1", "gymnasium:CartPole-v1"])
def test_create_default_takes_an_environments_id(command, tmp_path, env):
    command("create-default", "--env", env, "--run-config", "mine.yaml")
    config = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert config["env"]["id"] == env.rpartition(":")[2]
    assert ("gymnasium" in config["env"]["_target_"]) == env.startswith("gymnasium")


def test_train_is_the_same_as_launching(command, launch):
    command("create-default", "--env", "CartPole-v1", "--run-config", "mine.yaml")
    command("train", "-c", "mine.yaml", "loop.max_episodes=4", "seed=3", "hydra.run.dir=trained")
    launched = launch("agent=random", "env=cartpole", "loop.max_episodes=4", "seed=3")
    assert rows("trained") == rows(launched)


def test_train_takes_options_in_the_place_of_the_files_own(command):
    command("create-default", "--run-config", "mine.yaml")
    words = (f"agent={AGENTS}:Learner", "agent.lr=0.3", "env=cartpole", "hydra.run.dir=run")
    command("train", "-c", "mine.yaml", *words)
    config = json.loads(open("run/run.json").read())["config"]
    assert config["agent"] == {"_target_": f"{AGENTS}:Learner", "lr": 0.3, "capacity": 300}
    assert config["env"]["id"] == "CartPole-v1"


@pytest.mark.slow
def test_train_sweeps(command, cli, tmp_path):
    command("create-default", "--env", "CartPole-v1", "--run-config", "mine.yaml")
    done = cli("train", "-c", "mine.yaml", "-m", "seed=0,1", "loop.eval_episodes=1")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "multirun").rglob("run.json"))) == 2


def test_evaluate_plays_the_agent_of_the_newest_checkpoint_and_changes_nothing_else(
    command, launch
):
    directory = launch(f"agent={AGENTS}:Learner", "env=pendulum", "loop.eval_episodes=4")

    def files():
        return {
            p: p.read_bytes() for p in directory.rglob("*") if p.suffix != ".log" and p.is_file()
        }

    before = files()
    printed = command("evaluate", directory)
    returns = [float(row["return"]) for row in rows(directory, "evaluations.csv")]
    assert f"mean {sum(returns) / 4:.6g}" in printed
    assert f"maximum {max(returns):.6g}" in printed
    assert files() == before  # the curves, too, have the points of the run alone


@pytest.mark.slow
def test_evaluate_records_where_the_config_says(command, launch):
    directory = launch("env=cartpole", "loop.eval_episodes=0")
    words = ("loop.eval_episodes=2", "loop.eval_record=true", "loop.eval_record_dir=films")
    command("evaluate", directory, *words)
    assert {file.name for file in (directory / "films").iterdir()} == {
        "episode-000000.mp4",
        "episode-000001.mp4",
    }


@pytest.mark.slow
def test_evaluate_writes_over_no_recording(command, launch):
    words = ("loop.eval_episodes=2", "loop.eval_record=true")
    directory = launch("env=cartpole", "loop.max_episodes=2", "loop.episodes_per_eval=1", *words)
    films = directory / "eval_records"
    before = {file.name: file.stat().st_mtime_ns for file in films.iterdir()}
    assert len(before) == 6
    for count in (8, 10):
        command("evaluate", directory, *words)
        after = {file.name: file.stat().st_mtime_ns for file in films.iterdir()}
        assert sorted(after) == [f"episode-{n:06d}.mp4" for n in range(count)]
        assert before.items() <= after.items()
        before = after


@pytest.mark.parametrize(
    "env", ["cartpole", "gym_vector:CartPole-v1", "gymnasium_vector:CartPole-v1"]
)
def test_evaluate_takes_and_records_a_run_of_many_environments(command, launch, env):
    words = ("loop=vector", "loop.num_envs=2", f"env={env}", "loop.max_episodes=4")
    directory = launch(*words, "loop.eval_episodes=0")
    printed = command("evaluate", directory, "loop.eval_episodes=1", "loop.eval_record=true")
    assert "1 episodes in" in printed
    assert [file.name for file in (directory / "eval_records").iterdir()] == ["episode-000000.mp4"]


def test_evaluate_takes_a_run_config_too(command):
    command("create-default", "--env", "CartPole-v1", "--run-config", "mine.yaml")
    printed = command("evaluate", "-c", "mine.yaml", "loop.eval_episodes=3")
    assert re.search(r"3 episodes.*\nreturn: mean \d+.*standard deviation .*minimum", printed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("agent: [1, 2", "mine.yaml:"),  # where it ends, YAML's parsers say differently
        ("- agent", "expected a mapping"),
        ("agent: {_target_: a.B}\nevn: {}\nloop: {}", "did you mean 'evn'?"),
        ("agent: {class: 'a:B', parameters: {}}", "older version"),
    ],
)
def test_a_file_that_is_no_run_config_is_named_in_one_line(child, tmp_path, text, said):
    (tmp_path / "mine.yaml").write_text(text)
    done = child("train", "-c", "mine.yaml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert not (tmp_path / "outputs").exists()
