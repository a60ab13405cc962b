"""Loops: what drives an agent in an environment."""

from gym_loop.loops.base_loop import BaseLoop, Episode
from gym_loop.loops.default_loop import DefaultLoop

__all__ = ["BaseLoop", "DefaultLoop", "Episode"]
