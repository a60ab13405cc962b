"""What this project touches of Hydra's private parts, each with the reason."""

import argparse
import contextlib
import dataclasses
import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import hydra
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_visitor import HydraOverrideVisitor
from hydra.core.override_parser.types import OverrideType
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import HydraContext
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf

from gym_loop.literal import literal
from gym_loop.machine import variables_set

__all__ = ["run_job"]

CONF = Path(hydra.__file__).parent / "conf"
Flags = argparse.Namespace  # Hydra's own, and the overrides
# A warm process has these imported, which Hydra and OmegaConf import where a job needs them.
USED_BY_A_JOB = (
    "hydra._internal.instantiate._instantiate2",
    "hydra._internal.logging_config",
    "omegaconf._impl",
)
KEYWORDS = {"_target_", "_args_", "_recursive_", "_convert_", "_partial_"}
NAMESPACE = "hydra_plugins.gym_loop"  # Hydra takes launchers and sweepers of that package alone
# Keys that an override may add without `+`, which Hydra asks for where a config has none: what is
# below them is known to an environment's or a wrapper's constructor alone.
OPEN_KEYS = ("env.kwargs.", "env.wrappers", "eval_env")
# Sections of which a config need not list all keys that its class takes. Whether it takes one is
# checked once the config is composed.
SECTIONS = ("agent.", "env.", "loop.")


def parser() -> argparse.ArgumentParser:
    """Return the parser of Hydra's own flags, which Hydra gives to nobody but `hydra.main`."""
    made: argparse.ArgumentParser = get_args_parser()
    return made


def parse(words: list[str]) -> argparse.Namespace:
    """Return what a command line says; Hydra prints its usage for a mistake, and exits."""
    return parser().parse_args(words)


def show(
    argv: list[str],
    args: argparse.Namespace,
    conf: str,
    config_name: str,
    task: Callable[..., Any],
    **version_base: str,
) -> Any:
    """Do what flags such as `--cfg job` ask for: only `hydra.main` does, which reads `sys.argv`.

    Errors are raised, as `HYDRA_FULL_ERROR` says, and not printed by Hydra.
    """
    flags = [word for word in argv if word not in args.overrides]
    before, sys.argv = sys.argv, ["gym-loop", *flags, *args.overrides]
    try:
        with variables_set({"HYDRA_FULL_ERROR": "1"}):
            return hydra.main(config_path=conf, config_name=config_name, **version_base)(task)()
    finally:
        sys.argv = before


def compose(config_name: str, overrides: list[str]) -> DictConfig:
    """Compose a config, with Hydra's part."""
    composed: DictConfig = _adding_keys(
        lambda words: hydra.compose(config_name, words, return_hydra_config=True), overrides
    )
    return composed


def multirun(config_name: str, task: Callable[..., Any], overrides: list[str]) -> Any:
    """Sweep: have the sweeper of the config launch what varies. Hydra has been initialized."""
    ours: Any = GlobalHydra.instance().hydra  # only `hydra.main` is offered, not its method
    launch = functools.partial(ours.multirun, config_name, task)
    return _adding_keys(launch, [*overrides, "hydra.mode=MULTIRUN"])


def _adding_keys(call: Callable[[list[str]], Any], overrides: list[str]) -> Any:
    """Call with overrides; a key that a section lacks is added to it, also without `+`."""
    try:
        return call(overrides)
    except ConfigCompositionException as error:
        named = re.match(r"Could not override '([^']*)'", str(error))
        key = f"{named[1]}=" if named else "="
        added = [
            f"++{w}" if w.startswith(key) and key.startswith(SECTIONS) else w for w in overrides
        ]
        if added == overrides:
            raise
    return _adding_keys(call, added)


def context(cfg: DictConfig) -> HydraContext:
    """Return what a job needs of Hydra beside its config; its callbacks are private."""
    return HydraContext(GlobalHydra.instance().config_loader(), Callbacks(cfg))


def failure_of(job: JobReturn) -> Exception:
    """Return what a failed job raised; asking for its `return_value` would print it."""
    failure: Exception = job._return_value
    return failure


def result(job: JobReturn) -> Any:
    """Return what a job returned, or raise what it raised."""
    if job.status is JobStatus.FAILED:
        raise failure_of(job)
    return job.return_value


