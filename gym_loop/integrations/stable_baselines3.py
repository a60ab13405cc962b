"""Stable-Baselines3's algorithms as agents: `agent=sb3/ppo`, `sb3/dqn`, `sb3/sac` and so on.

Networks, buffers, losses, exploration and schedules are the library's. `act`, `memorize` and
`end_episode` make the calls that its `learn()` makes, in the same order, so that with the same
seeds the weights are the same, bit for bit.

The library has to know whether a time limit cut an episode when it stores the last transition; the
agent learns that only at `end_episode`. So each transition waits until the next `act` or
`end_episode`; then it is stored, and the algorithm trains if that is due.

Raffin et al., Stable-Baselines3: Reliable Reinforcement Learning Implementations, JMLR 22, 2021.
"""

import contextlib
import copy
import hashlib
import inspect
import io
import logging
import os
import pydoc
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import numpy as np

from gym_loop import launch
from gym_loop.agents import BaseAgent, places
from gym_loop.agents.spaces import ANY, FITS, MORE, require, to_gymnasium
from gym_loop.compat import stable_baselines3 as compat
from gym_loop.mistake import Failure, Mistake
from gym_loop.runs import checkpoints
from gym_loop.runs.compare import value_differences
from gym_loop.terminal import short

try:
    import stable_baselines3 as sb3
    import torch
    from gymnasium import spaces
    from stable_baselines3 import HerReplayBuffer
    from stable_baselines3.common.logger import HumanOutputFormat, Logger
    from stable_baselines3.common.save_util import load_from_zip_file
    from stable_baselines3.common.utils import (
        LinearSchedule,
        obs_as_tensor,
        should_collect_more_steps,
    )
    from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage

    from gym_loop.integrations import sb3_normalize
except ImportError as error:
    raise Mistake(f'agent=sb3/... cannot run ({error}): pip install "gym-loop[sb3]"') from None

