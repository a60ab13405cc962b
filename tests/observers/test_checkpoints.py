"""Checkpoints among files of others, in copies of runs, and of environments of all kinds."""

import importlib
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest

from gym_loop.__main__ import dispatch
from gym_loop.machine import process_exists
from gym_loop.mistake import Failure
from gym_loop.observers.environments import restore
from gym_loop.runs import checkpoints, manifest
from gym_loop.vector.copies import Copies
from tests.conftest import rows

WORDS = ("agent=random", "env=cartpole", "loop.eval_episodes=1", "loop.time_per_checkpoint=0")

ENVIRONMENTS = """
import itertools
import os
import pickle
import random
from collections import defaultdict
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import EzPickle

class Counting(gym.Env):
    '''Gives, in each step, how many games there have been.'''

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def __init__(self):
        self.games, self.steps = 0, 0
        self.fresh = object()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.games, self.steps, self.start = self.games + 1, 0, seed
        return 0, {}

    def step(self, action):
        self.steps += 1
        return 0, float(self.games), self.steps == 3, False, {}

class AsNew(Counting, EzPickle):
    def __init__(self):
        Counting.__init__(self)
        EzPickle.__init__(self)

class InAList(AsNew):
    '''Keeps the games in what a reset changes in place.'''

    def __init__(self):
        super().__init__()
        self.played = []

    def reset(self, *, seed=None, options=None):
        self.played.append(seed)
        result = super().reset(seed=seed)
        self.games = len(self.played)
        return result

class Streams(AsNew):
    '''Keeps the games, and streams of its own kinds, in all sorts of places.'''

    __slots__ = ("slot",)

    def __init__(self):
        super().__init__()
        self.slot, self.own, self.numpy = 0, random.Random(1), np.random.RandomState(2)
        self.nested = {"twister": [random.Random(3)], "counts": defaultdict(int)}
        self.count, self.helper = itertools.count(), Helper(self)

    def step(self, action):
        observation, reward, *ends = super().step(action)
        self.slot += 1
        self.nested["counts"]["steps"] += 1
        self.helper.steps += 1
        drawn = self.own.random() + self.numpy.rand() + self.nested["twister"][0].random()
        counted = self.slot + self.nested["counts"]["steps"] + self.helper.steps + next(self.count)
        return observation, reward + drawn + counted, *ends

class Helper:
    '''Refers to its environment, so that it cannot be put into another one as a whole.'''

    def __init__(self, env):
        self.env, self.steps = env, 0

class Reduced:
    def __init__(self):
        self.steps = 0

    def __reduce__(self):
        return Reduced, ()

class WithinAnother(Counting):
    '''Pickles as all do, but something in it comes back as new.'''

    def __init__(self):
        super().__init__()
        self.simulator = Reduced()

    def step(self, action):
        observation, reward, *ends = super().step(action)
        self.simulator.steps += 1
        return observation, reward + self.simulator.steps, *ends

class WithinLists(Counting):
    '''Has such objects in containers, beside numbers.'''

    def __init__(self):
        super().__init__()
        self.held = [0, Reduced(), {"left": (Reduced(), 7)}]
        self.arrays = np.array([None, Reduced()])
        self.grown = {}

    def reset(self, *, seed=None, options=None):
        self.held = [*self.held]  # another one in each game, with the same objects
        self.grown[seed] = Reduced()
        return super().reset(seed=seed)

    def step(self, action):
        observation, reward, *ends = super().step(action)
        number, reduced, inner = self.held
        self.held[0] += 1
        objects = [reduced, inner["left"][0], self.arrays[1]]
        for each in objects:
            each.steps += 1
        return observation, reward + number + sum(each.steps for each in objects), *ends

class WithinListsAsNew(WithinLists, EzPickle):
    def __init__(self):
        WithinLists.__init__(self)
        EzPickle.__init__(self)

class Generates(AsNew):
    '''Keeps the games in what no pickle holds.'''

    def __init__(self):
        super().__init__()
        self.counted = iter(x for x in range(99))
        self.log = open(os.devnull)

    def reset(self, *, seed=None, options=None):
        result = super().reset(seed=seed)
        self.games = next(self.counted)
        return result

class Served(Counting):
    '''Has a process of its own, which another environment has not.'''

    server = 0

    def reset(self, *, seed=None, options=None):
        if not self.server:
            self.server = os.posix_spawnp("sleep", ["sleep", "60"], os.environ)
            with open("servers", "a") as file:
                print(self.server, file=file)
        return super().reset(seed=seed)

    def close(self):
        if self.server:
            os.kill(self.server, 9)
            os.waitpid(self.server, 0)
            self.server = 0

    def __getstate__(self):
        return {**vars(self), "server": 0}

class Forgetful(AsNew):
    '''Keeps nothing, but looks different after a game, as a simulator does.'''

    def reset(self, *, seed=None, options=None):
        self.games = 0
        return super().reset(seed=seed)

class Raises(Forgetful):
    def __setstate__(self, state):
        raise RuntimeError("the handle is of another process")

class Panic(BaseException):
    pass

class Panics(Forgetful):
    def __setstate__(self, state):
        raise Panic("the handle is of another process")

class RaisesLater(Forgetful):
    def __setstate__(self, state):
        self.__dict__.update(observation_space=Counting.observation_space, steps=0)

    def reset(self, *, seed=None, options=None):
        self.fresh
        return super().reset(seed=seed)
"""


