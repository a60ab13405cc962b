"""Vector environments of every kind, against single environments played alone."""

import functools
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gym_loop.agents import RandomAgent
from gym_loop.envs import EnvError, make_gym, make_gymnasium
from gym_loop.mistake import Failure, Mistake
from gym_loop.streams import episode_seed
from gym_loop.vector.base import Single
from gym_loop.vector.copies import Copies
from gym_loop.vector.envpool import make_envpool
from gym_loop.vector.envs import make_gym_vector, make_gymnasium_vector, make_single, make_vector
from gym_loop.vector.library import from_library
from gym_loop.vector.loop import VectorLoop
from tests.tape import Tape, assert_played_alone, same

NO_ENVPOOL = 'needs the extra: pip install "gym-loop[envpool]"'
LIMIT = {"max_episode_steps": 40}
SHORT = {"max_episode_steps": 3}

# Every episode begins with its own seed.
SEEDED = {
    "gym cartpole": (functools.partial(make_gym, "CartPole-v1"),) * 2,
    "gym pendulum": (functools.partial(make_gym, "Pendulum-v1", LIMIT),) * 2,
    "gym blackjack, whose observations are tuples": (functools.partial(make_gym, "Blackjack-v1"),)
    * 2,
    "gymnasium frozen lake": (functools.partial(make_gymnasium, "FrozenLake-v1"),) * 2,
    "gymnasium sync, reset when told": (
        functools.partial(make_gymnasium_vector, "CartPole-v1", mode="sync"),
        functools.partial(make_gymnasium, "CartPole-v1"),
    ),
    "gymnasium async, reset when told": (
        functools.partial(make_gymnasium_vector, "Pendulum-v1", LIMIT, mode="async"),
        functools.partial(make_gymnasium, "Pendulum-v1", LIMIT),
    ),
}


def vector(autoreset, id="CartPole-v1", mode="sync"):
    return functools.partial(
        make_gymnasium_vector, id, mode=mode, vector_kwargs={"autoreset_mode": autoreset}
    )


# The library resets an environment by itself, whose stream then goes on.
SELF_RESET = {
    "gym sync": (
        functools.partial(make_gym_vector, "CartPole-v1"),
        functools.partial(make_gym, "CartPole-v1"),
    ),
    "gym sync, tuples": (
        functools.partial(make_gym_vector, "Blackjack-v1"),
        functools.partial(make_gym, "Blackjack-v1"),
    ),
    "gym async": (
        functools.partial(make_gym_vector, "CartPole-v1", asynchronous=True),
        functools.partial(make_gym, "CartPole-v1"),
    ),
    "gymnasium same step": (
        vector("SameStep"),
        functools.partial(make_gymnasium, "CartPole-v1"),
    ),
    "gymnasium same step, tuples": (
        vector("SameStep", "Blackjack-v1"),
        functools.partial(make_gymnasium, "Blackjack-v1"),
    ),
    "gymnasium next step": (
        vector("NextStep"),
        functools.partial(make_gymnasium, "CartPole-v1"),
    ),
    "gymnasium next step, tuples": (
        vector("NextStep", "Blackjack-v1"),
        functools.partial(make_gymnasium, "Blackjack-v1"),
    ),
    "gymnasium next step, async": (
        vector("NextStep", mode="async"),
        functools.partial(make_gymnasium, "CartPole-v1"),
    ),
}


def train(factory, num_envs=4, seed=7, agent=Tape, **parameters):
    parameters = {"max_episodes": 25, "max_episode_len": 500} | parameters
    env = make_vector(factory, num_envs, parameters["max_episode_len"])
    loop = VectorLoop(agent(env.observation_space, env.action_space), env, **parameters)
    loop.agent.action_space.seed(1)
    loop.seed = seed
    loop.train()
    env.close()
    return loop


def check_bookkeeping(loop):
    """Each episode begins and ends once, and no step is counted that was none, or left out."""
    tape = loop.agent
    assert loop.episodes == loop.parameters["max_episodes"] <= len(tape.begun)
    assert tape.begun == list(range(len(tape.begun)))
    assert sorted(tape.ended) == tape.begun == sorted(tape.episodes)
    transitions = sum(map(len, tape.episodes.values()))
    assert transitions + tape.forgotten == sum(tape.rows) == loop.steps


