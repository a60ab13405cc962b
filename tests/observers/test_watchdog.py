"""The watchdog: what looks wrong is said once, in the log and in run.json, or ends the run."""

import json
import time

import gym
import numpy as np
import pytest

from gym_loop.agents import RandomAgent
from gym_loop.mistake import Failure
from tests.conftest import rows

THIS = __file__


class Loud(RandomAgent):
    """Gives a metric and an action that are as bad as its parameters say."""

    @staticmethod
    def get_default_parameters():
        return {"loss": 0.0, "action": None, "from_episode": 0}

    def act(self, state, episode_num):
        if self.parameters["action"] is None or episode_num < self.parameters["from_episode"]:
            return self.action_space.sample()
        shape = self.action_space.shape
        return (
            np.full(shape, float(self.parameters["action"]), np.float32)
            if shape
            else self.parameters["action"]
        )

    def metrics(self, episode_num):
        return {"loss": float(self.parameters["loss"])}


class Env(gym.Env):
    """Four steps an episode, of a reward that its kwargs give."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, reward: float = 0.0, pause: float = 0.0, render_mode=None):
        self.reward, self.pause = reward, pause

    def reset(self, seed=None, options=None):
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        time.sleep(self.pause)
        return np.zeros(2, np.float32), self.reward, False, self.steps == 4, {}


def warnings(directory):
    content = json.loads((directory / "run.json").read_text())
    log = (directory / "gym_loop.log").read_text() if (directory / "gym_loop.log").exists() else ""
    assert all(text in log for text in content["warnings"])
    return content["warnings"]


@pytest.fixture
def watched(launch):
    """Launch the environment above with an agent of the words given; return run.json's warnings."""

    def run(*words, **options):
        agent = f"agent={THIS}:Loud"
        return warnings(launch(agent, "env=cartpole", "loop.eval_episodes=0", *words, **options))

    return run


def test_an_ordinary_run_has_no_warnings(watched):
    assert watched("loop.max_episodes=150") == []


def test_a_return_that_is_infinite_is_warned_of_once(launch):
    directory = launch(f"env={THIS}:Env", "env.reward=inf", "loop.max_episodes=4")
    [warning] = warnings(directory)
    assert warning.startswith("the return of episode 0 is inf")


@pytest.mark.parametrize("loop", ["default", "vector"])
def test_integers_beyond_a_float_are_infinite_and_the_run_goes_on(loop, launch, as_a_child):
    words = (f"env={THIS}:Env", f"env.reward={10**400}", "loop.max_episodes=4", f"loop={loop}")
    directory = launch(*words)
    [warning] = warnings(directory)
    assert "is inf" in warning
    returns = [row["return"] for row in rows(directory)]
    assert len(returns) >= 4
    assert set(returns) == {"inf"}
    done = as_a_child(["replay", "run", "--every", "1"], directory.parent)
    assert done.returncode == 0, done.stdout
    assert "as recorded" in done.stdout


@pytest.mark.parametrize("loop", ["default", "vector"])
def test_a_metric_beyond_a_float_is_infinite_and_the_run_goes_on(loop, launch, tmp_path):
    (tmp_path / "huge.py").write_text(
        "from gym_loop.agents import RandomAgent\n"
        "class Huge(RandomAgent):\n"
        "    def metrics(self, episode_num):\n"
        "        return {'loss': -(10**5000)}\n"
    )
    directory = launch("agent=huge.py:Huge", "loop.max_episodes=4", f"loop={loop}", "env=cartpole")
    [warning] = warnings(directory)
    assert warning.startswith("the metric 'loss' of episode 0 is -inf")
    assert json.loads((directory / "run.json").read_text())["state"] == "finished"


def test_a_warning_is_shown_by_ls(launch, capsys):
    launch(f"env={THIS}:Env", "env.reward=inf", "loop.max_episodes=4")
    from gym_loop.commands.ls import main

    capsys.readouterr()
    main(["."])
    shown = capsys.readouterr()
    assert "finished!" in shown.out
    assert "the return of episode 0 is inf" in shown.err


