"""loop=vector: rounds, what an agent and observers see, limits, exact resume."""

import csv
import functools
import importlib.util
import json
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym
from gym_loop.launch import CONF
from gym_loop.loops.limits import training_is_over
from gym_loop.mistake import Failure, Mistake
from gym_loop.observers import Observer
from gym_loop.runs import compare
from gym_loop.runs.run import Run
from gym_loop.streams import episode_seed
from gym_loop.vector.base import VectorEnv
from gym_loop.vector.envs import make_single, make_vector
from gym_loop.vector.loop import VectorLoop
from tests.conftest import rows
from tests.tape import Tape, assert_played_alone

AGENTS = str(Path(__file__).parents[1] / "vector_agents.py")
CARTPOLE = functools.partial(make_gym, "CartPole-v1")
HAS_ENVPOOL = importlib.util.find_spec("envpool") is not None
needs_envpool = pytest.mark.skipif(
    not HAS_ENVPOOL, reason='needs the extra: pip install "gym-loop[envpool]"'
)


class Watcher(Observer):
    def __init__(self):
        self.begun, self.ended, self.cycles, self.evaluations = [], [], [], []

    def begin_episode(self, loop, episode):
        (self.begun if episode.training else self.evaluations).append(episode)

    def end_episode(self, loop, episode):
        if episode.training:
            assert loop.episodes > len(self.ended)  # it counts all that ended in this step
            self.ended.append(episode)

    def end_cycle(self, loop):
        self.cycles.append((loop.episodes, loop.steps))


def make_loop(factory=CARTPOLE, agent=Tape, num_envs=4, seed=7, **parameters):
    parameters = {"max_episodes": 30, "num_envs": num_envs} | parameters
    env = make_vector(factory, num_envs, parameters.get("max_episode_len", 5000))
    agent = agent(observation_space=env.observation_space, action_space=env.action_space)
    loop = VectorLoop(agent, env, **parameters)
    loop.seed, loop.observers = seed, {"watcher": Watcher()}
    loop.make_eval_env = lambda: make_single(factory)
    return loop, loop.observers["watcher"]


class Left(RandomAgent):
    def act(self, states, episode_nums):
        return np.zeros(len(episode_nums), int)


class ByColumns(Watcher):
    def __init__(self):
        super().__init__()
        self.calls = []

    def end_episodes(self, loop, episodes):
        self.calls.append(loop.steps)
        assert len(episodes) == len(episodes.numbers) > 0
        for i, episode in enumerate(episodes):
            assert episode.number == episodes.numbers[i]
            assert episode.seed == episodes.seeds[i]
            assert episode.length == episodes.lengths[i]
            assert episode.ret == episodes.returns[i] == sum(episodes.rewards[i])
            assert episode.terminated == episodes.terminated[i]
            assert episode.truncated == episodes.truncated[i] != episodes.terminated[i]
            assert np.array_equal(episode.actions, episodes.actions[i])
            assert episode.metrics == episodes.metrics[i]
            assert (episode.steps, episode.seconds) == (episodes.steps, episodes.seconds)
        assert list(episodes) == list(episodes)  # the same objects for every observer
        self.ended += episodes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["loop.episodes_per_eval=4"], "loop.episodes_per_eval is 4, but evaluations wait"),
        (["loop.steps_per_eval=100"], "loop.episodes_per_round=20 makes rounds shorter"),
        (["loop.steps_per_eval=100", "loop.episodes_per_round=20"], None),
        (["loop.steps_per_eval=5", "loop.episodes_per_round=2"], "a smaller loop.num_envs makes"),
        (["loop.steps_per_eval=200"], None),
    ],
)
def test_evaluations_rarer_than_asked_for_are_warned_of_once(launch, words, said):
    """By default a round of two environments has 40 episodes, here of 5 steps."""
    directory = launch(
        *("agent=random", "env=pendulum", "loop=vector", "loop.num_envs=2", "loop.eval_episodes=1"),
        *("loop.max_episode_len=5", "loop.max_episodes=80", *words),
    )
    found = json.loads((directory / "run.json").read_text())["warnings"]
    assert len(found) == (said is not None)
    assert all(said in text for text in found)


