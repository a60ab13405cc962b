"""Registers the sweeper that searches with Hydra."""

import contextlib
import importlib.util
from collections.abc import Iterator

from hydra.plugins.sweeper import Sweeper

from gym_loop import launch
from gym_loop.compat import hydra


@contextlib.contextmanager
def sweeper() -> Iterator[None]:
    """Make the sweeper known to Hydra within the block."""
    from gym_loop.sweeps.plugin import checked_plugin

    with hydra.plugins((checked_plugin(Sweeper, "gym_loop.search.sweeper:SearchSweeper"),)):
        yield


if importlib.util.find_spec("gym_loop.sweeps"):  # a search is a sweep: it goes with that part
    launch.around.append(sweeper)