@pytest.fixture
def environments(tmp_path):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    (tmp_path / "envs_of_a_user.py").write_text(ENVIRONMENTS)


def all_but_the_log(run):
    """What lies in a directory: for each path the time of its change, and the content."""
    return {
        path: (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in run.rglob("*")
        if path.suffix != ".log"
    }


def said(directory):
    return (manifest.read(Path(directory)) or {})["warnings"]


@pytest.mark.parametrize(
    "name", ["Counting", pytest.param("AsNew", marks=pytest.mark.slow), "InAList"]
)
def test_what_environments_keep_from_game_to_game_goes_on(launch, environments, name):
    words = ("agent=random", f"env=envs_of_a_user.py:{name}", "loop.eval_episodes=2")
    words = (*words, "loop.episodes_per_eval=1")
    whole = launch(*words, "loop.max_episodes=6", directory="whole")
    part = launch(*words, "loop.max_episodes=3", directory="part")
    dispatch("resume", "part", "loop.max_episodes=6")
    for table in ("episodes.csv", "evaluations.csv"):
        assert rows(part, table) == rows(whole, table)
    assert [row["return"] for row in rows(part)] == ["3.0", "6.0", "9.0", "12.0", "15.0", "18.0"]
    kept = "played" if name == "InAList" else "games"
    assert len([line for line in said(part) if "as new" in line and kept in line]) == (
        0 if name == "Counting" else 2  # training's and evaluation's
    )


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("Streams", ("slot", "own", "numpy", "nested", "count", "steps")),
        ("WithinAnother", ("steps",)),
        ("WithinLists", ("steps",)),
        ("WithinListsAsNew", ("steps", "held")),
    ],
)
def test_streams_slots_and_objects_that_come_back_as_new_go_on(launch, environments, name, kept):
    words = ("agent=random", f"env=envs_of_a_user.py:{name}", "loop.eval_episodes=0")
    whole = launch(*words, "loop.max_episodes=6", directory="whole")
    part = launch(*words, "loop.max_episodes=3", directory="part")
    dispatch("resume", "part", "loop.max_episodes=6")
    assert rows(part) == rows(whole)
    (line,) = [line for line in said(part) if "as new; what was put back is" in line]
    assert all(word in line for word in kept)


def test_what_an_older_version_kept_of_an_environment_is_put_back(environments, monkeypatch):
    """Its places were texts."""
    monkeypatch.syspath_prepend(Path.cwd())
    module = importlib.import_module("envs_of_a_user")
    copies = Copies([module.gym.Wrapper(module.AsNew()) for _ in range(2)])
    old = pickle.dumps(copies), {("env.1.env", "games"): 3}, {}
    assert [each.unwrapped.games for each in restore(old, "training").envs] == [0, 3]


