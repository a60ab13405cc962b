"""`agent.normalize` is the library's VecNormalize, to the bit."""

import copy
import functools
import itertools
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

reason = 'needs the extra: pip install "gym-loop[sb3]"'
torch = pytest.importorskip("torch", reason=reason)
pytest.importorskip("stable_baselines3", reason=reason)

import gymnasium  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize  # noqa: E402

import gym_loop  # noqa: E402
from gym_loop.envs import make_gymnasium  # noqa: E402
from gym_loop.integrations import stable_baselines3 as ours  # noqa: E402
from gym_loop.mistake import Mistake  # noqa: E402
from gym_loop.runs import compare  # noqa: E402
from gym_loop.streams import seed_all  # noqa: E402
from tests.integrations.test_stable_baselines3 import (  # noqa: E402
    SEED,
    SMALL,
    STEPS,
    Enough,
    Pictures,
    SharedSeeds,
    UpTo,
    assert_equal_weights,
    count_rollouts,
    learn,
    train,
)


def statistics(normalizer):
    """All that a normalizer has learnt, as bytes."""
    kept = [
        getattr(normalizer, name) for name in ("obs_rms", "ret_rms") if hasattr(normalizer, name)
    ]
    numbers = [(each.mean, each.var, each.count) for each in kept]
    return [np.asarray(part).tobytes() for three in numbers for part in three]


@pytest.fixture
def at_each_update(monkeypatch):
    """Keep the statistics that a kind of algorithm has whenever it trains."""

    def watch(algorithm):
        seen, train = [], algorithm.train

        def watched(model, *arguments, **named):
            seen.append(statistics(model.get_vec_normalize_env()))
            return train(model, *arguments, **named)

        monkeypatch.setattr(algorithm, "train", watched)
        return seen

    return watch


CASES = {
    "PPO": (ours.PPO, "CartPole-v1", True, {"n_steps": 48, "batch_size": 16}),
    "PPO, time limits": (ours.PPO, "Pendulum-v1", True, {"n_steps": 40, "batch_size": 20}),
    "A2C, rewards alone": (ours.A2C, "Pendulum-v1", {"norm_obs": False, "gamma": 0.5}, {}),
    "SAC": (ours.SAC, "Pendulum-v1", True, {"batch_size": 16, "learning_starts": 50}),
    "TD3": (ours.TD3, "Pendulum-v1", {"norm_reward": False, "clip_obs": 2.0}, {"batch_size": 16}),
    "DQN": (ours.DQN, "CartPole-v1", True, {"learning_starts": 40}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "id", "normalize", "parameters"), CASES.values(), ids=CASES)
def test_weights_and_statistics_equal_those_of_learn(
    kind, id, normalize, parameters, at_each_update
):
    limit, seen = 20, at_each_update(kind.algorithm)
    parameters = {**SMALL, **parameters, "seed": SEED, "total_timesteps": 5 * STEPS}
    env = gymnasium.make(id)
    agent = train(kind, env, STEPS, limit, normalize=normalize, **parameters)
    given = {"gamma": agent.model.gamma, **(normalize if normalize is not True else {})}
    model = learn(
        agent,
        gymnasium.make(id),
        limit,
        lambda env: VecNormalize(DummyVecEnv([lambda: env]), **given),
    )
    assert agent.rollouts > 2
    assert model._n_updates == agent.model._n_updates > 0
    assert_equal_weights(agent.model, model)
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]


