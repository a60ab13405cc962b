"""`gym-loop check`: a list of what a run of the config would stumble over, and an exit code."""

import os
import re

import pytest

from gym_loop.checks import preflight
from gym_loop.commands import check
from gym_loop.launch import CONF

USERS = """
import random

import gym
import numpy as np
from gym_loop.agents import RandomAgent

class Env(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    noise = 0.0

    def __init__(self, render_mode=None): ...

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation(), {}

    def observation(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def step(self, action):
        self.steps += 1
        reward = float(action) + self.noise * random.random()
        return self.observation(), reward, False, self.steps >= 10, {}

class Noisy(Env):
    noise = 1.0

class ResetRaises(Env):
    def reset(self, seed=None, options=None):
        raise RuntimeError("no reset today")

class OldStep(Env):
    def step(self, action):
        ob, reward, _, truncated, info = super().step(action)
        return ob, reward, truncated, info

class Strange(Env):
    def observation(self):
        return np.full(2, 7.0, np.float32)

class Clocked(Env):  # its infos differ from one object to the other
    def step(self, action):
        return *super().step(action)[:4], {"id": id(self)}

class Asserts(Env):
    def reset(self, seed=None, options=None):
        assert options == {"level": 3}
        return super().reset(seed=seed)

class Parts(Env):
    observation_space = gym.spaces.Dict(a=Env.observation_space, b=gym.spaces.Discrete(3))

    def observation(self):
        return {"a": super().observation(), "b": int(self.np_random.integers(3))}

class Brief(RandomAgent):  # saves what it has seen if it is told to
    exact_with = {"keep": True}

    @staticmethod
    def get_default_parameters():
        return {"keep": False}

    def __init__(self, **given):
        super().__init__(**given)
        self.seen = []

    def memorize(self, *transition):
        self.seen.append(transition)

    def save(self, directory):
        seen, self.seen = self.seen, self.seen if self.parameters["keep"] else []
        super().save(directory)
        self.seen = seen

class Scheduled(RandomAgent):  # cannot be made without its horizon
    @staticmethod
    def get_default_parameters():
        return {"horizon": 1}

    def __init__(self, **given):
        super().__init__(**given)
        self.share = 1 / self.parameters["horizon"]

class Batches(RandomAgent):
    vectorized = True

    def act(self, states, episode_nums):
        assert states.shape[0] == len(episode_nums)
        return self.rng.integers(2, size=len(states))

class Endless(Env):
    def step(self, action):
        return self.observation(), 0.0, False, False, {}

class SaveRaises(RandomAgent):
    def save(self, directory):
        raise RuntimeError("no save today")

class Forgets(RandomAgent):
    def __init__(self, **given):
        super().__init__(**given)
        self.count = 0

    def memorize(self, *transition):
        self.count += 1

    def load(self, directory):
        count = self.count
        super().load(directory)
        self.count = count
"""


@pytest.fixture
def checked(tmp_path, monkeypatch, capsys):
    """Check a config quickly, within this process; return the exit code and the list."""
    (tmp_path / "users.py").write_text(USERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preflight, "TRY", 0.1)
    monkeypatch.setattr(preflight, "LOOK", 0.1)

    def run(*words):
        with pytest.raises(SystemExit) as exit:
            check.main([*words])
        marks = {"✓": True, "✗": False, "-": None}
        found = {}
        for line in capsys.readouterr().out.splitlines():
            mark, _, rest = line.partition(" ")
            what, _, reason = rest.partition(":")
            found[what] = marks[mark], reason.strip()
        left = set(os.listdir(tmp_path)) - {"__pycache__"}
        assert left == {"users.py"}
        return exit.value.code, found

    return run


@pytest.mark.parametrize("env", ["pendulum", "taxi", "gymnasium:CartPole-v1"])
def test_a_config_in_which_all_is_well_gets_ticks_and_exit_code_0(checked, env):
    code, found = checked(f"env={env}")
    assert code == 0, found
    assert list(found) == [
        *("config", "environment", "determinism", "agent", "training", "checkpoint", "replay"),
        *("time", "disk"),
    ]
    assert all(ok in (True, None) for ok, _ in found.values()), found
    assert "passes the checker of gym" in found["environment"][1]
    assert "steps a second" in found["time"][1]
    assert "are free" in found["disk"][1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["env=cartpole"], ["env=gymnasium_vector", "env.id=CartPole-v1"]]
)
def test_many_environments_stepped_as_one_are_checked_too(checked, words):
    code, found = checked("loop=vector", *words)
    assert code == 0, found
    assert found["checkpoint"][0] is True


def test_an_environment_that_is_not_deterministic_gets_a_cross(checked):
    code, found = checked("env=users.py:Noisy")
    assert code == 1
    assert found["determinism"][0] is False
    assert "step 1" in found["determinism"][1]
    assert found["replay"][0] is False


def test_an_environment_that_the_librarys_checker_refuses_gets_its_reason(checked):
    code, found = checked("env=users.py:Strange")
    assert code == 1
    assert found["environment"][0] is False
    assert "observation" in found["environment"][1]
    assert found["training"][0] is True


def test_a_reset_that_raises_is_named_with_its_line(checked):
    code, found = checked("env=users.py:ResetRaises")
    assert code == 1
    assert found["training"][1].startswith("RuntimeError: no reset today (users.py:")
    assert found["checkpoint"] == (None, "there was no training")


def test_the_old_four_valued_step_is_named(checked):
    code, found = checked("env=users.py:OldStep")
    assert code == 1
    assert "four values" in found["determinism"][1]
    assert "four values" in found["training"][1]


