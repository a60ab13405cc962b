import copy
import functools
import inspect
import itertools
import pickle
import re
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np
import pytest
from omegaconf import OmegaConf

SKIP = 'needs the extra: pip install "gym-loop[sb3]"'
torch = pytest.importorskip("torch", reason=SKIP)
sb3 = pytest.importorskip("stable_baselines3", reason=SKIP)

from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402
from stable_baselines3.common.noise import NormalActionNoise  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv  # noqa: E402

import gym_loop  # noqa: E402
from gym_loop import streams  # noqa: E402
from gym_loop.envs import make_gym, make_gymnasium  # noqa: E402
from gym_loop.integrations import stable_baselines3 as ours  # noqa: E402
from gym_loop.integrations.stable_baselines3 import environment  # noqa: E402
from gym_loop.integrations.stable_baselines3.parameters import translate  # noqa: E402
from gym_loop.launch import CONF, instantiate, locate  # noqa: E402
from gym_loop.launch import launch as compose_and_check  # noqa: E402
from gym_loop.loops import DefaultLoop  # noqa: E402
from gym_loop.mistake import Mistake  # noqa: E402
from gym_loop.runs import compare  # noqa: E402
from gym_loop.streams import episode_seed, seed_all  # noqa: E402

AGENTS = (ours.PPO, ours.A2C, ours.DQN, ours.SAC, ours.TD3, ours.DDPG)
SEED = 3
SMALL = {"policy_kwargs": {"net_arch": [16]}}
STEPS = 240


class Pictures(gymnasium.Env):
    """Observations in a dict, one of them an image with its channel last."""

    observation_space = gymnasium.spaces.Dict(
        image=gymnasium.spaces.Box(0, 255, (36, 36, 1), np.uint8),
        speed=gymnasium.spaces.Box(-1, 1, (2,), np.float32),
    )
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(5, 15))
        return self.look(), {}

    def step(self, action):
        self.left -= 1
        return self.look(), float(action), self.left == 0, False, {}

    def look(self):
        image = self.np_random.integers(0, 256, (36, 36, 1), np.uint8)
        return {"image": image, "speed": self.np_random.uniform(-1, 1, 2).astype(np.float32)}


def make(id):
    return Pictures() if id == "Pictures" else gymnasium.make(id)


class OurSeeds(gymnasium.Wrapper):
    """Resets episode k with the seed that a loop gives it; may cut episodes short."""

    def __init__(self, env, limit=None):
        super().__init__(env)
        self.number, self.limit, self.length = 0, limit, 0

    def reset(self, *, seed=None, options=None):
        self.number, self.length = self.number + 1, 0
        return self.env.reset(seed=episode_seed(SEED, self.number - 1))

    def step(self, action):
        ob, reward, terminated, truncated, info = self.env.step(action)
        self.length += 1
        return ob, reward, terminated, truncated or self.length == self.limit, info


class Enough(Exception):
    """Ends `learn()` where the loop had ended."""


class UpTo(BaseCallback):
    """Stops before the first rollout that the loop did not complete."""

    def __init__(self, rollouts):
        super().__init__()
        self.left = rollouts

    def _on_rollout_start(self):
        self.left -= 1
        if self.left < 0:
            raise Enough

    def _on_step(self):
        return True


def count_rollouts(agent):
    """Count the rollouts of the agent's algorithm by the updates that it asks for."""
    agent.rollouts, store = 0, agent._store

    def counted(*args):
        store(*args)
        agent.rollouts += (
            agent.model.rollout_buffer.full
            if isinstance(agent, ours.OnPolicyAgent)
            else agent._steps == 0
        )

    agent._store = counted


def make_loop(agent, env, **parameters):
    loop = DefaultLoop(agent, env, **parameters)
    loop.seed = SEED
    return loop


def train(kind, env, steps, limit=5000, **parameters):
    """Train an agent by our loop; return it."""
    seed_all(SEED)
    agent = kind(env.observation_space, env.action_space, **parameters)
    count_rollouts(agent)
    make_loop(agent, env, max_steps=steps, max_episodes=None, max_episode_len=limit).train()
    del agent._store  # the counting one
    return agent


def learn(agent, env, limit=None, wrap=lambda env: env):
    """Train the library's own algorithm as long as `agent` was trained; return it."""
    given = {k: v for k, v in agent.parameters.items() if k not in agent.ours}
    given = translate({**given, "policy_kwargs": dict(given["policy_kwargs"] or {})})
    model = agent.algorithm(env=wrap(OurSeeds(env, limit)), **given)
    with pytest.raises(Enough):
        model.learn(agent.parameters["total_timesteps"], UpTo(agent.rollouts))
    return model