class Whole(gymnasium.Env):
    """Observations of whole numbers."""

    observation_space = gymnasium.spaces.Box(0, 255, (4,), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.integers(0, 256, 4, np.uint8), {}

    def step(self, action):
        ob = self.np_random.integers(0, 256, 4, np.uint8)
        return ob, float(ob[0] > 100) + action, False, False, {}


OTHERS = {
    "an image of one channel beside what is normalized": (
        ours.PPO,
        Pictures,
        {"norm_obs_keys": ["speed"]},
        {"n_steps": 48, "batch_size": 16, "policy": "MultiInputPolicy"},
    ),
    "whole numbers, off-policy": (
        ours.DQN,
        Whole,
        True,
        {"learning_starts": 40, "train_freq": 1, "target_update_interval": 20, **SMALL},
    ),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # the library casts so
@pytest.mark.parametrize(("kind", "make", "normalize", "parameters"), OTHERS.values(), ids=OTHERS)
def test_so_do_those_of_other_observations(kind, make, normalize, parameters):
    parameters = {**parameters, "seed": SEED, "total_timesteps": 5 * STEPS}
    agent = train(kind, make(), STEPS, 9, normalize=normalize, **parameters)
    given = {"gamma": agent.model.gamma, **(normalize if normalize is not True else {})}
    wrap = lambda env: VecNormalize(DummyVecEnv([lambda: env]), **given)  # noqa: E731
    model = learn(agent, make(), 9, wrap)
    assert agent.rollouts > 2
    assert_equal_weights(agent.model, model)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ours.PPO, ours.A2C, ours.SAC, ours.TD3])
def test_eight_environments_share_statistics_as_in_the_library(kind):
    from gym_loop.vector.loop import VectorLoop

    more = {ours.PPO: {"n_steps": 16, "batch_size": 32}, ours.A2C: {"n_steps": 7}}
    parameters = {**SMALL, **more.get(kind, {"batch_size": 16, "learning_starts": 50})}
    parameters |= {"seed": SEED, "total_timesteps": 50 * STEPS}
    seed_all(SEED)
    limits = {"num_envs": 8, "max_steps": 5 * STEPS, "max_episodes": None}
    factory = functools.partial(make_gymnasium, "Pendulum-v1")
    env = VectorLoop.make_env(factory, VectorLoop.get_default_parameters() | limits, "train")
    agent = kind(*VectorLoop.spaces(env), n_envs=8, normalize=True, **parameters)
    count_rollouts(agent)
    loop = VectorLoop(agent, env, **limits)
    loop.seed = SEED
    loop.train()
    del agent._store

    numbers = itertools.count()
    copies = [lambda: SharedSeeds(gymnasium.make("Pendulum-v1"), numbers) for _ in range(8)]
    env = VecNormalize(DummyVecEnv(copies), gamma=agent.model.gamma)
    given = {k: v for k, v in parameters.items() if k not in kind.ours}
    model = kind.algorithm(kind.default_policy, env, **copy.deepcopy(given))
    with pytest.raises(Enough):
        model.learn(50 * STEPS, UpTo(agent.rollouts))
    assert agent.rollouts > 2
    assert_equal_weights(agent.model, model)


def play(words, folder, kill=False):
    command = [sys.executable, "-m", "gym_loop", *words, f"hydra.run.dir={folder}"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while kill and process.poll() is None:
        if len(list(folder.glob("checkpoints/episode-*"))) > 1:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    _, told = process.communicate()
    assert process.returncode == (-signal.SIGKILL if kill else 0), told


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["agent=sb3/ppo", "agent.n_steps=150", "loop.max_steps=3000"],
        ["agent=sb3/sac", "agent.batch_size=32", "loop.max_steps=1600"],
    ],
    ids=["PPO", "SAC"],
)
def test_a_killed_run_goes_on_exactly_and_evaluation_changes_no_statistics(words, tmp_path):
    words += ["env=pendulum", "agent.normalize=true", "loop.max_episodes=null"]
    words += ["loop.eval_episodes=1", "loop.time_per_checkpoint=0.2"]
    play(words, tmp_path / "untouched")
    play(words, tmp_path / "killed", kill=True)
    play(words, tmp_path / "killed")
    assert not list(compare.differences(tmp_path / "untouched", tmp_path / "killed"))
    play([*words, "loop.episodes_per_eval=3"], tmp_path / "evaluated")
    agents = [gym_loop.Run(tmp_path / n).policy().agent for n in ("untouched", "evaluated")]
    one, two = (statistics(agent.model.get_vec_normalize_env()) for agent in agents)
    assert one == two
    assert_equal_weights(agents[0].model, agents[1].model)