OURS = {
    "total_timesteps": None,
    "deterministic_eval": True,
    "n_envs": 1,
    "torch_threads": 1,
    "init_from": None,
    "normalize": False,
}
BUILT_FROM = (
    "n_envs",
    "init_from",
    "normalize",
)  # of these, what an agent cannot change once it is built
FILE = "agent.pt"
IN_PROGRESS = ("_last_obs", "_last_original_obs", "_last_episode_starts")  # of an episode
USERS_FILES = "gym_loop_files."  # modules of files that are named by their paths
SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
# Parameters whose values need not have their default's type: a pattern of texts, what to expect.
NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
NAME = r"[\w./~-]+[.:][A-Za-z_]\w*"  # of a function or a class, as in `_target_`
SCHEDULE = "a number, a schedule such as lin_0.001, or the dotted name of a function"
OTHERWISE = {
    **dict.fromkeys(SCHEDULES, (f"lin_{NUMBER}|{NAME}", SCHEDULE)),
    "policy": (r".+", "MlpPolicy, CnnPolicy, MultiInputPolicy, or the dotted name of a class"),
    "ent_coef": (f"auto(_{NUMBER})?", "a number, auto, or auto_ and the number to start from"),
    "target_entropy": ("auto", "a number or auto"),
    "train_freq": (
        r"[\[(]\d+, '(step|episode)'[\])]",
        "an integer, or a list such as [1, episode]",
    ),
}
# Parameters that are at least 1.
COUNTS = (
    *("total_timesteps", "n_envs", "torch_threads", "buffer_size", "batch_size", "n_steps"),
    *("n_epochs", "stats_window_size", "target_update_interval", "policy_delay"),
)
# Parameters that a fork can change, with the model's attributes that are made from each.
CHANGEABLE: dict[str, tuple[str, ...]] = {
    "learning_rate": ("lr_schedule",),
    "exploration_fraction": ("exploration_schedule",),
    "exploration_initial_eps": ("exploration_schedule",),
    "exploration_final_eps": ("exploration_schedule",),
}
CHANGEABLE |= dict.fromkeys(
    [
        "action_noise",
        "batch_size",
        "clip_range",
        "clip_range_vf",
        "gae_lambda",
        "gamma",
        "gradient_steps",
        "learning_starts",
        "max_grad_norm",
        "n_epochs",
        "normalize_advantage",
        "policy_delay",
        "sde_sample_freq",
        "seed",
        "target_entropy",
        "target_kl",
        "target_noise_clip",
        "target_policy_noise",
        "target_update_interval",
        "tau",
        "train_freq",
        "use_sde_at_warmup",
        "verbose",
        "vf_coef",
    ],
    (),
)

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
    name: ClassVar[str] = ""  # of the config option, where it is not that of the algorithm
    default_policy: ClassVar[str] = "MlpPolicy"
    vectorized = whole_batches = True  # the library's buffers have a row for each environment
    of_many_kinds = frozenset(
        (*OTHERWISE, "normalize")
    )  # parameters of which a default does not tell the type
    changeable: ClassVar[dict[str, tuple[str, ...]]] = CHANGEABLE
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
        actions = None if option in FITS else ANY  # the library refuses what else does not fit
        require(option, observation_space, action_space, observations=MORE, actions=actions)
        if self.action_space is not action_space:
            self.action_space.seed(int(self.rng.integers(2**31)))
        if self.parameters["torch_threads"]:
            torch.set_num_threads(self.parameters["torch_threads"])
        self.model = self._build()
        if self.model.device.type == "cuda":
            # Where torch has no deterministic algorithm, it warns and takes the other.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it for that
            torch.use_deterministic_algorithms(True, warn_only=True)
        if initial := self.parameters["init_from"]:
            if Path(initial).exists():
                self.lineage = initialize(self.model, Path(initial), self.option())
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
        return {**constructor(cls), "policy": cls.default_policy, **OURS}

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        """Raise ValueError for a value that the library or this agent does not take."""
        for name, (pattern, expected) in OTHERWISE.items():
            value = parameters.get(name)
            plain = value is None or callable(value) or type(value) in (int, float)
            made = isinstance(value, dict) and "_target_" in value
            if not (plain or made or re.fullmatch(pattern, str(value))):
                raise ValueError(f"{name} is {value!r}; expected {expected}")
        for name in COUNTS:
            value = parameters.get(name)
            if value is not None and not value >= 1:
                raise ValueError(f"{name} is {value}; expected at least 1")
        if parameters["tensorboard_log"] is not None:
            raise ValueError(
                "tensorboard_log is set, but the run writes the agent's metrics to TensorBoard "
                "itself, into loop.logdir; leave it null"
            )
        sb3_normalize.check(parameters["normalize"])
        of_goals = "HerReplayBuffer" in str(parameters.get("replay_buffer_class"))
        if of_goals and parameters["normalize"]:
            raise ValueError("normalize is set, which HerReplayBuffer does not take; leave it null")
        if of_goals and (parameters["n_envs"] or 1) > 1:
            raise ValueError(
                f"replay_buffer_class is HerReplayBuffer, and n_envs is {parameters['n_envs']}; "
                "expected 1: use loop=default"
            )
        if (parameters.get("replay_buffer_kwargs") or {}).get("copy_info_dict"):
            raise ValueError(
                "replay_buffer_kwargs has copy_info_dict, but an agent is not given infos; leave "
                "it out: compute_reward gets empty ones"
            )

    def begin_episode(self, episode_num: int) -> None:
        """Check that what it was to begin with was there.

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
                observation = self._normalizer.normalize_obs(observation)
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
            rows = self._numbers == episode_num if len(self._cut) > 1 else slice(None)
            self._ended[rows], self._cut[rows] = True, truncated
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
        buffer = getattr(self.model, "replay_buffer", None)
        whole = dict(vars(buffer)) if buffer else {}
        try:
            if buffer and not buffer.full:
                vars(buffer).update(_resize(whole, buffer.buffer_size, _filled(buffer)))
            torch.save(vars(self), Path(directory) / FILE, pickle_protocol=5)
        finally:
            if buffer:
                vars(buffer).update(whole)

    def load(self, directory: str | Path) -> None:
        """Become the agent that `save` wrote, under the parameters that the config gives now.

        What was on a GPU comes to the CPU on a machine that has none, which is warned of.

        Raises:
            Mistake: a parameter has changed from which networks or buffers have been built.
        """
        (now, made_from), fresh = (self.parameters, self._configured), self.model
        here = None if torch.cuda.is_available() else "cpu"
        self.__dict__ = torch.load(Path(directory) / FILE, here, weights_only=False)
        then, self.parameters = self.parameters, now
        made_before, self._configured = self._configured, made_from
        model = self.model
        replay, rollout = getattr(model, "replay_buffer", None), getattr(model, "rollout_buffer", 0)
        if here == "cpu" != model.device.type:
            for part in filter(None, (model, replay, rollout)):
                part.device = fresh.device
            log.warning(
                "the agent was on %s; here it is on the CPU, where results differ", then["device"]
            )
        if replay and not replay.full:
            vars(replay).update(_resize(vars(replay), _filled(replay), replay.buffer_size))
        for name in now:
            if not any(value_differences(made_before.get(name), made_from.get(name), ".")):
                continue
            if name not in self.changeable and (name not in OURS or name in BUILT_FROM):
                raise Mistake(
                    f"{self.option()}: {name} was {then[name]} and is {now[name]} now; networks "
                    "and buffers have been built from it, so it cannot change in a fork"
                )
            for attribute in (name, *self.changeable.get(name, ())):
                for part in (model, replay, rollout):
                    if attribute in vars(fresh) and part and hasattr(part, attribute):
                        setattr(part, attribute, getattr(fresh, attribute))
        compat.set_total_timesteps(model, now["total_timesteps"])

    def export(self, path: Path) -> str:
        """Write the algorithm as the library's `save()` does; return how it is read.

        As there, a replay buffer stays behind. The limits of observations are as Gymnasium has
        them, whose environments the library compares with the zip's.
        """
        with contextlib.ExitStack() as stack, open(path, "wb") as file:
            for name, module in list(sys.modules.items()):
                if name.startswith(USERS_FILES):  # a class or schedule of the user's goes along
                    cloudpickle.register_pickle_by_value(module)
                    stack.callback(cloudpickle.unregister_pickle_by_value, module)
            own = self.model.observation_space
            stack.callback(setattr, self.model, "observation_space", own)
            self.model.observation_space = unlimited(own)
            self.model.save(file, exclude=IN_PROGRESS)
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
        ours = {name: given.pop(name) for name in OURS}
        env: VecEnv = Spaces(ours["n_envs"], self.observation_space, self.action_space)
        normalize = ours["normalize"]
        try:
            if normalize:
                env = sb3_normalize.made(env, normalize, given["gamma"])
            model = self.algorithm(env=env, **_translate(given))
            _try_noise(model, self.action_space)
        except (AssertionError, NotImplementedError, TypeError, ValueError) as error:
            raise Mistake(f"{self.option()}: {error}") from error
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
        names = [n for n in SCHEDULES if callable(_schedule(self.parameters.get(n)))]
        return names[0] if names else None

    def _batch(self, observation: Any) -> Any:
        """Return the observation with a leading axis, as the library's vector environments give it.

        A copy: environments may write into the array that they have returned.
        """
        space, env, start = self.observation_space, self.model.env, self._first_observation
        if isinstance(space, spaces.Dict):
            batch: Any = {
                name: _rows(observation[name], part, start[name] if start else 0)
                for name, part in space.spaces.items()
            }
        else:
            batch = _rows(observation, space, start)
        # The library wants the channels of an image first.
        return env.transpose_observations(batch) if isinstance(env, VecTransposeImage) else batch

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
            after = self._normalizer.begin(observation)
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
            last = [_pick(next_observation, row) for row in done.nonzero()[0]]
            observation, normal, last = self._normalizer.follow(given, rewards, done, last)
            rewards, next_observation = self._kept(rewards, normal, done, observation, last)
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
        return normalized, _replaced(observation, done, last)


class OnPolicyAgent(StableBaselines3Agent):
    """An algorithm that learns from what its present policy has just done."""

    changeable = CHANGEABLE | {"ent_coef": ()}  # which SAC makes a tensor of

    def _explore(self) -> Any:
        model, buffer = self.model, self.model.rollout_buffer
        if buffer.full or buffer.pos == 0:
            model.policy.set_training_mode(False)
            buffer.reset()
            if model.use_sde:
                model.policy.reset_noise(model.n_envs)
        if model.use_sde and model.sde_sample_freq > 0 and buffer.pos % model.sde_sample_freq == 0:
            model.policy.reset_noise(model.n_envs)
        with torch.no_grad():
            actions, values, log_probs = self._ask(obs_as_tensor(self._observation, model.device))
        actions = actions.cpu().numpy()
        self._choice = actions, values, log_probs
        if not isinstance(self.action_space, spaces.Box):
            return actions
        if model.policy.squash_output:
            return model.policy.unscale_action(actions)
        return np.clip(actions, self.action_space.low, self.action_space.high)

    def _ask(self, observation: Any) -> Any:
        """Return the policy's actions, values and log probabilities for a batch of tensors."""
        return self.model.policy(observation)

    def _value(self, observation: Any, row: int) -> Any:
        """Return the value of an observation, a batch of one, that environment `row` ended in."""
        return self.model.policy.predict_values(observation)

    def _values(self, observation: Any, done: Any) -> Any:
        """Return the values of a batch of observations; those of `done` begin an episode."""
        return self.model.policy.predict_values(observation)

    def _more(self) -> dict[str, Any]:
        """Return what the rollout buffer keeps besides of a step."""
        return {}

    def _adopt(self, action: Any) -> Any:
        return None

    def _store(self, rewards: Any, done: Any, truncated: Any, next_observation: Any) -> None:
        model, buffer, policy = self.model, self.model.rollout_buffer, self.model.policy
        actions, values, log_probs = self._choice
        if isinstance(self.action_space, spaces.Discrete):
            actions = actions.reshape(-1, 1)
        for row in truncated.nonzero()[0]:
            # After a time limit the rewards to come are estimated by the critic.
            last, _ = policy.obs_to_tensor(_pick(next_observation, row))
            with torch.no_grad():
                rewards[row] += model.gamma * self._value(last, row)[0]
        starts = compat.swap_starts(model, done)
        buffer.add(self._observation, actions, rewards, starts, values, log_probs, **self._more())
        if buffer.full:
            with torch.no_grad():
                values = self._values(obs_as_tensor(next_observation, model.device), done)
            buffer.compute_returns_and_advantage(last_values=values, dones=done)
            compat.advance_schedules(model)
            model.train()


