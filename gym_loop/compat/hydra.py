"""What this project touches of Hydra's private parts, each with the reason."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

# Hydra offers no parser of its command line that leaves the program to its caller.
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.version import VersionBase

__all__ = ["get_args_parser", "lazy_plugin", "options_in_folders", "own_state", "plugins"]

NAMESPACE = "hydra_plugins.gym_loop"  # Hydra takes launchers and sweepers of that package alone


def lazy_plugin(kind: type, name: str, make: Callable[..., Any]) -> Any:
    """Return a class for Hydra to register; calling it calls `make`.

    Args:
        kind: Hydra's base class, `Launcher` or `Sweeper`.
        name: of the class. A config names it `hydra_plugins.gym_loop.NAME`.
        make: returns the plugin, for the arguments that the config gives.
    """
    plugin: Any = type(name, (kind,), {"__module__": NAMESPACE})
    plugin.__new__ = lambda cls, **arguments: make(**arguments)
    plugin.__abstractmethods__ = frozenset()
    return plugin


@contextlib.contextmanager
def plugins(classes: Sequence[Any]) -> Iterator[None]:
    """Make plugins known to Hydra within the block, and our launchers' names ours.

    Hydra finds plugins by importing the package `hydra_plugins` in every program that uses it: a
    module of ours in there would cost all of them. It has no way to take one back.
    """
    known = Plugins.instance()
    before = dict(known.class_name_to_class)
    by_type = {kind: list(found) for kind, found in known.plugin_type_to_subclass_list.items()}
    # Where Hydra's own launcher for Ray is installed, its option has the name of ours.
    options = ConfigStore.instance().repo["hydra"]["launcher"]
    foreign = options.pop("ray.yaml", None)
    ours: Any = ModuleType(NAMESPACE)  # where Hydra looks a target up
    parent = NAMESPACE.partition(".")[0]
    modules = {NAMESPACE: ours} | ({} if _importable(parent) else {parent: ModuleType(parent)})
    sys.modules.update(modules)
    vars(sys.modules[parent])["gym_loop"] = ours
    for each in classes:
        setattr(ours, each.__name__, each)
        known.register(each)
    try:
        yield
    finally:
        delattr(sys.modules[parent], "gym_loop")
        for name in modules:
            del sys.modules[name]
        known.class_name_to_class = before
        known.plugin_type_to_subclass_list.clear()
        known.plugin_type_to_subclass_list.update(by_type)
        if foreign is not None:
            options["ray.yaml"] = foreign


def _importable(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:  # no plugin is installed
        return False
    return True


@contextlib.contextmanager
def own_state() -> Iterator[None]:
    """Give the block a Hydra of its own, also within another program's `hydra.main`.

    Hydra keeps what it is doing in singletons, and refuses to start where another has started.
    """
    kinds: tuple[Any, ...] = (GlobalHydra, HydraConfig, VersionBase, JobRuntime)
    theirs: dict[Any, Any] = {kind: Singleton._instances.pop(kind, None) for kind in kinds}
    try:
        yield
    finally:
        for kind in kinds:
            Singleton._instances.pop(kind, None)
            if theirs[kind] is not None:
                Singleton._instances[kind] = theirs[kind]


@contextlib.contextmanager
def options_in_folders() -> Iterator[None]:
    """Let an option lie in a folder (`agent: sb3/ppo`) within the block, on Hydra 1.4, too.

    Hydra 1.4 takes `agent: sb3/ppo` for the option ppo of a group agent/sb3, where nothing else
    chooses.
    """
    from hydra._internal.config_repository import ConfigRepository

    repository: Any = ConfigRepository
    create = repository._create_defaults_list

    def read(self: ConfigRepository, *args: Any, **kwargs: Any) -> Any:
        defaults = create(self, *args, **kwargs)
        for default in defaults:
            if getattr(default, "normalized_shorthand", False):
                option = f"{default.group}/{default.value}"
                default.value = option.removeprefix(f"{default.original_group}/")
                default.group, default.normalized_shorthand = default.original_group, False
        return defaults

    repository._create_defaults_list = read
    try:
        yield
    finally:
        repository._create_defaults_list = create
