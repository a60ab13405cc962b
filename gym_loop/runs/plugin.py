"""Hangs the run directory on the launcher."""

from gym_loop import launch
from gym_loop.runs.claim import claim

launch.prepare.append(claim)