@pytest.mark.slow
def test_what_is_exported_is_read_by_the_library_and_read_again(tmp_path):
    words = ["agent=sb3/ppo", "env=gymnasium:Pendulum-v1", "agent.normalize=true"]
    words += ["agent.n_steps=100", "loop.max_steps=1000"]
    play(words, tmp_path / "run")
    path = tmp_path / "model.zip"
    command = [sys.executable, "-m", "gym_loop", "export", tmp_path / "run", path]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    venv = DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")])
    loaded = VecNormalize.load(str(tmp_path / "model.vecnormalize.pkl"), venv)
    model = ours.PPO.algorithm.load(path, env=loaded)
    policy = gym_loop.Run(tmp_path / "run").policy()
    raw = np.array([0.1, -0.9, 1.3], np.float32)
    action, _ = model.predict(loaded.normalize_obs(raw[None]), deterministic=True)
    assert np.array_equal(action[0], policy(raw))
    model.learn(200)

    again = ours.PPO(
        policy.agent.observation_space,
        policy.agent.action_space,
        init_from=path,
        normalize=True,
        n_steps=100,
    )
    statistics = again.model.get_vec_normalize_env()
    before = pickle.loads((tmp_path / "model.vecnormalize.pkl").read_bytes())
    assert np.array_equal(statistics.obs_rms.mean, before.obs_rms.mean)
    with pytest.raises(Mistake, match=r"give agent\.normalize=true"):
        ours.PPO(policy.agent.observation_space, policy.agent.action_space, init_from=path)


class Mixed(gymnasium.Env):
    """Observations in a dict, of which only one can be normalized."""

    observation_space = gymnasium.spaces.Dict(
        speed=gymnasium.spaces.Box(-5, 5, (2,), np.float32), gear=gymnasium.spaces.Discrete(3)
    )
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.look(), {}

    def step(self, action):
        ended = bool(self.np_random.integers(5) == 0)
        return self.look(), 1.0, ended, False, {}

    def look(self):
        speed = self.np_random.normal(size=2).astype(np.float32)
        return {"speed": speed, "gear": int(self.np_random.integers(3))}


@pytest.mark.parametrize("rewards", ["true", "false"])
def test_statistics_of_some_keys_are_exported_and_read_again(rewards, tmp_path):
    words = ["agent=sb3/ppo", f"env={__name__}:Mixed", "agent.policy=MultiInputPolicy"]
    words += [f"agent.normalize={{norm_obs_keys: [speed], norm_reward: {rewards}}}"]
    play([*words, "agent.n_steps=20", "loop.max_steps=60"], tmp_path / "run")
    path = tmp_path / "model.zip"
    command = [sys.executable, "-m", "gym_loop", "export", tmp_path / "run", path]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    venv = DummyVecEnv([Mixed])
    loaded = VecNormalize.load(str(tmp_path / "model.vecnormalize.pkl"), venv)
    mine = gym_loop.Run(tmp_path / "run").policy().agent.model.get_vec_normalize_env()
    assert loaded.norm_obs_keys == list(loaded.obs_rms) == ["speed"]
    assert np.array_equal(loaded.obs_rms["speed"].mean, mine.obs_rms["speed"].mean)
    ours.PPO.algorithm.load(path, env=loaded).learn(20)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"norm_ob": True}, "normalize has no 'norm_ob'; did you mean 'norm_obs'"),
        ({"norm_obs": "no"}, "normalize.norm_obs is 'no'; expected true or false"),
        ({"clip_obs": [1, 2]}, r"normalize.clip_obs is \[1, 2\]; expected a number"),
        ({"gamma": None}, "normalize.gamma is None; expected a number"),
        (3, "expected true, false, or such as"),
    ],
)
def test_what_normalize_cannot_be_is_named(value, told):
    with pytest.raises(ValueError, match=told):
        ours.PPO.check_parameters({**ours.PPO.get_default_parameters(), "normalize": value})
