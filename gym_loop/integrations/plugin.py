"""Registers what is done with `agent.init_from` before a run begins."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gym_loop import launch
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
    typed = any(word.partition("=")[0].lstrip("+") == KEY for word in cfg.hydra.overrides.task)
    if typed and not path.exists():
        there = (each.name for each in path.parent.glob("*"))
        near = nearest(path.name, there, "; expected a zip or a run's directory")
        raise Mistake(f"{KEY}: there is no {given}{near}")
    if given != str(path):
        OmegaConf.update(cfg, KEY, str(path))


launch.prepare.insert(0, find_initial)
