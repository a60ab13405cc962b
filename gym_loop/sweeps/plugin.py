"""Hangs the search path, config options that are not files, and sweeps on Hydra."""

import importlib
import inspect
import sys
from types import ModuleType
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper

from gym_loop import launch
from gym_loop.config.locate import locate
from gym_loop.config.options import Options, SearchPath
from gym_loop.mistake import Mistake, nearest

PACKAGE = "hydra_plugins.gym_loop"


def later(kind: type, target: str) -> Any:
    """Return a class whose call makes the plugin that `target` names: only then is it imported.

    A key that the plugin does not have is a Mistake.
    """

    def make(cls: type, **arguments: Any) -> Any:
        found = locate(target)
        known = list(inspect.signature(found).parameters)
        for name in arguments.keys() - known:
            group = f"hydra.{kind.__name__.lower()}"
            near = nearest(name, known, f"; it has {', '.join(known)}")
            raise Mistake(f"no key '{group}.{name}' of {found.__name__}{near}")
        return found(**arguments)

    plugin: Any = type(target.rpartition(":")[2], (kind,), {"__module__": PACKAGE, "__new__": make})
    plugin.__abstractmethods__ = frozenset()
    return plugin


def register(*plugins: Any) -> None:
    """Make the plugins known to Hydra, which finds launchers and sweepers in one package alone.

    A file of ours in there would be imported for every command of every program that uses Hydra.
    """
    known = Plugins.instance()
    # Where Hydra's launcher for Ray is installed, too: our option of that name is another one.
    ConfigStore.instance().repo["hydra"]["launcher"].pop("ray.yaml", None)
    try:
        package = importlib.import_module("hydra_plugins")
    except ImportError:  # there is no such plugin
        package = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
    ours: Any = ModuleType(PACKAGE)
    package.gym_loop = ours  # type: ignore[attr-defined]
    for plugin in plugins:
        setattr(ours, plugin.__name__, plugin)
        known.register(plugin)


def whole_options(create: Any) -> Any:
    """Return what reads a defaults list so that an option may lie in a folder.

    Hydra 1.4 takes `agent: sb3/ppo` to be of a group agent/sb3, where nothing else chooses.
    """

    def read(repository: ConfigRepository, *args: Any, **kwargs: Any) -> Any:
        defaults = create(repository, *args, **kwargs)
        for default in defaults:
            if getattr(default, "normalized_shorthand", False):
                option = f"{default.group}/{default.value}"
                default.value = option.removeprefix(f"{default.original_group}/")
                default.group, default.normalized_shorthand = default.original_group, False
        return defaults

    return read


repository: Any = ConfigRepository
repository._create_defaults_list = whole_options(repository._create_defaults_list)
register(
    SearchPath,
    Options,
    later(Sweeper, "gym_loop.sweeps.launcher:GridSweeper"),
    later(Launcher, "gym_loop.sweeps.pool:PoolLauncher"),
    later(Launcher, "gym_loop.sweeps.engines:RayLauncher"),
    later(Launcher, "gym_loop.sweeps.engines:SlurmLauncher"),
)
launch.locate = locate
