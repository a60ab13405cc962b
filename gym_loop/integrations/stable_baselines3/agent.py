"""An algorithm of Stable-Baselines3 as an agent: what those of both families have in common.

The library has to know whether a time limit cut an episode when it stores the last transition; the
agent learns that only at `end_episode`. So each transition waits until the next `act` or
`end_episode`; then it is stored, and the algorithm trains if that is due.
"""

import copy
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import HumanOutputFormat, Logger
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage

from gym_loop.agents import BaseAgent
from gym_loop.agents.spaces import BASIC, BASIC_OR_DICT, FITS, require, to_gymnasium
from gym_loop.compat import stable_baselines3 as compat
from gym_loop.integrations import sb3_normalize
from gym_loop.integrations.stable_baselines3 import parameters as of_config
from gym_loop.integrations.stable_baselines3 import saving
from gym_loop.integrations.stable_baselines3.environment import Spaces, Transposed
from gym_loop.integrations.stable_baselines3.observations import (
    as_views,
    first,
    from_zero,
    pick,
    replaced,
    rows,
)
from gym_loop.integrations.stable_baselines3.parameters import BUILT_FROM, CHANGEABLE, OURS
from gym_loop.mistake import Failure, Mistake, nearest, text_of
from gym_loop.runs.compare import value_differences

log = logging.getLogger(__name__)


