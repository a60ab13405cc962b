"""Registers the sweeper that searches with Hydra."""

import contextlib
from collections.abc import Iterator

from hydra.plugins.sweeper import Sweeper

from gym_loop import launch
from gym_loop.compat import hydra
from gym_loop.sweeps.plugin import lazy_plugin


@contextlib.contextmanager
def sweeper() -> Iterator[None]:
    """Make the sweeper known to Hydra within the block."""
    with hydra.plugins((lazy_plugin(Sweeper, "gym_loop.search.sweeper:SearchSweeper"),)):
        yield


launch.around.append(sweeper)