def test_a_metric_that_is_nan_is_warned_of_once(launch, tmp_path):
    (tmp_path / "nan.py").write_text(
        "from gym_loop.agents import RandomAgent\n"
        "class Nan(RandomAgent):\n"
        "    def metrics(self, episode_num):\n"
        "        return {'loss': float('nan') if episode_num > 2 else 1.0}\n"
    )
    [warning] = warnings(launch("agent=nan.py:Nan", "env=cartpole", "loop.max_episodes=9"))
    assert warning.startswith("the metric 'loss' of episode 3 is nan")


def test_on_nan_stop_ends_the_run_as_failed_with_the_episode_named(launch, tmp_path):
    words = ("env.reward=inf", "loop.on_nan=stop", "loop.max_episodes=9")
    with pytest.raises(Failure, match=r"the return of episode 0 is inf.*loop\.on_nan=stop"):
        launch(f"env={THIS}:Env", *words)
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert content["state"] == "failed"
    assert content["episodes"] == 1


@pytest.mark.parametrize(
    ("env", "action"), [("pendulum", 7), ("pendulum", "'nan'"), ("mountain_car_continuous", -1.5)]
)
def test_an_action_outside_its_space_is_warned_of_once(watched, env, action):
    found = watched(f"env={env}", f"agent.action={action}", "loop.max_episodes=2")
    assert len([text for text in found if "is outside its space, Box(" in text]) == 1


def test_a_float64_action_within_the_bounds_is_not_outside(watched):
    assert watched("env=pendulum", "agent.action=0.5", "loop.max_episodes=2") == []


class Shapes(Loud):
    """Its four actions have no shape, or no type, in common."""

    def act(self, state, episode_num):
        self.steps = getattr(self, "steps", -1) + 1
        kinds = {
            "arrays": [np.zeros(0), np.zeros(2), np.zeros((1, 2)), np.zeros((0, 3))],
            "array, number": [np.zeros(2), 1, 1, 0],
            "number, array": [0, 1, 1, np.zeros(2)],
        }
        return kinds[self.parameters["action"]][self.steps % 4]


@pytest.mark.parametrize("actions", ["arrays", "array, number", "number, array"])
def test_actions_of_many_shapes_do_not_end_a_run(launch, actions):
    directory = launch(f"agent={THIS}:Shapes", f"agent.action='{actions}'", f"env={THIS}:Env")
    assert json.loads((directory / "run.json").read_text())["state"] == "finished"


class Odd(RandomAgent):
    """Returns what a space, or a text, cannot be made of; the environment does not look at it."""

    @staticmethod
    def get_default_parameters():
        return {"kind": "duration"}

    def act(self, state, episode_num):
        if self.parameters["kind"] == "duration":
            return np.timedelta64(1, "D")  # which Discrete's `contains` raises for
        action = []
        for _ in range(5000):  # whose repr raises
            action = [action]
        return action


@pytest.mark.parametrize("kind", ["duration", "deep"])
def test_an_action_that_raises_when_it_is_looked_at_ends_no_run(launch, kind):
    words = (f"env={THIS}:Env", "loop.max_episodes=3", "loop.eval_episodes=1")
    directory = launch(f"agent={THIS}:Odd", f"agent.kind={kind}", *words)
    assert len(rows(directory)) == 3
    assert "cannot be kept: there will be no traces" in " ".join(warnings(directory))


@pytest.mark.parametrize("loop", [["loop=default"], ["loop=vector", "loop.num_envs=2"]])
def test_what_a_wrapper_makes_of_an_action_is_not_outside(launch, loop):
    wrapper = "env.wrappers.rescaled"
    directory = launch(
        *("env=pendulum", f"{wrapper}._target_=gym.wrappers.RescaleAction"),
        *(f"{wrapper}.min_action=-0.1", f"{wrapper}.max_action=0.1"),
        *(*loop, "loop.max_episodes=4", "loop.eval_episodes=0"),
    )
    assert [text for text in warnings(directory) if "outside" in text] == []


@pytest.mark.parametrize("env", ["cartpole", "pendulum"])
def test_the_same_action_in_every_step_of_many_episodes_is_warned_of_once(watched, env):
    words = ["agent.action=1", "agent.from_episode=2", "loop.max_episode_len=5"]
    words += [f"env={env}", "observers.watchdog.episodes_of_one_action=6"]
    assert watched(*words, "loop.max_episodes=7") == []
    [warning] = watched(*words, "loop.max_episodes=20", directory="longer")
    assert "in every step of the last 6 episodes" in warning


