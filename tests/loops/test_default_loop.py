import itertools
import math

import numpy as np
import pytest

from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym
from gym_loop.loops import DefaultLoop
from gym_loop.observers import Observer
from gym_loop.streams import episode_seed
from tests import sample_envs
from tests.conftest import rows
from tests.sample_envs import Pair


class Witness(RandomAgent):
    """Writes down every call."""

    def __init__(self, **params):
        super().__init__(**params)
        self.calls = []

    def note(self, name, *args):
        self.calls.append((name, self.training, *args))

    def act(self, state, episode_num):
        self.note("act", episode_num)
        return super().act(state, episode_num)

    def memorize(self, last_ob, action, reward, done, ob):
        self.note("memorize", last_ob, done, ob)

    def update(self, episode_num):
        self.note("update", episode_num)

    def begin_episode(self, episode_num):
        self.note("begin_episode", episode_num)

    def end_episode(self, episode_num, truncated):
        self.note("end_episode", episode_num, truncated)

    def names(self):
        return [call[0] for call in self.calls]


class Diary(Observer):
    def __init__(self):
        self.events, self.episodes, self.evaluations = [], [], []

    def end_episode(self, loop, episode):
        self.events.append("train" if episode.training else "eval")
        self.episodes.append(episode)

    def end_evaluation(self, loop, episodes):
        self.evaluations.append(episodes)

    def end_cycle(self, loop):
        self.events.append("cycle")


def make(env="CartPole-v1", agent=Witness, seed=0, **parameters):
    env = make_gym(env)
    env.action_space.seed(seed)
    np.random.seed(seed)
    loop = DefaultLoop(
        agent(observation_space=env.observation_space, action_space=env.action_space),
        env,
        **parameters,
    )
    loop.make_eval_env = lambda: make_gym(env.spec.id)
    loop.seed, loop.observers = seed, {"diary": Diary()}
    return loop, loop.observers["diary"]


def test_max_episodes_ends_training():
    loop, diary = make(max_episodes=7)
    loop.train()
    assert loop.episodes == 7
    assert [episode.number for episode in diary.episodes] == list(range(7))


def test_max_steps_ends_training_with_the_episode_in_which_it_is_reached():
    loop, diary = make(max_episodes=None, max_steps=100)
    loop.train()
    assert loop.steps >= 100
    assert loop.steps - diary.episodes[-1].length < 100


def test_max_episode_len_truncates_an_episode_that_is_not_done():
    loop, diary = make("MountainCar-v0", max_episodes=1, max_episode_len=13)
    loop.train()
    (episode,) = diary.episodes
    assert (episode.length, episode.truncated, episode.terminated) == (13, True, False)
    assert loop.agent.calls[-1][0] == "end_episode"
    assert loop.agent.calls[-1][-1] is True


def test_random_episodes_are_played_without_asking_the_agent_who_still_learns_from_them():
    loop, _ = make(max_episodes=3, random_episodes=2)
    loop.train()
    acted = {call[2] for call in loop.agent.calls if call[0] == "act"}
    learned = {call[2] for call in loop.agent.calls if call[0] == "update"}
    assert acted == {2}
    assert learned == {0, 1, 2}


def test_random_episodes_depend_on_seed_and_episode_alone():
    def actions(first):
        loop, diary = make(max_episodes=3, random_episodes=3)
        loop.episodes = first
        loop.train()
        return {episode.number: episode.actions for episode in diary.episodes}

    assert actions(0)[2] == actions(2)[2]


def test_update_follows_each_memorize_and_done_is_terminated():
    loop, diary = make("MountainCar-v0", max_episodes=1)  # ends by its time limit of 200 steps
    loop.train()
    assert diary.episodes[0].truncated
    middle = loop.agent.names()[1:-1]
    assert middle == ["act", "memorize", "update"] * 200
    assert not any(call[3] for call in loop.agent.calls if call[0] == "memorize")


def test_memorize_gets_the_observations_before_and_after_the_action():
    loop, _ = make(max_episodes=1)
    loop.train()
    transitions = [call for call in loop.agent.calls if call[0] == "memorize"]
    for before, after in itertools.pairwise(transitions):
        np.testing.assert_array_equal(before[-1], after[2])


def test_eval_episodes_are_played_without_memorize_and_update():
    loop, _ = make(eval_episodes=4)
    played = loop.evaluate()
    assert len(played) == 4
    assert set(loop.agent.names()) == {"begin_episode", "act", "end_episode"}
    assert not any(call[1] for call in loop.agent.calls)
    assert loop.agent.training


def test_episodes_per_eval_evaluates_between_training_episodes():
    loop, diary = make(max_episodes=4, episodes_per_eval=2, eval_episodes=1)
    loop.train()
    expected = ["train", "cycle", "train", "eval", "cycle"] * 2
    assert diary.events == expected


