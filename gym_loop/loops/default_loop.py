"""The training loop that you no longer write."""

import math
from typing import Any

import numpy as np

from gym_loop.loops.base_loop import BaseLoop, Episode
from gym_loop.loops.streams import episode_seed, preserved


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
        """
        return {
            "max_episodes": 5,
            "max_steps": None,
            "max_time": None,
            "max_episode_len": 5000,
            "random_episodes": 0,
            "render": False,
            "record": False,
            "record_every": 1,
            "record_dir": "./episode_records",
            "logdir": "./logs",
            "trace": True,
            "episodes_per_checkpoint": 10,
            "time_per_checkpoint": None,
            "keep_checkpoints": 2,
            "episodes_per_eval": None,
            "eval_episodes": 10,
            "eval_render": False,
            "eval_record": False,
            "eval_record_dir": "./eval_records",
            "eval_logdir": "./eval_logs",
        }

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        """Raise ValueError for a count or a time that makes no sense."""
        for name, value in parameters.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            least = 0 if name in ("random_episodes", "eval_episodes") else 1
            least = 0 if "time" in name else least
            if number and not value >= least:
                raise ValueError(f"{name} is {value}; expected at least {least}")

    def train(self) -> None:
        """Play training episodes until the run's end, or until `stop` is set."""
        per_eval = self.parameters["episodes_per_eval"]
        while not (self.stop or self.finished):
            self.play(self.begin_episode(self.env, self.episodes, training=True))
            if per_eval and self.episodes % per_eval == 0:
                self.evaluate()
            self.notify("end_cycle", self)
        self.notify("end_training", self)

    @property
    def finished(self) -> bool:
        """Whether the number of episodes or steps that was asked for has been played."""
        limits = (
            (self.parameters["max_episodes"], self.episodes),
            (
                self.parameters["max_steps"],
                self.steps,
            ),
        )
        return any(limit is not None and count >= limit for limit, count in limits)

    def evaluate(self) -> list[Episode]:
        """Play `eval_episodes` episodes without `memorize` and `update`, and return them.

        Nothing in training changes: the environment and the seeds are evaluation's own, and the
        agent's attributes and every random stream are put back.
        """
        with preserved(self.agent):
            self.agent.training = False
            numbers = range(self.parameters["eval_episodes"])
            played = [
                self.play(self.begin_episode(self.eval_env, n, training=False)) for n in numbers
            ]
        self.notify("end_evaluation", self, played)
        return played

    def begin_episode(self, env: Any, number: int, *, training: bool) -> Episode:
        """Return the episode to be played, with its reset seed."""
        seed = episode_seed(self.seed, number, "train" if training else "eval")
        index = number if training else self.evaluated
        return Episode(number, seed, env, training, self.steps, index)

    def play(self, episode: Episode) -> Episode:
        """Play one episode: reset, then act, step, memorize and update until it ends."""
        agent, env, number, learn = self.agent, episode.env, episode.number, episode.training
        act, memorize, update, step = agent.act, agent.memorize, agent.update, env.step
        keep_action, keep_reward = episode.actions.append, episode.rewards.append
        hooks, copy = self.step_hooks, np.array
        arrays = env.action_space.shape != ()  # which an agent may use again and again

        self.notify("begin_episode", self, episode)
        if learn and number < self.parameters["random_episodes"]:
            env.action_space.seed(episode.seed)

            def act(state: Any, episode_num: int) -> Any:
                return env.action_space.sample()

        agent.begin_episode(number)
        ob, _ = env.reset(seed=episode.seed)
        for hook in hooks:
            hook()
        terminated = truncated = False
        for _ in range(self.parameters["max_episode_len"]):
            action = act(ob, number)
            keep_action(copy(action) if arrays else action)
            next_ob, reward, terminated, truncated, _ = step(action)
            keep_reward(reward)
            if learn:
                memorize(ob, action, reward, terminated, next_ob)
                update(number)
            if hooks:
                for hook in hooks:
                    hook()
            if terminated or truncated:
                break
            ob = next_ob
        else:
            truncated = True
        agent.end_episode(number, bool(truncated))

        if learn:
            self.episodes += 1
            self.steps += episode.length
            episode.metrics = agent.metrics(number) or {}
        else:
            self.evaluated += 1
        episode.steps, episode.seconds = self.steps, self.seconds
        episode.ret = math.fsum(episode.rewards)  # exact: the same on every Python
        episode.terminated, episode.truncated = bool(terminated), bool(truncated)
        self.notify("end_episode", self, episode)
        return episode
