"""The default loop: one agent, one environment, an episode at a time."""

import math
from typing import Any

import numpy as np

from gym_loop.loops.base_loop import BaseLoop, Episode
from gym_loop.loops.copies import IMMUTABLE, copied
from gym_loop.loops.parameters import DEFAULT, check, defaults
from gym_loop.loops.returns import total
from gym_loop.streams import derive, episode_seed, preserved


class DefaultLoop(BaseLoop):
    """Trains and evaluates one agent in one environment, an episode at a time."""

    parameter_table = DEFAULT

    @staticmethod
    def get_default_parameters() -> dict[str, Any]:
        """Return the parameters with their defaults. `gym_loop.loops.parameters` describes them."""
        return defaults(DEFAULT)

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        """Raise ValueError for a count or a time that makes no sense."""
        check(DEFAULT, parameters)  # a subclass checks its own

    def train(self) -> None:
        """Play training episodes until the run's end, or until `stop` is set."""
        while not (self.stop or self.finished):
            self.play(self.episodes, True)
            if self.episodes % (self.parameters["episodes_per_eval"] or math.inf) == 0:
                self.evaluate()
            self.notify("end_cycle", self)
        self.notify("end_training", self)

    @property
    def finished(self) -> bool:
        """Whether the episodes or steps asked for have been played, or `finish` was called."""
        counts = (("max_episodes", self.episodes), ("max_steps", self.steps))
        return bool(self.ended) or any(n >= (self.parameters[k] or math.inf) for k, n in counts)

    def evaluate(self) -> list[Episode]:
        """Play `eval_episodes` episodes without `memorize` and `update`, and return them.

        Nothing in training changes: the environment and the seeds are evaluation's own, and the
        agent's attributes and every random stream are put back. The agent draws from streams of
        evaluation's own, the same ones each time.
        """
        self.eval_env = self.eval_env or self.make_eval_env()
        with preserved(self.agent, self.seed):
            self.agent.training = False
            played = [self.play(n, False) for n in range(self.parameters["eval_episodes"])]
        self.notify("end_evaluation", self, played)
        return played

    def play(self, number: int, learn: bool) -> Episode:
        """Play episode `number`: reset, then act, step, memorize and update until it ends."""
        agent, env = self.agent, self.env if learn else self.eval_env
        seed = episode_seed(self.seed, number, "train" if learn else "eval")
        episode = Episode(number, seed, env, learn, self.steps, number if learn else self.evaluated)
        self.notify("begin_episode", self, episode)
        act, memorize, update, step = agent.act, agent.memorize, agent.update, episode.env.step
        if learn and number < self.parameters["random_episodes"]:
            env.action_space.seed(derive(self.seed, "random", number))
            act = lambda state, episode_num: env.action_space.sample()  # noqa: E731
        actions, rewards = episode.actions, episode.rewards

        agent.begin_episode(number)
        ob, info = episode.env.reset(seed=seed)
        if not number and np.isscalar(info):  # an old reset() returned an observation of length 2
            raise ValueError(f"reset() returned {info!r} as info (expected a dict)")
        for _ in range(self.parameters["max_episode_len"]):
            action = act(ob, number)
            actions.append(action if type(action) in IMMUTABLE else copied(action))
            next_ob, reward, terminated, truncated, _ = step(action)
            rewards.append(reward)
            if learn:
                memorize(ob, action, reward, terminated, next_ob)
                update(number)
            if terminated or truncated:
                break
            ob = next_ob
        # Truncated by the environment, or by max_episode_len.
        episode.terminated, episode.truncated = bool(terminated), bool(truncated or not terminated)
        agent.end_episode(number, episode.truncated)

        if learn:
            self.episodes, self.steps = self.episodes + 1, self.steps + episode.length
            episode.metrics = agent.metrics(number) or {}
        self.evaluated += not learn
        episode.steps, episode.seconds, episode.ret = self.steps, self.seconds, total(rewards)
        self.notify("end_episode", self, episode)
        return episode