@pytest.mark.parametrize("kind", SEEDED)
def test_every_episode_is_the_one_its_seed_gives_a_single_environment(kind):
    factory, make_one = SEEDED[kind]
    loop = train(factory)
    check_bookkeeping(loop)
    assert set(loop.agent.rows) == {4}
    single = make_one()
    for number, transitions in loop.agent.episodes.items():
        first, _ = single.reset(seed=episode_seed(7, number))
        ended = assert_played_alone(single, first, transitions)
        done = transitions[-1][3]
        assert loop.agent.ended[number] == (not done)
        assert ended or number >= loop.episodes, "only those beside the round's are cut"


@pytest.mark.parametrize("kind", SELF_RESET)
def test_environments_that_reset_themselves_play_as_single_ones_do(kind):
    factory, make_one = SELF_RESET[kind]
    loop = train(factory)
    check_bookkeeping(loop)
    for lane in range(4):
        single = make_one()
        numbers = [n for n, where in loop.agent.lane.items() if where == lane]
        assert numbers[0] == lane
        assert len(numbers) > 1
        first, _ = single.reset(seed=episode_seed(7, lane))
        for number in numbers:
            ended = assert_played_alone(single, first, loop.agent.episodes[number])
            assert ended or number == numbers[-1]
            first, _ = single.reset()


def test_a_vector_entry_point_plays_cartpole():
    loop = train(functools.partial(make_gymnasium_vector, "CartPole-v1"), max_episodes=60)
    check_bookkeeping(loop)
    assert {3, 4} <= set(loop.agent.rows) <= {0, 1, 2, 3, 4}, "no row for a reset"
    single = make_gymnasium("CartPole-v1").unwrapped
    for number, transitions in loop.agent.episodes.items():
        single.reset()
        single.state = transitions[0][0].astype(np.float64)
        for last_ob, action, reward, done, ob in transitions:
            # The vector goes on from float64, of which `last_ob` is what float32 holds.
            np.testing.assert_allclose(single.state, last_ob, atol=1e-4)
            expected, one, terminated, _, _ = single.step(action)
            np.testing.assert_allclose(ob, expected, atol=1e-4)
            assert (reward, done) == (one, terminated)
        assert loop.agent.ended[number] == (not done)


def test_envpool_plays_as_pools_of_one_do():
    envpool = pytest.importorskip("envpool", reason=NO_ENVPOOL)
    loop = train(functools.partial(make_envpool, "CartPole-v1"), max_episodes=60)
    check_bookkeeping(loop)
    assert {3, 4} <= set(loop.agent.rows) <= {0, 1, 2, 3, 4}, "no row for a reset"
    for lane in range(4):
        seed = [episode_seed(7, lane)]
        pool = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=1, seed=seed)
        ob = pool.reset()[0][0]
        numbers = [n for n, where in loop.agent.lane.items() if where == lane]
        assert len(numbers) > 1
        for number in numbers:
            for last_ob, action, reward, done, next_ob in loop.agent.episodes[number]:
                assert same(last_ob, ob)
                obs, rewards, terminated, truncated, _ = pool.step(np.array([action]))
                assert (reward, done) == (rewards[0], terminated[0])
                assert same(next_ob, ob := obs[0])
            assert terminated[0] or truncated[0] or number == numbers[-1]
            ob = pool.step(np.array([action]))[0][0]  # its reset


@pytest.mark.parametrize(
    "factory",
    [
        functools.partial(make_gym, "CartPole-v1"),
        functools.partial(make_gymnasium_vector, "CartPole-v1"),
        functools.partial(make_gymnasium_vector, "CartPole-v1", mode="sync"),
        functools.partial(make_gym_vector, "CartPole-v1"),
        functools.partial(make_envpool, "CartPole-v1"),
    ],
    ids=["copies", "entry point", "gymnasium", "gym", "envpool"],
)
def test_max_episode_len_truncates_in_every_kind(factory):
    if factory.func is make_envpool:
        pytest.importorskip("envpool", reason=NO_ENVPOOL)
    loop = train(factory, max_episode_len=12, max_episodes=40)
    check_bookkeeping(loop)
    lengths = [len(transitions) for transitions in loop.agent.episodes.values()]
    assert max(lengths) == 12
    for number, transitions in loop.agent.episodes.items():
        done = transitions[-1][3]
        assert loop.agent.ended[number] or done
        assert not loop.agent.ended[number] or not done or len(transitions) == 12


