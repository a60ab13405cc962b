"""What an agent saw, played again in its wrappers: each observation as the agent had it."""

import json

import numpy as np
import pytest

from gym_loop.commands import export
from gym_loop.mistake import Failure, Mistake

SEEING = """
import json
from pathlib import Path
import numpy as np
from gym_loop.agents import RandomAgent

class Seeing(RandomAgent):
    '''Writes down what it is given: a row for each step.'''

    given = []

    def begin_episode(self, number):
        self.number = number

    def act(self, state, episode_num):
        if not self.training:
            with Path("evaluated.jsonl").open("a") as file:
                print(json.dumps(np.asarray(state, float).ravel().tolist()), file=file)
        return super().act(state, episode_num)

    def memorize(self, last_ob, action, reward, done, ob):
        lists = (np.asarray(each, float).ravel().tolist() for each in (last_ob, ob))
        row = [self.number, *lists, float(reward), bool(done)]
        with Path("seen.jsonl").open("a") as file:
            print(json.dumps(row), file=file)
"""
LIVES = '''
import gymnasium, numpy as np

class Cave(gymnasium.Env):
    """Two lives."""

    observation_space = gymnasium.spaces.Box(-99, 99, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def observe(self):
        return np.array([self.lives, self.np_random.normal()], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.lives = 2
        return self.observe(), {}

    def step(self, action):
        self.lives -= self.np_random.random() < 0.2
        return self.observe(), float(self.np_random.normal()) + action, self.lives == 0, False, {}

class Life(gymnasium.Wrapper):
    over = True

    def step(self, action):
        before = self.unwrapped.lives
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.over = terminated or truncated
        return observation, reward, self.unwrapped.lives < before, truncated, info

    def reset(self, **arguments):
        if self.over:
            return self.env.reset(**arguments)
        observation, _, terminated, _, info = self.env.step(0)
        return self.env.reset(**arguments) if terminated else (observation, info)

class Twice(gymnasium.Wrapper):
    def step(self, action):
        first = self.env.step(action)
        if first[2] or first[3]:
            return first
        second = self.env.step(action)
        return second[0], first[1] + second[1], *second[2:]

class More(gymnasium.ActionWrapper):
    action_space = gymnasium.spaces.Discrete(5)

    def action(self, action):
        return action % 2

class Counting(gymnasium.Wrapper):
    """Keeps something from one episode to the next."""

    games = 0

    def reset(self, **arguments):
        self.games += 1
        return self.env.reset(**arguments)

    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        return observation + np.float32(self.games), reward + self.games, *rest

class Loses(gymnasium.Wrapper):
    """Begins each third game without its seed."""

    games = 0

    def reset(self, *, seed=None, options=None):
        self.games += 1
        return self.env.reset(seed=seed if self.games % 3 else None)

class Huge(gymnasium.RewardWrapper):
    def reward(self, reward):
        return 10**400
'''
NORMALIZED = "wrap=[frame_stack,normalize_observation,normalize_reward]"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "seeing.py").write_text(SEEING)
    (tmp_path / "lives.py").write_text(LIVES)
    return tmp_path


def exported(run, *words):
    target = run.with_name(f"{run.name}-{len(list(run.parent.glob('*.npz')))}.npz")
    export.main([str(run), str(target), "--observations", "agent", *words])
    with np.load(target) as file:
        return dict(file)


def transitions(data):
    """Each step of an export: episode, observation before and after, reward, terminated."""
    first, step = 0, 0
    for episode, length in zip(data["episode"], data["length"], strict=True):
        for n in range(length):
            before, after = data["observation"][first + n], data["observation"][first + n + 1]
            ends = float(data["reward"][step + n]), bool(data["terminated"][step + n])
            yield [int(episode), before.ravel().tolist(), after.ravel().tolist(), *ends]
        first, step = first + length + 1, step + length


