"""Classes in files of the user's: what they are pickled under, and what finds them again."""

import importlib
import json
import os
import pickle
import subprocess
import sys

import pytest

from tests.conftest import rows

AGENT = """
import helper_beside
from gym_loop.agents import RandomAgent

class Mine(RandomAgent):
    def __init__(self, *spaces, **given):
        super().__init__(*spaces, **given)
        self.kept = Kept(), helper_beside.Helper()

class Kept: ...
"""
ENV = """
import gym

class Walk(gym.Env):
    observation_space = gym.spaces.Discrete(9)
    action_space = gym.spaces.Discrete(2)
    games = 0

    def reset(self, seed=None, options=None):
        self.games, self.at = self.games + 1, 4
        return self.at, {}

    def step(self, action):
        self.at += 1
        return self.at, float(self.games), self.at == 8, False, {}
"""


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def python(code, cwd):
    """Run code in a new process that finds nothing in the current folder by itself."""
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "env"),
    [
        ("a/play.py", "b/play.py"),
        ("a/play.v2.py", "a/walk.old.py"),
        ("statistics.py", "queue.py"),
        ("with space/secrets.py", "decimal.py"),
        ("torch.py", "rich.py"),  # of packages that may be installed
    ],
)
def test_a_run_resumes_whatever_its_files_are_called(agent, env, tmp_path):
    folder = tmp_path / "work"
    for name, text in ((agent, AGENT), (env, ENV)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).with_name("helper_beside.py").write_text("class Helper: ...\n")
    words = [f"agent={agent}:Mine", f"env={env}:Walk", "loop.eval_episodes=1"]
    for cwd, command in (
        (folder, [*words, "loop.max_episodes=3", "hydra.run.dir=run"]),
        (folder, ["resume", "run", "loop.max_episodes=5"]),
        (tmp_path, ["resume", "work/run", "loop.max_episodes=7"]),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "gym_loop", *command],
            cwd=cwd,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    rows = (folder / "run" / "episodes.csv").read_text().splitlines()
    assert len(rows) == 8
    known = json.loads((folder / "run" / "run.json").read_text())
    assert known["warnings"] == [], "the environment went on from the checkpoint"


@pytest.mark.slow
def test_a_run_resumes_where_its_environment_imports_what_has_the_name_of_the_agents_file(
    cli, tmp_path
):
    write(
        tmp_path,
        a__thing_py="from gym_loop.agents import RandomAgent\n\nclass Mine(RandomAgent): ...\n",
        b__walk_py=f"import thing\n{ENV}",
        b__thing_py="",
    )
    words = ("agent=a/thing.py:Mine", "env=b/walk.py:Walk", "loop.eval_episodes=1")
    assert cli(*words, "loop.max_episodes=2", "hydra.run.dir=run").returncode == 0
    done = cli("resume", "run", "loop.max_episodes=3")
    assert done.returncode == 0, done.stderr


def test_what_a_class_is_pickled_under_depends_on_its_file_alone(tmp_path):
    write(
        tmp_path,
        one__same_py=AGENT,
        two__same_py=AGENT,
        one__helper_beside_py="class Helper: ...",
        two__helper_beside_py="class Helper: ...",
    )
    code = "from gym_loop.config.locate import locate\n" + "".join(
        "print(locate('{}/same.py:Kept').__module__)\n" for _ in range(2)
    )
    there, back = (
        python(code.format(*order), tmp_path) for order in (("one", "two"), ("two", "one"))
    )
    assert there == back[::-1]
    assert len(set(there)) == 2