class OffPolicyAgent(StableBaselines3Agent):
    """An algorithm that learns from a replay buffer.

    A `HerReplayBuffer` asks the environment that the agent is in for the rewards of other goals.
    """

    needs_env = True

    def __init__(self, observation_space: Any, action_space: Any, **parameters: Any) -> None:
        super().__init__(observation_space, action_space, **parameters)
        self._steps = self._episodes = 0  # since the algorithm last trained

    def begin_episode(self, episode_num: int) -> None:
        """Let a buffer of goals ask this environment, as it is not saved with the agent.

        Raises:
            Mistake: the environment has no `compute_reward`.
        """
        super().begin_episode(episode_num)
        buffer = getattr(self.model, "replay_buffer", None)
        if not self.training or not isinstance(buffer, HerReplayBuffer):
            return
        if not places.has(self.env, "compute_reward"):
            raise Mistake(
                f"{self.option()}: the environment has no compute_reward(), which HerReplayBuffer "
                "asks for rewards; take an environment with goals, or another replay_buffer_class"
            )
        vars(buffer)["env"] = Goals(self.env)

    def _explore(self) -> Any:
        model = self.model
        if self._steps == 0:
            model.policy.set_training_mode(False)
            if model.use_sde:
                model.actor.reset_noise(model.n_envs)
        if model.use_sde and model.sde_sample_freq > 0 and self._steps % model.sde_sample_freq == 0:
            model.actor.reset_noise(model.n_envs)
        actions, self._choice = compat.sample(model, self._observation)
        return actions

    def _adopt(self, action: Any) -> Any:
        return (
            self.model.policy.scale_action(action)
            if isinstance(self.action_space, spaces.Box)
            else action
        )

    def _store(self, rewards: Any, done: Any, truncated: Any, next_observation: Any) -> None:
        model = self.model
        infos = [{"TimeLimit.truncated": cut} for cut in truncated.tolist()]
        model.replay_buffer.add(
            self._original, next_observation, self._choice, rewards, done, infos
        )
        compat.advance_schedules(model)
        compat.count_step(model)
        self._steps += 1
        for row in done.nonzero()[0]:
            self._episodes += 1
            compat.count_episode(model)
            if model.action_noise is not None:
                which = {"indices": [row]} if model.n_envs > 1 else {}
                model.action_noise.reset(**which)
        if should_collect_more_steps(model.train_freq, self._steps, self._episodes):
            return
        collected, self._steps, self._episodes = self._steps * model.n_envs, 0, 0
        if model.num_timesteps > model.learning_starts:
            gradient_steps = model.gradient_steps if model.gradient_steps >= 0 else collected
            if gradient_steps > 0:
                model.train(batch_size=model.batch_size, gradient_steps=gradient_steps)

    def _kept(
        self, rewards: Any, normalized: Any, done: Any, observation: Any, last: list[Any]
    ) -> tuple[Any, Any]:
        # The buffer keeps what the environment returned, and normalizes it when it is sampled.
        normalizer = self._normalizer
        assert normalizer
        last = [normalizer.unnormalize_obs(each) for each in last]
        return rewards, _replaced(normalizer.get_original_obs(), done, last)


