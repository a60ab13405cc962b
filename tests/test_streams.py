"""Each thing that draws in a run has a stream of its own, made from the whole seed."""

import random
import sys

import gym
import gymnasium
import numpy as np
import pytest
from omegaconf import OmegaConf

from gym_loop import launch, streams
from gym_loop.agents import BaseAgent
from gym_loop.observers import Observer

EPISODES = 1000
LIBRARIES = {"gym": gym, "gymnasium": gymnasium}


def coin_env(library):
    class Coin(LIBRARIES[library].Env):
        """One step; what it draws first is its observation."""

        observation_space = LIBRARIES[library].spaces.Box(0, 1, (), np.float64)
        action_space = LIBRARIES[library].spaces.Box(0, 1, (), np.float64)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.np_random.random(), {}

        def step(self, action):
            return 0.0, 0.0, True, False, {}

    return Coin()


class Draws(BaseAgent):
    """Writes down one number of each stream that it can draw from, in each episode."""

    def __init__(self, **spaces):
        super().__init__(**spaces)
        self.drawn = []

    def act(self, state, episode_num):
        numbers = [state, self.rng.random(), np.random.random(), random.random()]
        numbers += [self.action_space.sample(), self.observation_space.sample()]
        if torch := sys.modules.get("torch"):
            numbers.append(torch.rand(1, dtype=torch.float64).item())
        self.drawn.append([float(number) for number in numbers])
        return self.drawn[-1][1]

    def memorize(self, last_ob, action, reward, done, ob):
        pass

    def update(self, episode_num):
        pass


class Actions(Observer):
    def __init__(self):
        self.taken = []

    def end_episode(self, loop, episode):
        self.taken += episode.actions


def play(library, seed=3, **loop):
    """Return agent and observer of a run as the launcher builds it."""
    cfg = OmegaConf.create(
        {
            "seed": seed,
            "env": {"_target_": f"{__name__}.coin_env", "library": library},
            "agent": {"_target_": f"{__name__}.Draws"},
            "loop": {"_target_": "gym_loop.loops.DefaultLoop", **loop},
        }
    )
    actions = Actions()
    built = launch.build(cfg, None, {"actions": actions})
    built.train()
    built.evaluate()
    return built.agent, actions


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_streams_of_a_run_are_uncorrelated(library):
    trained, _ = play(library, max_episodes=EPISODES, eval_episodes=EPISODES)
    _, at_random = play(library, max_episodes=EPISODES, random_episodes=EPISODES, eval_episodes=0)
    both = np.array(trained.drawn).T
    rows = [*both[:, :EPISODES], *both[:, EPISODES:], np.array(at_random.taken, float)]
    # Against the next episode's numbers, too: a stream can be another's, one number later.
    rows += [np.roll(row, 1) for row in rows]
    correlations = np.corrcoef(rows) - np.eye(len(rows))
    assert len(rows) >= 26
    assert abs(correlations).max() < 0.2


def test_evaluation_draws_the_same_numbers_each_time_and_none_of_trainings():
    plain, _ = play("gymnasium", max_episodes=40, eval_episodes=0)
    cut, _ = play("gymnasium", max_episodes=40, eval_episodes=5, episodes_per_eval=20)
    drawn = cut.drawn[:20], cut.drawn[20:25], cut.drawn[25:45], cut.drawn[45:50], cut.drawn[50:]
    assert drawn[0] + drawn[2] == plain.drawn
    assert drawn[1] == drawn[3] == drawn[4]
    assert not {number for row in drawn[1] for number in row} & {n for r in plain.drawn for n in r}


@pytest.mark.parametrize("more", [2**32, 2**64, 10**40])
def test_every_bit_of_the_seed_counts(more):
    one, _ = play("gym", seed=7, max_episodes=3, eval_episodes=1)
    other, _ = play("gym", seed=7 + more, max_episodes=3, eval_episodes=1)
    assert not {n for row in one.drawn for n in row} & {n for row in other.drawn for n in row}


def test_a_streams_seed_is_that_of_its_name():
    seeds = {
        streams.derive(seed, name)
        for seed in (0, 1, 11)
        for name in ("eval", "eval/1", "eval/11", "train/1", "random/1")
    }
    assert len(seeds) == 15
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert streams.derive(5, "eval/3") == streams.episode_seed(5, 3, "eval")


def test_a_gpu_that_nobody_uses_is_left_alone(monkeypatch):
    torch = pytest.importorskip("torch", reason='needs the extra: pip install "gym-loop[sb3]"')
    if torch.cuda.is_initialized():
        pytest.skip("this process uses a GPU")
    waiting = []
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: pytest.fail("starts CUDA"))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", waiting.append)
    streams.seed_all(3)
    state = streams.get_state()
    drawn = torch.rand(2)
    streams.seed_all(4)
    streams.set_state(state)
    assert waiting[0] == waiting[-1] != waiting[1]  # the seed for when it is used
    assert torch.equal(torch.rand(2), drawn)


LATE_TORCH = """
from gym_loop.agents import BaseAgent

class Late(BaseAgent):
    def __init__(self, **spaces):
        super().__init__(**spaces)
        if self.parameters["in_constructor"]:
            self.draw()

    @staticmethod
    def get_default_parameters():
        return {"in_constructor": False}

    def draw(self):
        import torch

        number = torch.rand(1).item()
        if self.training:
            with open("drawn.txt", "a") as file:
                print(number, file=file)

    def act(self, state, episode_num):
        return self.action_space.sample()

    def end_episode(self, episode_num, truncated):
        if episode_num > 1 or not self.training:
            self.draw()

    def memorize(self, *transition):
        pass

    def update(self, episode_num):
        pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("in_constructor", [True, False])
def test_pytorch_that_an_agent_imports_late_draws_from_the_runs_seed(in_constructor, cli, tmp_path):
    pytest.importorskip("torch", reason='needs the extra: pip install "gym-loop[sb3]"')
    (tmp_path / "late.py").write_text(LATE_TORCH)
    words = ["agent=../late.py:Late", f"agent.in_constructor={in_constructor}", "env=cartpole"]

    def drawn(folder, *more, episodes=4):
        (tmp_path / folder).mkdir(exist_ok=True)
        more = [f"loop.max_episodes={episodes}", "hydra.run.dir=run", *more]
        done = cli(*words, *more, cwd=tmp_path / folder)
        assert done.returncode == 0, done.stderr
        return (tmp_path / folder / "drawn.txt").read_text().split()

    single = drawn("single")
    assert len(set(single)) == len(single) == 2 + in_constructor
    assert drawn("evaluated", "loop.episodes_per_eval=1") == single
    drawn("in_parts", "loop.eval_episodes=0", episodes=3)
    assert drawn("in_parts", "loop.eval_episodes=0")[-1] == single[-1]
    assert not set(drawn("other", "seed=1")) & set(single)
