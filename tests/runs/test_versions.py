"""Runs that go on with other versions than they were begun with."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import cloudpickle
import pytest

import gym_loop
from gym_loop.__main__ import dispatch
from gym_loop.config import by_value
from gym_loop.mistake import Failure, Mistake
from gym_loop.runs import checkpoints, manifest, versions

WORDS = ("env=cartpole", "loop.max_episodes=2", "loop.eval_episodes=1")
FRAGILE = """
import os
from gym_loop.agents import RandomAgent

class Fragile(RandomAgent):
    def load(self, directory):
        if os.path.exists('older'):
            import numpy._core_of_another_version
        super().load(directory)
"""
CODED = """
import pickle
import cloudpickle
from gym_loop.agents import RandomAgent

class Coded(RandomAgent):
    def save(self, directory):
        with open(f"{directory}/agent.pkl", "wb") as file:
            cloudpickle.dump({**vars(self), "rule": lambda state: 0}, file)
"""
WRAPPED = """
import os
import gymnasium as gym

def by_value():
    return gym.wrappers.TransformReward(gym.make("CartPole-v1"), lambda reward: 2 * reward)

def grown():
    env = gym.make("CartPole-v1")
    if os.path.exists("older"):
        env.since_then = 1
    return env
"""


def written_with(run, package, version):
    """Have the newest checkpoint of a run say that it was written with that version."""
    checkpoint = next(checkpoints.sound(run / "checkpoints"))
    state = checkpoints.load_state(checkpoint)
    state["versions"][package] = version
    checkpoints.write_state(checkpoint, state)


def test_a_policy_that_other_versions_have_saved_and_these_cannot_read_is_refused_with_both(
    launch, capsys
):
    Path("fragile.py").write_text(FRAGILE)
    run = launch("agent=fragile.py:Fragile", *WORDS)
    written_with(run, "numpy", "9.1")
    assert gym_loop.Run(run).policy().episode == 2
    assert "was written with numpy 9.1, now" in capsys.readouterr().err
    Path("older").touch()
    with pytest.raises(Failure, match=r"numpy 9\.1, now .* and cannot be read \(ModuleNotFound"):
        gym_loop.Run(run).policy()


@pytest.mark.parametrize(
    ("maker", "package", "version", "why"),
    [
        ("by_value", "python", "3.9.1", "it holds code for another Python"),
        ("grown", "gymnasium", "0.1", "its TimeLimit lacks since_then"),
    ],
)
def test_an_environment_that_this_version_cannot_play_is_started_anew(
    launch, maker, package, version, why
):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    Path("wrapped.py").write_text(WRAPPED)
    run = launch("agent=random", f"env=wrapped.py:{maker}", *WORDS[1:])
    written_with(run, package, version)
    Path("older").touch()
    dispatch("resume", "run", "loop.max_episodes=4")
    known = manifest.read(run)
    assert (known["state"], known["episodes"]) == ("finished", 4)
    assert any(f"{why}) and is started anew" in line for line in known["warnings"])


def test_an_agent_that_has_saved_code_is_refused_under_another_python(launch):
    Path("coded.py").write_text(CODED)
    run = launch("agent=coded.py:Coded", *WORDS)
    assert gym_loop.Run(run).policy().episode == 2
    written_with(run, "python", "3.9.1")
    with pytest.raises(Failure, match=r"python 3\.9\.1, now .* code for another Python\)"):
        gym_loop.Run(run).policy()


@pytest.mark.parametrize(
    ("version", "mark", "refused"),
    [
        ("3.9.1", "", True),
        ("3.9.1", f"\nPython {by_value.PYTHON}", False),
        (f"{by_value.PYTHON}.99", "", False),
        (None, "", False),
    ],
)
@pytest.mark.parametrize(
    ("where", "checksum"),
    [("run.json", ""), ("0/run.json", ""), ("checkpoints/a/state.json", "fc2c693d\n")],
)
def test_a_class_that_earlier_versions_have_kept_is_of_its_runs_python(
    where, checksum, version, mark, refused, tmp_path, monkeypatch
):
    class Own:
        def act(self):
            return 1

    folder = tmp_path / by_value.FOLDER
    folder.mkdir()
    (folder / "Own-0.pkl").write_bytes(cloudpickle.dumps(Own) + mark.encode())
    (tmp_path / where).parent.mkdir(exist_ok=True, parents=True)
    known = {"versions": {"python": version}} if version else {}
    (tmp_path / where).write_text(checksum + json.dumps(known))
    monkeypatch.setattr(by_value, "folders", [folder])
    for name in ("pickles", "_loaded"):
        monkeypatch.setattr(by_value, name, {})
    for _ in range(2):
        if refused:
            with pytest.raises(Mistake, match=r"a class for Python 3\.9, which Python"):
                by_value.load("Own-0.pkl")
        else:
            assert by_value.load("Own-0.pkl")().act() == 1


@pytest.mark.slow
def test_a_class_without_a_file_is_refused_where_another_python_has_pickled_it(cli, tmp_path):
    (tmp_path / "script.py").write_text(
        "import gym_loop\n"
        "from gym_loop.agents import RandomAgent\n"
        "class Own(RandomAgent):\n"
        "    pass\n"
        f"gym_loop.run(*{WORDS}, agent=Own, directory='run')\n"
    )
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True)
    [file] = (tmp_path / "run" / "classes").iterdir()
    file.write_bytes(file.read_bytes().replace(b"\nPython ", b"\nPython 1"))
    before = (tmp_path / "run" / "run.json").read_bytes()
    for words in (["resume", "run", "loop.max_episodes=4"], ["evaluate", "run"]):
        done = cli(*words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"a class for Python 1{by_value.PYTHON}, which Python" in done.stderr
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    assert json.loads(before)["state"] == "finished"


def test_jobs_that_other_versions_have_played_are_told_of_in_one_line(tmp_path, capsys):
    def run(name, recorded):
        (tmp_path / name).mkdir()
        manifest.write(tmp_path / name, {"state": "finished", "versions": recorded})
        return tmp_path / name

    same = [run("same", versions.versions()), run("none", None), tmp_path / "gone"]
    versions.note_others([*same, run("uninstalled", {"no-such-package": "1.0"})])
    assert capsys.readouterr().err == ""
    others = [run(name, {"python": "3.2", "numpy": name}) for name in ("1.0", "1.1")]
    versions.note_others([*same, *others, others[0], run("more", {"pluggy": "0"})])
    python = versions.versions()["python"]
    told = f"python 3.2, now {python}; numpy 1.0, 1.1, now {version('numpy')}"
    told = f"{told}; pluggy 0, now {version('pluggy')}"
    line = f"note: jobs before had {told}: results may differ by it\n"
    assert capsys.readouterr().err == line
