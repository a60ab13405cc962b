"""What is measured below wrappers: returns, lengths, traces; and games of several lives."""

import functools
import importlib.util
import json
import pickle
import sys

import numpy as np
import pytest

from gym_loop.commands import export
from gym_loop.envs.tape import Tape, Wrapped
from gym_loop.envs.wrappers import wrapped
from gym_loop.mistake import Mistake
from gym_loop.runs.run import Run
from tests.conftest import rows

GAMES = '''
import gymnasium, numpy as np

class Cave(gymnasium.Env):
    """Three lives; what it draws from its own stream is in each observation and reward."""

    observation_space = gymnasium.spaces.Box(-99, 99, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def observe(self):
        return np.array([self.lives, self.np_random.normal()], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.lives = 3
        return self.observe(), {}

    def step(self, action):
        reward = float(self.np_random.normal()) + action
        self.lives -= self.np_random.random() < 0.15
        return self.observe(), reward, self.lives == 0, False, {}

class EpisodicLife(gymnasium.Wrapper):
    over = True

    def step(self, action):
        before = self.env.unwrapped.lives
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.over = terminated or truncated
        lost = self.env.unwrapped.lives < before
        return observation, reward, terminated or lost, truncated, info

    def reset(self, **arguments):
        if self.over:
            return self.env.reset(**arguments)
        observation, _, terminated, truncated, info = self.env.step(0)
        return self.env.reset(**arguments) if terminated or truncated else (observation, info)

class Noop(gymnasium.Wrapper):
    def reset(self, **arguments):
        observation, info = self.env.reset(**arguments)
        for _ in range(self.unwrapped.np_random.integers(1, 4)):
            observation, _, terminated, truncated, info = self.env.step(0)
            if terminated or truncated:
                observation, info = self.env.reset(**arguments)
        return observation, info

class Skip(gymnasium.Wrapper):
    def step(self, action):
        total = 0.0
        for _ in range(3):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += reward
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info

class Sticky(gymnasium.ActionWrapper):
    def action(self, action):
        return 1 if self.np_random.random() < 0.3 else action

class Unwrapping(gymnasium.Wrapper):
    """Begins each game anew by itself, as AtariPreprocessing does after a life."""

    def step(self, action):
        before = self.env.unwrapped.lives
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, self.env.unwrapped.lives < before, truncated, info
'''
AGAIN = '''
import gymnasium

class Autoreset(gymnasium.Wrapper):
    """Has the next game begin in the step in which one ends."""

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            observation, _ = self.env.reset()
        return observation, reward, terminated, truncated, info

class Endless(Autoreset):
    """And says nothing of it."""

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        return observation, reward, False, False, info

class Both(gymnasium.Wrapper):
    """Is terminated and truncated in the same step."""

    def step(self, action):
        observation, reward, terminated, _, info = self.env.step(action)
        return observation, reward, terminated, terminated, info
'''
COUNTS = '''
import random
import numpy as np

class Counter:
    resets = 0

class InObject:
    """Gives the number of its resets as the reward, and ends each episode after two steps."""

    def __init__(self, env):
        self.env, self.observation_space = env, env.observation_space
        self.action_space, self.close = env.action_space, env.close
        self.begin()

    def begin(self):
        self.counters = [Counter()]

    def count(self):
        self.counters[0].resets += 1
        return self.counters[0].resets

    def reset(self, **arguments):
        self.number, self.steps = self.count(), 0
        return self.env.reset(**arguments)

    def step(self, action):
        observation, _, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        return observation, float(self.number), terminated or self.steps == 2, truncated, info

class InDict(InObject):
    def begin(self):
        self.history = {"of": []}

    def count(self):
        self.history["of"].append(np.zeros(2))
        return len(self.history["of"])

class InArray(InObject):
    def begin(self):
        self.held = (np.zeros(1),)

    def count(self):
        self.held[0][0] += 1
        return self.held[0][0]

class InGenerator(InObject):
    def begin(self):
        self.streams = [np.random.default_rng(0)], [np.random.RandomState(0)], [random.Random(0)]
        self.known = [Counter.draw(self.streams) for _ in range(40)]
        self.streams = [np.random.default_rng(0)], [np.random.RandomState(0)], [random.Random(0)]

    def count(self):
        return 1 + self.known.index(Counter.draw(self.streams))

Counter.draw = lambda streams: (
    streams[0][0].random(), streams[1][0].random_sample(), streams[2][0].random()
)

class Slot:
    __slots__ = "resets", "never_set"

class InSlots(InObject):
    def begin(self):
        self.slot = Slot()
        self.slot.resets = 0

    def count(self):
        self.slot.resets += 1
        return self.slot.resets

class OfSlots:
    """Has no attributes but slots, and is derived from nothing."""

    __slots__ = "action_space", "env", "number", "observation_space", "steps"
    close = lambda self: self.env.close()
    reset, step = InObject.reset, InObject.step

    def __init__(self, env):
        self.env, self.observation_space, self.number = env, env.observation_space, 0
        self.action_space = env.action_space

    def count(self):
        return self.number + 1
'''
AGENT = '''
import json
from pathlib import Path
from gym_loop.agents import RandomAgent

class Listener(RandomAgent):
    """Writes down each `done` that it is told, by episode."""

    def memorize(self, last_ob, action, reward, done, ob):
        self.told.append([self.number, float(last_ob[0]), bool(done), float(ob[0])])

    told = []

    def begin_episode(self, number):
        self.number = number

    def end_episode(self, number, truncated):
        Path("told.json").write_text(json.dumps(self.told))
'''
ALL = "wrap=[games.py:Noop,games.py:Skip,games.py:EpisodicLife,games.py:Sticky,normalize_reward]"
FEW = ("env=games.py:Cave", "loop.max_episodes=12", "loop.eval_episodes=3")


