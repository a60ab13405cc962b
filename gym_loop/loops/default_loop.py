"""The default loop: one agent, one environment, an episode at a time."""

import math
from typing import Any

import numpy as np

from gym_loop.loops.base_loop import BaseLoop, Episode
from gym_loop.loops.copies import IMMUTABLE, copied
from gym_loop.loops.returns import total
from gym_loop.streams import derive, episode_seed, preserved


class DefaultLoop(BaseLoop):
    """Trains and evaluates one agent in one environment, an episode at a time."""

    @staticmethod
    def get_default_parameters() -> dict[str, Any]:
        """Return the parameters. A directory is relative to the run's, None means no limit.

        Parameters:
            max_episodes: training episodes, null: no limit
            max_steps: the episode in which it is reached is played to its end
            max_time: seconds; then checkpoint and stop, to be resumed
            max_episode_len: steps after which an episode is truncated
            random_episodes: first episodes, played with random actions
            render: show training in a window
            record: record training episodes as video
            record_every: record every so many training episodes
            record_dir: where recordings go
            logdir: TensorBoard events of training
            trace: keep what it takes to play any episode again
            episodes_per_checkpoint: a checkpoint is due every so many episodes; null: never
            time_per_checkpoint: seconds
            keep_checkpoints: newest ones kept, besides the best and the final one
            episodes_per_eval: evaluate after every so many training episodes
            eval_episodes: episodes of an evaluation
            eval_render: show evaluation in a window
            eval_record: record evaluation episodes as video
            eval_record_dir: where evaluation's recordings go
            eval_logdir: TensorBoard events of evaluation
            on_nan: stop or warn when a return or a metric is NaN or infinite
        """
        length = {"max_episodes": 5, "max_steps": None, "max_time": None, "max_episode_len": 5000}
        training = {"random_episodes": 0, "logdir": "./logs", "trace": True, "on_nan": "warn"}
        watching = {"render": False, "record": False, "eval_render": False, "eval_record": False}
        recording = {"record_dir": "./episode_records", "eval_record_dir": "./eval_records"}
        saving = {"episodes_per_checkpoint": 10, "time_per_checkpoint": None, "keep_checkpoints": 2}
        evaluation = {"episodes_per_eval": None, "eval_episodes": 10, "eval_logdir": "./eval_logs"}
        return length | training | watching | recording | saving | evaluation | {"record_every": 1}

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        """Raise ValueError for a count or a time that makes no sense."""
        for name in DefaultLoop.get_default_parameters():  # a subclass checks its own
            least = 0 if name in ("random_episodes", "eval_episodes") or "time" in name else 1
            # NaN is not at least anything.
            if type(value := parameters.get(name, 1)) in (int, float) and not value >= least:
                raise ValueError(f"{name} is {value}; expected at least {least}")

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
        """Whether the number of episodes or steps that was asked for has been played."""
        episodes, steps = self.parameters["max_episodes"], self.parameters["max_steps"]
        return self.episodes >= (episodes or math.inf) or self.steps >= (steps or math.inf)

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