def test_a_file_that_would_import_what_lies_beside_another_one_is_refused(tmp_path):
    """Each is fine alone; in one sweep the second would use the first one's helper."""
    write(
        tmp_path,
        one__mine_py=AGENT,
        two__mine_py=AGENT,
        one__helper_beside_py="class Helper: ...",
        two__helper_beside_py="class Helper: size = 2",
    )
    code = "from gym_loop.config.locate import locate\n"
    for folder in ("one", "two"):
        python(f"{code}locate('{folder}/mine.py:Mine')", tmp_path)
    said = python(
        f"{code}locate('one/mine.py:Mine')\n"
        "try:\n    locate('two/mine.py:Mine')\nexcept ImportError as error:\n    print(error)",
        tmp_path,
    )
    words = [str(tmp_path / "two" / "mine.py"), str(tmp_path / "one" / "helper_beside.py")]
    assert [word for word in said if word.strip(",") in words] == [words[0], f"{words[1]},"]


@pytest.mark.parametrize("first", ["file", "module"])
def test_a_file_and_the_module_of_its_name_are_one(first, tmp_path):
    write(tmp_path, twice_py="class Thing: ...\n")
    ways = {"file": "locate('twice.py:Thing')", "module": "locate('twice:Thing')"}
    second = ways[{"file": "module", "module": "file"}[first]]
    code = (
        "import os, pickle, sys; sys.path.append(os.getcwd())\n"
        "from gym_loop.config.locate import locate\n"
        f"a, b = {ways[first]}, {second}\n"
        "print(a is b, pickle.loads(pickle.dumps(a)) is b)"
    )
    assert python(code, tmp_path) == ["True", "True"]


def test_a_process_that_is_started_anew_unpickles_what_lies_in_a_file(tmp_path):
    write(tmp_path, deep__thing_py="class Thing: ...\n")
    code = (
        "import pickle; from gym_loop.config.locate import locate\n"
        "print(pickle.dumps(locate('deep/thing.py:Thing')()).hex())"
    )
    [dumped] = python(code, tmp_path)
    assert python(f"import pickle; pickle.loads(bytes.fromhex('{dumped}'))", tmp_path) == []


def test_a_project_that_was_moved_unpickles_with_its_files_where_they_are_now(tmp_path):
    write(tmp_path, old__a__thing_py="class Thing: ...", old__b__thing_py="class Thing: ...")
    code = (
        "import pickle; from gym_loop.config.locate import locate\n"
        "print(pickle.dumps(locate('old/a/thing.py:Thing')()).hex())"
    )
    [dumped] = python(code, tmp_path)
    (tmp_path / "old").rename(tmp_path / "new")
    code = (
        "import pickle; from gym_loop.config.locate import locate\n"
        "a, b = (locate(f'new/{n}/thing.py:Thing') for n in 'ab')\n"
        f"print(type(pickle.loads(bytes.fromhex('{dumped}'))) is a)"
    )
    assert python(code, tmp_path) == ["True"]


@pytest.mark.slow
def test_a_project_that_was_moved_goes_on_though_two_of_its_files_have_one_name(cli, tmp_path):
    write(
        tmp_path, old__mine_py=AGENT, old__envs__mine_py=ENV, old__helper_beside_py="Helper = int"
    )
    words = ["agent=mine.py:Mine", "env=envs/mine.py:Walk", "loop.eval_episodes=1"]
    done = cli(*words, "loop.max_episodes=3", "hydra.run.dir=run", cwd=tmp_path / "old")
    assert done.returncode == 0, done.stderr
    (tmp_path / "old").rename(tmp_path / "new")
    for command in (
        ["evaluate", "run"],
        ["fork", "run", "loop.max_episodes=4", "hydra.run.dir=fork"],
        ["resume", "run", "loop.max_episodes=5"],
    ):
        done = cli(*command, cwd=tmp_path / "new")
        assert done.returncode == 0, done.stderr
    returns = [float(row["return"]) for row in rows(tmp_path / "new" / "run")]
    assert returns == [4.0, 8.0, 12.0, 16.0, 20.0]