def seen(folder):
    return [json.loads(line) for line in (folder / "seen.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_any_episode_is_as_the_agent_saw_it_though_the_wrappers_learn(launch, folder):
    words = ("env=gymnasium:CartPole-v1", NORMALIZED, "agent=seeing.py:Seeing")
    run = launch(*words, "loop.max_episodes=9", "loop.eval_episodes=1", "loop.episodes_per_eval=4")
    assert list(transitions(exported(run))) == seen(folder)
    some = [row for row in seen(folder) if row[0] in (3, 7)]
    assert list(transitions(exported(run, "--episode", "3,7"))) == some
    evaluated = [json.loads(line) for line in (folder / "evaluated.jsonl").read_text().splitlines()]
    again = [before for _, before, *_ in transitions(exported(run, "--eval"))]
    assert again == evaluated


@pytest.mark.slow
def test_so_it_is_in_a_run_that_was_resumed_and_in_a_fork(launch, folder, cli):
    words = ("env=gymnasium:CartPole-v1", NORMALIZED, "agent=seeing.py:Seeing")
    launch(*words, "loop.max_episodes=4", "loop.eval_episodes=0")
    run = launch(*words, "loop.max_episodes=8", "loop.eval_episodes=0")
    assert list(transitions(exported(run))) == seen(folder)
    done = cli("fork", "run", "loop.max_episodes=10", "hydra.run.dir=fork")
    assert done.returncode == 0, done.stderr
    late = [row for row in seen(folder) if row[0] == 9]
    assert late
    assert list(transitions(exported(folder / "fork", "--episode", "9"))) == late


def test_an_episode_becomes_as_many_as_the_wrappers_have_made_of_it(launch, folder):
    wrap = "wrap=[lives.py:Twice,lives.py:Life,clip_reward]"
    run = launch("env=lives.py:Cave", wrap, "agent=seeing.py:Seeing", "loop.max_episodes=12")
    data = exported(run)
    assert list(transitions(data)) == seen(folder)
    assert len(data["episode"]) > 12
    assert sorted({*data["episode"].tolist()}) == list(range(12))
    raw = run.with_name("raw.npz")
    export.main([str(run), str(raw)])
    with np.load(raw) as file:
        assert len(file["reward"]) > len(data["reward"])  # frames


def test_wrappers_may_keep_something_from_one_episode_to_the_next(launch, folder):
    words = ("env=lives.py:Cave", "wrap=[lives.py:Counting]", "agent=seeing.py:Seeing")
    run = launch(*words, "loop.max_episodes=6", "loop.eval_episodes=3", "loop.episodes_per_eval=4")
    assert list(transitions(exported(run))) == seen(folder)
    evaluated = [json.loads(line) for line in (folder / "evaluated.jsonl").read_text().splitlines()]
    assert [before for _, before, *_ in transitions(exported(run, "--eval"))] == evaluated
    with pytest.raises(Failure, match="keeps something from one episode to the next"):
        exported(run, "--episode", "4")


def test_a_reward_beyond_a_float_is_infinite(launch, folder):
    words = ("env=lives.py:Cave", "wrap=[lives.py:Huge]", "agent=random")
    data = exported(launch(*words, "loop.max_episodes=2", "loop.eval_episodes=0"))
    assert np.isposinf(data["reward"]).all()


def test_what_was_learnt_in_an_episode_without_a_seed_cannot_be_known(launch, folder):
    wrap = "wrap=[lives.py:Loses,normalize_observation]"
    run = launch("env=lives.py:Cave", wrap, "agent=random", "loop.max_episodes=6")
    with pytest.raises(Mistake, match="episode 2 was begun without a seed of its own"):
        exported(run, "--episode", "4")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["env=lives.py:Cave", "wrap=[lives.py:More]"], "only what the environment was given"),
        (["env=gymnasium:CartPole-v1", NORMALIZED, "loop=vector"], "NormalizeReward learns"),
    ],
)
def test_what_cannot_be_known_is_refused_in_one_line(words, said, launch, folder):
    run = launch(*words, "agent=random", "loop.max_episodes=2", "loop.eval_episodes=0")
    with pytest.raises(Mistake) as mistake:
        exported(run)
    assert said in mistake.value.message
    assert "--observations environment" in mistake.value.message
    assert not list(folder.glob("*.npz"))


@pytest.mark.slow
def test_nor_can_what_wrappers_had_learnt_in_turns_before_a_fork(launch, folder, cli):
    words = ("env=gymnasium:CartPole-v1", NORMALIZED, "loop=vector", "agent=random")
    launch(*words, "loop.max_episodes=4", "loop.eval_episodes=0")
    more = ("loop=default", "loop.max_episodes=10", "loop.eval_episodes=0")
    done = cli("fork", "run", *more, "hydra.run.dir=fork")
    assert done.returncode == 0, done.stderr
    with pytest.raises(Mistake, match="NormalizeReward learns from all environments"):
        exported(folder / "fork", "--episode", "9")
