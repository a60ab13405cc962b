"""Hangs the search path and the config options that are not files on Hydra."""

from hydra.core.plugins import Plugins

from gym_loop import launch
from gym_loop.sweeps.locate import locate
from gym_loop.sweeps.sources import Options, SearchPath

Plugins.instance().register(SearchPath)
Plugins.instance().register(Options)
launch.locate = locate
