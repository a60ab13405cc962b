"""Registers the run directory: it is claimed last, when nothing else can be wrong."""

from gym_loop import launch
from gym_loop.runs.claim import claim

launch.prepare.append(claim)