def weights(model):
    state = dict(model.policy.state_dict())
    if getattr(model, "log_ent_coef", None) is not None:
        state["log_ent_coef"] = model.log_ent_coef.detach()
    return state


def assert_equal_weights(one, two):
    one, two = weights(one), weights(two)
    assert one.keys() == two.keys()
    different = [name for name in one if not torch.equal(one[name], two[name])]
    assert not different


def case(kind, id, limit=None, slow=True, **parameters):
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(kind, id, limit, parameters, marks=marks)


CASES = {
    "PPO, time limits and terminations": case(
        ours.PPO, "CartPole-v1", 20, False, n_steps=48, batch_size=16, clip_range="lin_0.2"
    ),
    "PPO, episodes longer than a rollout": case(
        ours.PPO, "Pendulum-v1", n_steps=64, batch_size=32, learning_rate="lin_0.001"
    ),
    "PPO, rollouts that end with a time limit": case(
        ours.PPO, "Pendulum-v1", 20, False, n_steps=40, batch_size=20, n_epochs=3
    ),
    "PPO, state-dependent exploration": case(
        ours.PPO,
        "MountainCarContinuous-v0",
        70,
        n_steps=32,
        batch_size=16,
        use_sde=True,
        sde_sample_freq=4,
    ),
    "PPO, pictures in a dict": case(
        ours.PPO, "Pictures", n_steps=32, n_epochs=2, policy="MultiInputPolicy"
    ),
    "A2C": case(ours.A2C, "CartPole-v1"),
    "DQN": case(
        ours.DQN,
        "CartPole-v1",
        25,
        False,
        learning_rate=0.01,  # large values: the loss saturates, and would hide a wrong target
        learning_starts=50,
        target_update_interval=60,
        exploration_fraction=0.5,
    ),
    "DQN, updates by the episode": case(
        ours.DQN, "CartPole-v1", learning_starts=50, train_freq=[2, "episode"], gradient_steps=-1
    ),
    "DQN, pictures in a dict": case(
        ours.DQN, "Pictures", 7, train_freq=16, buffer_size=300, policy="MultiInputPolicy"
    ),
    "DQN, returns of three steps": case(ours.DQN, "CartPole-v1", 25, n_steps=3),
    "DQN, a small buffer that saves memory": case(
        ours.DQN,
        "CartPole-v1",
        25,
        buffer_size=150,
        optimize_memory_usage=True,
        replay_buffer_kwargs={"handle_timeout_termination": False},
    ),
    "SAC": case(ours.SAC, "Pendulum-v1", 60, False, batch_size=16, learning_starts=180),
    "SAC, state-dependent exploration": case(
        ours.SAC,
        "Pendulum-v1",
        60,
        batch_size=16,
        train_freq=8,
        gradient_steps=8,
        use_sde=True,
        use_sde_at_warmup=True,
    ),
    "TD3, action noise": case(
        ours.TD3,
        "Pendulum-v1",
        60,
        batch_size=16,
        action_noise=NormalActionNoise(np.zeros(1), np.full(1, 0.1)),
    ),
    "DDPG": case(ours.DDPG, "Pendulum-v1", 60, batch_size=16),
}


@pytest.mark.parametrize(("kind", "id", "limit", "parameters"), CASES.values(), ids=CASES.keys())
def test_weights_equal_those_of_learn_bit_for_bit(kind, id, limit, parameters):
    small = {} if id == "Pictures" else SMALL
    parameters = {**small, **parameters, "seed": SEED, "total_timesteps": 5 * STEPS}
    agent = train(kind, make(id), STEPS, limit or 5000, **parameters)
    model = learn(agent, make(id), limit)
    assert agent.rollouts > 2
    assert model._n_updates == agent.model._n_updates > 0
    assert_equal_weights(agent.model, model)


class SharedSeeds(gymnasium.Wrapper):
    """Resets with the seeds of the episodes that several environments begin in turn."""

    def __init__(self, env, numbers):
        super().__init__(env)
        self.numbers = numbers

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=episode_seed(SEED, next(self.numbers)))