class Talks(gymnasium.Env):
    """Four steps; what it says first is longer and of other types than what it says later."""

    action_space = spaces.Discrete(2)
    observation_space = spaces.Dict(
        {
            "text": spaces.Text(40),
            "number": spaces.Box(0, 9, (2,)),
            "whole": spaces.Box(0, 9, (), np.int64),
            "way": spaces.Sequence(spaces.Discrete(5)),
            "pair": spaces.Tuple((spaces.Discrete(9), spaces.Text(9))),
        }
    )

    first = 0.5  # which breaks its space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        number = np.array([0.5, 1.5])
        here = {
            "text": "you are in a dark room",
            "number": number,
            "whole": self.first,
            "way": (1, 2, 3),
        }
        return {**here, "pair": (8, "first")}, {}

    def step(self, action):
        self.steps += 1
        number = np.array([self.steps, 2])
        here = {"text": "ok", "number": number, "whole": self.steps, "way": (), "pair": (1, "b")}
        return here, 0.0, self.steps == 4, False, {}


class Keeps(Talks):
    first = 0


def make_talks(num_envs, kind):
    if kind == "copies":
        return Copies([Talks() for _ in range(num_envs)])
    vector = gymnasium.vector.SyncVectorEnv([Keeps] * num_envs, autoreset_mode=kind)
    return from_library(vector)


@pytest.mark.parametrize("kind", ["copies", "Disabled", "NextStep", "SameStep"])
def test_the_agent_is_given_what_the_environment_said(kind):
    seen = []

    class Listens(RandomAgent):
        def act(self, states, episode_nums):
            seen.append(states)
            return super().act(states, episode_nums)

    train(lambda num_envs: make_talks(num_envs, kind), 3, agent=Listens, max_episodes=10)
    one = {
        name: [value for states in seen for value in states[name]]
        for name in ("text", "number", "whole", "way")
    }
    assert set(one["text"]) == {"you are in a dark room", "ok"}
    assert {tuple(map(int, way)) for way in one["way"]} == {(1, 2, 3), ()}
    assert {value.dtype for value in one["number"]} == {np.dtype(np.float32)}
    assert {float(value[0]) for value in one["number"]} == {0.5, 1.0, 2.0, 3.0}
    first = 0.5 if kind == "copies" else 0.0  # Gymnasium itself refuses fractions there
    assert set(map(float, one["whole"])) == {first, 1.0, 2.0, 3.0}
    pairs = [states["pair"] for states in seen]
    assert {
        (int(n), w) for numbers, words in pairs for n, w in zip(numbers, words, strict=True)
    } == {
        (8, "first"),
        (1, "b"),
    }


def test_observations_that_are_none_of_their_space_are_named():
    class Lies(Talks):
        observation_space = spaces.Dict(
            {"text": spaces.Text(40), "number": Talks.observation_space["number"]}
        )

        def step(self, action):
            return ["ok"], 0.0, False, False, {}

    with pytest.raises(Failure, match=r"observations of the environment, such as \['ok'\]"):
        train(Lies, 2, agent=RandomAgent)


@pytest.mark.parametrize(
    ("returned", "line"),
    [
        ((1.0, np.array([False]), False), r"array\(\[False\]\) as terminated; expected true or"),
        ((1.0, False, [False, True]), r"\[False, True\] as truncated; expected true or false"),
        ((np.array([1.0, 2.0]), False, False), r"array\(\[1., 2.\]\) as the reward; expected a nu"),
        ((np.array([1.0]), False, False), r"array\(\[1.\]\) as the reward; expected a number"),
        ((1 + 2j, False, False), r"\(1\+2j\) as the reward; expected a number"),
        ((None, False, False), "None as the reward; expected a number"),
        (("1.0", False, False), "'1.0' as the reward; expected a number"),
    ],
)
def test_a_reward_or_a_flag_that_is_none_is_named(returned, line):
    class Odd(gymnasium.Env):
        observation_space = action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return 0, {}

        def step(self, action):
            return (0, *returned, {})

    with pytest.raises(Failure, match=line):
        train(Odd, 2, agent=RandomAgent)


