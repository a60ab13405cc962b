import json

import gymnasium
import numpy as np
import pytest

from gym_loop.agents.q_learning import QLearning
from gym_loop.mistake import Mistake
from gym_loop.streams import seed_all
from gym_loop.testing import check_agent
from tests.conftest import rows


def agent(states=2, actions=2, **parameters):
    seed_all(0)
    space = gymnasium.spaces.Discrete
    one = QLearning(space(states), space(actions), **parameters)
    one.begin_episode(0)
    return one


def learn(one, *transition):
    one.memorize(*transition)
    one.update(0)


def test_it_keeps_the_contract():
    check_agent(QLearning, epsilon=0.5)


def test_a_value_moves_towards_reward_and_discounted_best_next_value():
    one = agent(discount=0.5, learning_rate=0.25)
    one.table[1] = [2.0, 4.0]
    learn(one, 0, 1, 3.0, False, 1)
    assert one.table[0] == [0.0, 0.25 * (3 + 0.5 * 4)]
    assert one.metrics(0)["td_error"] == 5.0


def test_a_terminal_state_has_no_future_but_a_truncated_episode_has():
    one = agent(discount=0.5, learning_rate=1.0)
    one.table[1] = [2.0, 4.0]
    learn(one, 0, 0, 3.0, True, 1)
    assert one.table[0][0] == 3.0
    learn(one, 0, 0, 3.0, False, 1)
    one.end_episode(0, True)
    assert one.table[0][0] == 5.0


def test_actions_are_random_with_probability_epsilon_and_else_greedy():
    one = agent(actions=4, epsilon=0.4)
    one.table[0] = [0.0, 1.0, 0.0, 0.0]
    counts = np.bincount([one.act(0, 0) for _ in range(20000)], minlength=4) / 20000
    assert counts == pytest.approx([0.1, 0.7, 0.1, 0.1], abs=0.01)


def test_evaluation_is_greedy_and_leaves_the_table_alone():
    one = agent(epsilon=1.0)
    one.table[0] = [0.0, 1.0]
    one.training = False
    assert {one.act(0, 0) for _ in range(100)} == {1}
    assert one.act(1, 0) == 0
    assert dict(one.table) == {0: [0.0, 1.0]}


def test_epsilon_and_learning_rate_fall_linearly_and_stay():
    one = agent(
        epsilon=1.0,
        epsilon_final=0.2,
        learning_rate=0.5,
        learning_rate_final=0.1,
        decay_episodes=4,
    )
    found = []
    for number in (0, 2, 4, 9):
        one.begin_episode(number)
        metrics = one.metrics(number)
        found.append((metrics["epsilon"], metrics["learning_rate"]))
    assert found == [pytest.approx(pair) for pair in [(1, 0.5), (0.6, 0.3), (0.2, 0.1), (0.2, 0.1)]]


def test_spaces_that_do_not_start_at_zero_are_numbered_right():
    seed_all(0)
    space = gymnasium.spaces.Discrete(2, start=5)
    one = QLearning(space, space, epsilon=1.0, learning_rate=1.0)
    one.begin_episode(0)
    assert {one.act(5, 0) for _ in range(100)} == {5, 6}
    learn(one, 5, 6, 1.0, True, 6)
    assert one.table[5] == [0.0, 1.0]


def test_blackjacks_tuples_are_states(launch):
    directory = launch("agent=q_learning", "env=blackjack", "loop.max_episodes=300")
    run = json.loads((directory / "run.json").read_text())
    assert run["state"] == "finished"


@pytest.mark.slow
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(launch, cli):
    words = ("agent=q_learning", "env=frozen_lake", "loop.eval_episodes=2")
    whole = launch(*words, "loop.max_episodes=60", directory="whole")
    part = launch(*words, "loop.max_episodes=25", directory="part")
    done = cli("resume", part, "loop.max_episodes=60")
    assert done.returncode == 0, done.stderr
    assert rows(part) == rows(whole)
    # The shorter run evaluated at its own end.
    assert [r["return"] for r in rows(part, "evaluations.csv")][-2:] == [
        r["return"] for r in rows(whole, "evaluations.csv")
    ]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("discount", 1.5, "a number from 0 to 1"),
        ("learning_rate", 0, "a number from 0 to 1, not 0 itself"),
        ("epsilon", -0.1, "a number from 0 to 1"),
        ("decay_episodes", 2.5, "a whole number of at least 0"),
        ("initial_value", float("nan"), "a number"),
        ("epsilon_final", True, "a number from 0 to 1"),
    ],
)
def test_a_value_out_of_range_is_named(name, value, expected):
    with pytest.raises(ValueError, match=f"^{name} is {value!r}; expected {expected}$"):
        agent(**{name: value})


def test_it_refuses_a_box():
    with pytest.raises(Mistake):
        QLearning(gymnasium.spaces.Box(0, 1), gymnasium.spaces.Discrete(2))