class PPO(OnPolicyAgent):
    """Proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347)."""

    algorithm = sb3.PPO


class A2C(OnPolicyAgent):
    """Advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783)."""

    algorithm = sb3.A2C


class DQN(OffPolicyAgent):
    """Deep Q-network (Mnih et al. 2015, Nature 518)."""

    algorithm: ClassVar[type[Any]] = sb3.DQN

    def _scheduled(self) -> str | None:
        return "its exploration"


class SAC(OffPolicyAgent):
    """Soft actor-critic (Haarnoja et al. 2018, arXiv:1801.01290)."""

    algorithm = sb3.SAC


class TD3(OffPolicyAgent):
    """Twin delayed DDPG (Fujimoto et al. 2018, arXiv:1802.09477)."""

    algorithm = sb3.TD3


class DDPG(OffPolicyAgent):
    """Deep deterministic policy gradient (Lillicrap et al. 2015, arXiv:1509.02971)."""

    algorithm = sb3.DDPG


def initialize(model: Any, path: Path, option: str) -> dict[str, Any]:
    """Give `model` the networks and optimizers of the zip or the run at `path`.

    Returns what run.json says of it.

    Raises:
        Mistake: it is of another algorithm, or its spaces or networks are others.
    """
    name = f"agent.init_from: {short(path)}"
    if path.is_dir():
        checkpoint = checkpoints.find(path)
        assert checkpoint is not None  # it has one, or `find` has raised
        if not (checkpoint / "agent" / FILE).is_file():
            raise Mistake(f"{name} is the run of an agent that is none of Stable-Baselines3's")
        saved = torch.load(checkpoint / "agent" / FILE, "cpu", weights_only=False)["model"]
        statistics = saved.get_vec_normalize_env()
        source: Any = io.BytesIO()
        saved.save(source, exclude=IN_PROGRESS)
        source.seek(0)
        lineage = {"directory": str(path.absolute()), "episode": checkpoints.episode(checkpoint)}
    else:
        source, statistics = path, sb3_normalize.beside(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lineage = {"file": str(path.absolute()), "sha256": digest}
    try:
        content, networks, variables = load_from_zip_file(source, device=model.device)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise Mistake(f"{name} is no zip of Stable-Baselines3's: {reason}") from error
    data = content or {}
    other = algorithm_of(data)
    if other and algorithm_of(vars(model)) and other.option() != option:
        raise Mistake(f"{name} is of {other.option()}; expected one of {option}")
    for what in ("observation_space", "action_space"):
        theirs, here = unlimited(to_gymnasium(data.get(what))), unlimited(getattr(model, what))
        if theirs is not None and theirs != here:
            raise Mistake(f"{name} has another {what}: {theirs}; the environment has {here}")
    if lack := differing_layer(networks, model.get_parameters()):
        raise Mistake(f"{name} does not fit: {lack}; give it the agent.policy_kwargs that it had")
    here = model.get_vec_normalize_env()
    if statistics is not None and here is None:
        raise Mistake(f"{name} was trained with normalized observations; give agent.normalize=true")
    if here and statistics is None:
        log.warning("%s has no statistics: agent.normalize begins anew", name)
    elif here:
        here.learn_from(statistics)
    model.set_parameters(networks, device=model.device)
    for key, value in (variables or {}).items():
        if value.requires_grad:  # what is learnt, such as SAC's `log_ent_coef`
            getattr(model, key).data = value.data
    return lineage


def differing_layer(theirs: dict[str, Any], here: dict[str, Any]) -> str:
    """Return the first parameter in which two `get_parameters()` of the library differ, or ""."""

    def shapes(networks: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for network, parameters in networks.items():
            found[network] = "there"
            if not network.endswith("optimizer"):
                found |= {f"{network}.{k}": tuple(v.shape) for k, v in parameters.items()}
        return found

    one, two = shapes(theirs), shapes(here)
    for layer in (*one, *two):
        if one.get(layer) != two.get(layer):
            return f"{layer} is {one.get(layer, 'absent')} there, {two.get(layer, 'absent')} here"
    return ""


def algorithm_of(attributes: dict[str, Any]) -> "type[StableBaselines3Agent] | None":
    """Return the agent whose algorithm has these attributes, which a zip does not name.

    It is the one whose constructor's parameters agree best; None if several do.
    """
    known = {kind: set(constructor(kind)) for kind in subclasses(StableBaselines3Agent)}
    every = set().union(*known.values()) - {"policy", "policy_kwargs", "seed", "device"}
    there = every & attributes.keys()
    differing = {kind: len(there ^ (names & every)) for kind, names in known.items()}
    least = min(differing.values())
    best = [kind for kind, count in differing.items() if count == least]
    return best[0] if len(best) == 1 else None


def constructor(kind: "type[StableBaselines3Agent]") -> dict[str, Any]:
    """Return the parameters of an algorithm's constructor, with their defaults."""
    theirs = inspect.signature(kind.algorithm.__init__).parameters.values()
    return {p.name: p.default for p in theirs if p.name not in ("self", "env", "_init_setup_model")}


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    """Yield the classes below `kind` that name an algorithm."""
    for each in kind.__subclasses__():
        if "algorithm" in vars(each):
            yield each
        yield from subclasses(each)


class Spaces(VecEnv):  # type: ignore[misc]
    """Stands for the environment when an algorithm is constructed: it has the two spaces alone."""

    given: Any = None  # what it returns to a normalizer

    def reset(self) -> Any:
        """Return what is given; else observations of zeros, which are not used."""
        if self.given is not None:
            return self.given
        space = self.observation_space
        if isinstance(space, spaces.Dict):
            return {name: self._zeros(part) for name, part in space.spaces.items()}
        return self._zeros(space)

    def _zeros(self, space: Any) -> Any:
        return np.zeros((self.num_envs, *tuple(space.shape)), space.dtype)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return None for each environment."""
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for each environment."""
        return [False] * self.num_envs

    def close(self) -> None:
        """Do nothing."""

    def _absent(self, *args: Any, **kwargs: Any) -> Any:
        raise Mistake("this algorithm asks for the environment itself, which no agent sees")

    def step_wait(self) -> Any:
        """Return what is given."""
        return self.given

    step_async = set_attr = env_method = _absent


class Goals:
    """Stands for the environment in a `HerReplayBuffer`: it computes rewards alone."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def env_method(self, name: str, *args: Any, indices: Any = None) -> list[Any]:
        """Return what the first environment's method `name` returns, in a list."""
        return places.each(self.env, name, *args)[:1]


class Transposed(VecTransposeImage):  # type: ignore[misc]
    """The library's `VecTransposeImage`, which does not pickle, made to pickle as what it wraps."""

    def __reduce__(self) -> Any:
        return Transposed, (self.venv,)


def from_zero(space: Any) -> Any:
    """Return a space of Gymnasium's that begins at 0: `space` itself where it does already."""
    if isinstance(space, spaces.Dict) and first(space):
        return spaces.Dict({key: from_zero(part) for key, part in space.spaces.items()})
    if isinstance(space, spaces.Discrete) and first(space):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete) and np.any(first(space)):
        return spaces.MultiDiscrete(space.nvec, dtype=space.dtype)
    return space


def unlimited(space: Any) -> Any:
    """Return a space whose limits that are the largest float are infinite: gym has the former."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: unlimited(part) for key, part in space.spaces.items()})
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f":
        return space
    largest = np.finfo(space.dtype).max
    low = np.where(space.low <= -largest, -np.inf, space.low)
    high = np.where(space.high >= largest, np.inf, space.high)
    return spaces.Box(low, high, space.shape, space.dtype.type)


def first(space: Any) -> Any:
    """Return the `start` of a space, of a Dict that of each part; 0 where everything begins at 0.

    Of a MultiDiscrete it is an array.
    """
    if hasattr(space, "spaces") and hasattr(space.spaces, "items"):
        parts = {key: first(part) for key, part in space.spaces.items()}
        return parts if any(np.any(part) for part in parts.values()) else 0
    start = getattr(space, "start", 0)
    return start if np.any(start) else 0


def _try_noise(model: Any, space: Any) -> None:
    """Draw action noise once, so that a mistake in it is found before anything starts.

    Raises:
        ValueError: it does not fit the actions.
    """
    noise = copy.deepcopy(getattr(model, "action_noise", None))
    if noise is None:
        return
    before = np.random.get_state()
    try:
        shape = np.shape(noise())
        np.broadcast_shapes(shape, (model.n_envs, *space.shape))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"action_noise {noise!r:.80} does not fit actions of shape {space.shape} ({error}); "
            "give mean and sigma as lists, with a number for each part of an action"
        ) from None
    finally:
        np.random.set_state(before)


def _translate(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as the library takes them, from how a config can write them."""
    for name, value in parameters.items():
        if name in SCHEDULES:
            parameters[name] = _schedule(value)
        elif name.endswith("_class") or (name == "policy" and re.fullmatch(NAME, str(value))):
            parameters[name] = _locate(name, value)
        elif name == "action_noise" and hasattr(value, "__dict__"):
            lists = {key: part for key, part in vars(value).items() if isinstance(part, list)}
            vars(value).update({key: np.array(part, float) for key, part in lists.items()})
        elif name == "train_freq" and isinstance(value, list):
            parameters[name] = tuple(value)
        elif name == "policy_kwargs" and value:
            for key in value:
                if key.endswith(("_class", "_fn")):
                    value[key] = _locate(key, value[key])
    return parameters


def _schedule(value: Any) -> Any:
    """Return the schedule that `lin_0.001` or a dotted name stands for; other values unchanged."""
    if not isinstance(value, str):
        return value
    if not value.startswith("lin_") and re.fullmatch(NAME, value):
        return _locate("the schedule", value)
    return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)


