"""`eval_env`: the environment of evaluation, where it differs from that of training."""

from typing import Any

from omegaconf import DictConfig, open_dict

from gym_loop.mistake import Mistake

KEY = "eval_env"


def complete_eval_env(cfg: DictConfig) -> None:
    """Make what `eval_env` does not say refer to `env`: it says only what differs.

    One that has a `_target_` of its own, as an option has (`env@eval_env=cartpole`), is complete.

    Raises:
        Mistake: it is no section.
    """
    differing: Any = cfg._get_node(KEY) if KEY in cfg else None
    if differing is None or differing._is_none():
        return
    if not isinstance(differing, DictConfig):
        raise Mistake(
            f"eval_env is {differing._value()!r}; expected what differs from env, such as "
            "eval_env.kwargs.g=12, or an option: env@eval_env=cartpole"
        )
    if "_target_" not in differing and isinstance(cfg._get_node("env"), DictConfig):
        with open_dict(cfg):
            _refer(differing, cfg.env, "env")


def _refer(section: DictConfig, to: DictConfig, path: str) -> None:
    """Give `section` a reference for each key of `to`, which lies at `path`, that it lacks."""
    for key in to:
        node: Any = to._get_node(key)
        if key not in section:
            section[key] = f"${{{path}.{key!s}}}"
        elif _is_mapping(node) and _is_mapping(section._get_node(key)):
            _refer(section[key], node, f"{path}.{key!s}")


def _is_mapping(node: Any) -> bool:
    return isinstance(node, DictConfig) and not (node._is_none() or node._is_interpolation())