def test_evaluating_changes_nothing_in_training():
    def returns(**parameters):
        loop, diary = make(max_episodes=6, seed=3, **parameters)
        loop.train()
        return [episode.ret for episode in diary.episodes if episode.training], loop

    without, one = returns()
    between, other = returns(episodes_per_eval=1, eval_episodes=3)
    assert without == between
    assert one.agent.rng.random() == other.agent.rng.random()
    assert one.agent.action_space.sample() == other.agent.action_space.sample()


def test_evaluations_use_seeds_of_their_own_the_same_each_time():
    loop, diary = make(max_episodes=2, episodes_per_eval=1, eval_episodes=3)
    loop.train()
    first, second = ([episode.seed for episode in played] for played in diary.evaluations)
    assert first == second
    assert not set(first) & {episode_seed(0, k) for k in range(100)}
    assert [episode.index for played in diary.evaluations for episode in played] == list(range(6))


def test_an_episodes_reset_seed_depends_on_seed_and_number_alone():
    loop, diary = make(max_episodes=5, seed=9)
    loop.train()
    assert [e.seed for e in diary.episodes] == [episode_seed(9, k) for k in range(5)]
    assert len({episode_seed(s, k) for s in range(20) for k in range(200)}) > 3990
    assert all(0 <= episode_seed(1, k) < 2**31 for k in range(100))


def test_the_return_is_the_exact_sum_of_the_rewards():
    loop, diary = make("Pendulum-v1", max_episodes=1)
    loop.train()
    (episode,) = diary.episodes
    assert episode.ret == math.fsum(episode.rewards)
    assert episode.length == len(episode.actions) == 200


def test_actions_are_kept_even_if_the_agent_reuses_its_array():
    from tests.sample_agents import Careless

    loop, diary = make("Pendulum-v1", agent=Careless, max_episodes=1)
    loop.train()
    assert len({float(action[0]) for action in diary.episodes[0].actions}) > 100


@pytest.mark.parametrize("wrap", [[], ["wrap=[clip_reward]"]])
def test_rewards_are_kept_even_if_the_environment_reuses_its_array(launch, wrap):
    words = (*wrap, "env.length=4", "loop.max_episodes=2", "loop.eval_episodes=0")
    directory = launch(f"env={sample_envs.__file__}:SameArray", *words)
    assert [float(row["return"]) for row in rows(directory)] == [10, 10]


def test_stop_ends_training_at_the_next_episode_boundary():
    class Stopper(Diary):
        def end_episode(self, loop, episode):
            super().end_episode(loop, episode)
            loop.stop = "enough"

    loop, _ = make(max_episodes=50)
    loop.observers = {"diary": Stopper()}
    loop.train()
    assert loop.episodes == 1


def test_an_observer_that_wraps_an_episodes_environment_sees_its_reset_and_every_step():
    calls = []

    class Watched:
        def __init__(self, env):
            self.env = env

        def reset(self, **arguments):
            calls.append("reset")
            return self.env.reset(**arguments)

        def step(self, action):
            calls.append("step")
            return self.env.step(action)

    class Wrapping(Diary):
        def begin_episode(self, loop, episode):
            super().begin_episode(loop, episode)
            if episode.number == 1:
                episode.env = Watched(episode.env)

    loop, _ = make(max_episodes=3)
    loop.observers = {"diary": (diary := Wrapping())}
    loop.train()
    assert calls == ["reset"] + ["step"] * diary.episodes[1].length


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("max_episodes", 0),
        ("max_episodes", -1),
        ("max_steps", -5),
        ("max_episode_len", 0),
        ("max_time", -1),
        ("max_time", math.nan),
        ("random_episodes", -1),
        ("eval_episodes", -1),
        ("record_every", 0),
        ("episodes_per_checkpoint", 0),
        ("time_per_checkpoint", -0.1),
        ("keep_checkpoints", 0),
    ],
)
def test_a_count_or_time_that_makes_no_sense_is_refused_by_name(parameter, value):
    with pytest.raises(ValueError, match=rf"{parameter} is {value}; expected at least \d"):
        make(**{parameter: value})


def test_an_unknown_parameter_is_refused_with_the_nearest_one():
    with pytest.raises(
        TypeError, match=r"DefaultLoop has no parameter 'max_episode'.*'max_episodes"
    ):
        make(max_episode=3)


def test_actions_are_kept_as_they_were_given_whatever_the_agent_does_with_them_later():
    class Reuses(RandomAgent):
        def act(self, state, episode_num):
            left = self.action[1]["left"]
            left += 1
            given.append(left.copy())
            return self.action

    given = []
    env = Pair()
    agent = Reuses(env.observation_space, env.action_space)
    agent.action = (0, {"left": np.zeros(2, np.float32), "right": np.zeros(2, np.int64)})
    episode = DefaultLoop(agent, env).play(0, True)
    assert [action[1]["left"].tolist() for action in episode.actions] == [g.tolist() for g in given]
