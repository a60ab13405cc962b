"""A checkpoint that was not kept is had by playing training again."""

import shutil

import numpy as np
import pytest

import gym_loop
from gym_loop import Mistake
from gym_loop.mistake import Failure
from gym_loop.runs import compare
from tests.conftest import AGENTS

LEARNER = (f"agent={AGENTS}:Learner", "env=cartpole", "loop.eval_episodes=2")
VECTOR = ("agent=random", "env=cartpole", "loop=vector", "loop.num_envs=2", "loop.eval_episodes=1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """30 episodes with an evaluation after each 4; checkpoints at the best and the last alone."""
    place = tmp_path_factory.mktemp("finished") / "run"
    words = ("loop.max_episodes=30", "loop.episodes_per_eval=4", "loop.episodes_per_checkpoint=99")
    return gym_loop.run(*LEARNER, *words, directory=place)


def files(run):
    return {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}


@pytest.mark.parametrize("number", [4, 16, 28])
def test_evaluating_at_any_episode_equals_the_evaluation_there_in_training(finished, number):
    before = files(finished)
    returns = gym_loop.evaluate(finished, checkpoint=number)
    rows = finished.evaluations
    assert returns.tolist() == rows["return"][rows["at_episode"] == number].tolist()
    assert files(finished) == before


@pytest.mark.slow
def test_without_any_checkpoint_training_is_played_from_its_start(tmp_path, capsys):
    words = ("loop.max_episodes=9", "loop.episodes_per_eval=3", "observers.checkpoints=null")
    run = gym_loop.run(*LEARNER, *words, directory=tmp_path / "run")
    assert not (run.path / "checkpoints").exists()
    capsys.readouterr()
    returns = gym_loop.evaluate(run, checkpoint=6)
    rows = run.evaluations
    assert returns.tolist() == rows["return"][rows["at_episode"] == 6].tolist()
    said = "no checkpoint is kept at episode 6: training is played again from the start, 6 episodes"
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_fork_at_any_episode_goes_on_as_the_run_itself_did(finished, tmp_path):
    fork = gym_loop.fork(finished, checkpoint=17, directory=tmp_path / "fork")
    assert list(compare.differences(finished.path, fork.path)) == []


@pytest.mark.slow
def test_the_episodes_that_a_fork_has_of_its_parent_are_played_as_the_parent_did(
    finished, tmp_path
):
    words = ("agent.lr=50.0", "loop.max_episodes=24")
    fork = gym_loop.fork(finished, *words, at=15, directory=tmp_path / "fork")
    shutil.rmtree(fork.path / "checkpoints")
    rows = fork.evaluations
    for number in (12, 20):  # before the fork, and after it
        expected = rows["return"][rows["at_episode"] == number].tolist()
        assert gym_loop.evaluate(fork, checkpoint=number).tolist() == expected
    finished_weights = finished.policy(20).agent.W
    assert not np.array_equal(fork.policy(20).agent.W, finished_weights)


def test_a_fork_whose_parent_is_gone_says_so(finished, tmp_path):
    parent = shutil.copytree(finished.path, tmp_path / "parent", symlinks=True)
    fork = gym_loop.fork(parent, "loop.max_episodes=40", directory=tmp_path / "fork")
    shutil.rmtree(parent)
    shutil.rmtree(fork.path / "checkpoints")
    with pytest.raises(Mistake, match=r"forked at episode 30 from .*parent, which is gone"):
        fork.policy(35)


def test_a_policy_of_any_episode_leaves_the_process_as_it_was(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.random.seed(7)
    state = np.random.get_state()[1].tolist()
    policy = finished.policy(11)
    assert policy.episode == 11
    assert np.random.get_state()[1].tolist() == state
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_training_that_does_not_repeat_itself_fails(finished, tmp_path):
    run = shutil.copytree(finished.path, tmp_path / "run", symlinks=True)
    lines = (run / "episodes.csv").read_text().splitlines(keepends=True)
    cells = lines[21].split(",")
    lines[21] = ",".join([*cells[:3], "1.5", *cells[4:]])  # its return
    (run / "episodes.csv").write_text("".join(lines))
    with pytest.raises(Failure, match=r"^episode 20 went another way than in "):
        gym_loop.evaluate(run, checkpoint=23)


@pytest.mark.parametrize("number", [31, 0])
def test_a_number_out_of_range_names_the_range(finished, number):
    with pytest.raises(Mistake, match=f"no episode {number} .*; expected 1 to 30, latest or best"):
        gym_loop.evaluate(finished, checkpoint=number)


def test_a_mistyped_word_names_the_nearest(finished):
    with pytest.raises(Mistake, match="'bst'; did you mean 'best'"):
        finished.policy("bst")


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "had"), [(11, 12), (7, 6), (1, 6), (16, 16)])
def test_with_many_environments_a_number_is_rounded_to_the_end_of_a_round(
    tmp_path, capsys, asked, had
):
    words = ("loop.max_episodes=16", "loop.episodes_per_round=6", "observers.checkpoints=null")
    run = gym_loop.run(*VECTOR, *words, directory=tmp_path / "run")
    assert run.policy(asked).episode == had
    note = f"note: episode {had} instead of {asked}: with loop=vector"
    assert (note in capsys.readouterr().err) == (asked != had)


@pytest.mark.slow
def test_services_and_progress_hear_nothing_of_a_training_that_is_played_again(tmp_path):
    (tmp_path / "service.py").write_text(
        "from pathlib import Path\n"
        "from gym_loop.observers.sink import Sink\n\n"
        "class Service(Sink):\n"
        "    service, package = 'a service', 'json'\n"
        "    def connect(self, directory, start):\n"
        f"        with open({str(tmp_path / 'opened')!r}, 'a') as file:\n"
        "            file.write('x')\n"
        "    def send(self, metrics, step):\n"
        "        pass\n"
    )
    service = f"+observers.service._target_={tmp_path / 'service.py'}:Service"
    words = ("loop.max_episodes=6", "loop.episodes_per_checkpoint=99", service)
    run = gym_loop.run(*LEARNER, *words, directory=tmp_path / "run")
    assert run.policy(3).episode == 3
    assert (tmp_path / "opened").read_text() == "x"


@pytest.mark.parametrize("command", [gym_loop.fork, gym_loop.evaluate])
def test_a_mistyped_override_is_named_before_training_is_played_again(finished, command, capsys):
    with pytest.raises(Mistake, match=r"no key 'loop.eval_episode'.*'loop.eval_episodes'"):
        command(finished, "loop.eval_episode=1", checkpoint=13)
    assert "played again" not in capsys.readouterr().err