def test_what_no_checkpoint_of_an_environment_can_keep_is_named(launch, environments):
    words = ("agent=random", "env=envs_of_a_user.py:Generates", "loop.eval_episodes=0")
    run = launch(*words, "loop.max_episodes=3")
    dispatch("resume", "run", "loop.max_episodes=6")
    names = "counted (generator)", "log (TextIOWrapper)"
    assert [line for line in said(run) if all(name in line for name in names)]


SHARING = """
import gymnasium
from gym_loop.agents import RandomAgent

class Explorer:
    def __init__(self, space):
        self.space, self.first, self.rng = space, space["first"], space["first"].np_random

class Shares(RandomAgent):
    def __init__(self, **given):
        super().__init__(**given)
        self.explorer = Explorer(self.action_space)

    def act(self, state, episode_num):
        action = self.explorer.space.sample() | {"first": self.explorer.first.sample()}
        if self.explorer.rng.random() < 0.5:
            action = self.action_space.sample()
        return action

class Saves(Shares):
    def save(self, directory):
        (directory / "nothing").write_text("")

    def load(self, directory):
        pass

class Sums(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(99)
    action_space = gymnasium.spaces.Dict(
        {name: gymnasium.spaces.Discrete(99) for name in ("first", "second")}
    )

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        return 0, float(action["first"] + 100 * action["second"]), True, False, {}
"""


@pytest.mark.parametrize("agent", ["Shares", "Saves"])
def test_spaces_and_generators_that_other_objects_of_an_agent_hold_go_on(launch, tmp_path, agent):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    (tmp_path / "sharing.py").write_text(SHARING)
    words = (f"agent=sharing.py:{agent}", "env=sharing.py:Sums", "loop.eval_episodes=0")
    whole = launch(*words, "loop.max_episodes=20", directory="whole")
    part = launch(*words, "loop.max_episodes=5", directory="part")
    dispatch("resume", "part", "loop.max_episodes=20")
    assert rows(part) == rows(whole)


def test_what_observers_do_to_the_agent_at_a_rest_is_in_the_checkpoint_of_that_rest(
    launch, tmp_path
):
    (tmp_path / "rests.py").write_text(
        "import gym_loop\n\n"
        "class Rests(gym_loop.Observer):\n"
        "    def end_cycle(self, loop):\n"
        "        loop.agent.rests = getattr(loop.agent, 'rests', 0) + 1\n"
    )
    words = ("loop.max_episodes=3", "loop.episodes_per_checkpoint=1", "loop.keep_checkpoints=3")
    run = launch(*WORDS, *words, "+observers.rests._target_=rests.py:Rests")
    names = checkpoints.names(run / "checkpoints")
    assert {"episode-000001", "episode-000003"} <= {*names}
    for name in names:
        agent = pickle.loads((run / "checkpoints" / name / "agent" / "agent.pkl").read_bytes())
        assert name == f"episode-{agent['rests']:06d}"


def test_an_agent_with_slots_is_warned_of(launch, tmp_path):
    lines = "from gym_loop.agents import RandomAgent", "class Lean(RandomAgent):"
    (tmp_path / "lean.py").write_text("\n".join((*lines, "    __slots__ = ('played',)")))
    run = launch("agent=lean.py:Lean", "env=cartpole", "loop.max_episodes=1")
    (line,) = said(run)
    assert line.startswith("Lean has played in __slots__, which no checkpoint keeps")


def test_an_environment_that_is_made_anew_and_keeps_nothing_is_not_warned_of(launch, environments):
    run = launch("env=envs_of_a_user.py:Forgetful", "loop.max_episodes=3", "loop.eval_episodes=1")
    dispatch("resume", "run", "loop.max_episodes=6")
    assert said(run) == []


