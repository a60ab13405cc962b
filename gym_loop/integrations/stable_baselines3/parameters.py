"""The parameters of Stable-Baselines3's agents: how a config writes them, and what is refused."""

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.utils import LinearSchedule, get_device

from gym_loop import launch
from gym_loop.integrations import sb3_normalize
from gym_loop.mistake import text_of

# The parameters that the constructor of an algorithm does not have.
OURS = {
    "total_timesteps": None,
    "deterministic_eval": True,
    "n_envs": 1,
    "torch_threads": 1,
    "init_from": None,
    "normalize": False,
}
BUILT_FROM = ("n_envs", "init_from", "normalize")  # of OURS, those that a fork cannot change
SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
NAME = r"[\w./~-]+[.:][A-Za-z_]\w*"  # of a function or a class, as in `_target_`
SCHEDULE = "a number, a schedule such as lin_0.001, or the dotted name of a function"
# Parameters that take more than their default's type: the pattern of a text, and the advice.
OTHER_TYPES = {
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
    (
        *("action_noise", "batch_size", "clip_range", "clip_range_vf", "gae_lambda", "gamma"),
        *("gradient_steps", "learning_starts", "max_grad_norm", "n_epochs", "normalize_advantage"),
        *("policy_delay", "sde_sample_freq", "seed", "target_entropy", "target_kl", "tau"),
        *("target_noise_clip", "target_policy_noise", "target_update_interval", "train_freq"),
        *("use_sde_at_warmup", "verbose", "vf_coef"),
    ),
    (),
)


def check(parameters: dict[str, Any]) -> None:
    """Raise ValueError for a value that the library or its agent does not take."""
    for name, (pattern, expected) in OTHER_TYPES.items():
        value = parameters.get(name)
        plain = value is None or callable(value) or type(value) in (int, float)
        made = isinstance(value, dict) and "_target_" in value
        if not (plain or made or re.fullmatch(pattern, str(value))):
            raise ValueError(f"{name} is {value!r}; expected {expected}")
    for name in COUNTS:
        value = parameters.get(name)
        if value is not None and not value >= 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    try:
        get_device(parameters["device"])
    except (RuntimeError, TypeError):
        device = parameters["device"]
        raise ValueError(f"device is {device!r}; expected auto, cpu, cuda or cuda:0") from None
    if parameters["tensorboard_log"] is not None:
        raise ValueError(
            "tensorboard_log is set, but the run writes the agent's metrics to TensorBoard "
            "itself, into loop.logdir; leave it null"
        )
    sb3_normalize.check(parameters["normalize"])
    of_goals = "HerReplayBuffer" in str(parameters.get("replay_buffer_class"))
    if of_goals and parameters["normalize"]:
        raise ValueError("normalize is set, which HerReplayBuffer does not take; leave it null")
    if (parameters.get("replay_buffer_kwargs") or {}).get("copy_info_dict"):
        raise ValueError(
            "replay_buffer_kwargs has copy_info_dict, but an agent is not given infos; leave "
            "it out: compute_reward gets empty ones"
        )


def try_noise(model: Any, space: Any) -> None:
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
            f"action_noise {noise!r:.80} does not fit actions of shape {space.shape} "
            f"({text_of(error)}); give mean and sigma as lists, with a number for each part of an "
            "action"
        ) from None
    finally:
        np.random.set_state(before)


def translate(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as the library takes them, from how a config can write them."""
    for name, value in parameters.items():
        if name in SCHEDULES:
            parameters[name] = schedule(name, value)
        elif name.endswith("_class") or (name == "policy" and re.fullmatch(NAME, str(value))):
            parameters[name] = locate(name, value)
        elif name == "action_noise" and hasattr(value, "__dict__"):
            lists = {key: part for key, part in vars(value).items() if isinstance(part, list)}
            vars(value).update({key: np.array(part, float) for key, part in lists.items()})
        elif name == "train_freq" and isinstance(value, list):
            parameters[name] = tuple(value)
        elif name == "policy_kwargs" and value:
            for key in value:
                if key.endswith(("_class", "_fn")):
                    value[key] = locate(key, value[key])
    return parameters


def schedule(name: str, value: Any) -> Any:
    """Return the schedule that `lin_0.001` or a dotted name stands for; other values unchanged."""
    if not isinstance(value, str):
        try:
            pickle.dumps(value)
        except Exception as error:
            raise ValueError(
                f"{name} is {value!r:.80}, which no checkpoint can hold "
                f"({text_of(error)}); expected a class with __call__, or a function that stands in "
                "a module"
            ) from None
        return value
    if not value.startswith("lin_") and re.fullmatch(NAME, value):
        named = locate(name, value)
        try:
            float(named(1.0))
        except Exception as error:
            raise ValueError(
                f"{name} is {value!r}, which is no schedule "
                f"({text_of(error)}); expected a function of the progress that remains, from 1 to 0"
            ) from None
        return named
    return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)


def locate(name: str, value: Any) -> Any:
    """Return what the dotted name `value` names, or `value` itself when it is no name."""
    if not isinstance(value, str):
        return value
    if value == "HerReplayBuffer":
        return HerReplayBuffer
    try:
        found = launch.locate(value)
    except (ImportError, AttributeError, OSError, ValueError) as error:
        module, _, attribute = value.rpartition(".")
        file = f"{module.replace('.', '/')}.py"
        is_module = ".py:" not in value and Path(file).is_file()
        near = f"; did you mean {file}:{attribute}?" if is_module else ""
        raise ValueError(
            f"{name} is {value!r}, which cannot be imported: {text_of(error)}{near}"
        ) from None
    if not callable(found):
        raise ValueError(f"{name} is {value!r}; expected a dotted name such as torch.nn.ReLU")
    return found
