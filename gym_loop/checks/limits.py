"""Which of a loop's limits hold: one that the user gives lifts the default of `max_episodes`."""

from omegaconf import DictConfig, OmegaConf

from gym_loop import launch
from gym_loop.checks.origin import is_given
from gym_loop.config import kept
from gym_loop.config.options import default_parameters

KEY = "loop.max_episodes"
OTHERS = ("loop.max_steps", "loop.max_time")


def lift_default_limit(cfg: DictConfig) -> None:
    """Set `loop.max_episodes` to null where it is a default and the user gives another limit.

    It stays where another key refers to it, and in a config that has a mistake, which is for
    others to name.
    """
    try:
        given = [key for key in OTHERS if OmegaConf.select(cfg, key) and is_given(cfg, key)]
        default = default_parameters(launch.locate(cfg.loop._target_)).get("max_episodes")
        limit = cfg.loop.get("max_episodes", default)
    except Exception:
        return
    if not given or default is None or limit != default or is_given(cfg, KEY):
        return
    if not kept.is_referred_to("max_episodes", kept.content(cfg, resolve=False)):
        OmegaConf.update(cfg, KEY, None, force_add=True)