def instantiate(content: dict[str, Any], partial: bool, locate: Callable[[str], Any]) -> Any:
    """Build what plain containers describe, as Hydra does; they may hold any objects.

    Hydra makes config nodes of them, and copies and resolves these: a quarter of a sweep's short
    job. So it is asked only where an argument is to be built, too, or the description says how.

    Args:
        content: the arguments, and `_target_`: a class or a function, not its name.
        partial: return a function that builds it.
        locate: returns what is named as `path/to/file.py:Name` in an argument that is built.
    """
    arguments = {key: value for key, value in content.items() if key != "_target_"}
    if not says_how(arguments):
        make = functools.partial(content["_target_"], **arguments)
        return make if partial else make()
    # Hydra reads each text twice. In a dict, 1.4 takes no objects, nor a target without a name.
    content = _with_names(
        locate, literal(literal({**content, "_partial_": partial, "_convert_": "all"}))
    )
    return hydra.utils.instantiate(OmegaConf.create(content, flags={"allow_objects": True}))


def says_how(content: Any) -> bool:
    """Return whether there is a keyword of Hydra's in plain containers."""
    if isinstance(content, dict):
        return not KEYWORDS.isdisjoint(content) or any(map(says_how, content.values()))
    return isinstance(content, list) and any(map(says_how, content))


def _with_names(locate: Callable[[str], Any], content: Any) -> Any:
    """Return `content` with dotted names of targets, where they have one, instead of them."""
    if isinstance(content, list):
        return [_with_names(locate, each) for each in content]
    if not isinstance(content, dict):
        return content
    target: Any = content.get("_target_")
    target = locate(target) if isinstance(target, str) and ".py:" in target else target
    if hasattr(target, "__qualname__"):
        content = content | {"_target_": f"{target.__module__}.{target.__qualname__}"}
    return {key: _with_names(locate, value) for key, value in content.items()}


def apply_values(overrides: list[Any], cfg: DictConfig) -> None:
    """Apply parsed overrides of values, not of groups, to a composed config, as `compose` does."""
    for each in overrides:
        is_change = each.type is OverrideType.CHANGE
        if is_change and each.key_or_group.startswith(SECTIONS):
            each = dataclasses.replace(each, type=OverrideType.FORCE_ADD)
        ConfigLoaderImpl._apply_overrides_to_config([each], cfg)


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
    """Make plugins known to Hydra within the block, and hide its own option `ray`.

    Hydra finds plugins by importing the package `hydra_plugins` in every program that uses it: a
    module of ours in there would cost all of them. It has no way to take one back.
    """
    known = Plugins.instance()
    before = dict(known.class_name_to_class)
    by_type = {kind: list(found) for kind, found in known.plugin_type_to_subclass_list.items()}
    # Where Hydra's own launcher for Ray is installed, its option has the name of ours.
    options = ConfigStore.instance().repo["hydra"]["launcher"]
    foreign = options.pop("ray.yaml", None)
    # Hydra looks a target up in this module, and the module in its package.
    parent = NAMESPACE.partition(".")[0]
    package = sys.modules.get(parent) or (None if _importable(parent) else ModuleType(parent))
    modules = {parent: package or sys.modules[parent], NAMESPACE: ModuleType(NAMESPACE)}
    added = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(added)
    names = vars(sys.modules[parent]).setdefault("gym_loop", sys.modules[NAMESPACE])
    for each in classes:
        setattr(names, each.__name__, each)
        known.register(each)
    try:
        yield
    finally:
        if NAMESPACE in added:
            del vars(sys.modules[parent])["gym_loop"]
        for name in added:
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
def single_keys() -> Iterator[None]:
    """Refuse a mapping in an override that has a key twice (`{a: 1, a: 2}`) within the block.

    Hydra keeps the last value. What it has parsed no longer tells, in a sweep's values neither.
    """
    visitor: Any = HydraOverrideVisitor
    visit = visitor.visitDictContainer

    def checked(self: HydraOverrideVisitor, mapping: Any) -> Any:
        pairs = (mapping.getChild(i) for i in range(1, mapping.getChildCount() - 1, 2))
        seen = set[Any]()
        for key in (self.visitDictKey(pair.getChild(0)) for pair in pairs):
            if key in seen:
                raise HydraException(f"found duplicate key {key}")
            seen.add(key)
        return visit(self, mapping)

    visitor.visitDictContainer = checked
    try:
        yield
    finally:
        visitor.visitDictContainer = visit


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
