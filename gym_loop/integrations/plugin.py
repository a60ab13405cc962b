"""Registers what is done with `agent.init_from` and `agent.n_envs` before a run begins."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gym_loop import launch
from gym_loop.compat.omegaconf import plain
from gym_loop.literal import literal
from gym_loop.mistake import Mistake, nearest

KEY = "agent.init_from"


def find_initial(cfg: Any) -> None:
    """Make the path of `agent.init_from` absolute, so that it is the same one from elsewhere.

    Raises:
        Mistake: it was typed for this launch, and is not there.
    """
    try:
        given = OmegaConf.select(cfg, KEY)
    except Exception:  # a config with a mistake, which is for others to name
        return
    if not isinstance(given, str):
        return
    path = Path(given).absolute()
    words = plain(cfg.hydra.overrides.task)  # iterating would resolve them
    typed = any(word.partition("=")[0].lstrip("+") == KEY for word in words)
    if typed and not path.exists():
        there = (each.name for each in path.parent.glob("*"))
        near = nearest(path.name, there, "; expected a zip or a run's directory")
        raise Mistake(f"{KEY}: there is no {given}{near}")
    if given != str(path):
        OmegaConf.update(cfg, KEY, literal(str(path)))


def check_n_envs(cfg: Any) -> None:
    """Raise Mistake where `agent.n_envs` is not the number of environments that the loop has.

    Only for an agent that drives an algorithm of Stable-Baselines3's: to others the key is theirs.
    """
    given, has = cfg.agent.get("n_envs"), cfg.loop.get("num_envs", 1)
    if given in (None, has) or not hasattr(launch.locate(cfg.agent._target_), "algorithm"):
        return
    raise Mistake(
        f"agent.n_envs is {given}, but the loop has {has} environment{'s' * (has != 1)}; leave it "
        f"out, and give: loop=vector loop.num_envs={given}"
    )


launch.prepare.insert(0, find_initial)
launch.prepare.append(check_n_envs)  # after the config is checked, before the run is claimed