@pytest.mark.parametrize(
    ("kind", "id", "parameters"),
    [
        (ours.PPO, "CartPole-v1", {"n_steps": 16, "batch_size": 16}),
        (ours.DQN, "CartPole-v1", {"learning_starts": 40}),
        (ours.SAC, "Pendulum-v1", {"batch_size": 16}),
    ],
)
def test_many_environments_at_once_are_learnt_from_as_learn_does(kind, id, parameters):
    from gym_loop.vector.loop import VectorLoop

    parameters = {**SMALL, **parameters, "seed": SEED, "total_timesteps": 5 * STEPS}
    seed_all(SEED)
    limits = {"num_envs": 3, "max_steps": 2 * STEPS, "max_episodes": None}
    factory = functools.partial(make_gymnasium, id)
    env = VectorLoop.make_env(factory, VectorLoop.get_default_parameters() | limits, "train")
    spaces = VectorLoop.spaces(env)
    agent = kind(*spaces, n_envs=3, **parameters)
    count_rollouts(agent)
    loop = VectorLoop(agent, env, **limits)
    loop.seed = SEED
    loop.train()
    del agent._store

    numbers = itertools.count()
    env = DummyVecEnv([lambda: SharedSeeds(gymnasium.make(id), numbers) for _ in range(3)])
    given = {k: copy.deepcopy(v) for k, v in parameters.items() if k not in kind.ours}
    model = kind.algorithm(kind.default_policy, env, **given)  # which adds to its policy_kwargs
    with pytest.raises(Enough):
        model.learn(5 * STEPS, UpTo(agent.rollouts))
    assert agent.rollouts > 2
    assert model._n_updates == agent.model._n_updates > 0
    assert_equal_weights(agent.model, model)


def test_checkpoints_of_older_versions_find_the_classes_that_they_name():
    for name in ("Spaces", "Transposed"):
        older = f"cgym_loop.integrations.stable_baselines3\n{name}\n.".encode()
        assert pickle.loads(older) is getattr(environment, name)


@pytest.mark.parametrize("kind", AGENTS)
def test_the_config_has_every_argument_of_the_constructor_with_its_default(kind):
    conf = OmegaConf.load(CONF / "agent" / f"{kind.option()}.yaml")
    keys = OmegaConf.to_container(conf)
    assert locate(keys.pop("_target_")) is kind
    signature = inspect.signature(kind.algorithm.__init__).parameters
    defaults = {k: p.default for k, p in signature.items()} | kind.ours
    for given in ("self", "env", "_init_setup_model"):  # by us
        del defaults[given]
    defaults["policy"] = kind.default_policy  # required there
    for name, interpolation in (
        ("seed", "${seed}"),
        ("total_timesteps", "${loop.max_steps}"),
        ("n_envs", "${oc.select:loop.num_envs,1}"),
    ):
        assert keys[name] == interpolation
        keys[name] = defaults[name]
    assert keys == defaults
    assert list(keys) == list(kind.get_default_parameters())


EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("sb3_*.yaml"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_preset_is_found_right_and_builds_its_agent(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composed = []
    game = ["env.id=ALE/Pong-v5"] * experiment.endswith("_atari")  # which this preset leaves open
    compose_and_check([f"+experiment={experiment}", *game], task=composed.append)
    (cfg,) = composed
    env = instantiate(cfg.env)
    node = OmegaConf.create({"agent": cfg.agent, "loop": cfg.loop, "seed": 0}).agent
    agent = instantiate(node, partial=True)(
        observation_space=env.observation_space, action_space=env.action_space
    )
    assert agent.model._total_timesteps == cfg.loop.max_steps


@pytest.mark.slow
def test_the_preset_for_cartpole_learns(tmp_path):
    launch(tmp_path / "run", "+experiment=sb3_ppo_cartpole", "loop.eval_episodes=20")
    returns = np.loadtxt(tmp_path / "run" / "evaluations.csv", delimiter=",", skiprows=1)[:, 4]
    assert len(returns) == 20
    assert returns.mean() >= 475


def test_gym_0_26_environments_are_learnt_in():
    env = make_gym("Pendulum-v1")
    agent = train(ours.PPO, env, 200, n_steps=64, n_epochs=1)
    assert agent.model._n_updates == 3
    assert isinstance(agent.action_space, gymnasium.spaces.Box)
    assert env.action_space.contains(agent.act(env.reset(seed=0)[0], 1))


def test_a_converted_action_space_is_seeded_from_the_run():
    def sample():
        seed_all(SEED)
        env = make_gym("Pendulum-v1")
        return ours.SAC(env.observation_space, env.action_space).action_space.sample()

    assert sample() == sample()


@pytest.mark.parametrize(
    ("kind", "id"),
    [(ours.DQN, "CartPole-v1"), (ours.SAC, "Pendulum-v1"), (ours.PPO, "CartPole-v1")],
)
@pytest.mark.parametrize("deterministic", [True, False])
def test_evaluation_changes_nothing_in_training(kind, id, deterministic):
    def weights_after(per_eval):
        seed_all(SEED)
        env = make_gym(id)  # whose spaces are converted
        agent = kind(
            env.observation_space,
            env.action_space,
            total_timesteps=150,
            deterministic_eval=deterministic,
            seed=SEED,
            **{**SMALL, **({"n_steps": 32} if kind is ours.PPO else {"learning_starts": 120})},
        )
        limits = {"max_steps": 150, "max_episodes": None, "max_episode_len": 40}
        loop = make_loop(agent, env, episodes_per_eval=per_eval, eval_episodes=2, **limits)
        loop.make_eval_env = lambda: make_gym(id)
        loop.train()
        assert agent.model._n_updates > 0
        return agent.model

    assert_equal_weights(weights_after(None), weights_after(1))


def test_deterministic_eval_chooses_between_the_best_action_and_samples():
    env = gymnasium.make("Pendulum-v1")
    state = env.reset(seed=0)[0]

    def actions(deterministic):
        agent = ours.PPO(
            env.observation_space, env.action_space, deterministic_eval=deterministic, **SMALL
        )
        agent.training = False
        return {float(agent.act(state, 0)[0]) for _ in range(5)}

    assert len(actions(True)) == 1
    assert len(actions(False)) == 5


def test_episodes_of_random_actions_are_learnt_from_only_off_policy():
    def after_random_episodes(kind):
        seed_all(SEED)
        env = gymnasium.make("Pendulum-v1")
        agent = kind(env.observation_space, env.action_space, **SMALL)
        limits = {"max_episodes": 2, "random_episodes": 2, "max_episode_len": 50}
        make_loop(agent, env, **limits).train()
        return agent.model

    assert after_random_episodes(ours.PPO).num_timesteps == 0
    model = after_random_episodes(ours.SAC)
    assert model.num_timesteps == model.replay_buffer.pos == 100
    stored = model.replay_buffer.actions[:100]
    assert 0.9 < np.abs(stored).max() <= 1  # scaled, as the policy's own are
    assert list(np.flatnonzero(model.replay_buffer.timeouts)) == [49, 99]


def test_metrics_are_what_the_algorithm_logs():
    agent = train(ours.DQN, gymnasium.make("CartPole-v1"), 300, total_timesteps=300, **SMALL)
    agent.metrics(0)
    assert agent.metrics(0).keys() == {"rollout/ep_rew_mean", "rollout/ep_len_mean"}
    env = gymnasium.make("CartPole-v1")
    episode = make_loop(agent, env, max_episodes=1).play(0, True)
    assert {"train/loss", "train/n_updates", "rollout/exploration_rate"} <= episode.metrics.keys()
    assert all(type(value) is float for value in episode.metrics.values())


def test_means_are_of_the_last_stats_window_size_episodes():
    env = gymnasium.make("CartPole-v1")
    agent = train(ours.PPO, env, 200, stats_window_size=2, **SMALL)
    loop = make_loop(agent, env)
    played = [loop.play(number, True) for number in range(3)]
    mean = (played[1].ret + played[2].ret) / 2
    assert played[2].metrics["rollout/ep_rew_mean"] == mean


def test_a_checkpoint_holds_only_the_filled_part_of_the_replay_buffer(tmp_path):
    env = gymnasium.make("Pendulum-v1")
    agent = train(ours.SAC, env, 200, learning_starts=150, **SMALL)
    agent.save(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 200_000
    seed_all(SEED + 1)
    other = ours.SAC(env.observation_space, env.action_space, **SMALL)
    other.load(tmp_path)
    assert_equal_weights(agent.model, other.model)
    for name, value in vars(agent.model.replay_buffer).items():
        assert np.array_equal(value, vars(other.model.replay_buffer)[name]), name


def test_a_checkpoint_without_the_replay_buffer_is_gone_on_from_with_an_empty_one(tmp_path):
    env = gymnasium.make("Pendulum-v1")
    words = {"learning_starts": 150, "buffer_size": 5_000, "save_buffer": False, **SMALL}
    agent = train(ours.SAC, env, 400, **words)
    trained, kept = agent.model._n_updates, agent.model.replay_buffer.pos
    agent.save(tmp_path)
    assert agent.model.replay_buffer.pos == kept > 0  # the agent itself goes on with its own
    other = ours.SAC(env.observation_space, env.action_space, **words)
    other.load(tmp_path)
    assert_equal_weights(agent.model, other.model)
    assert (other.model.replay_buffer.pos, other.model._n_updates) == (0, trained)
    loop = make_loop(other, env, max_steps=100, max_episodes=None, max_episode_len=100)
    loop.train()
    assert other.model._n_updates == trained
    loop.play(1, True)
    assert other.model._n_updates > trained
    again, once_more = tmp_path / "again", tmp_path / "once_more"
    for directory in (again, once_more):
        directory.mkdir()
        other.save(directory)
        other.load(directory)
    assert list(compare.checkpoint_differences(again, once_more)) == []


def test_what_is_not_in_a_checkpoint_is_said_at_the_start_and_in_run_json(launch):
    words = ("agent=sb3/dqn", "env=cartpole", "loop.max_episodes=2", "loop.max_steps=60")
    run = launch(*words, "agent.save_buffer=false", "agent.buffer_size=100")
    [warning] = [w for w in gym_loop.Run(run).warnings if "save_buffer=false" in w]
    assert "not exactly" in warning
    other = launch(*words, directory="other")
    assert not any("save_buffer" in w for w in gym_loop.Run(other).warnings)


def test_a_large_replay_buffer_is_named_with_what_a_checkpoint_will_have():
    large = gymnasium.spaces.Box(0, 255, (3000,), np.float32), gymnasium.spaces.Discrete(2)
    words = {"buffer_size": 60_000, **SMALL}
    [line] = ours.DQN(*large, total_timesteps=10**6, **words).about_checkpoints(None)
    assert "up to 1.4 GB" in line
    assert "agent.save_buffer=false" in line
    [line] = ours.DQN(*large, total_timesteps=50_000, **words).about_checkpoints(None)
    assert "up to 1.2 GB" in line
    assert ours.DQN(*large, total_timesteps=10_000, **words).about_checkpoints(None) == []


class Wide(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (3000,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3000, np.float32), {}

    def step(self, action):
        return np.zeros(3000, np.float32), 1.0, True, False, {}


@pytest.mark.parametrize(("run", "schedules", "named"), [(10**6, 500, True), (5, 10**6, False)])
def test_what_the_buffer_will_have_is_that_of_the_run_and_not_of_its_schedules(
    run, schedules, named, launch
):
    words = ("agent=sb3/dqn", f"env={__name__}:Wide", "agent.buffer_size=60_000")
    steps = (f"loop.max_steps={run}", f"agent.total_timesteps={schedules}")
    run = launch(*words, *steps, "loop.max_episodes=3", "loop.eval_episodes=0")
    assert any("up to 1.4 GB" in line for line in gym_loop.Run(run).warnings) is named


def test_a_fork_goes_on_with_the_parameters_it_has_changed(tmp_path):
    env = gymnasium.make("CartPole-v1")
    spaces = env.observation_space, env.action_space
    train(ours.DQN, env, 100, total_timesteps=100, **SMALL).save(tmp_path)
    changed = {"learning_rate": 0.5, "exploration_final_eps": 0.5, "gamma": 0.5}
    fork = ours.DQN(*spaces, total_timesteps=1000, **changed, **SMALL)
    fork.load(tmp_path)
    assert fork.model.lr_schedule(0.1) == fork.model.exploration_schedule(0.1) == 0.5
    assert fork.model.gamma == fork.parameters["gamma"] == 0.5
    assert fork.model._total_timesteps == 1000
    bigger = ours.DQN(*spaces, total_timesteps=100, policy_kwargs={"net_arch": [32]})
    with pytest.raises(Mistake) as mistake:
        bigger.load(tmp_path)
    assert "policy_kwargs was {'net_arch': [16]} and is {'net_arch': [32]}" in str(
        mistake.value.message
    )


def test_a_parameter_that_an_earlier_version_had_not_is_as_by_default_in_its_checkpoint(tmp_path):
    env = gymnasium.make("CartPole-v1")
    spaces = env.observation_space, env.action_space
    train(ours.DQN, env, 100, total_timesteps=100, **SMALL).save(tmp_path)
    state = torch.load(tmp_path / "agent.pt", weights_only=False)
    for known in (state["parameters"], state["_configured"]):
        known.pop("normalize", None)
    torch.save(state, tmp_path / "agent.pt")
    agent = ours.DQN(*spaces, total_timesteps=100, normalize=False, **SMALL)
    agent.load(tmp_path)
    assert agent.model.num_timesteps >= 100
    another = ours.DQN(*spaces, total_timesteps=100, normalize=True, **SMALL)
    with pytest.raises(Mistake) as mistake:
        another.load(tmp_path)
    assert "normalize was False and is True now" in str(mistake.value.message)


@pytest.mark.parametrize(
    ("kind", "id", "parameters"),
    [
        (ours.PPO, "MountainCarContinuous-v0", {"n_steps": 32, "use_sde": True, "batch_size": 32}),
        (ours.DQN, "CartPole-v1", {"total_timesteps": 300, "learning_starts": 10}),
        (ours.SAC, "Pendulum-v1", {"learning_starts": 70, "batch_size": 16}),
    ],
)
def test_an_agent_loaded_goes_on_as_the_one_saved(kind, id, parameters, tmp_path):
    def start(episodes):
        seed_all(SEED)
        env = make_gym(id)
        agent = kind(env.observation_space, env.action_space, **SMALL, **parameters)
        return make_loop(agent, env, max_episodes=episodes, max_episode_len=40)

    untouched, first, second = start(6), start(3), start(6)
    for loop in (untouched, first):
        seed_all(SEED)
        loop.train()
    first.agent.save(tmp_path)
    state = streams.get_state()
    seed_all(SEED + 1)
    second.agent.load(tmp_path)
    streams.set_state(state)
    second.episodes, second.steps = first.episodes, first.steps
    second.train()
    assert untouched.agent.model._n_updates > first.agent.model._n_updates > 0
    assert_equal_weights(untouched.agent.model, second.agent.model)


class Screens(gymnasium.Env):
    """Images with their channels last; an action for each kind of algorithm."""

    observation_space = gymnasium.spaces.Box(0, 255, (36, 40, 3), np.uint8)

    def __init__(self, actions):
        self.action_space = actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 9
        return self.look(), {}

    def look(self):
        return self.np_random.integers(0, 256, (36, 40, 3), np.uint8)

    def step(self, action):
        self.left -= 1
        return self.look(), float(np.sum(action)), self.left == 0, False, {}


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("policy", ["MlpPolicy", "CnnPolicy"])
def test_an_agent_of_images_with_channels_last_is_saved_and_goes_on(kind, policy, tmp_path):
    discrete = kind in (ours.PPO, ours.A2C, ours.DQN)
    actions = gymnasium.spaces.Discrete(2) if discrete else gymnasium.spaces.Box(-1, 1, (1,))
    on_policy = issubclass(kind, ours.OnPolicyAgent)
    small = {"n_steps": 8} if on_policy else {"buffer_size": 40, "learning_starts": 8}
    small |= {} if kind is ours.A2C else {"batch_size": 4}
    small["policy_kwargs"] = {"net_arch": [4]}

    def start(episodes):
        seed_all(SEED)
        env = Screens(copy.deepcopy(actions))
        env.action_space.seed(SEED)
        agent = kind(
            env.observation_space,
            env.action_space,
            policy=policy,
            total_timesteps=60,
            seed=SEED,
            **small,
        )
        return make_loop(agent, env, max_episodes=episodes)

    untouched, first, second = start(4), start(2), start(4)
    for loop in (untouched, first):
        seed_all(SEED)
        loop.train()
    first.agent.save(tmp_path)
    state = streams.get_state()
    second.agent.load(tmp_path)
    streams.set_state(state)
    second.episodes, second.steps = first.episodes, first.steps
    second.train()
    assert untouched.agent.model._n_updates > first.agent.model._n_updates > 0
    assert_equal_weights(untouched.agent.model, second.agent.model)


Discrete, MultiDiscrete = gymnasium.spaces.Discrete, gymnasium.spaces.MultiDiscrete


@pytest.mark.parametrize(
    ("kind", "action_space"),
    [
        (ours.PPO, Discrete(3, start=-1)),
        (ours.DQN, Discrete(3, start=7)),
        (ours.A2C, MultiDiscrete([2, 3], start=[1, -4])),
    ],
)
def test_spaces_that_begin_elsewhere_are_played_and_learnt_in(kind, action_space):
    parts = {"a": Discrete(3, start=-1), "b": MultiDiscrete([2, 3], start=[5, 6])}
    given = {"n_steps": 40} if kind is not ours.DQN else {"learning_starts": 20}
    if kind is ours.PPO:
        given["batch_size"] = 40
    agent = kind(
        gymnasium.spaces.Dict(parts), action_space, policy="MultiInputPolicy", **given, **SMALL,
        total_timesteps=40, seed=SEED,
    )  # fmt: skip
    ob = {"a": 1, "b": np.array([6, 8])}
    played = []
    for _ in range(39):
        played.append(agent.act(ob, 0))
        assert action_space.contains(played[-1])
        agent.memorize(ob, played[-1], 1.0, False, ob)
    assert len({str(action) for action in played}) > 1
    agent.training = False
    assert action_space.contains(agent.act(ob, 0))
    buffer = agent.model.replay_buffer if kind is ours.DQN else agent.model.rollout_buffer
    stored = buffer.actions[:38].reshape(38, -1)
    assert np.array_equal(stored + action_space.start, np.reshape(played[:38], (38, -1)))
    assert buffer.observations["a"][0].tolist() == [[2]]
    assert buffer.observations["b"][0].tolist() == [[1, 2]]


def falling(progress):
    """A schedule of a user's own."""
    return progress / 4


def test_every_argument_can_be_written_in_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = f"{falling.__module__}.falling"
    noise = "stable_baselines3.common.noise.OrnsteinUhlenbeckActionNoise"
    linear = "{_target_: stable_baselines3.common.utils.LinearSchedule, start: 1.0, end: 0.5, "
    cases = {
        ("ppo", f"agent.learning_rate={mine}"): lambda m: m.lr_schedule(1.0) == 0.25,
        ("ppo", f"agent.clip_range={linear}end_fraction: 1.0}}"): lambda m: m.clip_range(0) == 0.5,
        ("ppo", "agent.policy=stable_baselines3.common.policies.ActorCriticPolicy"): (
            lambda m: type(m.policy).__name__ == "ActorCriticPolicy"
        ),
        ("td3", f"agent.action_noise={{_target_: {noise}, mean: [0.0], sigma: [0.5]}}"): (
            lambda m: m.action_noise().shape == (1,)
        ),
    }
    for (name, word), holds in cases.items():
        composed = []
        limits = ["loop.max_steps=100", "loop.max_episodes=null"]
        words = [f"agent=sb3/{name}", "env=gymnasium:Pendulum-v1", *limits, word]
        compose_and_check(words, task=composed.append)
        env = instantiate(composed[0].env)
        make_agent = instantiate(composed[0].agent, partial=True)
        assert holds(make_agent(env.observation_space, env.action_space).model), word


def test_noise_that_does_not_fit_the_actions_is_refused_in_one_line():
    box = gymnasium.spaces.Box(-1, 1, (2,))
    for noise in (NormalActionNoise(0.0, 0.1), NormalActionNoise([0.0] * 3, [0.1] * 3)):
        with pytest.raises(Mistake) as mistake:
            ours.TD3(box, box, buffer_size=10, action_noise=noise)
        assert "does not fit actions of shape (2,)" in mistake.value.message


def test_a_fork_may_change_what_nothing_has_been_built_from(tmp_path):
    box, two = gymnasium.spaces.Box(-1, 1, (2,)), Discrete(2)
    for kind in (ours.PPO, ours.A2C):
        kind(box, two).save(tmp_path)
        fork = kind(box, two, ent_coef=0.25)
        fork.load(tmp_path)
        assert fork.model.ent_coef == 0.25
    noises = [NormalActionNoise(np.zeros(2), np.full(2, sigma)) for sigma in (0.1, 0.1, 0.2)]
    agents = [ours.TD3(box, box, buffer_size=10, action_noise=noise) for noise in noises]
    agents[0].save(tmp_path)
    for agent, noise in zip(agents[1:], noises[1:], strict=True):
        agent.load(tmp_path)
        assert repr(agent.model.action_noise) == repr(noise)
    ours.SAC(box, box, buffer_size=10).save(tmp_path)
    with pytest.raises(Mistake, match="cannot change in a fork"):
        ours.SAC(box, box, buffer_size=10, ent_coef=0.1).load(tmp_path)


RESUMED = {
    "DQN": ["agent=sb3/dqn", "env=cartpole", "agent.learning_starts=20", "loop.max_steps=1500"],
    "PPO, state-dependent exploration": [
        "agent=sb3/ppo",
        "env=pendulum",
        "agent.n_steps=150",
        "agent.use_sde=true",
        "agent.learning_rate=lin_0.001",
        "loop.max_steps=3000",
    ],
    "SAC": ["agent=sb3/sac", "env=pendulum", "agent.batch_size=32", "loop.max_steps=1600"],
}


@pytest.mark.slow
@pytest.mark.parametrize("overrides", RESUMED.values(), ids=RESUMED.keys())
def test_a_killed_and_resumed_run_ends_in_the_same_weights(overrides, tmp_path):
    limits = ["loop.max_episodes=null", "loop.eval_episodes=1", "loop.time_per_checkpoint=0.2"]
    launch(tmp_path / "untouched", *overrides, *limits)
    checkpoints = tmp_path / "killed" / "checkpoints"
    process = start(tmp_path / "killed", *overrides, *limits)
    while process.poll() is None and len(list(checkpoints.glob("episode-*"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    launch(tmp_path / "killed", *overrides, *limits)
    agents = [
        torch.load(run / "checkpoints" / "latest" / "agent" / "agent.pt", weights_only=False)
        for run in (tmp_path / "untouched", tmp_path / "killed")
    ]
    assert agents[0]["model"].num_timesteps == agents[1]["model"].num_timesteps
    assert_equal_weights(agents[0]["model"], agents[1]["model"])
    assert not list(compare.differences(tmp_path / "untouched", tmp_path / "killed"))


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", ["true", "false"])
def test_evaluating_at_any_episode_equals_the_evaluation_there_in_training(deterministic, tmp_path):
    words = ["agent=sb3/ppo", "env=cartpole", "agent.n_steps=64", "loop.max_episodes=40"]
    words += ["loop.episodes_per_eval=8", "loop.eval_episodes=3", "loop.keep_checkpoints=1"]
    words += [f"agent.deterministic_eval={deterministic}", "loop.episodes_per_checkpoint=100"]
    launch(tmp_path / "run", *words)
    run = gym_loop.Run(tmp_path / "run")
    rows = run.evaluations
    for number in (8, 24, 32):
        expected = rows["return"][rows["at_episode"] == number].tolist()
        assert gym_loop.evaluate(run, checkpoint=number).tolist() == expected


@pytest.mark.parametrize("kind", [ours.SAC, ours.TD3, ours.DDPG])
def test_a_continuous_algorithm_says_who_fits_discrete_actions(kind):
    env = make_gym("CartPole-v1")
    with pytest.raises(Mistake) as mistake:
        kind(env.observation_space, env.action_space)
    message = mistake.value.message
    assert message.startswith(f"{kind.option()} needs ")
    assert "Discrete(2) actions" in message
    assert re.search(r"try agent=.*sb3/ppo.*sb3/dqn", message)


def test_an_algorithm_that_does_not_fit_is_one_line_and_exit_code_2(tmp_path):
    process = start(tmp_path / "run", "agent=sb3/dqn", "env=pendulum")
    _, error = process.communicate()
    assert process.returncode == 2
    assert error.count("\n") == 1
    assert error.startswith("gym-loop: sb3/dqn needs ")
    assert "got Box(1,) actions; try agent=" in error


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (ours.DQN, {}, "its exploration follows a schedule over agent.total_timesteps"),
        (ours.PPO, {"learning_rate": "lin_0.1"}, "learning_rate follows a schedule"),
        (ours.PPO, {"policy": "Mlp"}, "no policy 'Mlp'; did you mean 'MlpPolicy'?"),
        (ours.PPO, {"policy_kwargs": {"activation_fn": "torch.nn.Relu"}}, "is 'torch.nn.Relu'"),
        (ours.PPO, {"policy_kwargs": {"net": 1}}, "unexpected keyword argument 'net'"),
    ],
)
def test_what_cannot_be_built_is_one_line(kind, parameters, message):
    env = make_gym("CartPole-v1")
    with pytest.raises(Mistake) as mistake:
        kind(env.observation_space, env.action_space, **parameters)
    assert mistake.value.message.startswith(f"{kind.option()}: ")
    assert message in mistake.value.message


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tensorboard_log": "logs"}, "tensorboard_log is set"),
        ({"replay_buffer_class": "HerReplayBuffer", "normalize": True}, "normalize is set, which"),
        ({"replay_buffer_kwargs": {"copy_info_dict": True}}, "an agent is not given infos"),
        ({"total_timesteps": 0}, "total_timesteps is 0; expected at least 1"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; expected a number, a schedule"),
        ({"ent_coef": "automatic"}, "ent_coef is 'automatic'; expected a number, auto, or"),
        ({"train_freq": [1, "steps"]}, "train_freq is .*; expected an integer, or a list such"),
        ({"torch_threads": -1}, "torch_threads is -1; expected at least 1"),
        ({"buffer_size": -1}, "buffer_size is -1; expected at least 1"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        ours.SAC(None, None, **parameters)


def test_what_is_named_as_a_schedule_and_is_none_is_refused_by_its_key():
    env = gymnasium.make("Pendulum-v1")
    with pytest.raises(
        Mistake, match=r"learning_rate is 'math.atan2', which is no schedule \(atan2"
    ):
        ours.SAC(env.observation_space, env.action_space, learning_rate="math.atan2")


def test_a_schedule_that_no_checkpoint_can_hold_is_refused_before_training():
    env = gymnasium.make("Pendulum-v1")
    with pytest.raises(Mistake, match=r"learning_rate is .*, which no checkpoint can hold"):
        ours.SAC(env.observation_space, env.action_space, learning_rate=lambda progress: progress)


def test_classes_are_given_by_their_dotted_names():
    env = gymnasium.make("CartPole-v1")
    agent = ours.PPO(
        env.observation_space,
        env.action_space,
        policy_kwargs={"activation_fn": "torch.nn.ReLU", "optimizer_class": "torch.optim.SGD"},
    )
    assert agent.model.policy.activation_fn is torch.nn.ReLU
    assert isinstance(agent.model.policy.optimizer, torch.optim.SGD)


def start(directory, *overrides):
    command = [sys.executable, "-m", "gym_loop", *overrides, f"hydra.run.dir={directory}"]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=CONF.parent
    )


def launch(directory, *overrides):
    process = start(directory, *overrides)
    _, error = process.communicate()
    assert process.returncode == 0, error