def test_an_episode_that_does_not_end_is_warned_of_while_it_is_played(launch):
    directory = launch(
        *(f"env={THIS}:Env", "env.pause=0.15", "loop.max_episodes=1", "loop.eval_episodes=0"),
        "observers.watchdog.seconds_without_episode=0.1",
    )
    [warning] = warnings(directory)
    assert warning.startswith("no episode has ended for 0.1 seconds")
    assert "loop.max_episode_len is 5000" in warning


def test_a_resumed_run_does_not_warn_again_and_counts_on(launch):
    words = (f"agent={THIS}:Loud", "agent.action=1", "env=cartpole", "loop.eval_episodes=0")
    enough = "observers.watchdog.episodes_of_one_action=6"
    directory = launch(*words, enough, "loop.max_episodes=4")
    assert warnings(directory) == []
    from gym_loop.commands.resume import main

    main([str(directory), "loop.max_episodes=6"])
    main([str(directory), "loop.max_episodes=30"])
    assert len(warnings(directory)) == 1


@pytest.mark.parametrize(("learns_from", "warned"), [(0, False), (3, False), (99, True)])
def test_an_agent_that_never_began_to_learn_is_warned_of(learns_from, warned, tmp_path, as_a_child):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "late.py").write_text(
        "from gym_loop.agents import RandomAgent\n\n\nclass Late(RandomAgent):\n"
        "    def metrics(self, episode_num):\n"
        f"        name = 'loss' if episode_num >= {learns_from} else 'rollout/length'\n"
        "        return {name: 0.5}\n"
    )
    words = ["agent=late.py:Late", "env=cartpole", "loop.eval_episodes=0", "hydra.run.dir=run"]
    assert as_a_child(words, folder).returncode == 0
    known = json.loads((folder / "run" / "run.json").read_text())
    line = f"no metric of Late's training appeared in {known['steps']} steps: it may not have "
    assert known["warnings"] == [f"{line}begun to learn"] * warned


WRONG = """
import numpy as np
from gymnasium import Env, spaces

class Wrong(Env):
    action_space = spaces.Discrete(2)
    observation_space = spaces.Dict(
        a=spaces.Box(0, 1, (2,)), b=spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 9, (1, 2))])
    )

    def __init__(self, given="{}"):
        self.given = given

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        right = {"a": np.zeros(2, np.float32), "b": (1, np.ones((1, 2), np.float32))}
        return eval(self.given, {"np": np, "right": right}), {}

    def step(self, action):
        return self.reset()[0], 1.0, True, False, {}
"""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("right", None),
        ("{'a': right['a']}", "the observation has the keys ['a']; expected ['a', 'b']"),
        ("right | {'a': np.zeros(2)}", "['a'] is of dtype float64; expected float32"),
        ("right | {'a': np.zeros(3, 'f')}", "['a'] has the shape (3,); expected (2,)"),
        (
            "right | {'b': (1, np.array([[3, 10]], 'f'))}",
            "['b'][1] is 10.0 at [0, 1]; expected 0.0",
        ),
        ("right | {'b': (2, right['b'][1])}", "['b'][0] is 2; expected one of Discrete(2)"),
        ("None", "the observation is None; expected one of Dict"),
    ],
)
def test_a_first_observation_outside_its_space_is_warned_of_once_by_its_part(
    given, said, launch, tmp_path
):
    (tmp_path / "wrong.py").write_text(WRONG)
    words = ["env=wrong.py:Wrong", f'env.given="{given}"', "agent=random", "loop.max_episodes=3"]
    run = launch(*words, "loop.eval_episodes=1")
    found = [line for line in warnings(run) if "observation" in line]
    assert len(found) == (said is not None)
    assert not said or (said in found[0] and found[0].endswith(", by the observation_space"))


@pytest.mark.slow
def test_check_names_the_part_of_an_observation_that_is_outside_its_space(cli, tmp_path):
    (tmp_path / "wrong.py").write_text(WRONG)
    given = "right | {'a': np.zeros(2)}"
    done = cli("check", "env=wrong.py:Wrong", f'env.given="{given}"', "agent=random")
    assert done.returncode == 1
    assert "reset(): the observation['a'] is of dtype float64; expected float32" in done.stdout
