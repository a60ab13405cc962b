"""The default loop: one agent, one environment, an episode at a time."""

from typing import Any

from gym_loop.loops.base_loop import BaseLoop, Episode
from gym_loop.loops.copies import IMMUTABLE, copied
from gym_loop.loops.limits import evaluation_is_due, training_is_over
from gym_loop.loops.parameters import DEFAULT
from gym_loop.loops.returns import as_flag, first_observation
from gym_loop.streams import derive, episode_seed, preserved
from gym_loop.sums import total


class DefaultLoop(BaseLoop):
    """Trains and evaluates one agent in one environment, an episode at a time."""

    parameter_table = DEFAULT

    @staticmethod
    def get_default_parameters() -> dict[str, Any]:
        """Return the parameters with their defaults. `gym_loop.loops.parameters` describes them."""
        return DEFAULT.defaults()

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        DEFAULT.check(parameters)  # a subclass checks its own

    def train(self) -> None:
        """Play training episodes until the run's end, or until `stop` is set."""
        while not training_is_over(self):
            if evaluation_is_due(self, 1, self.play(self.episodes, True).length):
                self.evaluate()
            self.notify("end_cycle", self)
        self.notify("end_training", self)

    def evaluate(self) -> list[Episode]:
        """Play `eval_episodes` episodes without `memorize` and `update`, and return them.

        Nothing in training changes: the environment and the seeds are evaluation's own, and the
        agent's attributes and every random stream are put back. The agent draws from streams of
        evaluation's own, the same ones each time.
        """
        self.eval_env = self.eval_env or self.make_eval_env()
        # Where wrappers learn, evaluation has a frozen copy of what training has learnt.
        getattr(self.eval_env, "freeze_wrappers_like", lambda env: None)(self.env)
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
            env.action_space.seed(derive(self.seed, f"random/{number}"))
            act = lambda state, episode_num: env.action_space.sample()  # noqa: E731
        actions, rewards = episode.actions, episode.rewards
        # Asked of the type: what wrappers lack, they look for all the way down.
        next_life = getattr(type(env), "go_on_with_game", lambda env: None)

        agent.begin_episode(number)
        ob = first_observation(episode.env.reset(seed=seed))
        for _ in range(self.parameters["max_episode_len"]):
            action = act(ob, number)
            actions.append(action if type(action) in IMMUTABLE else copied(action))
            next_ob, reward, terminated, truncated, info = step(action)
            rewards.append(reward if type(reward) in IMMUTABLE else copied(reward))
            if learn:
                memorize(ob, action, reward, terminated, next_ob)
                update(number)
            if (terminated or truncated) and (next_ob := next_life(env)) is None:
                break
            ob, terminated = next_ob, False
        # Truncated by the environment, or by max_episode_len.
        episode.terminated = as_flag(terminated, "terminated")
        episode.truncated = as_flag(truncated, "truncated") or not episode.terminated
        agent.end_episode(number, episode.truncated)

        if learn:
            episode.metrics = agent.metrics(number) or {}
            self.episodes, self.steps = self.episodes + 1, self.steps + episode.length
        self.evaluated += not learn
        episode.steps, episode.seconds, episode.info = self.steps, self.seconds, info
        # Below wrappers, an environment knows what it has played itself.
        episode.ret = total(env.bare_game.rewards if hasattr(type(env), "bare_game") else rewards)
        self.notify("end_episode", self, episode)
        return episode