def test_what_an_environment_leaves_out_of_its_pickle_itself_is_not_put_back(launch, environments):
    words = ("agent=random", "env=envs_of_a_user.py:Served", "loop.eval_episodes=1")
    whole = launch(*words, "loop.max_episodes=6", directory="whole")
    part = launch(*words, "loop.max_episodes=3", directory="part")
    dispatch("resume", "part", "loop.max_episodes=6")
    assert rows(part) == rows(whole)
    assert [line for line in said(part) if "server" in line] == []
    servers = [*map(int, Path("servers").read_text().split())]
    assert len(servers) > 4
    assert not any(map(process_exists, servers))  # of those that were resumed on trial, either


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Raises", "RaisesLater", "Panics"])
def test_an_environment_that_does_not_come_back_is_started_anew_with_a_warning(
    launch, environments, name
):
    words = ("agent=random", f"env=envs_of_a_user.py:{name}", "loop.eval_episodes=1")
    whole = launch(*words, "loop.max_episodes=6", directory="whole")
    part = launch(*words, "loop.max_episodes=3", directory="part")
    dispatch("resume", "part", "loop.max_episodes=6")
    assert rows(part) == rows(whole)
    assert ["does not come back" in line for line in said(part)] == [True]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "copy", "file", "link", "renamed"])
def test_what_else_lies_among_the_checkpoints_stays_and_is_not_read(launch, kind):
    run = launch(*WORDS, "loop.max_episodes=4")
    folder = run / "checkpoints"
    newest = folder / "episode-000004"
    if kind == "folder":
        stray = folder / "episode-old"
        stray.mkdir()
    elif kind == "copy":
        stray = shutil.copytree(newest, folder / "copy of episode-000004")
        shutil.copytree(newest, folder / "episode-good-one")
    elif kind == "file":
        stray = folder / "episode-000099"
        stray.write_text("notes")
    elif kind == "link":
        stray = folder / "episode-000050"
        stray.symlink_to(newest.name)
    else:
        stray = shutil.copytree(newest, folder / "episode-000090")
    dispatch("resume", "run", "loop.max_episodes=8")
    dispatch("fork", "run", "loop.max_episodes=9", "seed=3", "hydra.run.dir=fork")
    assert [row["episode"] for row in rows(run)] == [str(n) for n in range(8)]
    assert stray.is_symlink() or stray.exists()
    assert checkpoints.load_state(folder / "episode-000008")
    assert [row["episode"] for row in rows(Path("fork"))] == [str(n) for n in range(9)]


def test_a_stray_folder_with_a_checkpoints_name_is_set_aside(launch):
    run = launch(*WORDS, "loop.max_episodes=4")
    notes = run / "checkpoints" / "episode-000008" / "notes"
    notes.parent.mkdir()
    notes.write_text("mine")
    dispatch("resume", "run", "loop.max_episodes=8")
    assert (run / "checkpoints" / "unused-episode-000008" / "notes").read_text() == "mine"
    assert checkpoints.load_state(run / "checkpoints" / "episode-000008")


def test_a_copy_without_links_goes_on(launch):
    finished = launch(*WORDS, "loop.max_episodes=4")
    for form in ("folder", "text", "mine"):
        run = shutil.copytree(finished, finished.with_name(form), symlinks=True)
        link = run / "checkpoints" / "latest"
        target = os.readlink(link)
        link.unlink()
        if form == "text":
            link.write_text(target)
        else:
            shutil.copytree(run / "checkpoints" / target, link)
        if form == "mine":
            (link / "notes").write_text("mine")
        dispatch("resume", form, "loop.max_episodes=8")
        assert len(rows(run)) == 8
        assert link.is_symlink() == (form != "mine")
        assert form != "mine" or (link / "notes").read_text() == "mine"
        assert any("is no link" in line for line in said(run)) == (form == "mine")