class StableBaselines3Agent(BaseAgent):
    """An algorithm of Stable-Baselines3 as an agent; a subclass names the algorithm.

    Its parameters are those of the algorithm's constructor, by name and with its defaults (`env`
    apart), and these:

    - `total_timesteps`: training steps over which its schedules run.
    - `deterministic_eval`: whether evaluation takes the policy's best action, or samples.
    - `n_envs`: how many environments it is given at once.
    - `torch_threads`: threads of PyTorch; None leaves it alone. With one, results do not depend on
      the number of cores, and small networks are fastest.
    - `init_from`: a zip of the library's, or a run's directory, whose networks and optimizers it
      begins with. Counters begin anew. Unpickles: only for files that are trusted.
    - `normalize`: observations and rewards by the library's `VecNormalize`, with the algorithm's
      gamma; or a mapping of its arguments, such as `{norm_obs: true, norm_reward: false}`. Its
      statistics are the agent's; evaluation leaves them as they are. With one environment, the last
      transition of an episode is stored when the next one begins: as in the library, the first
      observation there counts before it.

    Where the library expects a class or a schedule, a dotted name will do (`activation_fn:
    torch.nn.ReLU`), and `_target_` makes any object. A learning rate or clip range of `lin_0.001`
    falls linearly from 0.001 to 0.

    The library counts actions and discrete observations from 0. Those of a space with another
    `start` are shifted on their way in and out; the agent's own two spaces begin at 0.

    Raises:
        Mistake: the environment's spaces do not fit, or the library refuses a parameter.
    """

    algorithm: ClassVar[type[Any]]
    family: ClassVar[type[Any]] = BaseAlgorithm  # that the algorithm has to be of
    name: ClassVar[str] = ""  # of the config option, where it is not that of the algorithm
    default_policy: ClassVar[str] = "MlpPolicy"
    vectorized = whole_batches = True  # the library's buffers have a row for each environment
    # Parameters of which a default does not tell the type.
    of_many_kinds = frozenset((*of_config.OTHER_TYPES, "normalize"))
    changeable: ClassVar[dict[str, tuple[str, ...]]] = CHANGEABLE
    ours: ClassVar[dict[str, Any]] = OURS  # parameters that the constructor does not have
    # Parameters that follow other keys of the config, as those of the library's options do.
    follow_the_config: ClassVar[dict[str, str]] = {
        "seed": "${seed}",
        "total_timesteps": "${loop.max_steps}",
        "n_envs": "${oc.select:loop.num_envs,1}",
    }
    formats = (".zip",)  # that `export` writes
    # What it was initialized from, for run.json: `file` and `sha256`, or `directory` and `episode`.
    lineage: dict[str, Any] | None = None
    _lacks: str | None = None  # `init_from`, as long as it is not there and no checkpoint was read
    _first_observation: Any = 0  # the `start` of the environment's spaces, or 0
    _first_action: Any = 0

    def __init__(self, observation_space: Any, action_space: Any, **parameters: Any) -> None:
        own = from_zero(to_gymnasium(observation_space)), from_zero(to_gymnasium(action_space))
        super().__init__(*own, **parameters)
        self._first_observation, self._first_action = first(observation_space), first(action_space)
        option = self.option()
        actions = None if option in FITS else BASIC  # the library refuses what else does not fit
        require(
            option, observation_space, action_space, observations=BASIC_OR_DICT, actions=actions
        )
        if self.action_space is not action_space:
            self.action_space.seed(int(self.rng.integers(2**31)))
        if self.parameters["torch_threads"]:
            torch.set_num_threads(self.parameters["torch_threads"])
        self.model = self._build()
        if self.model.device.type == "cuda":
            # Where torch has no deterministic algorithm, it warns and takes the other.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it for that
            torch.use_deterministic_algorithms(True, warn_only=True)
        elif str(self.parameters["device"]).startswith("cuda"):
            log.warning("agent.device is cuda, but PyTorch finds no GPU: the agent is on the CPU")
        if initial := self.parameters["init_from"]:
            if Path(initial).exists():
                known = {
                    kind.option(): compat.constructor(kind.algorithm)
                    for kind in subclasses(StableBaselines3Agent)
                }
                self.lineage = saving.initialize(self.model, Path(initial), self.option(), known)
            else:
                self._lacks = initial
        # Networks and buffers keep the space that they were given, which nothing draws from.
        self.action_space = copy.deepcopy(self.action_space)
        n_envs = self.parameters["n_envs"]
        self._returns, self._lengths = np.zeros(n_envs), np.zeros(n_envs, int)
        # Of the last step, until it is stored: what `act` saw and chose, what `memorize` brought,
        # in whose episode each row is, and which rows have since been ended, or cut.
        self._observation: Any = None
        self._original: Any = None  # the same, as the environment returned it
        self._choice: Any = None
        self._result: Any = None
        self._numbers: Any = None
        self._ended, self._cut = np.zeros(n_envs, bool), np.zeros(n_envs, bool)

    @property
    def _normalizer(self) -> "sb3_normalize.Normalizer | None":
        return self.model.get_vec_normalize_env()  # type: ignore[no-any-return]

    @property
    def _shifts(self) -> bool:
        """Whether the environment's actions begin at another number than 0."""
        return bool(np.any(self._first_action))

    @classmethod
    def option(cls) -> str:
        """Return the name of the config option, such as `sb3/ppo`."""
        return cls.name or f"sb3/{cls.algorithm.__name__.lower()}"

    @classmethod
    def get_default_parameters(cls) -> dict[str, Any]:  # type: ignore[override]
        """Return the constructor's parameters with its defaults, and ours."""
        return {**compat.constructor(cls.algorithm), "policy": cls.default_policy, **cls.ours}

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        of_config.check(parameters)

    def begin_episode(self, episode_num: int) -> None:
        """Check that the file of `init_from` was there.

        Raises:
            Mistake: it was not, and no checkpoint was loaded in its place.
        """
        if self._lacks:
            raise Mistake(f"agent.init_from: there is no {self._lacks}")

    def act(self, state: Any, episode_num: Any) -> Any:
        """Return the exploring action; in evaluation, that of the policy alone.

        With an array of episode numbers, `state` and the action are batches.

        Raises:
            Failure: a batch has not as many rows as there are environments.
        """
        observation = self._batch(state)
        self.model.action_space = self.action_space  # which evaluation replaces by a copy
        if self.training:
            self._see(observation)
            self._numbers = np.atleast_1d(episode_num)
            if len(self._numbers) != self.parameters["n_envs"]:
                raise Failure(
                    f"{self.option()} got {len(self._numbers)} observations at once; expected "
                    f"agent.n_envs={self.parameters['n_envs']}, which loop=vector sets. "
                    "Environments that reset instead of a step do not fit"
                )
            action = self._explore()
        else:
            if self._normalizer:
                observation = self._laid_out(self._normalizer.normalize_obs(observation))
            best = self.parameters["deterministic_eval"]
            action = self._predict(observation, best)
        if self._shifts:
            action = action + self._first_action
        return action if isinstance(episode_num, np.ndarray) else action[0]

    def memorize(self, last_ob: Any, action: Any, reward: Any, done: Any, ob: Any) -> None:
        """Keep the transition until it is known whether a time limit cut it."""
        if self._result is not None or self._choice is None:  # the loop has chosen the action
            self._see(self._batch(last_ob))
            taken = np.array(action).reshape((-1, *self.action_space.shape))
            self._choice = self._adopt(taken - self._first_action if self._shifts else taken)
        rewards, terminated = np.array(reward, np.float32), np.array(done, bool)
        self._result = rewards.reshape(-1), terminated.reshape(-1), self._batch(ob)

    def update(self, episode_num: Any) -> None:
        """Do nothing: training comes when the transition is stored."""

    def end_episode(self, episode_num: int, truncated: bool) -> None:
        """Store the last transition, once the episodes of all its rows have ended."""
        if self.training and self._result is not None:
            here = self._numbers == episode_num if len(self._cut) > 1 else slice(None)
            self._ended[here], self._cut[here] = True, truncated
            waits = self._normalizer and len(self._cut) == 1  # for the next episode to begin
            if self._ended.all() and not waits:
                self._settle(None)

    def metrics(self, episode_num: int) -> dict[str, float]:
        """Return what the algorithm has logged since the last call, under the library's names.

        `train/*` is there when it has trained. `rollout/ep_rew_mean` and `rollout/ep_len_mean` are
        the mean return and length of the last `stats_window_size` training episodes.
        """
        logger, model = self.model.logger, self.model
        for name, key in (("rollout/ep_rew_mean", "r"), ("rollout/ep_len_mean", "l")):
            if finished := model.ep_info_buffer:
                logger.record(name, sum([info[key] for info in finished]) / len(finished))
        if model.verbose:
            values, excluded = logger.name_to_value, logger.name_to_excluded
            HumanOutputFormat(sys.stdout).write(values, excluded, model.num_timesteps)
        numbers = {name: float(value) for name, value in logger.name_to_value.items()}
        logger.dump()  # clears the values; the logger has no outputs
        return numbers

    def save(self, directory: str | Path) -> None:
        """Write networks, optimizers, counters and the filled part of the buffer."""
        self.model.action_space = self.action_space
        file = Path(directory) / saving.FILE
        # Opened here: PyTorch's own writer does not say why it cannot write, and is slower.
        with saving.empty_rows_left_out(self.model), open(file, "wb") as opened:
            torch.save(vars(self), opened, pickle_protocol=5)

    def load(self, directory: str | Path) -> None:
        """Become the agent that `save` wrote, under the parameters that the config gives now.

        What was on a GPU comes to the CPU on a machine that has none, which is warned of.

        Raises:
            Mistake: a parameter has changed from which networks or buffers have been built.
        """
        now, made_from, fresh = self.parameters, self._configured, self.model
        self.__dict__ = saving.read(Path(directory), fresh.device)
        if vars(self.model).get("replay_buffer", self) is None:  # it was left out
            self.model.replay_buffer = fresh.replay_buffer
        then, self.parameters = self.parameters, now
        made_before, self._configured = self._configured, made_from
        # Parameters that the version which saved it had not are as they are by default.
        then, made_before = (self.get_default_parameters() | each for each in (then, made_before))
        for name in now:
            if not any(value_differences(made_before.get(name), made_from.get(name), ".")):
                continue
            if name not in self.changeable and (name not in self.ours or name in BUILT_FROM):
                raise Mistake(
                    f"{self.option()}: {name} was {then[name]} and is {now[name]} now; networks "
                    "and buffers have been built from it, so it cannot change in a fork"
                )
            for attribute in (name, *self.changeable.get(name, ())):
                for part in (self.model, *saving.buffers(self.model)):
                    if attribute in vars(fresh) and hasattr(part, attribute):
                        setattr(part, attribute, getattr(fresh, attribute))
        compat.set_total_timesteps(self.model, now["total_timesteps"])

    def export(self, path: Path) -> str:
        """Write the algorithm as the library's `save()` does; return how it is read.

        As there, a replay buffer stays behind. The limits of observations are as Gymnasium has
        them, whose environments the library compares with the zip's.
        """
        saving.write_zip(self.model, path)
        more = ""
        if self._normalizer:
            statistics = path.with_name(path.stem + sb3_normalize.SUFFIX)
            self._normalizer.write(statistics)
            more = f"; VecNormalize.load({statistics.name!r}, ENV) has its statistics"
        kind = type(self.model)
        shift = "; it counts actions from 0, the environment does not" if self._shifts else ""
        return (
            f"{kind.__module__.partition('.')[0]}.{kind.__name__}.load(FILE) reads it{more}{shift}"
        )

    def _build(self) -> Any:
        """Return the algorithm, set up as `learn()` does it."""
        given = copy.deepcopy(self.parameters)
        ours = {name: given.pop(name) for name in self.ours}
        env: VecEnv = Spaces(ours["n_envs"], self.observation_space, self.action_space)
        normalize = ours["normalize"]
        try:
            if not issubclass(self.algorithm, self.family):
                raise TypeError(f"{self.algorithm.__name__} is no {self.family.__name__}")
            policy, known = given["policy"], self.algorithm.policy_aliases
            if policy not in known and re.fullmatch(r"\w+", str(policy)):
                raise ValueError(f"no policy {policy!r}{nearest(policy, known)}")
            if normalize:
                env = sb3_normalize.made(env, normalize, given["gamma"])
            model = self.algorithm(env=env, **of_config.translate(given))
            of_config.try_noise(model, self.action_space)
        except (AssertionError, NotImplementedError, TypeError, ValueError) as error:
            raise Mistake(f"{self.option()}: {text_of(error)}") from error
        if isinstance(model.env, VecTransposeImage):
            model.env = Transposed(model.env.venv)
        model.set_logger(Logger(None, []))
        compat.set_up(model, ours["total_timesteps"])
        if normalize:
            model.get_vec_normalize_env().training = True
        model.start_time = 0  # unused, but in the pickle: two runs of one config are to be equal
        if ours["total_timesteps"] is None and (scheduled := self._scheduled()):
            raise Mistake(
                f"{self.option()}: {scheduled} follows a schedule over agent.total_timesteps, "
                "which is null; give loop.max_steps=50000 or what you want, or set it itself"
            )
        return model

    def _scheduled(self) -> str | None:
        """Return the name of a parameter whose value changes in the course of training."""
        given = ((name, self.parameters.get(name)) for name in of_config.SCHEDULES)
        return next((n for n, value in given if callable(of_config.schedule(n, value))), None)

    def _batch(self, observation: Any) -> Any:
        """Return the observation with a leading axis, as the library's vector environments give it.

        A copy: environments may write into the array that they have returned.
        """
        space, env, start = self.observation_space, self.model.env, self._first_observation
        if isinstance(space, spaces.Dict):
            batch: Any = {
                name: rows(observation[name], part, start[name] if start else 0)
                for name, part in space.spaces.items()
            }
        else:
            batch = rows(observation, space, start)
        # The library wants the channels of an image first.
        return env.transpose_observations(batch) if isinstance(env, VecTransposeImage) else batch

    def _laid_out(self, batch: Any) -> Any:
        """Return a batch from the normalizer with its images in memory as the library has them.

        The normalizer's copy forgets it of images with one channel; convolutions round otherwise.
        """
        env = self.model.env
        if not isinstance(env, VecTransposeImage):
            return batch
        if isinstance(batch, dict):
            return batch | {name: as_views(batch[name]) for name in env.image_space_keys}
        return as_views(batch)

    def _predict(self, observation: Any, deterministic: bool) -> Any:
        """Return the policy's actions for a batch of observations, for evaluation."""
        return self.model.predict(observation, deterministic=deterministic)[0]

    def _explore(self) -> Any:
        """Return a batch of actions for `_observation`; keep in `_choice` what is to be stored."""
        raise NotImplementedError

    def _adopt(self, action: Any) -> Any:
        """Return the `_choice` for actions that others chose; None: they are not learned from.

        The loop chooses the actions of `random_episodes`.
        """
        raise NotImplementedError

    def _store(self, rewards: Any, done: Any, truncated: Any, next_observation: Any) -> None:
        """Store a batch of transitions, and train where that is due; all arrays have a row each.

        `truncated` are those among `done`, the ended, that a time limit ended.
        """
        raise NotImplementedError

    def _see(self, observation: Any) -> None:
        """Store the waiting transition, and go on from `observation`, a batch."""
        waited = self._result is not None
        after = self._settle(observation)
        if self._normalizer and not waited:
            after = self._laid_out(self._normalizer.begin(observation))
        self._observation, self._original = after, observation

    def _settle(self, observation: Any) -> Any:
        """Store the waiting transition, if there is one; return `observation`, normalized.

        Where an episode has ended, it is the first of the next one; None: it is not known.
        """
        if self._result is None:
            return observation
        rewards, terminated, next_observation = self._result
        truncated = self._cut & ~terminated
        done = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        for row in done.nonzero()[0]:
            info = {"r": float(self._returns[row]), "l": int(self._lengths[row])}
            self.model.ep_info_buffer.append(info)
            self._returns[row] = self._lengths[row] = 0
        if self._normalizer:
            given = next_observation if observation is None else observation
            last = [pick(next_observation, row) for row in done.nonzero()[0]]
            observation, normal, last = self._normalizer.follow(given, rewards, done, last)
            rewards, next_observation = self._kept(rewards, normal, done, observation, last)
            observation = self._laid_out(observation)
            next_observation = self._laid_out(next_observation)
        if self._choice is not None:
            self.model.num_timesteps += len(rewards)
            self._store(rewards, done, truncated, next_observation)
        self._choice = self._result = None
        self._ended.fill(False)
        self._cut.fill(False)
        return observation

    def _kept(
        self, rewards: Any, normalized: Any, done: Any, observation: Any, last: list[Any]
    ) -> tuple[Any, Any]:
        """Return the rewards and next observations that the buffer keeps, of normalized ones.

        `observation` is where the next step begins, `last` where those of `done` have ended.
        """
        return normalized, replaced(observation, done, last)


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    """Yield the classes below `kind` that name an algorithm."""
    for each in kind.__subclasses__():
        if "algorithm" in vars(each):
            yield each
        yield from subclasses(each)