@pytest.mark.parametrize("max_episode_len", [7, 5000])
def test_episodes_that_end_in_one_step_come_in_one_call(max_episode_len):
    given = {"max_episodes": 24, "episodes_per_round": 12, "max_episode_len": max_episode_len}
    columns, _ = make_loop(agent=Left, **given)
    columns.observers = {"columns": (by_columns := ByColumns())}
    columns.train()
    assert len(by_columns.calls) == len(set(by_columns.calls))  # once a step at most
    if max_episode_len == 7:  # before any pole falls: all four end together
        assert len(by_columns.calls) == 6

    singles, by_single = make_loop(agent=Left, **given)
    singles.train()
    for one, other in zip(by_columns.ended, by_single.ended, strict=True):
        assert (one.number, one.seed, one.actions) == (other.number, other.seed, other.actions)
        assert (one.rewards, one.ret, one.steps) == (other.rewards, other.ret, other.steps)


def test_the_object_that_an_observer_saw_begin_is_the_one_that_ends():
    loop, watcher = make_loop(num_envs=3, max_episodes=9)
    loop.train()
    begun = {episode.number: episode for episode in watcher.begun}
    assert all(begun[episode.number] is episode for episode in watcher.ended)


def test_an_episode_that_is_told_of_is_the_one_that_was_played():
    loop, watcher = make_loop(max_episodes=60, episodes_per_round=25)
    loop.train()
    assert [episode.number for episode in watcher.begun] == list(range(60))
    assert sorted(episode.number for episode in watcher.ended) == list(range(60))
    single = make_gym("CartPole-v1")
    for episode in watcher.ended:
        transitions = loop.agent.episodes[episode.number]
        assert episode.length == len(transitions)
        assert list(episode.actions) == [t[1] for t in transitions]
        assert episode.rewards == [t[2] for t in transitions]
        assert episode.ret == sum(episode.rewards)
        assert episode.terminated == transitions[-1][3]
        assert episode.truncated == loop.agent.ended[episode.number]
        assert episode.seed == episode_seed(7, episode.number)
        assert_played_alone(single, single.reset(seed=episode.seed)[0], transitions)
    steps = [episode.steps for episode in watcher.ended]
    assert steps == sorted(steps)
    assert steps[-1] == loop.steps == sum(loop.agent.rows)


@pytest.mark.slow
def test_actions_of_long_episodes_are_all_kept():
    pendulum = functools.partial(make_gym, "Pendulum-v1", {"max_episode_steps": 1000})
    loop, watcher = make_loop(pendulum, max_episodes=9, episodes_per_round=8)
    loop.train()
    assert [episode.length for episode in watcher.ended] == [1000] * 9
    for episode in watcher.ended:
        transitions = loop.agent.episodes[episode.number]
        np.testing.assert_array_equal(episode.actions, [t[1] for t in transitions])
        assert {action.dtype for action in episode.actions} == {np.dtype(np.float32)}
        assert episode.rewards == [t[2] for t in transitions]


def test_a_round_ends_when_its_episodes_have_ended_and_none_of_them_is_cut():
    loop, watcher = make_loop(max_episodes=90, episodes_per_round=20)
    loop.train()
    assert [episodes for episodes, _ in watcher.cycles] == [20, 40, 60, 80, 90]
    assert len(watcher.ended) == loop.episodes == 90
    before = 0
    for episodes, steps in watcher.cycles:
        ended = watcher.ended[before:episodes]
        assert all(episode.terminated for episode in ended)
        assert sorted(episode.number for episode in ended) == list(range(before, episodes))
        assert ended[-1].steps == steps
        before = episodes
    assert loop.agent.forgotten, "episodes beside the last ones of a round are cut, and begin anew"


@pytest.mark.parametrize("count", [1, 3, 4, 13])
@pytest.mark.parametrize("watched", [True, False])
def test_training_ends_with_the_very_number_of_episodes(count, watched):
    loop, watcher = make_loop(max_episodes=count, episodes_per_round=9)
    if not watched:
        loop.observers = {}
    loop.train()
    assert loop.episodes == count
    assert len(watcher.ended) == (count if watched else 0)
    assert not any(episode.truncated for episode in watcher.ended)


def test_episodes_that_end_together_are_not_cut():
    pendulum = functools.partial(make_gym, "Pendulum-v1", {"max_episode_steps": 20})
    loop, watcher = make_loop(pendulum, max_episodes=16, episodes_per_round=8)
    loop.train()
    assert [episode.length for episode in watcher.ended] == [20] * 16
    assert watcher.cycles == [(8, 160), (16, 320)]