@pytest.mark.slow
@pytest.mark.parametrize("left", [None, 0, 60])
def test_a_checkpoint_whose_table_is_short_is_passed_over_and_said_so(launch, left):
    whole = launch(*WORDS, "loop.max_episodes=8", directory="whole")
    run = launch(*WORDS, "loop.max_episodes=4")
    if left is None:
        (run / "episodes.csv").unlink()
    else:
        os.truncate(run / "episodes.csv", left)
    dispatch("resume", "run", "loop.max_episodes=8")
    assert rows(run) == rows(whole)
    assert any(f"episodes.csv has {left or 0} of" in line for line in said(run))
    assert any("the run starts anew" in line for line in said(run))
    assert checkpoints.load_state(run / "checkpoints" / "unused-episode-000004") is None
    assert (run / "checkpoints" / "unused-episode-000004" / "agent" / "agent.pkl").exists()


def test_a_module_that_is_gone_is_named_together_with_the_checkpoint_that_needs_it(child, tmp_path):
    (tmp_path / "helping.py").write_text("class Table:\n    pass\n")
    (tmp_path / "helped.py").write_text(
        "from gym_loop.agents import RandomAgent\n"
        "class Helped(RandomAgent):\n"
        "    def begin_episode(self, episode_num):\n"
        "        import helping\n"
        "        self.table = helping.Table()\n"
    )
    words = ("agent=helped.py:Helped", "env=cartpole", "loop.max_episodes=2", "hydra.run.dir=run")
    assert child(*words).returncode == 0
    (tmp_path / "helping.py").unlink()
    before = all_but_the_log(tmp_path / "run")
    done = child("resume", "run", "loop.max_episodes=3")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "checkpoints/episode-000002 cannot be read" in done.stderr
    assert "No module named 'helping'" in done.stderr
    assert all_but_the_log(tmp_path / "run") == before


VECTOR = ("loop=vector", "loop.num_envs=2", "loop.episodes_per_round=2", "loop.max_episodes=3")


@pytest.mark.parametrize("words", [("loop.max_episodes=3",), VECTOR])
def test_a_resume_that_cannot_read_its_checkpoint_changes_nothing_but_the_log(launch, words):
    run = launch(*WORDS, *words)
    newest, *others = checkpoints.sound(run / "checkpoints")
    number = 2 if words == VECTOR else 3
    for path in (newest, *others) if words == VECTOR else [newest]:  # it passes over the newest one
        agent = path / "agent" / "agent.pkl"
        agent.write_bytes(agent.read_bytes()[:-20])
        state = checkpoints.read_state(path)
        state["files"]["agent/agent.pkl"] = checkpoints.checksum_of(agent)
        checkpoints.write_state(path, state)
    before = all_but_the_log(run)
    with pytest.raises(Failure, match=rf"episode-00000{number} cannot be read .*: move it away"):
        dispatch("resume", "run", "loop.max_episodes=6")
    assert all_but_the_log(run) == before
    shutil.move(run / "checkpoints" / f"episode-00000{number}", "away")
    dispatch("resume", "run", "loop.max_episodes=6")
    assert len(rows(run)) == 6
    overrides = (run / ".hydra" / "overrides.yaml").read_text()
    assert overrides == "- loop.max_episodes=6\n"


def test_a_round_that_is_played_again_from_the_start_is_not_called_a_run_without_checkpoint(
    launch, capsys
):
    launch(*WORDS, *VECTOR, "loop.max_episodes=1")
    dispatch("resume", "run", "loop.max_episodes=4")
    said = capsys.readouterr().err
    assert said == "run has no checkpoint before the round that its limit had cut: it begins anew\n"


