"""`eval_env`: the environment of evaluation, where it differs from that of training."""

import contextlib
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf, open_dict

from gym_loop import launch
from gym_loop.literal import literal
from gym_loop.mistake import Mistake

KEY = "eval_env"
TARGET = "${env._target_}"  # of one that says only what differs, when it is complete
ALONE = {"eval_record": None, "eval_render": None}  # what is made to be looked at renders nothing


def complete_eval_env(cfg: DictConfig) -> None:
    """Make each key that `eval_env` lacks refer to that of `env`.

    One that has a `_target_` of its own, as an option has (`env@eval_env=cartpole`), is complete.

    Raises:
        Mistake: it is no section.
    """
    differing = cfg.get(KEY)
    if differing is None:
        return
    if not isinstance(differing, DictConfig):
        raise Mistake(
            f"eval_env is {differing!r}; expected what differs from env, such as "
            "eval_env.kwargs.g=12, or an option: env@eval_env=cartpole"
        )
    own: Any = OmegaConf.to_container(differing, resolve=False)
    env = OmegaConf.to_container(cfg.env, resolve=False) if OmegaConf.is_dict(cfg.env) else None
    if isinstance(env, dict) and own.get("_target_", TARGET) == TARGET:
        with open_dict(cfg):
            cfg[KEY] = _completed(own, env, "env")


def _completed(own: dict[Any, Any], other: dict[Any, Any], path: str) -> dict[Any, Any]:
    """Return `own` with references to what it lacks of `other`, which lies at `path`.

    They are in the order of `other`, which is that of wrappers.
    """
    completed = {}
    for key, value in other.items():
        completed[key] = own.get(key, f"${{{path}.{key}}}")
        if isinstance(value, dict) and isinstance(completed[key], dict):
            completed[key] = _completed(completed[key], value, f"{path}.{key}")
    return completed | {key: value for key, value in own.items() if key not in other}


def check_eval_spaces(cfg: DictConfig) -> None:
    """Refuse an `eval_env` that the agent's spaces do not fit, before the run starts.

    Bounds of observations may differ, and so may the library: neither changes an array's form.
    Environments that cannot be made are left to the run, which says why.

    Raises:
        Mistake: its observations or actions differ from those of `env`.
    """
    if cfg.get(KEY) is None:
        return
    sections = {n: OmegaConf.to_container(cfg[n], resolve=True) for n in ("env", KEY, "loop")}
    if message := _difference(OmegaConf.to_yaml(literal(sections))):
        raise Mistake(message)


@functools.lru_cache(maxsize=64)  # a sweep asks for each of its jobs
def _difference(sections: str) -> str | None:
    """Return how the spaces of `env` and `eval_env` differ in a config's YAML; None if nowhere."""
    cfg: Any = OmegaConf.create(sections)
    made: list[Any] = []
    with contextlib.suppress(Exception), contextlib.ExitStack() as stack:
        loop = launch.instantiate(cfg.loop, True).func
        parameters = {**loop.get_default_parameters(), **cfg.loop, **ALONE}
        for name in ("env", KEY):
            env = loop.make_env(launch.instantiate(cfg[name], True), parameters, "eval")
            stack.callback(env.close)
            made.append(loop.spaces(env))
    if len(made) < 2:
        return None
    for what, own, other in zip(("observation", "action"), *made, strict=True):
        if _form(own, what == "action") != _form(other, what == "action"):
            return (
                f"eval_env's {what} space is {other}, that of env is {own}: expected the space "
                "that the agent trains in; change eval_env, or its wrappers"
            )
    return None


def _form(space: Any, bounds: bool) -> Any:
    """Return a description of a space; an agent fits two spaces with equal ones."""
    parts = getattr(space, "spaces", None)
    if isinstance(parts, Mapping):
        return {key: _form(part, bounds) for key, part in parts.items()}
    if parts is not None:
        return [_form(part, bounds) for part in parts]
    names = ("n", "nvec", "low", "high") if bounds else ("n", "nvec")
    sizes = [np.asarray(getattr(space, name, None)).tolist() for name in names]
    return type(space).__name__, space.shape, str(space.dtype), sizes