def test_training_ends_in_the_step_that_reaches_max_steps():
    loop, watcher = make_loop(max_steps=1001, max_episodes=None)
    loop.train()
    assert loop.steps == 1004
    assert training_is_over(loop)
    assert watcher.ended[-1].truncated


def test_one_environment_plays_what_the_default_loop_plays(launch):
    words = ("env=cartpole", "loop.max_episodes=20", "loop.eval_episodes=1", "agent=random")
    one = rows(launch("loop=vector", "loop.num_envs=1", *words, directory="vector"))
    assert one == rows(launch(*words, directory="default"))


PRECISE = """
import gymnasium as gym
import numpy as np
from gymnasium import spaces

class Precise(gym.Env):  # what it computes shows the type of its action
    observation_space = spaces.Discrete(1)
    action_space = spaces.Box(-1, 1, (), np.float32)

    def reset(self, *, seed=None, options=None):
        self.x, self.steps = 0.1, 0
        return 0, {}

    def step(self, action):
        self.x, self.steps = self.x * 0.9 + action * 0.1, self.steps + 1
        return 0, float(self.x), self.steps >= 5, False, {}
"""


def test_actions_that_are_single_numbers_have_the_type_of_their_box(launch, child, tmp_path):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    (tmp_path / "precise.py").write_text(PRECISE)
    words = (
        "agent=random",
        "env=precise.py:Precise",
        "loop.max_episodes=3",
        "loop.eval_episodes=1",
    )
    one = rows(launch("loop=vector", "loop.num_envs=1", *words, directory="vector"))
    assert one == rows(launch(*words, directory="default"))
    assert child("replay", "vector", "--episode", "0,1,2").returncode == 0


BOARDS = """
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gym_loop import BaseAgent

BOARDS = spaces.Box(0, 2**64 - 1, (), np.uint64)

class Board(gym.Env):  # rewards an action that is its observation to the last bit
    observation_space = action_space = BOARDS

    def look(self):
        self.board = 2**63 + 1 if self.np_random.random() < 0.5 else 5
        return self.board

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.look(), {}

    def step(self, action):
        reward, self.steps = float(int(action) == self.board), self.steps + 1
        return self.look(), reward, self.steps >= 8, False, {}

class Echo(BaseAgent):
    vectorized = True

    def act(self, states, episode_nums):
        return states.tolist()

    def memorize(self, *transitions):
        pass

    def update(self, episode_nums):
        pass
"""


def test_integers_are_whole_to_the_last_bit_where_large_ones_are_beside_small_ones(
    launch, tmp_path
):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    (tmp_path / "boards.py").write_text(BOARDS)
    words = ("agent=boards.py:Echo", "env=boards.py:Board", "loop=vector", "loop.num_envs=4")
    run = launch(*words, "loop.max_episodes=8", "loop.eval_episodes=1")
    assert {row["return"] for row in rows(run)} == {"8.0"}


