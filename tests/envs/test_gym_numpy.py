"""gym's environments behave on every NumPy as they did on NumPy 1.26."""

import copy
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from gym_loop.envs import make_gym

# Of gym 0.26.2 under NumPy 1.26.4, the last NumPy that gym was written for: "id/seed" -> SHA-256.
DIGESTS = json.loads((Path(__file__).parent / "gym-0.26.2-numpy-1.26.json").read_text())
IDS = sorted({key.split("/")[0] for key in DIGESTS})
EPISODES, STEPS = 3, 200

on_numpy_2 = pytest.mark.skipif(np.__version__ < "2", reason="NumPy 1 needs nothing")


def sample(space, actions):
    """Draw an action from a RandomState, whose stream no NumPy release changes."""
    if hasattr(space, "n"):
        return int(actions.randint(space.n))
    return actions.uniform(space.low, space.high).astype(np.float32)


def play(env, actions, seed):
    """Yield the bytes of every observation, reward and flag of one seeded episode."""
    obs, _ = env.reset(seed=seed)
    yield np.asarray(obs, np.float64).tobytes()
    for _ in range(STEPS):
        obs, reward, terminated, truncated, _ = env.step(sample(env.action_space, actions))
        yield np.asarray(obs, np.float64).tobytes()
        yield np.float64(reward).tobytes() + bytes([bool(terminated), bool(truncated)])
        if terminated or truncated:
            return


def wrappers(env):
    """Return the class names from the outermost wrapper to the environment itself."""
    names = [type(env).__name__]
    while env is not env.unwrapped:
        env = env.env
        names.append(type(env).__name__)
    return names


@pytest.mark.parametrize("key", DIGESTS)
def test_trajectories_equal_those_of_numpy_1_bit_for_bit(key):
    id, seed = key.split("/")
    env, actions, sha = make_gym(id), np.random.RandomState(int(seed)), hashlib.sha256()
    for episode in range(EPISODES):
        for piece in play(env, actions, 1000 * int(seed) + episode):
            sha.update(piece)
    assert sha.hexdigest() == DIGESTS[key]


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"]
)
def test_a_copy_made_between_episodes_goes_on_like_the_original(id, twin):
    env = make_gym(id)
    for _ in play(env, np.random.RandomState(0), seed=0):
        pass
    other = twin(env)
    # Without a seed: the environment's own random stream has to go on as well.
    expected, got = (list(play(e, np.random.RandomState(1), seed=None)) for e in (env, other))
    assert got == expected


@pytest.mark.parametrize("id", ["Acrobot-v1", "Pendulum-v1", "MountainCarContinuous-v0"])
def test_a_pickle_behaves_the_same_in_a_process_that_made_no_environment(
    id, fresh_python, tmp_path
):
    env = make_gym(id)
    env.reset(seed=3)
    (tmp_path / "env").write_bytes(pickle.dumps(env))
    action = env.action_space.sample()
    (tmp_path / "action").write_bytes(pickle.dumps(action))
    got = fresh_python(
        "import pickle\n"
        "env, action = (pickle.load(open(name, 'rb')) for name in ('env', 'action'))\n"
        "for _ in range(50): obs, reward, *_ = env.step(action)\n"
        "print(obs.tobytes().hex(), float(reward).hex())"
    )
    for _ in range(50):
        obs, reward, *_ = env.step(action)
    assert got.split()[-2:] == [obs.tobytes().hex(), float(reward).hex()]


@pytest.mark.parametrize("id", ["CartPole-v1", "MountainCar-v0", "Taxi-v3", "Blackjack-v1"])
def test_an_environment_that_needs_nothing_gets_no_wrapper_of_ours(id):
    import gym

    theirs = wrappers(gym.make(id, disable_env_checker=True))
    assert wrappers(make_gym(id)) == [name for name in theirs if name != "OrderEnforcing"]


@pytest.mark.skipif(np.__version__ >= "2", reason="NumPy 2 needs three wrappers")
@pytest.mark.parametrize("id", IDS)
def test_on_numpy_1_no_environment_gets_a_wrapper_of_ours(id):
    assert not any(name.startswith("NumPy1") for name in wrappers(make_gym(id)))


@on_numpy_2
def test_numpy_itself_is_left_as_it_was():
    make_gym("Acrobot-v1")
    assert not {"float_", "bool8"} & set(vars(np))
    with pytest.raises(AttributeError):
        _ = np.float_


def test_gym_s_own_checker_works_for_code_that_calls_gym_itself():
    make_gym("CartPole-v1")
    import gym

    env = gym.make("CartPole-v1", disable_env_checker=False)
    env.reset(seed=0)
    assert len(env.step(0)) == 5


@on_numpy_2
def test_an_action_wrapper_of_a_third_party_stays_outside(register):
    make_gym("Pendulum-v1")
    import gym
    from gym.envs.classic_control import PendulumEnv

    class TwoTorques(gym.ActionWrapper):
        def action(self, action):
            return np.array([(-2.0, 2.0)[action]], np.float32)  # a list takes no float64 index

    env = make_gym(register(lambda: TwoTorques(PendulumEnv()), max_episode_steps=5))
    assert wrappers(env)[-3:] == ["TwoTorques", "NumPy1Physics", "PendulumEnv"]
    env.reset(seed=0)
    env.step(1)
    assert env.unwrapped.last_u.dtype == np.float64


def test_an_environment_of_a_third_party_gets_the_action_as_the_agent_gave_it(register):
    make_gym("Pendulum-v1")
    import gym

    class Strict(gym.Env):
        action_space = observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)

        def reset(self, *, seed=None, options=None):
            return np.zeros(2, np.float32), {}

        def step(self, action):
            assert self.action_space.contains(action)  # a float64 array is not in a float32 Box
            return action, 0.0, False, False, {}

    env = make_gym(register(Strict))
    env.reset()
    action = np.ones(2, np.float32)
    assert env.step(action)[0] is action