def _locate(name: str, value: Any) -> Any:
    """Return what the dotted name `value` names, or `value` itself when it is no name."""
    if not isinstance(value, str):
        return value
    if value == "HerReplayBuffer":
        return HerReplayBuffer
    try:
        found = launch.locate(value) if ":" in value else pydoc.locate(value)
    except (ImportError, AttributeError, OSError) as error:
        raise ValueError(f"{name} is {value!r}, which cannot be imported: {error}") from None
    if not callable(found):
        raise ValueError(f"{name} is {value!r}; expected a dotted name such as torch.nn.ReLU")
    return found


def _rows(observation: Any, space: Any, start: Any) -> Any:
    """Return a copy with one row for each environment, of the type that the library keeps."""
    rows = np.array(observation, space.dtype).reshape((-1, *space.shape))
    return rows - np.asarray(start, space.dtype) if np.any(start) else rows


def _pick(batch: Any, index: Any) -> Any:
    """Return one observation of a batch."""
    if isinstance(batch, dict):
        return {name: part[index] for name, part in batch.items()}
    return batch[index]


def _replaced(batch: Any, rows: Any, observations: list[Any]) -> Any:
    """Return a copy of a batch in which `rows`, flags, are those `observations`."""
    if isinstance(batch, dict):
        return {k: _replaced(v, rows, [each[k] for each in observations]) for k, v in batch.items()}
    copied = np.array(batch)
    for row, observation in zip(rows.nonzero()[0], observations, strict=True):
        copied[row] = observation
    return copied


def _filled(buffer: Any) -> int:
    """Return how many rows are filled; one more, which may hold the last next observation."""
    return int(min(buffer.pos + 1, buffer.buffer_size))


def _resize(attributes: dict[str, Any], old: int, new: int) -> dict[str, Any]:
    """Return the arrays of `old` rows among `attributes`, cut or filled with zeros to `new`."""

    def resized(array: Any) -> Any:
        if new <= old:
            return array[:new].copy()
        grown = np.zeros((new, *array.shape[1:]), array.dtype)
        grown[:old] = array
        return grown

    result = {}
    for name, value in attributes.items():
        if name == "_current_ep_start":  # of a HerReplayBuffer: a row for each environment
            continue
        if isinstance(value, np.ndarray) and value.shape[:1] == (old,):
            result[name] = resized(value)
        elif isinstance(value, dict):
            parts = {k: v for k, v in value.items() if isinstance(v, np.ndarray)}
            result[name] = value | {k: resized(v) for k, v in parts.items() if len(v) == old}
    return result