def test_other_versions_are_said_first_and_a_run_that_cannot_be_read_stays_as_it_is(launch, caplog):
    Path("fragile.py").write_text(
        "import os\n"
        "from gym_loop.agents import RandomAgent\n"
        "class Fragile(RandomAgent):\n"
        "    def load(self, directory):\n"
        "        if os.path.exists('older'):\n"
        "            import numpy._core_of_another_version\n"
        "        super().load(directory)\n"
    )
    run = launch("agent=fragile.py:Fragile", *WORDS[1:], "loop.max_episodes=4")
    state = run / "checkpoints" / "episode-000004" / "state.json"
    _, _, text = state.read_text().partition("\n")
    text = text.replace('"numpy": "', '"numpy": "9.').rstrip("\n")
    state.write_text(f"{checkpoints.checksum([text.encode()])}\n{text}\n")
    before = (run / "run.json").read_bytes()
    Path("older").touch()
    with pytest.raises(Failure, match=r"numpy 9\..* and cannot be read \(ModuleNotFoundError"):
        dispatch("resume", "run", "loop.max_episodes=8")
    warning, error = (run / "gym_loop.log").read_text().splitlines()[-3:-1]
    assert "WARNING" in warning and "was written with numpy 9." in warning
    assert "ERROR" in error and "cannot be read" in error
    assert (run / "run.json").read_bytes() == before
    Path("older").unlink()
    dispatch("resume", "run", "loop.max_episodes=8")
    assert any("may differ" in line for line in said(run))
    known = json.loads((run / "run.json").read_text())
    assert (known["state"], known["episodes"]) == ("finished", 8)
    assert known["config"]["loop"]["max_episodes"] == 8
    assert "loop.max_episodes=8" in known["overrides"]


def test_a_table_that_was_rewritten_is_not_cut_within_a_row(launch):
    whole = launch(*WORDS, "loop.max_episodes=8", directory="whole")
    run = launch(*WORDS, "loop.max_episodes=4")
    table = run / "episodes.csv"
    table.write_bytes(table.read_bytes().replace(b"\n", b"\r\n"))
    dispatch("resume", "run", "loop.max_episodes=8")
    assert any("episodes.csv has been edited" in line for line in said(run))
    assert rows(run) == rows(whole)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["hard links", "symbolic links"])
def test_a_copy_that_shares_files_stays_as_it_is_when_the_run_goes_on(cli, tmp_path, how):
    assert cli(*WORDS, "loop.max_episodes=4", "hydra.run.dir=run").returncode == 0
    if how == "hard links":
        shutil.copytree(tmp_path / "run", tmp_path / "other", symlinks=True, copy_function=os.link)
        kept, goes_on = tmp_path / "other", tmp_path / "run"
    else:
        kept, goes_on = tmp_path / "run", tmp_path / "other"
        shutil.copytree(kept, goes_on, copy_function=os.symlink)
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}

    done = cli("resume", goes_on, "loop.max_episodes=8")

    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before
    assert [row["episode"] for row in rows(goes_on)] == [str(n) for n in range(8)]


@pytest.mark.slow
def test_a_pipe_among_a_checkpoints_files_is_not_waited_for(cli, tmp_path):
    assert cli(*WORDS, "loop.max_episodes=4", "hydra.run.dir=run").returncode == 0
    for name in ("checkpoints/episode-000004/agent/agent.pkl", "code/environment.json"):
        (tmp_path / "run" / name).unlink()
        os.mkfifo(tmp_path / "run" / name)

    done = cli("resume", "run", "loop.max_episodes=8", timeout=120)

    assert done.returncode == 0, done.stderr
    assert "episode-000004 is damaged" in done.stderr
    assert len(rows(tmp_path / "run")) == 8


def test_a_pipe_in_the_place_of_the_log_is_refused(cli, tmp_path):
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "gym_loop.log")

    done = cli(*WORDS, "loop.max_episodes=4", "hydra.run.dir=run", timeout=120)

    assert done.returncode == 2
    assert "gym_loop.log is no file" in done.stderr


def test_a_fork_leaves_out_what_can_have_no_copy(launch):
    run = launch(*WORDS, "loop.max_episodes=4")
    (run / "all").symlink_to("..")
    (run / "gone").symlink_to("nowhere")
    (run / "endless").symlink_to("/dev/zero")
    os.mkfifo(run / "pipe")
    (run / "notes").write_text("mine")

    dispatch("fork", "run", "loop.max_episodes=8", "hydra.run.dir=fork")

    assert len(rows(Path("fork"))) == 8
    assert Path("fork", "notes").read_text() == "mine"
    assert not [
        name for name in ("all", "gone", "endless", "pipe") if os.path.lexists(f"fork/{name}")
    ]