def test_an_agent_that_cannot_be_saved_gets_a_cross(checked):
    code, found = checked("agent=users.py:SaveRaises", "env=cartpole")
    assert code == 1
    assert found["training"][0] is True
    assert found["checkpoint"][0] is False
    assert found["checkpoint"][1].startswith("RuntimeError: no save today (users.py:")


def test_an_agent_that_forgets_on_loading_gets_a_cross_that_names_what(checked):
    code, found = checked("agent=users.py:Forgets", "env=cartpole")
    assert code == 1
    assert found["checkpoint"][0] is False
    assert "count" in found["checkpoint"][1]


def test_an_agent_says_with_which_parameters_it_is_restored_whole(checked):
    code, found = checked("agent=users.py:Brief", "env=cartpole")
    assert code == 0, found
    assert found["agent"][0] is True


def test_infos_that_differ_are_remarked_on_and_no_fault(checked):
    code, found = checked("env=users.py:Clocked")
    assert code == 0, found
    assert "but for the info, in which step 1: info.id" in found["determinism"][1]


def test_an_assertion_without_words_is_quoted_with_its_place(checked):
    code, found = checked("env=users.py:Asserts")
    assert code == 1
    assert found["determinism"][1].startswith('fails: assert options == {"level": 3} (users.py:')


def test_dict_observations_are_compared_by_their_parts(checked):
    code, found = checked("env=users.py:Parts")
    assert code == 0, found
    assert "restored equal" in found["checkpoint"][1]


def test_what_follows_a_limit_of_the_loop_follows_it_in_the_try(checked):
    limits = ("loop.max_episodes=null", "loop.max_steps=40")
    words = ("agent=users.py:Scheduled", "agent.horizon=${loop.max_steps}", "env=users.py:Env")
    code, found = checked(*words, *limits)
    assert code == 0, found
    assert "40 steps in" in found["training"][1]


@pytest.mark.slow
def test_an_agent_gets_batches_where_the_loop_gives_batches(checked):
    code, found = checked("agent=users.py:Batches", "env=users.py:Env", "loop=vector")
    assert code == 0, found
    code, found = checked("agent=users.py:Batches", "env=users.py:Env")
    assert found["agent"][0] is False


PRESETS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_passes(checked, preset):
    if preset.startswith("sb3_"):
        why = 'needs the extra: pip install "gym-loop[sb3]"'
        pytest.importorskip("stable_baselines3", reason=why)
    game = ["env.id=ALE/Pong-v5"] * preset.endswith("_atari")  # which this preset leaves open
    if game:
        pytest.importorskip("ale_py", reason='needs the extra: pip install "gym-loop[atari]"')
    code, found = checked(f"+experiment={preset}", *game)
    assert code == 0, found


@pytest.mark.parametrize(("loop", "replayed"), [("default", True), ("vector", None)])
def test_an_episode_that_does_not_end_does_not_hold_up_the_check(checked, loop, replayed):
    words = (f"loop={loop}", "env=users.py:Endless", "loop.max_episode_len=1000000000")
    code, found = checked(*words)
    assert found["training"][0] is True
    assert found["replay"][0] is replayed  # of many that go on, none has been played
    assert code == 0, found


WRAPPERS = """
import gymnasium

class Heavier(gymnasium.Wrapper):
    def reset(self, **given):
        self.unwrapped.g = 20.0
        return self.env.reset(**given)

class Halves(gymnasium.Wrapper):
    \"\"\"Ends an episode each hundred steps, and goes on with it after a step of its own.\"\"\"

    steps, over = 0, True

    def reset(self, **given):
        if self.over:
            return self.env.reset(**given)
        observation, _, terminated, truncated, info = self.env.step([0.0])
        return self.env.reset(**given) if terminated or truncated else (observation, info)

    def step(self, action):
        observation, reward, terminated, self.over, info = self.env.step(action)
        self.steps += 1
        return observation, reward, self.steps % 100 == 0, self.over, info
"""


@pytest.mark.parametrize(("name", "ok"), [("Heavier", False), ("Halves", True)])
@pytest.mark.parametrize("loop", ["default", "vector"])
def test_replay_is_checked_below_the_wrappers_as_it_is_played(checked, tmp_path, loop, name, ok):
    with (tmp_path / "users.py").open("a") as file:
        file.write(WRAPPERS)
    words = "env=gymnasium:Pendulum-v1", f"wrap=[users.py:{name}]", f"loop={loop}"
    code, found = checked(*words, "loop.max_episodes=2")
    assert found["determinism"][0] is True, found
    assert found["replay"][0] is ok, found
    assert code == (0 if ok else 1)


@pytest.mark.slow
def test_the_time_is_estimated_for_the_whole_run(checked):
    _, short = checked("env=cartpole", "loop.max_episodes=10", "loop.eval_episodes=0")
    _, long = checked("env=cartpole", "loop.max_steps=1000000000000", "loop.max_episodes=null")
    assert short["time"][1].endswith("steps, 0 of them in evaluations")
    assert re.search(r"about \d+d\d\dh for ", long["time"][1])
    _, stopped = checked("env=cartpole", "loop.max_episodes=10000000", "loop.max_time=7")
    assert "loop.max_time allows 7s" in stopped["time"][1]


def test_a_run_that_would_fill_the_disk_gets_a_cross(checked):
    code, found = checked("env=cartpole", "loop.max_episodes=1000000000000")
    assert code == 1
    assert found["disk"][0] is False
    assert "are free in" in found["disk"][1]


def test_a_run_config_can_be_checked(checked, tmp_path, capsys):
    from gym_loop.commands.create_default import main

    main(["--env", "CartPole-v1", "--run-config", str(tmp_path.parent / "run.yaml")])
    capsys.readouterr()
    code, found = checked("-c", "../run.yaml", "loop.max_episodes=7")
    assert code == 0, found
