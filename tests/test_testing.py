"""The contract tests pass what keeps the contract, and name the clause that something breaks."""

import random
import re

import gymnasium
import numpy as np
import pytest

from gym_loop.agents import BaseAgent, RandomAgent
from gym_loop.agents.ars import ARS
from gym_loop.agents.q_learning import QLearning
from gym_loop.loops import BaseLoop, DefaultLoop, Episode
from gym_loop.mistake import Mistake
from gym_loop.streams import episode_seed, preserved
from gym_loop.testing import check_agent, check_loop, check_vectorized_agent
from tests.sample_agents import DoesNotPickle, Learner, Plain


@pytest.mark.parametrize("cls", [RandomAgent, QLearning, ARS, Learner, Plain])
def test_agents_that_keep_the_contract_pass(cls):
    check_agent(cls)


def test_spaces_and_parameters_can_be_given():
    box = gymnasium.spaces.Box(-2, 2, (2,), np.float32)
    check_agent(Learner, box, box, lr=0.5)


class Batches(BaseAgent):
    """Takes batches; counts what it has seen, and leans on it."""

    vectorized = True

    def __init__(self, **given):
        super().__init__(**given)
        self.seen = 0

    def act(self, states, episode_nums):
        assert len(states) == len(episode_nums)
        return (self.rng.integers(4, size=len(states)) + self.seen) % 4

    def memorize(self, last_obs, actions, rewards, dones, obs):
        self.seen += len(rewards)

    def update(self, episode_nums):
        pass


class ForgetsBatches(Batches):
    def load(self, directory):
        super().load(directory)
        self.seen = 0


@pytest.mark.parametrize("num_envs", [1, 3])
def test_an_agent_that_takes_batches_is_checked_with_batches(num_envs):
    check_vectorized_agent(Batches, num_envs)
    with pytest.raises(AssertionError, match="went on differently after save and load"):
        check_vectorized_agent(ForgetsBatches, num_envs)
    with pytest.raises(AssertionError, match="does not say `vectorized = True`"):
        check_vectorized_agent(QLearning, num_envs)


def test_random_streams_are_left_as_they_were():
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    check_agent(RandomAgent)
    check_loop(DefaultLoop)
    assert (random.random(), np.random.random()) == expected


class Good(BaseAgent):
    """Prefers the action that paid best, whatever it sees."""

    @staticmethod
    def get_default_parameters():
        return {"lr": 0.5, "greed": 0.5}

    def __init__(self, **given):
        super().__init__(**given)
        self.values = np.zeros(self.action_space.n)

    def act(self, state, episode_num):
        if self.training and self.rng.random() > self.parameters["greed"]:
            return int(self.rng.integers(self.action_space.n))
        return int(self.values.argmax())

    def memorize(self, last_ob, action, reward, done, ob):
        self.last = action, reward

    def update(self, episode_num):
        action, reward = self.last
        self.values[action] += self.parameters["lr"] * (reward - self.values[action])

    def metrics(self, episode_num):
        return {"best": self.values.max()}


def test_the_agent_that_is_broken_below_keeps_the_contract():
    check_agent(Good)


def defaults(returned):
    return {"get_default_parameters": staticmethod(lambda: returned)}


def wrong(**methods):
    """A `Good` with other methods."""
    return type("Bad", (Good,), methods)


class InPlace(Good):
    def act(self, state, episode_num):
        state *= 0
        return super().act(state, episode_num)


class Forgets(Good):
    def __getstate__(self):
        raise NotImplementedError

    def save(self, directory):
        pass

    def load(self, directory):
        pass


class LearnsWhileEvaluated(Good):
    def act(self, state, episode_num):
        if not self.training:
            self.values[self.rng.integers(self.action_space.n)] += 1
        return super().act(state, episode_num)


class NoSuper(Good):
    def __init__(self, observation_space, action_space, lr=0.1, greed=0.5):
        self.action_space = action_space
        self.values = np.zeros(self.action_space.n)


class Greedy(Good):
    def __init__(self, **given):
        super().__init__(**{k: v for k, v in given.items() if k.endswith("space") or k == "lr"})


class OwnSeed(Good):
    def __init__(self, **given):
        super().__init__(**given)
        self.rng = np.random.default_rng(0)


class Entropy(Good):
    def __init__(self, **given):
        super().__init__(**given)
        self.rng = np.random.default_rng()


class OldGenerator(Good):
    def __init__(self, **given):
        super().__init__(**given)
        self.rng = np.random.RandomState(0)


