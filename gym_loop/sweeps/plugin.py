"""Registers the sweeper and the launchers of sweeps with Hydra."""

import contextlib
from collections.abc import Iterator
from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper

from gym_loop import launch
from gym_loop.compat import hydra
from gym_loop.config import signature
from gym_loop.config.locate import locate
from gym_loop.mistake import Mistake, nearest


def checked_plugin(kind: type, target: str) -> Any:
    """Return a plugin for Hydra, `target`, which is imported when it is made.

    Making it raises Mistake for a key that it does not have.
    """

    def make(**arguments: Any) -> Any:
        found = locate(target)
        known = list(signature.parameters(found) or ())
        for name in arguments.keys() - known:
            group = f"hydra.{kind.__name__.lower()}"
            near = nearest(name, known, f"; it has {', '.join(known)}")
            raise Mistake(f"no key '{group}.{name}' of {found.__name__}{near}")
        return found(**arguments)

    return hydra.lazy_plugin(kind, target.rpartition(":")[2], make)


PLUGINS = (
    checked_plugin(Sweeper, "gym_loop.sweeps.launcher:GridSweeper"),
    checked_plugin(Launcher, "gym_loop.sweeps.pool:PoolLauncher"),
    checked_plugin(Launcher, "gym_loop.sweeps.engines:RayLauncher"),
    checked_plugin(Launcher, "gym_loop.sweeps.engines:SlurmLauncher"),
)


@contextlib.contextmanager
def launchers() -> Iterator[None]:
    """Make the sweeper and the launchers known to Hydra within the block."""
    with hydra.plugins(PLUGINS):
        yield


launch.around.append(launchers)