@pytest.fixture
def games(tmp_path):
    (tmp_path / "games.py").write_text(GAMES)
    (tmp_path / "listener.py").write_text(AGENT)
    spec = importlib.util.spec_from_file_location("games_of_the_tape", tmp_path / "games.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_all(run, games):
    """Play each episode of a run in the bare environment; compare it with trace and tables."""
    for evaluation, table in ((False, Run(run).episodes), (True, Run(run).evaluations)):
        assert len(table)
        for row in table:
            again = Run(run).replay(int(row["episode"]), evaluation)
            assert again.difference is None
            env, rewards = games.Cave(), []
            env.reset(seed=int(row["seed"]))
            for action in again.actions:
                rewards.append(env.step(action)[1])
            np.testing.assert_array_equal(again.rewards, rewards)
            assert row["return"] == pytest.approx(sum(rewards), rel=1e-12)


def test_return_and_trace_are_of_the_bare_environment(launch, games):
    run = launch(*FEW, ALL)
    check_all(run, games)
    table = Run(run).episodes
    assert (table["agent_return"] != table["return"]).all()
    frames = [len(Run(run).replay(n).actions) for n in range(12)]
    assert all(frames > table["length"])


def test_a_game_that_max_episode_len_cuts_is_given_up(launch, games):
    run = launch(*FEW, ALL, "loop.max_episode_len=4")
    check_all(run, games)
    table = Run(run).episodes
    assert table["length"].max() == 4
    assert (table["truncated"] | table["terminated"]).all()
    assert not (table["truncated"] & table["terminated"]).any()


@pytest.mark.slow
def test_the_same_holds_for_the_copies_of_loop_vector(launch, games):
    words = [*FEW, COPIES]
    check_all(launch(*words, "loop=vector", "loop.num_envs=3"), games)
    many, one = Run("run").episodes, Run(launch(*words, directory="one")).episodes
    assert {*many["seed"]} == {*one["seed"]}
    assert (many["agent_return"] != many["return"]).any()


COPIES = ALL.replace("games.py:Sticky,normalize_reward", "clip_reward")


@pytest.fixture
def registered(games, tmp_path, monkeypatch):
    """Register the environment and its wrappers with each library: `gym_cave`, `gymnasium_cave`."""
    for library in ("gym", "gymnasium"):
        source = GAMES.replace("gymnasium", library)
        register = f"{library}.register(id='Cave-v0', entry_point=Cave)"
        (tmp_path / f"{library}_cave.py").write_text(f"{source}\n{register}\n")
        monkeypatch.delitem(sys.modules, f"{library}_cave", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda library: (
        "env.id=Cave-v0",
        f"env.imports=[{library}_cave]",
        COPIES.replace("games.py", f"{library}_cave.py"),
        *("loop=vector", "loop.num_envs=3", "loop.max_episodes=12", "loop.eval_episodes=3"),
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("length", [5000, 4])
def test_gymnasiums_copies_play_what_the_loops_own_play(mode, length, launch, registered):
    words = [*registered("gymnasium"), f"loop.max_episode_len={length}", "agent=random"]
    own = launch("env=gymnasium", *words, directory="own")
    theirs = launch("env=gymnasium_vector", f"env.mode={mode}", *words, directory="theirs")
    assert rows(theirs) == rows(own)
    assert rows(theirs, "evaluations.csv") == rows(own, "evaluations.csv")
    assert Run(theirs).replay(7).difference is None
    np.testing.assert_array_equal(Run(theirs).replay(7).actions, Run(own).replay(7).actions)


@pytest.mark.slow
@pytest.mark.parametrize(
    "env",
    [
        "gym_vector",
        "gym_vector env.asynchronous=true",
        "gymnasium_vector +env.vector_kwargs.autoreset_mode=SameStep",
    ],
)
def test_a_game_goes_on_where_the_library_resets_within_the_step(env, launch, registered, games):
    run = launch(*f"env={env}".split(), *registered(env.partition("_")[0]), "agent=random")
    table = Run(run).episodes
    assert table["terminated"].all()
    for row in table[table["seed"] >= 0]:
        bare = games.Cave()
        bare.reset(seed=int(row["seed"]))
        for action in Run(run).replay(int(row["episode"])).actions:
            *_, ended, _, _ = bare.step(action)
        assert (ended, bare.lives) == (True, 0)
    alone = launch("env=gymnasium", *registered("gymnasium"), "agent=random", directory="alone")
    for name in ("seed", "length", "return", "agent_return"):
        np.testing.assert_array_equal(Run(run).evaluations[name], Run(alone).evaluations[name])


def test_an_episode_is_a_game_and_the_agent_hears_of_each_life(launch, games, tmp_path):
    run = launch(*FEW, "agent=listener.py:Listener", "wrap=[games.py:EpisodicLife]")
    told = json.loads((tmp_path / "told.json").read_text())
    assert len(told) == Run(run).episodes["length"].sum()
    dones, last = [], None
    for number, before, done, after in told:
        assert done == (after < before)  # by a life
        if last and last[0] == number:
            assert before <= last[3]  # it goes on with what the wrapper's reset returned
        dones += [number] if done else []
        last = number, before, done, after
    lives = [dones.count(n) for n in range(12)]
    assert max(lives) == 3
    assert Run(run).episodes["terminated"].all()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["loop=vector"],
        ["loop=vector", "loop.num_workers=2"],
        ["loop=vector", "env=gymnasium_vector", "env.id=Cave-v0", "env.imports=[gymnasium_cave]"],
    ],
    ids=str,
)
def test_an_episode_that_a_wrapper_has_ended_is_terminated_in_each_loop(words, launch, registered):
    registered("gymnasium")
    few = [*FEW, "agent=random", "wrap=[gymnasium_cave.py:Unwrapping]"]
    run = Run(launch(*few, *words))
    for table in (run.episodes, run.evaluations):
        assert table["terminated"].all()
        assert not table["truncated"].any()
    assert all(run.replay(n).difference is None for n in range(12))


def test_where_a_wrapper_begins_another_game_the_episode_ends(launch, games):
    run = launch(*FEW, "wrap=[games.py:Unwrapping]")
    check_all(run, games)


@pytest.mark.parametrize(
    "name", ["InObject", "InDict", "InArray", "InGenerator", "InSlots", "OfSlots"]
)
def test_what_a_reset_changed_that_was_only_tried_is_put_back(name, launch, games, tmp_path):
    (tmp_path / "counts.py").write_text(COUNTS)
    run = Run(launch(*FEW, f"wrap=[counts.py:{name}]", "loop.max_episode_len=9"))
    for table in (run.episodes, run.evaluations):
        expected = table["length"] * (np.arange(len(table)) + 1)
        np.testing.assert_array_equal(table["agent_return"], expected)
    again = launch(
        *FEW, f"wrap=[counts.py:{name}]", "loop=vector", "loop.num_envs=1", directory="v"
    )
    np.testing.assert_array_equal(Run(again).episodes["agent_return"][:3], [2, 4, 6])


@pytest.mark.parametrize("loop", ["default", "vector"])
@pytest.mark.parametrize("library", ["gym", "gymnasium"])
def test_an_episode_is_the_game_that_ended_where_a_wrapper_begins_the_next_in_that_step(
    library, loop, launch, registered, tmp_path
):
    registered(library)
    (tmp_path / "again.py").write_text(AGAIN)
    wrap = "again.Autoreset" if library == "gymnasium" else "gym.wrappers.AutoResetWrapper"
    words = [f"env={library}", "env.id=Cave-v0", f"env.imports=[{library}_cave]", f"loop={loop}"]
    words += ["agent=random", "loop.max_episodes=8", "loop.eval_episodes=3"]
    bare = Run(launch(*words, directory="bare"))
    run = Run(launch(*words, f"env.wrappers.again._target_={wrap}"))
    for name in ("return", "length", "seed", "terminated", "truncated"):
        for kind in ("episodes", "evaluations"):
            ours, theirs = (getattr(each, kind)[name] for each in (run, bare))
            np.testing.assert_array_equal(ours, theirs, name)
    assert all(run.replay(n).difference is None for n in range(8))
    assert all(run.replay(n, evaluation=True).difference is None for n in range(3))


def test_games_of_which_the_agent_hears_no_end_are_one_episode(launch, games, tmp_path, capsys):
    (tmp_path / "again.py").write_text(AGAIN)
    run = Run(launch(*FEW, "wrap=[again.py:Endless]", "loop.max_episode_len=60"))
    for table in (run.episodes, run.evaluations):
        assert set(table["length"]) == {60}
        np.testing.assert_array_equal(table["return"], table["agent_return"])
        assert set(table["seed"]) == {-1}
    assert "another game in the middle of an episode" in capsys.readouterr().err
    with pytest.raises(Mistake, match="without a seed of its own"):
        run.replay(3)


@pytest.mark.parametrize(
    "words",
    [
        "env=both.py:make",
        "env=both.py:make loop=vector",
        "env=gymnasium_vector env.id=Both-v0 env.imports=[both] loop=vector "
        "+env.vector_kwargs.autoreset_mode=SameStep",
    ],
)
def test_an_environment_may_say_that_it_is_terminated_and_truncated(
    words, launch, games, tmp_path, monkeypatch
):
    (tmp_path / "again.py").write_text(AGAIN)
    (tmp_path / "both.py").write_text(
        "import gymnasium\nfrom again import Both\nfrom games import Cave\n"
        "def make(): return Both(Cave())\ngymnasium.register('Both-v0', make)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("again", "both", "games"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    few = ("agent=random", "wrap=[clip_reward]", "loop.max_episodes=6", "loop.eval_episodes=2")
    run = Run(launch(*words.split(), *few))
    for table in (run.episodes, run.evaluations):
        assert table["terminated"].all()
        assert table["truncated"].all()
    seeded = run.episodes["episode"][run.episodes["seed"] >= 0]
    assert len(seeded)
    assert all(run.replay(int(n)).difference is None for n in seeded)


def test_a_game_that_a_wrapper_ends_before_its_first_step_ends_no_run(
    launch, games, tmp_path, capsys
):
    (tmp_path / "idle.py").write_text(
        "import gymnasium\nclass Idle(gymnasium.Wrapper):\n    games = 0\n"
        "    def reset(self, **arguments):\n        self.games += 1\n"
        "        self.first = self.env.reset(**arguments)\n        return self.first\n"
        "    def step(self, action):\n        idle = self.games % 2 == 0\n"
        "        return (self.first[0], 0.0, True, False, {}) if idle else self.env.step(action)\n"
    )
    run = Run(launch(*FEW, "wrap=[idle.py:Idle]"))
    assert set(run.episodes["return"][1::2]) == {0}
    assert [len(run.replay(n).rewards) > 0 for n in range(12)] == [True, False] * 6
    assert all(run.replay(n).difference is None for n in range(12))
    for sees in ("environment", "agent"):
        target = tmp_path / f"{sees}.npz"
        export.main([str(run.path), str(target), "--observations", sees, "--jobs", "1"])
        assert "left out: 6 episodes" in (printed := capsys.readouterr().out)
        assert ": 6 episodes, " in printed
        with np.load(target) as file:
            assert file["episode"].tolist() == list(range(0, 12, 2))


def test_a_seed_that_a_wrapper_loses_is_not_in_the_table(launch, games, tmp_path):
    (tmp_path / "loses.py").write_text(
        "import gymnasium\nclass Loses(gymnasium.Wrapper):\n"
        "    def reset(self, **arguments):\n        return self.env.reset()\n"
    )
    for loop in ("default", "vector"):
        words = ("wrap=[loses.py:Loses]", "agent=random", f"loop={loop}")
        run = Run(launch(*FEW, *words, directory=loop))
        assert set(run.episodes["seed"]) == set(run.evaluations["seed"]) == {-1}
        with pytest.raises(Mistake, match="without a seed of its own"):
            run.replay(0)


@pytest.mark.parametrize(
    "body", ["return self.unwrapped.reset(**given)", "self.env = Cave(); return self.env.reset()"]
)
def test_a_wrapper_that_resets_another_environment_than_it_was_given_is_refused(
    body, as_a_child, games, tmp_path
):
    (tmp_path / "past.py").write_text(
        "import gymnasium\nfrom games import Cave\nclass Past(gymnasium.Wrapper):\n"
        f"    def reset(self, **given):\n        {body}\n"
    )
    done = as_a_child([*FEW, "wrap=[past.py:Past]", "hydra.run.dir=run"], tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "does not reset the environment that it was given" in line


def test_a_wrapper_that_steps_past_the_tape_is_warned_of(launch, games, tmp_path):
    (tmp_path / "past.py").write_text(
        "import gymnasium\nclass Past(gymnasium.Wrapper):\n"
        "    def step(self, action):\n        return self.unwrapped.step(action)\n"
    )
    for loop in ("default", "vector"):
        words = "wrap=[past.py:Past]", "agent=random", f"loop={loop}"
        run = Run(launch(*FEW, *words, directory=loop))
        [warning] = run.warnings
        assert warning.startswith("the environment below the wrappers was not stepped")


def test_a_time_limit_ends_the_episode(launch):
    run = launch("env=cartpole", "wrap=[time_limit]", "env.wrappers.time_limit.max_episode_steps=6")
    table = Run(run).episodes
    assert set(table["length"]) == {6}
    assert table["truncated"].all()
    assert Run(run).replay(4).difference is None


def test_without_wrappers_there_is_no_tape_and_no_column(launch, games):
    run = launch(*FEW)
    assert "agent_return" not in Run(run).episodes.dtype.names
    assert not isinstance(wrapped(games.Cave(), {}), Wrapped)


def test_wrappers_see_the_environment_through_the_tape(games):
    env = wrapped(games.Cave(), {"life": games.EpisodicLife})
    assert isinstance(env, games.EpisodicLife)
    assert isinstance(env.env.env, games.Cave)
    assert type(env.env.env) is Tape
    assert env.unwrapped.__class__ is games.Cave
    assert not hasattr(env, "nothing_of_that_name")


def test_a_wrapped_environment_comes_back_from_its_pickle():
    import gymnasium

    wrap = functools.partial(gymnasium.wrappers.TimeLimit, max_episode_steps=9)
    env = wrapped(gymnasium.make("CartPole-v1"), {"short": wrap})
    env.reset(seed=3)
    env.step(1)
    again = pickle.loads(pickle.dumps(env))
    for each in (env, again):
        each.reset(seed=4)
        each.step(0)
    assert again.bare_game.actions == env.bare_game.actions == [0]
    np.testing.assert_array_equal(again.bare_game.last, env.bare_game.last)


OLD = """
class Old:
    class Space:
        def __init__(self, shape): self.shape = shape
        def seed(self, seed): pass
        def sample(self): return 0
        def contains(self, action): return True
    observation_space, action_space = Space((1,)), Space(())

    def seed(self, seed):
        self.start = seed % 7

    def reset(self):
        self.at = self.start
        return [self.at]

    def step(self, action):
        self.at += 1
        return [self.at], 1.5, self.at >= 12, {}

    def close(self): pass
"""


def test_an_environment_of_the_old_api_is_played_and_replayed(launch, tmp_path):
    (tmp_path / "old.py").write_text(OLD)
    run = launch("env=old.py:Old", "wrap=[old_api]", "agent=random")
    table = Run(run).episodes
    assert len({*table["length"]}) > 1
    np.testing.assert_array_equal(table["return"], 1.5 * table["length"])
    assert Run(run).replay(3).difference is None


def test_one_that_cannot_be_seeded_is_refused_in_one_line(launch, tmp_path):
    (tmp_path / "old.py").write_text(
        OLD.replace("seed(self, seed):\n        self", "sow(self, seed):\n        self")
    )
    with pytest.raises(Mistake) as mistake:
        launch("env=old.py:Old", "wrap=[old_api]", "agent=random")
    assert "Old has no seed(seed)" in mistake.value.message
