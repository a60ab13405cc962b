"""`eval_env`: the environment of evaluation, where it differs from that of training."""

from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from gym_loop.mistake import Mistake

KEY = "eval_env"


def complete_eval_env(cfg: DictConfig) -> None:
    """Make what `eval_env` does not say refer to `env`: it says only what differs.

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
    if "_target_" not in differing and isinstance(cfg.env, DictConfig):
        with open_dict(cfg):
            _refer(differing, cfg.env, "env")


def _refer(section: DictConfig, to: DictConfig, path: str) -> None:
    """Give `section` a reference for each key of `to`, which lies at `path`, that it lacks."""
    for key in to:
        if key not in section:
            section[key] = f"${{{path}.{key!s}}}"
        elif _has_mapping(to, key) and _has_mapping(section, key):
            _refer(section[key], to[key], f"{path}.{key!s}")


def _has_mapping(section: DictConfig, key: Any) -> bool:
    """Return whether a key has a mapping of its own, and none that it refers to."""
    return not OmegaConf.is_interpolation(section, key) and isinstance(section.get(key), DictConfig)
