"""sb3-contrib's algorithms, and any other of Stable-Baselines3's families, as agents."""

import numpy as np
import pytest

SKIP = 'needs the extra: pip install "gym-loop[sb3]"'
torch = pytest.importorskip("torch", reason=SKIP)
pytest.importorskip("stable_baselines3", reason=SKIP)
library = pytest.importorskip("sb3_contrib", reason=SKIP)

import gym_loop  # noqa: E402
from gym_loop.integrations import sb3_contrib as ours  # noqa: E402
from gym_loop.integrations import stable_baselines3 as base  # noqa: E402
from gym_loop.mistake import Mistake  # noqa: E402
from gym_loop.runs import compare  # noqa: E402
from tests.integrations import test_stable_baselines3 as shared  # noqa: E402

LSTM = {"policy_kwargs": {"net_arch": [8], "lstm_hidden_size": 8}}
RECURRENT = {"n_steps": 32, "batch_size": 16, "n_epochs": 2, **LSTM}


class CrossQ(base.OffPolicyAgent):
    algorithm = library.CrossQ


class TRPO(base.OnPolicyAgent):
    algorithm = library.TRPO


CASES = {
    "TQC": (ours.TQC, "Pendulum-v1", 60, {"batch_size": 16, "learning_starts": 180}),
    "QRDQN": (
        ours.QRDQN,
        "CartPole-v1",
        25,
        {"learning_starts": 50, "target_update_interval": 60, "exploration_fraction": 0.5},
    ),
    "recurrent PPO, time limits": (ours.RecurrentPPO, "CartPole-v1", 20, RECURRENT),
    "recurrent PPO, continuous": (ours.RecurrentPPO, "Pendulum-v1", None, RECURRENT),
    "CrossQ": (CrossQ, "Pendulum-v1", 60, {"batch_size": 16, "learning_starts": 180}),
    "TRPO": (TRPO, "CartPole-v1", 20, {"n_steps": 48, "batch_size": 16}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "id", "limit", "parameters"), CASES.values(), ids=CASES.keys())
def test_weights_equal_those_of_learn_bit_for_bit(kind, id, limit, parameters):
    shared.test_weights_equal_those_of_learn_bit_for_bit(kind, id, limit, parameters)


MANY = {
    "TQC": (ours.TQC, "Pendulum-v1", {"batch_size": 16}),
    "QRDQN": (ours.QRDQN, "CartPole-v1", {"learning_starts": 40}),
    "recurrent PPO": (ours.RecurrentPPO, "CartPole-v1", {**RECURRENT, "n_steps": 16}),
    "CrossQ": (CrossQ, "Pendulum-v1", {"batch_size": 16}),
    "TRPO": (TRPO, "CartPole-v1", {"n_steps": 18, "batch_size": 18}),  # the limit ends no rollout
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "id", "parameters"), MANY.values(), ids=MANY.keys())
def test_many_environments_at_once_are_learnt_from_as_learn_does(kind, id, parameters):
    shared.test_many_environments_at_once_are_learnt_from_as_learn_does(kind, id, parameters)


@pytest.mark.parametrize("kind", [ours.TQC, ours.QRDQN, ours.RecurrentPPO])
def test_the_config_has_every_argument_of_the_constructor_with_its_default(kind):
    shared.test_the_config_has_every_argument_of_the_constructor_with_its_default(kind)


def test_the_memory_of_an_evaluation_ends_with_its_episode():
    env = shared.make("CartPole-v1")
    agent = ours.RecurrentPPO(env.observation_space, env.action_space, **LSTM, seed=1)
    agent.training = False
    row = np.ones(4, np.float32)
    agent.begin_episode(0)
    agent.act(row, 0)
    first = [part.copy() for part in agent._memory]
    agent.act(row, 0)
    assert not all(map(np.array_equal, first, agent._memory))
    agent.begin_episode(1)
    agent.act(row, 1)
    assert all(map(np.array_equal, first, agent._memory))


@pytest.mark.slow
def test_a_recurrent_agent_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    words = ("agent=sb3/recurrent_ppo", "env=cartpole", "agent.n_steps=40", "loop.eval_episodes=1")
    small = "agent.policy_kwargs={net_arch: [8], lstm_hidden_size: 8}"
    whole = gym_loop.run(*words, small, "loop.max_episodes=14", directory=tmp_path / "whole")
    run = gym_loop.run(*words, small, "loop.max_episodes=3", directory=tmp_path / "run")
    for limit in (4, 7, 11, 14):
        run = gym_loop.resume(run, f"loop.max_episodes={limit}")
    assert run.episodes["return"].tolist() == whole.episodes["return"].tolist()
    theirs, here = whole.policy().agent.model, run.policy().agent.model
    shared.assert_equal_weights(theirs, here)


def test_an_agent_of_the_users_own_is_three_lines(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from sb3_contrib import CrossQ\n"
        "from gym_loop.integrations.stable_baselines3 import OffPolicyAgent\n\n"
        "class Mine(OffPolicyAgent):\n"
        "    algorithm = CrossQ\n"
    )
    words = ("env=pendulum", "agent.learning_starts=20", "agent.batch_size=8", "agent.seed=1")
    small = "agent.policy_kwargs={net_arch: [8]}"
    limits = ("loop.max_steps=40", "loop.eval_episodes=1", "loop.max_episode_len=20")
    agent = f"agent={tmp_path / 'mine.py'}:Mine"
    run = gym_loop.run(agent, *words, small, *limits, directory=tmp_path / "run")
    assert run.state == "finished"
    assert run.policy().agent.model._n_updates == 20


def test_seed_steps_and_environments_of_such_an_agent_are_those_of_the_run(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from sb3_contrib import TRPO\n"
        "from gym_loop.integrations.stable_baselines3 import OnPolicyAgent\n\n"
        "class Mine(OnPolicyAgent):\n"
        "    algorithm = TRPO\n"
    )
    words = ("env=cartpole", "loop=vector", "loop.num_envs=2", "loop.max_steps=40", "seed=5")
    more = ("agent.learning_rate=lin_0.1", "agent.n_steps=10", "loop.eval_episodes=1")
    agent = f"agent={tmp_path / 'mine.py'}:Mine"
    run = gym_loop.run(agent, *words, *more, directory=tmp_path / "run")
    assert run.state == "finished"
    model = run.policy().agent.model
    assert (model.seed, model._total_timesteps, model.n_envs) == (5, 40, 2)
    longer = gym_loop.fork(run, "loop.max_steps=60", "seed=6", directory=tmp_path / "longer")
    model = longer.policy().agent.model
    assert (model.seed, model._total_timesteps, model.num_timesteps) == (6, 60, 60)


def test_an_algorithm_of_neither_family_is_refused_in_one_line():
    class Mine(base.OnPolicyAgent):
        algorithm = library.ARS

    spaces = shared.make("CartPole-v1")
    with pytest.raises(Mistake, match=r"^sb3/ars: ARS is no OnPolicyAlgorithm$"):
        Mine(spaces.observation_space, spaces.action_space)


def test_an_lstm_is_compared_by_its_weights():
    one, two = torch.nn.LSTM(2, 2), torch.nn.LSTM(2, 2)
    two.load_state_dict(one.state_dict())
    assert not list(compare.value_differences(one, two, "lstm"))
    with torch.no_grad():
        two.bias_hh_l0 += 1
    assert list(compare.value_differences(one, two, "lstm"))