def test_evaluation_changes_nothing_in_training_and_plays_evaluations_episodes(launch):
    words = (f"agent={AGENTS}:Learner", "loop=vector", "loop.num_envs=4", "env=cartpole")
    words += ("loop.max_episodes=90", "loop.episodes_per_round=20", "loop.eval_episodes=3")
    without = launch(*words, directory="without")
    with_it = launch(*words, "loop.episodes_per_eval=25", directory="with")
    assert rows(without) == rows(with_it)
    evaluated = rows(with_it, "evaluations.csv")
    assert [row["episode"] for row in evaluated] == [str(n) for n in range(len(evaluated))]
    seeds = [str(episode_seed(0, n, "eval")) for n in range(3)]
    assert [row["seed"] for row in evaluated] == seeds * (len(evaluated) // 3)
    assert [row["at_episode"] for row in evaluated[::3]] == ["40", "60", "80", "90"], "rounds' ends"
    assert rows(without, "evaluations.csv")[-1]["return"] == evaluated[-1]["return"]


def test_evaluation_gives_the_agent_batches_of_one():
    loop, _ = make_loop(eval_episodes=2)
    shapes = Counter()
    act = loop.agent.act

    def watched(states, episode_nums):
        shapes[states.shape, episode_nums.shape, loop.agent.training] += 1
        return act(states, episode_nums)

    loop.agent.act = watched
    played = loop.evaluate()
    assert list(shapes) == [((1, 4), (1,), False)]
    assert shapes.total() == sum(episode.length for episode in played)


def test_state_is_kept_between_rounds_only(launch):
    run = launch(
        *("agent=random", "env=cartpole", "loop=vector", "loop.num_envs=4"),
        *("loop.max_episodes=100", "loop.episodes_per_round=30", "loop.keep_checkpoints=100"),
        "loop.eval_episodes=1",
    )
    table = rows(run)
    for checkpoint in (run / "checkpoints").glob("episode-*"):
        count = int(checkpoint.name.partition("-")[2])
        assert sorted(int(row["episode"]) for row in table[:count]) == list(range(count))


KINDS = [
    "env=cartpole",
    pytest.param("env=gymnasium:CartPole-v1", marks=pytest.mark.slow),
    pytest.param("env=gymnasium_vector:CartPole-v1", marks=pytest.mark.slow),
    pytest.param("env=envpool:CartPole-v1", marks=[needs_envpool, pytest.mark.slow]),
]


def assert_equal_runs(one, two):
    from gym_loop.config.locate import load_file

    load_file(AGENTS)  # what the checkpoints name
    assert list(compare.differences(one, two)) == []


@pytest.mark.slow
@pytest.mark.parametrize("env", KINDS)
def test_a_killed_run_ends_as_an_untouched_one(alone, start, cli, tmp_path, env):
    words = (f"agent={AGENTS}:Learner", env, "loop=vector", "loop.num_envs=4")
    words += ("loop.max_episodes=300", "loop.episodes_per_round=25", "loop.eval_episodes=2")
    untouched = alone(*words, directory="untouched")
    for moment in (60, 180):
        process = start(*words, "hydra.run.dir=killed")
        table = tmp_path / "killed" / "episodes.csv"
        while process.poll() is None and not (
            table.exists() and table.read_bytes().count(b"\n") > moment
        ):
            time.sleep(0.001)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    done = cli(*words, "hydra.run.dir=killed")
    assert done.returncode == 0, done.stderr
    assert "continuing from" in done.stderr
    assert_equal_runs(untouched, tmp_path / "killed")


@pytest.mark.slow
def test_a_run_that_is_extended_equals_one_in_one_go(alone, cli):
    words = (f"agent={AGENTS}:Learner", "env=cartpole", "loop=vector", "loop.num_envs=4")
    words += ("loop.episodes_per_round=40", "loop.eval_episodes=2")
    whole = alone(*words, "loop.max_episodes=200", directory="whole")
    parts = alone(*words, "loop.max_episodes=110", directory="parts")
    assert len(rows(parts)) == 110
    done = cli("resume", parts, "loop.max_episodes=200")
    assert done.returncode == 0, done.stderr
    assert_equal_runs(whole, parts)


@pytest.mark.slow
def test_a_fork_goes_on_from_within_a_round(launch, cli, tmp_path):
    words = ("agent=random", "env=cartpole", "loop=vector", "loop.episodes_per_round=40")
    parent = rows(launch(*words, "loop.max_episodes=50", directory="parent"))
    done = cli("fork", "parent", "loop.max_episodes=100", "hydra.run.dir=fork")
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "fork")[: len(parent)] == parent
    assert len(rows(tmp_path / "fork")) == 100


@pytest.mark.slow
def test_a_fork_steps_as_many_environments_as_it_asks_for(launch, cli, tmp_path):
    words = (
        "agent=random",
        "env=cartpole",
        "loop=vector",
        "loop.num_envs=3",
        "loop.max_episodes=9",
    )
    parent = rows(launch(*words, directory="parent"))
    for change in ("loop.num_envs=5", "loop=default"):
        directory = tmp_path / change
        more = ("loop.max_episodes=19", "loop.eval_episodes=0", f"hydra.run.dir='{directory}'")
        done = cli("fork", "parent", change, *more)
        assert done.returncode == 0, done.stderr
        table = rows(directory)
        assert table[:9] == parent
        steps = [int(row["steps"]) - int(parent[-1]["steps"]) for row in table[9:]]
        played = [sum(int(row["length"]) for row in table[9 : n + 10]) for n in range(10)]
        if change == "loop=default":
            assert steps == played
        else:
            assert all(count % 5 == 0 for count in steps)
    back = ("loop=vector", "loop.max_episodes=29", "hydra.run.dir=back")
    done = cli("fork", "loop=default", *back)
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "back")) == 29