class Shared(Good):
    everybody = np.zeros(4)

    def __init__(self, **given):
        super().__init__(**given)
        self.values = self.everybody


SHARED_RNG = np.random.default_rng(0)


class SharedRng(Good):
    def __init__(self, **given):
        super().__init__(**given)
        self.rng = SHARED_RNG


class Ignores(Good):
    def __init__(self, **given):
        super().__init__(**given)
        self.parameters["lr"] = 0.5


class NotTraining(Good):
    def __init__(self, **given):
        super().__init__(**given)
        self.training = False


class Refuses(Good):
    def __init__(self, **given):
        raise Mistake("nothing fits")


class Vague(Good):
    def __init__(self, observation_space=None, action_space=None, **given):
        if given.keys() - {"lr", "greed"}:
            raise ValueError("no")
        super().__init__(observation_space=observation_space, action_space=action_space, **given)


BROKEN_AGENTS = {
    "parameters are a dict": (wrong(**defaults(["lr"])), "returned a list, not a dict"),
    "parameters have names": (wrong(**defaults({1: 2})), "the key 1, which is not a string"),
    "parameters are plain": (wrong(**defaults({"lr": np.float64(1)})), "['lr'] is a float64"),
    "parameters are static": (
        wrong(get_default_parameters=lambda self: {}),
        "Bad.get_default_parameters is not a static method",
    ),
    "defaults are in range": (
        wrong(check_parameters=staticmethod(lambda parameters: 1 / 0)),
        "Bad.check_parameters(its own defaults) raised ZeroDivisionError",
    ),
    "unknown parameters are refused": (Greedy, "took an unknown parameter without a word"),
    "unknown parameters are named": (Vague, "refused an unknown parameter without naming it: no"),
    "given parameters are kept": (Ignores, "expected the defaults updated with what was given"),
    "the constructor takes the spaces": (
        wrong(__init__=lambda self: None),
        "Bad(observation_space=..., action_space=...) raised TypeError",
    ),
    "the constructor passes them on": (NoSuper, "NoSuper has no attribute 'observation_space'"),
    "some spaces fit": (Refuses, "refused every pair of spaces; give check_agent those"),
    "training is the loop's": (NotTraining, "NotTraining.training is False in a new agent"),
    "every method is there": (wrong(update=None), "Bad has no update(episode_num)"),
    "act takes its arguments": (
        wrong(act=lambda self, state: 0),
        "Bad.act does not take act(state, episode_num): too many positional arguments",
    ),
    "memorize takes its arguments": (
        wrong(memorize=lambda self, last_ob, action: None),
        "Bad.memorize does not take memorize(last_ob, action, reward, done, ob)",
    ),
    "hooks take their arguments": (
        wrong(end_episode=lambda self, episode_num: None),
        "Bad.end_episode does not take end_episode(episode_num, truncated)",
    ),
    "actions are in the space": (
        wrong(act=lambda self, state, episode_num: 4),
        "act returned 4, which is not in Discrete(4)",
    ),
    "observations are left alone": (InPlace, "act changed the observation that it was given"),
    "act raises nothing": (
        wrong(act=lambda self, state, episode_num: 1 / 0),
        "Bad in training raised ZeroDivisionError: division by zero",
    ),
    "metrics are a dict": (
        wrong(metrics=lambda self, episode_num: [1]),
        "Bad.metrics returned [1], not a dict",
    ),
    "metrics are numbers": (
        wrong(metrics=lambda self, episode_num: {"best": "high"}),
        "Bad.metrics has 'best': 'high'; expected names and numbers",
    ),
    "the generator is NumPy's": (OldGenerator, "is a RandomState, not a numpy.random.Generator"),
    "the generator is the agent's own": (SharedRng, "two agents of SharedRng share one rng"),
    "the generator has a seed": (Entropy, "Entropy.rng differs between two agents of one seed"),
    "the seed is the run's": (OwnSeed, "OwnSeed.rng does not depend on the run's seed"),
    "equal seeds, equal actions": (Shared, "two agents of Shared with one seed acted differently"),
    "evaluation changes nothing": (LearnsWhileEvaluated, "evaluating changed what"),
    "a saved agent goes on": (Forgets, "went on differently after save and load, in episode 12"),
}


@pytest.mark.parametrize(("cls", "line"), BROKEN_AGENTS.values(), ids=BROKEN_AGENTS)
def test_a_broken_clause_of_the_agents_contract_is_named(cls, line):
    parameters = {"lr": 0.1} if cls is Ignores else {}
    with pytest.raises(AssertionError, match=re.escape(line)) as caught:
        check_agent(cls, **parameters)
    assert "\n" not in str(caught.value)