@pytest.mark.slow
def test_a_run_goes_on_in_one_folder_and_its_project_in_another(cli, tmp_path):
    write(
        tmp_path,
        old__mine_py=AGENT,
        old__envs__walk_py=ENV,
        old__helper_beside_py="class Helper: ...",
    )
    words = ["agent=mine.py:Mine", "env=envs/walk.py:Walk", "loop.eval_episodes=1"]
    done = cli(*words, "loop.max_episodes=3", "hydra.run.dir=runs/run", cwd=tmp_path / "old")
    assert done.returncode == 0, done.stderr
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "runs").rename(tmp_path / "new" / "runs")
    (tmp_path / "old").rename(tmp_path / "project")
    now = "agent._target_=../project/mine.py:Mine", "env._target_=../project/envs/walk.py:Walk"
    done = cli("resume", "runs/run", *now, "loop.max_episodes=4", cwd=tmp_path / "new")
    assert done.returncode == 0, done.stderr
    done = cli("resume", "runs/run", "loop.max_episodes=5", cwd=tmp_path / "new")
    assert done.returncode == 0, done.stderr
    returns = [float(row["return"]) for row in rows(tmp_path / "new" / "runs" / "run")]
    assert returns == [4.0, 8.0, 12.0, 16.0, 20.0]


def test_a_class_in_a_file_is_found_in_a_list_of_arguments(tmp_path):
    write(tmp_path, parts_py="class Part: ...")
    code = (
        "from omegaconf import OmegaConf; from gym_loop import launch; launch.parts()\n"
        "node = {'_target_': 'builtins.dict', 'all': [{'_target_': 'parts.py:Part'}]}\n"
        "print(type(launch.instantiate(OmegaConf.create(node))['all'][0]).__name__)"
    )
    assert python(code, tmp_path) == ["Part"]


def test_classes_pickled_by_their_plain_name_are_found_as_before(tmp_path):
    write(tmp_path, former_py="class Thing: ...\n")
    before = pickle.dumps(0)[:2] + b"cformer\nThing\n)\x81."
    code = (
        "import pickle; from gym_loop.config.locate import locate\n"
        f"a = locate('former.py:Thing'); print(type(pickle.loads({before!r})) is a)"
    )
    assert python(code, tmp_path) == ["True"]


@pytest.mark.slow
def test_configs_and_pickles_of_earlier_versions_find_what_has_moved(launch, cli):
    words = ("loop=vector", "loop.num_envs=2", "env=gym_vector:CartPole-v1", "loop.max_episodes=4")
    directory = launch(*words, "loop.eval_episodes=0")
    earlier = {
        "gym_loop.vector.envs.make_gym_vector": "gym_loop.envs.vector.make_gym_vector",
        "gym_loop.vector.loop.VectorLoop": "gym_loop.loops.vector_loop.VectorLoop",
    }
    for name in ("config.yaml", "run.json"):
        text = (directory / name).read_text()
        for now, then in earlier.items():
            assert now in text
            text = text.replace(now, then)
        (directory / name).write_text(text)
    done = cli("resume", directory, "loop.max_episodes=8")
    assert done.returncode == 0, done.stderr
    assert len(rows(directory)) == 8

    from gym_loop.config.locate import locate, unpickle
    from gym_loop.envs.tape import Tape
    from gym_loop.vector.copies import Copies

    pickled = pickle.dumps(Copies, protocol=0)
    for before in (b"gym_loop.envs.vector", b"gym_loop.vector.envs"):
        assert unpickle(pickled.replace(b"gym_loop.vector.copies", before)) is Copies
    pickled = pickle.dumps(Tape, protocol=0)
    assert unpickle(pickled.replace(b"gym_loop.envs.tape", b"gym_loop.envs.wrappers")) is Tape
    assert locate("gym_loop.envs.envpool:make_envpool").__name__ == "make_envpool"


def test_a_class_of_the_user_s_keeps_its_name_in_a_module_called_as_one_of_ours(
    tmp_path, monkeypatch
):
    from gym_loop.config.locate import unpickle

    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "wrappers.py").write_text("class Tape:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("envs.wrappers")
    try:
        assert unpickle(pickle.dumps(module.Tape)) is module.Tape
    finally:
        del sys.modules["envs.wrappers"], sys.modules["envs"]