@pytest.mark.slow
def test_a_stop_waits_for_the_end_of_the_round(start, cli, tmp_path, alone):
    words = (f"agent={AGENTS}:Learner", "env=cartpole", "loop=vector", "loop.num_envs=4")
    words += ("loop.max_episodes=300", "loop.episodes_per_round=50", "loop.eval_episodes=2")
    process = start(*words, "hydra.run.dir=stopped")
    table = tmp_path / "stopped" / "episodes.csv"
    while not table.exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert cli(*words, "hydra.run.dir=stopped").returncode == 0
    assert_equal_runs(alone(*words, directory="untouched"), tmp_path / "stopped")


@pytest.mark.slow
@pytest.mark.parametrize("env", ["cartpole", "gymnasium:Pendulum-v1"])
def test_every_episode_can_be_replayed(launch, cli, env):
    run = launch(
        *("agent=random", f"env={env}", "loop=vector", "loop.num_envs=5", "loop.eval_episodes=2"),
        *("loop.max_episodes=40", "loop.episodes_per_round=12", "loop.max_episode_len=60"),
    )
    done = cli("replay", run, "--every", "1", "--jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rows(run))} training episodes" in done.stdout
    assert "none differ" in done.stdout
    assert cli("replay", run, "--eval", "--episode", "0,1").returncode == 0


def test_an_episode_without_a_seed_of_its_own_is_not_replayed(launch, child):
    run = launch("agent=random", "env=gymnasium_vector:CartPole-v1", "loop=vector")
    done = child("replay", run, "--episode", "9")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be played alone" in done.stderr


def test_an_agent_for_one_environment_is_refused_before_anything_starts(child, tmp_path):
    agent = f"{Path(__file__).parents[1] / 'sample_agents.py'}:Learner"
    done = child(f"agent={agent}", "env=cartpole", "loop=vector")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "vectorized = True" in done.stderr
    assert "loop=default" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_agent_for_one_environment_is_refused_in_code_too():
    class Alone(RandomAgent):
        vectorized = False

    with pytest.raises(Mistake):
        make_loop(agent=Alone)


def test_a_batch_of_the_wrong_length_is_named(child):
    done = child(f"agent={AGENTS}:OneAction", "env=cartpole", "loop=vector", "loop.num_envs=3")
    assert done.returncode == 1
    assert "OneAction.act returned an array of shape ()" in done.stderr
    assert "3 actions" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("agent", "returned"),
    [
        ("Fractions", "array([0.5, 0.5, 0.5])"),
        ("Forgets", "None"),
        ("Huge", "[1180591620717411303424, 1180591620717411303424"),
    ],
)
def test_what_is_no_batch_of_whole_numbers_is_named(child, agent, returned):
    done = child(f"agent={AGENTS}:{agent}", "env=cartpole", "loop=vector", "loop.num_envs=3")
    assert done.returncode == 1
    assert f"{agent}.act returned {returned}" in done.stderr
    assert "; expected actions that an array of int64 holds" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("env", ["gymnasium:Pendulum-v1", "cartpole"])
def test_a_batch_that_its_agent_changes_later_is_kept_as_it_was(launch, cli, env):
    words = ("loop=vector", "loop.num_envs=2", "loop.max_episodes=4", "loop.max_episode_len=30")
    run = launch(f"agent={AGENTS}:Changes", f"env={env}", *words, "loop.eval_episodes=1")
    for kind in ((), ("--eval",)):
        done = cli("replay", run, "--every", "1", "--jobs", "1", *kind)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("wrap", ["", "wrap=[clip_reward]"])
def test_rewards_ends_and_actions_that_its_agent_changes_are_kept_as_they_were(
    launch, tmp_path, wrap
):
    (tmp_path / "changes.py").write_text(
        "from gym_loop.agents import RandomAgent\n"
        "class Changes(RandomAgent):\n"
        "    def memorize(self, last_obs, actions, rewards, dones, obs):\n"
        "        rewards *= 0\n        dones[:] = False\n        actions *= 0\n"
    )
    few = ["env=gymnasium:CartPole-v1", "loop=vector", "loop.num_envs=3", "loop.max_episodes=9"]
    words = [*few, *filter(None, [wrap]), "loop.eval_episodes=0"]
    changed = Run(launch(*words, "agent=changes.py:Changes", directory="changed"))
    run = Run(launch(*words, "agent=random"))
    for name in run.episodes.dtype.names:
        if name != "seconds":
            np.testing.assert_array_equal(changed.episodes[name], run.episodes[name])
    for number in range(9):
        again = changed.replay(number)
        assert again.difference is None
        np.testing.assert_array_equal(again.actions, run.replay(number).actions)