def test_a_reward_that_numpy_refuses_counts_as_the_number_that_it_is():
    class InAGraph:  # as a tensor with a gradient
        def __array__(self, *_, **__):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")

        def __float__(self):
            return 0.5

    class Env(gymnasium.Env):
        observation_space = action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return 0, {}

        def step(self, action):
            return 0, InAGraph(), True, False, {}

    loop = train(Env, 2)
    rewards = [step[2] for steps in loop.agent.episodes.values() for step in steps]
    assert set(rewards) == {0.5}


def test_a_limit_given_to_envpool_leaves_terminated_as_it_is():
    pytest.importorskip("envpool", reason=NO_ENVPOOL)
    free = train(functools.partial(make_envpool, "CartPole-v1"), agent=Ones, max_episodes=40)
    check_bookkeeping(free)
    lengths = sorted({len(transitions) for transitions in free.agent.episodes.values()})
    assert len(lengths) > 1
    for given in ({"max_episode_len": 9}, {}):
        make = functools.partial(make_envpool, "CartPole-v1")
        if not given:
            make = functools.partial(make_envpool, "CartPole-v1", {"max_episode_steps": 9})
        loop = train(make, agent=Ones, max_episodes=200, **given)
        check_bookkeeping(loop)
        ends = {
            (len(transitions), transitions[-1][3], loop.agent.ended[number])
            for number, transitions in loop.agent.episodes.items()
            if number < loop.episodes
        }
        assert (9, True, False) in ends, "one that ended in the very step of the limit"
        assert (9, False, True) in ends, "one that the limit cut"
        assert max(length for length, _, _ in ends) == 9


class Ones(Tape):
    def act(self, states, episode_nums):
        return super().act(states, episode_nums) * 0 + 1


def test_two_starts_from_the_same_seeds_are_equal_whatever_came_between():
    pytest.importorskip("envpool", reason=NO_ENVPOOL)
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 2, (60, 3))
    for make in (make_gymnasium_vector, make_envpool, make_gym_vector):
        env, seen = make("CartPole-v1", num_envs=3), []
        for steps in (60, 17, 60):
            states = env.start([5, 6, 7])
            stream = [states]
            for row in actions[:steps]:
                states, _, terminated, truncated = env.step(row)
                stream.append(states)
                done = (terminated | truncated).nonzero()[0]
                if done.size and not env.delayed:
                    stream.append(env.restart(states, done, []))
            seen.append(stream)
        assert all(same(a, b) for a, b in zip(seen[0], seen[2], strict=True)), make


@pytest.mark.parametrize("make", [make_gymnasium_vector, make_gym_vector, make_envpool])
def test_a_vector_environment_is_an_ordinary_one_where_one_is_asked_for(make):
    if make is make_envpool:
        pytest.importorskip("envpool", reason=NO_ENVPOOL)
    env = make("CartPole-v1")
    assert isinstance(env, Single)
    first, info = env.reset(seed=3)
    assert (first.shape, info) == ((4,), {})
    assert same(first, env.reset(seed=3)[0])
    assert not same(first, env.reset(seed=4)[0])
    total, terminated, truncated = 0.0, False, False
    while not (terminated or truncated):
        ob, reward, terminated, truncated, _ = env.step(1)
        total += reward
    assert terminated
    assert 8 <= total <= 11
    assert abs(ob[2]) > 0.2, "the last observation of the episode, not the first of another"
    assert isinstance(make_single(functools.partial(make, "CartPole-v1")), Single)