def test_an_agent_that_does_not_pickle_is_told_which_attribute():
    with pytest.raises(AssertionError, match=r"DoesNotPickle\.guard cannot be saved"):
        check_agent(DoesNotPickle)


def test_the_default_loop_keeps_the_contract():
    check_loop(DefaultLoop)


class Own(BaseLoop):
    """A loop of a user's own, with switches that break one clause each."""

    truth = True  # what is passed for `done` is `terminated`
    own_seed = True

    @staticmethod
    def get_default_parameters():
        return {"max_episodes": 5, "max_episode_len": 100, "eval_episodes": 2}

    def train(self):
        while self.episodes < self.parameters["max_episodes"] and not self.stop:
            self.play(self.episodes, self.env, True)
            self.notify("end_cycle", self)
        self.notify("end_training", self)

    def evaluate(self):
        self.eval_env = self.eval_env or self.make_eval_env()
        with self.kept():
            self.agent.training = False
            return [
                self.play(n, self.eval_env, False) for n in range(self.parameters["eval_episodes"])
            ]

    def kept(self):
        return preserved(self.agent, self.seed)

    def reset_seed(self, number, learn):
        return episode_seed(self.seed, number, "train" if learn else "eval")

    def done(self, terminated, truncated):
        return terminated

    def cut(self, terminated, truncated):
        return truncated or not terminated

    def limit(self):
        return self.parameters["max_episode_len"]

    def learn(self, learn, number, *transition):
        if learn:
            self.agent.memorize(*transition)
            self.agent.update(number)

    def play(self, number, env, learn):
        seed = self.reset_seed(number, learn)
        episode = Episode(number, seed, env, learn, self.steps, number)
        self.notify("begin_episode", self, episode)
        env = self.stepped(episode)
        ob, _ = env.reset(seed=seed)
        self.agent.begin_episode(number)
        for _ in range(self.limit()):
            action = self.agent.act(ob, number)
            last_ob, (ob, reward, terminated, truncated, _) = ob, env.step(action)
            done = self.done(terminated, truncated)
            self.learn(learn, number, last_ob, action, reward, done, ob)
            episode.rewards.append(reward)
            episode.ret += reward
            if terminated or truncated:
                break
        self.agent.end_episode(number, self.cut(terminated, truncated))
        if learn:
            self.count(episode)
        self.notify("end_episode", self, episode)
        return episode

    def stepped(self, episode):
        return episode.env

    def count(self, episode):
        self.episodes += 1
        self.steps += episode.length


def test_the_loop_that_is_broken_below_keeps_the_contract():
    check_loop(Own)


def bad(**methods):
    """An `Own` with other methods."""
    return type("Bad", (Own,), methods)


class SwallowsUnknown(Own):
    def __init__(self, agent, env, **parameters):
        known = self.get_default_parameters()
        super().__init__(agent, env, **{k: v for k, v in parameters.items() if k in known})


class UpdatesFirst(Own):
    def learn(self, learn, number, *transition):
        if learn:
            self.agent.update(number)
            self.agent.memorize(*transition)


class Stale(Own):
    def learn(self, learn, number, last_ob, action, reward, done, ob):
        super().learn(learn, number, ob, action, reward, done, last_ob)


class NoUpdate(Own):
    def learn(self, learn, number, *transition):
        if learn:
            self.agent.memorize(*transition)


class LearnsInEvaluation(Own):
    def learn(self, learn, number, *transition):
        super().learn(True, number, *transition)


class EvaluatesInTraining(Own):
    def evaluate(self):
        return [self.play(n, self.make_eval_env(), False) for n in range(2)]


class StaysInEvaluation(Own):
    def evaluate(self):
        self.agent.training = False
        return [self.play(n, self.make_eval_env(), False) for n in range(2)]


class DrawsInEvaluation(Own):
    def evaluate(self):
        self.agent.rng.random()
        return super().evaluate()


class SameEnv(Own):
    def evaluate(self):
        self.eval_env = self.env
        return super().evaluate()


class ReturnsNumbers(Own):
    def evaluate(self):
        return [episode.ret for episode in super().evaluate()]


class Means(Own):
    def evaluate(self):
        played = super().evaluate()
        for episode in played:
            episode.ret /= episode.length
        return played


class SilentEpisodes(Own):
    def notify(self, event, *args):
        if event != "end_episode":
            super().notify(event, *args)