CLIPS = """
import gymnasium
import numpy as np


class Clips(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        reward = float(action @ [1, 2])
        np.clip(action, 0, 0, out=action)
        return np.zeros(2, np.float32), reward, self.steps == 5, False, {}
"""


@pytest.mark.parametrize(
    "env",
    [
        "env=clips.py:Clips",
        "env=gymnasium_vector:Clips-v0 env.mode=sync env.imports=[registered]",
    ],
)
def test_actions_that_an_environment_changes_are_kept_as_they_were_given(child, tmp_path, env):
    (tmp_path / "clips.py").write_text(CLIPS)
    (tmp_path / "registered.py").write_text(
        "import gymnasium\ngymnasium.register('Clips-v0', 'clips:Clips')\n"
    )
    words = ("agent=random", *env.split(), "loop=vector", "loop.num_envs=3", "loop.max_episodes=9")
    done = child(*words, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    done = child("replay", "run", "--every", "1", "--jobs", "1")
    assert done.stdout.count("as recorded") == 9, done.stdout + done.stderr


@pytest.mark.parametrize("word", ["loop.random_episodes=3", "loop.record=true"])
def test_what_the_vector_loop_does_not_do_is_not_among_its_parameters(child, word):
    done = child("env=cartpole", "loop=vector", word)
    assert done.returncode == 2
    assert word.partition("=")[0].rpartition(".")[2] in done.stderr


def test_the_config_has_the_parameters_and_their_defaults():
    config = OmegaConf.to_container(OmegaConf.load(CONF / "loop" / "vector.yaml"))
    assert config.pop("_target_") == "gym_loop.vector.loop.VectorLoop"
    assert config == VectorLoop.get_default_parameters()


def test_an_episode_that_cannot_be_cut_is_an_error():
    class Endless(VectorEnv):
        num_envs, delayed = 2, True
        observation_space = make_gym("CartPole-v1").observation_space
        action_space = make_gym("CartPole-v1").action_space

        def start(self, seeds):
            return np.zeros((2, 4))

        def step(self, actions):
            return np.zeros((2, 4)), np.zeros(2), np.zeros(2, bool), np.zeros(2, bool)

    loop = VectorLoop(RandomAgent(Endless.observation_space, Endless.action_space), Endless())
    with pytest.raises(Failure, match="max_episode_len=5000"):
        loop.train()


@needs_envpool
def test_envpool_is_an_env_option_for_the_default_loop_too(launch):
    words = ("agent=random", "env=envpool:CartPole-v1", "loop.max_episodes=6")
    one, two = (rows(launch(*words, directory=name)) for name in ("one", "two"))
    assert one == two
    assert [int(row["seed"]) for row in one] == [episode_seed(0, n) for n in range(6)]


@needs_envpool
def test_episodes_that_have_no_seed_of_their_own_say_so(launch):
    run = launch("agent=random", "env=envpool:CartPole-v1", "loop=vector", "loop.num_envs=3")
    with open(run / "episodes.csv") as file:
        seeds = {int(row["episode"]): int(row["seed"]) for row in csv.DictReader(file)}
    assert [seeds[n] for n in range(3)] == [episode_seed(0, n) for n in range(3)]
    assert {seeds[n] for n in seeds if n >= 3} <= {-1} | {
        episode_seed(0, n) for n in seeds if n >= 60
    }


@pytest.mark.slow
def test_an_agent_that_wants_whole_batches_is_told_before_an_environment_leaves_out_rows(
    cli, tmp_path
):
    (tmp_path / "whole.py").write_text(
        "from gym_loop.agents import RandomAgent\n\n\n"
        "class Whole(RandomAgent):\n    whole_batches = True\n"
    )
    words = ("agent=whole.py:Whole", "loop=vector", "loop.num_envs=2", "loop.max_episodes=2")
    result = cli(*words, "env=gymnasium_vector:CartPole-v1")
    assert result.returncode == 2
    assert "Whole wants a row for each environment" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    result = cli(*words, "env=gymnasium_vector:CartPole-v1", "env.mode=sync")
    assert result.returncode == 0, result.stderr
