import gymnasium
import numpy as np
import pytest

from gym_loop.agents.ars import ARS, Statistics
from gym_loop.mistake import Mistake
from gym_loop.streams import seed_all
from gym_loop.testing import check_agent
from tests.conftest import rows

BOX = gymnasium.spaces.Box(-2, 2, (3,), np.float32)
ONES = np.ones(3, np.float32)


def agent(actions=None, observations=BOX, **parameters):
    seed_all(0)
    actions = actions or gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    return ARS(observations, actions, **parameters)


def rollout(one, reward, observations=(ONES,)):
    """Play an episode that pays `reward(action)` a step."""
    one.begin_episode(0)
    for ob in observations:
        action = one.act(ob, 0)
        one.memorize(ob, action, reward(action), False, ob)
        one.update(0)
    one.end_episode(0, True)


@pytest.mark.parametrize("normalize", [True, False])
def test_it_keeps_the_contract(normalize):
    check_agent(ARS, directions=2, normalize=normalize)


def test_it_keeps_the_contract_with_continuous_actions():
    box = gymnasium.spaces.Box(-1, 1, (2, 2), np.float32)
    check_agent(ARS, box, box, directions=2, noise=1.0)


def test_each_direction_is_played_added_and_subtracted():
    one = agent(directions=2, noise=0.5, normalize=False)
    actions = []
    for _ in range(4):
        rollout(one, lambda action: actions.append(action) or action[0])
    assert one.iteration == 1
    for plus, minus, delta in zip(actions[::2], actions[1::2], one.deltas, strict=True):
        assert plus == pytest.approx(0.5 * delta @ ONES)
        assert minus == pytest.approx(-plus)


def test_the_update_is_that_of_the_paper():
    one = agent(directions=4, top_directions=2, noise=0.5, step_size=0.1, normalize=False)
    returns = []
    for _ in range(8):
        rollout(one, lambda action: returns.append(float(action[0] ** 3)) or returns[-1])
    plus, minus = np.array(returns[::2]), np.array(returns[1::2])
    best = sorted(range(4), key=lambda k: -max(plus[k], minus[k]))[:2]
    sigma = np.std([*plus[best], *minus[best]])
    expected = sum((plus[k] - minus[k]) * one.deltas[k] for k in best) * 0.1 / (2 * sigma)
    assert one.policy == pytest.approx(expected)
    metrics = one.metrics(0)
    assert metrics["return_std"] == pytest.approx(sigma)
    assert metrics["step_norm"] == metrics["policy_norm"] == pytest.approx(np.linalg.norm(expected))


def test_equal_returns_leave_the_policy():
    one = agent(directions=1)
    for _ in range(2):
        rollout(one, lambda action: 1.0)
    assert one.iteration == 1
    assert not one.policy.any()


def test_shift_is_subtracted_from_every_reward():
    one = agent(directions=1, shift=1.0)
    rollout(one, lambda action: 3.0, [ONES] * 5)
    assert one.returns == [10.0]


def test_normalized_observations_have_mean_0_and_deviation_1_from_the_next_iteration_on():
    one = agent(directions=1, normalize=True)
    met = [np.array([k, 10.0 * k, 7.0], np.float32) for k in range(5)]
    for _ in range(2):
        assert one.mean == pytest.approx([0, 0, 0])
        rollout(one, lambda action: action[0], met)
    one.training = False
    one.policy = np.eye(3)[:2]
    one.begin_episode(0)
    seen = np.array([one.act(ob, 0) for ob in met])
    assert seen.mean(axis=0) == pytest.approx([0, 0])
    assert seen.std(axis=0) == pytest.approx([1, 1])
    one.policy = np.eye(3)[1:]
    one.begin_episode(0)
    assert one.act(met[0] + 5, 0)[1] == 0, "a coordinate that is constant is left out"


def test_statistics_merged_in_batches_are_those_of_all():
    data = np.random.default_rng(0).normal(3, 2, (100, 4))
    merged = Statistics(4)
    for batch in np.split(data, [1, 7, 60]):
        merged.add(batch)
    assert merged.mean == pytest.approx(data.mean(axis=0))
    assert merged.variance == pytest.approx(data.var(axis=0))


def test_evaluation_plays_the_policy_itself_and_counts_nothing():
    one = agent(noise=1.0, normalize=False)
    rollout(one, lambda action: 1.0)
    one.policy = np.arange(6.0).reshape(2, 3)
    one.training = False
    one.begin_episode(0)
    assert one.act(ONES, 0) == pytest.approx([3, 12])
    one.end_episode(0, False)
    assert len(one.returns) == 1


def test_box_actions_are_clipped_and_have_the_spaces_dtype_and_shape():
    one = agent(gymnasium.spaces.Box(-0.5, 2, (1, 2), np.float32), normalize=False)
    one.training = False
    one.policy = np.array([[-9.0, 0, 0], [9.0, 0, 0]])
    one.begin_episode(0)
    action = one.act(ONES, 0)
    assert (action.dtype, action.tolist()) == (np.float32, [[-0.5, 2.0]])


def test_discrete_actions_are_those_of_the_highest_score():
    one = agent(gymnasium.spaces.Discrete(3, start=1), normalize=False)
    one.training = False
    one.policy = np.array([[0.0, 0, 0], [0, 2, 0], [1, 0, 0]])
    one.begin_episode(0)
    assert one.act(ONES, 0) == 2


def test_observations_of_any_shape_are_flattened():
    observations = gymnasium.spaces.Box(-1, 1, (2, 2), np.float32)
    check_agent(ARS, observations, gymnasium.spaces.Discrete(2), directions=2)


def test_an_episode_played_with_random_actions_is_no_rollout():
    one = agent(directions=1)
    one.begin_episode(0)
    one.memorize(ONES, 0, 1.0, False, ONES)  # an action that was not the agent's
    one.end_episode(0, False)
    assert one.returns == []


@pytest.mark.slow
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(launch, cli):
    words = ("agent=ars", "env=cartpole", "loop.eval_episodes=1")
    whole = launch(*words, "loop.max_episodes=60", directory="whole")
    part = launch(*words, "loop.max_episodes=25", directory="part")  # within an iteration
    done = cli("resume", part, "loop.max_episodes=60")
    assert done.returncode == 0, done.stderr
    assert rows(part) == rows(whole)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("directions", 0, "a whole number of at least 1"),
        ("top_directions", 9, "a whole number from 1 to 8"),
        ("step_size", 0, "a number above 0"),
        ("noise", -1.0, "a number above 0"),
        ("normalize", 1, "true or false"),
        ("shift", "a lot", "a number"),
    ],
)
def test_a_value_out_of_range_is_named(name, value, expected):
    with pytest.raises(ValueError, match=f"^{name} is {value!r}; expected {expected}$"):
        agent(**{name: value})


def test_it_refuses_discrete_observations():
    with pytest.raises(Mistake):
        ARS(gymnasium.spaces.Discrete(3), gymnasium.spaces.Discrete(2))