@pytest.mark.parametrize("make", [make_gymnasium_vector, make_gym_vector, make_envpool])
def test_the_limit_of_steps_holds_in_an_ordinary_one_too(make):
    if make is make_envpool:
        pytest.importorskip("envpool", reason=NO_ENVPOOL)
    identity = {"same": lambda env: env}
    wrapped = [] if make is make_envpool else [make("CartPole-v1", wrappers=identity, **SHORT)]
    for env in (make("CartPole-v1", **SHORT), *wrapped):
        env.reset(seed=3)
        steps = [env.step(action)[2:4] for action in (0, 1, 0)]
        assert steps == [(False, False), (False, False), (False, True)]


def test_environments_that_keep_something_pickle_with_it():
    env = make_gymnasium_vector("CartPole-v1", mode="sync", num_envs=2)
    env.start([1, 2])
    actions = np.array([0, 1])
    env.step(actions)
    again = pickle.loads(pickle.dumps(env))
    assert same(again.step(actions)[0], env.step(actions)[0])
    copies = Copies([make_gym("Pendulum-v1") for _ in range(2)])
    copies.start([1, 2])
    again = pickle.loads(pickle.dumps(copies))
    actions = np.array([[0.5], [1.0]])
    assert same(again.step(actions)[0], copies.step(actions)[0])


def test_the_faster_check_of_actions_accepts_and_refuses_what_gymnasiums_does():
    import gymnasium

    plain = gymnasium.make_vec("CartPole-v1", 3).unwrapped.action_space
    ours = make_gymnasium_vector("CartPole-v1", num_envs=3).env.unwrapped.action_space
    for actions in ([0, 1, 1], [0, 1, 2], [-1, 0, 0], [0, 1], [[0], [1], [1]], [0, 1, 0, 1]):
        batch = np.array(actions)
        assert ours.contains(batch) == plain.contains(batch), actions
    assert not ours.contains(np.array([0, 1, None], dtype=object))


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        (make_gymnasium_vector, {"id": "CartPol-v1"}, "CartPole"),
        (make_gymnasium_vector, {"id": "CartPole-v1", "mode": "asink"}, "async"),
        (make_gymnasium_vector, {"id": "Pendulum-v1", "mode": "vector_entry_point"}, "sync"),
        (make_gymnasium_vector, {"id": "CartPole-v1", "vector_kwargs": {"copy": 1}}, "sync"),
        (make_gym_vector, {"id": "CartPol-v1"}, "CartPole"),
        (make_gym_vector, {"id": "CartPole-v1", "kwargs": {"gravity": 3}}, "gravity"),
        (make_envpool, {"id": "CartPol-v1"}, "CartPole-v1"),
        (make_envpool, {"id": "CartPole-v1", "kwargs": {"num_thread": 3}}, "num_threads"),
    ],
)
def test_a_mistake_is_one_line_that_helps(make, arguments, words):
    if make is make_envpool:
        pytest.importorskip("envpool", reason=NO_ENVPOOL)
    with pytest.raises((EnvError, Mistake), match=words) as raised:
        make(**arguments, num_envs=2)
    assert "\n" not in str(raised.value)


def test_actions_that_fit_into_no_array_are_refused():
    class Two:
        observation_space = make_gym("CartPole-v1").observation_space

        def __init__(self):
            import gymnasium

            self.action_space = gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(2)] * 2)

    with pytest.raises(Mistake, match="loop=default"):
        make_vector(Two, 2, 500)


def test_what_takes_num_envs_and_is_no_vector_environment_is_refused():
    with pytest.raises(EnvError, match="VectorEnv"):
        make_vector(lambda num_envs: object(), 2, 500)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["start", "step"])
@pytest.mark.parametrize("library", ["gym", "gymnasium"])
def test_a_process_that_has_died_is_named_and_the_others_end(library, call):
    make = {"gym": make_gym_vector, "gymnasium": make_gymnasium_vector}[library]
    how = {"asynchronous": True} if library == "gym" else {"mode": "async"}
    env = make_vector(functools.partial(make, "CartPole-v1", **how), 3, 500)
    env.start([1, 2, 3])
    processes = env.env.processes
    processes[1].kill()
    with pytest.raises(Failure, match="environment 1 of 3 was killed by signal 9"):
        env.step(np.zeros(3, int)) if call == "step" else env.start([1, 2, 3])
    env.close()
    assert not any(process.is_alive() for process in processes)