class CountsEpisodes(Own):
    """Numbers its evaluation's seeds on from the last one."""

    def reset_seed(self, number, learn):
        if not learn:
            self.evaluated += 1
            number = self.evaluated
        return super().reset_seed(number, learn)


BROKEN_LOOPS = {
    "parameters are a dict": (bad(**defaults(None)), "returned a NoneType, not a dict"),
    "unknown parameters are refused": (SwallowsUnknown, "took an unknown parameter"),
    "train is there": (bad(train=None), "Bad has no train()"),
    "train is written": (type("Bad", (BaseLoop,), {}), "Bad has no train()"),
    "evaluate takes nothing more": (
        bad(evaluate=lambda self, env: []),
        "Bad.evaluate does not take evaluate()",
    ),
    "some episode is played": (bad(train=lambda self: None), "Bad.train() played no episode"),
    "memorize comes before update": (UpdatesFirst, "called update after step; expected memorize"),
    "update follows memorize": (NoUpdate, "after memorize; expected update"),
    "memorize gets the observation acted on": (Stale, "gave memorize a wrong last_ob"),
    "done is terminated alone": (
        bad(done=lambda self, terminated, truncated: terminated or truncated),
        "gave memorize done=True where terminated=False, truncated=True",
    ),
    "truncated reaches the agent": (
        bad(cut=lambda self, terminated, truncated: False),
        "gave end_episode truncated=False where the environment said True",
    ),
    "the loop's own time limit reaches the agent": (
        bad(cut=lambda self, terminated, truncated: truncated),
        "gave end_episode truncated=False at its own time limit",
    ),
    "the loop's own time limit is kept": (
        bad(limit=lambda self: 10000),
        "played 1000 steps with max_episode_len=7",
    ),
    "resets have a seed": (bad(reset_seed=lambda self, n, learn: None), "without a seed"),
    "each episode has its own seed": (
        bad(reset_seed=lambda self, n, learn: self.seed + 100 * learn),
        "gave two training episodes one reset seed",
    ),
    "seeds depend on the run's": (
        bad(reset_seed=lambda self, n, learn: n + 100 * learn),
        "Bad's reset seeds do not depend on its seed",
    ),
    "seeds depend on nothing else": (
        bad(reset_seed=lambda self, n, learn: 1000 * self.seed + self.steps + n + 500 * learn),
        "Bad's reset seeds depend on what happened in the episodes before",
    ),
    "evaluation has its own seeds": (
        bad(reset_seed=lambda self, n, learn: episode_seed(self.seed, n)),
        "Bad evaluates on the seeds of training",
    ),
    "evaluation repeats its seeds": (CountsEpisodes, "other reset seeds after training"),
    "evaluation learns nothing": (LearnsInEvaluation, "called memorize in evaluation"),
    "evaluation says so": (EvaluatesInTraining, "in evaluation with training True"),
    "evaluation ends": (StaysInEvaluation, "left the agent's training False"),
    "evaluation has its own environment": (SameEnv, "evaluated in the environment of training"),
    "evaluation returns episodes": (ReturnsNumbers, "not its episodes"),
    "returns are sums of rewards": (Means, "the rewards sum to"),
    "evaluation changes nothing": (DrawsInEvaluation, "evaluating changed what"),
    "episodes and steps are counted": (
        bad(count=lambda self, episode: setattr(self, "episodes", self.episodes + 1)),
        "Bad counts 6 episodes and 0 steps; it played 6 and ",
    ),
    "observers see steps": (
        bad(stepped=lambda self, episode: self.env if episode.training else self.eval_env),
        "Bad steps another environment than `episode.env`, which an observer may have wrapped",
    ),
    "observers are told": (SilentEpisodes, "does not tell its observers of each training episode"),
}


@pytest.mark.parametrize(("cls", "line"), BROKEN_LOOPS.values(), ids=BROKEN_LOOPS)
def test_a_broken_clause_of_the_loops_contract_is_named(cls, line):
    with pytest.raises(AssertionError, match=re.escape(line)) as caught:
        check_loop(cls)
    assert "\n" not in str(caught.value)


def test_a_loop_that_does_not_stop_is_named():
    class GoesOn(Own):
        def train(self):
            while self.episodes < self.parameters["max_episodes"]:
                self.play(self.episodes, self.env, True)
                self.notify("end_cycle", self)
            self.notify("end_training", self)

    with pytest.raises(AssertionError, match="5 more episodes after its `stop` was set"):
        check_loop(GoesOn)
