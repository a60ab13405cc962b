"""Config options that are not files: a class, an environment's id, a config in memory."""

import inspect
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from gym_loop.config import kept, secrets, signature
from gym_loop.config.locate import locate
from gym_loop.literal import literal
from gym_loop.mistake import Mistake, installing, nearest

GROUPS = ("agent", "env", "loop", "wrap")
# The launcher passes these, so a config cannot give them.
PASSED = {"self", "observation_space", "action_space", "render_mode", "num_envs", "agent", "env"}
WRAPPERS = "wrappers"  # a section of an environment's own, whichever class makes it

# A primary config by name: how a file or a run's own config is composed with overrides.
in_memory: dict[str, dict[str, Any]] = {}


class SearchPath(SearchPathPlugin):
    """Adds our own conf, the user's ./conf when there is one, and options that are not files."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put our own conf before that of `--config-dir`, and append the rest."""
        from gym_loop import launch  # which imports this module by way of the plugin

        paths = [str(entry.path).removeprefix("file://") for entry in search_path.get_path()]
        if str(launch.CONF) not in paths:
            main = SearchPathQuery(provider="main")
            search_path.prepend("gym_loop", f"file://{launch.CONF}", main)
        mine = Path.cwd() / "conf"
        if mine.is_dir() and mine.resolve() != launch.CONF.resolve():
            search_path.append("user", f"file://{mine}")
        search_path.append("gym_loop", "gym-loop://options")


class Options(ConfigSource):
    """Serves `agent=path/to/my_agent.py:MyAgent`, `env=gym:Acrobot-v1` and configs in memory."""

    @staticmethod
    def scheme() -> str:
        """Return the scheme of the search path's entry."""
        return "gym-loop"

    def available(self) -> bool:
        """Return True: nothing has to exist."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return False: options are not listed here."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Return whether `config_path` names a class, an id or a config in memory."""
        name = config_path.removesuffix(".yaml")
        return name in in_memory or (name.partition("/")[0] in GROUPS and ":" in name)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return nothing: what is not a file cannot be listed."""
        return []

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the config of an option."""
        name = config_path.removesuffix(".yaml")
        if name in in_memory:
            return self._result(in_memory[name], {"package": None})
        group, _, option = name.partition("/")
        content = option_config(group, option.removeprefix("./"))
        if group == "wrap":  # by the name of its class among the environment's wrappers
            group = f"env.{WRAPPERS}.{option.rpartition(':')[2].rpartition('.')[2]}"
            content["_partial_"] = True
        return self._result(content, {"package": group})

    def _result(self, content: dict[str, Any], header: dict[str, Any]) -> ConfigResult:
        config = OmegaConf.create(_without_tuples(content))
        return ConfigResult(provider="gym_loop", path=self.path, config=config, header=header)


def _without_tuples(value: Any) -> Any:
    """Return `value` with lists instead of tuples, which YAML lacks and OmegaConf 2.4 keeps."""
    if isinstance(value, dict):
        return {key: _without_tuples(each) for key, each in value.items()}
    return [*map(_without_tuples, value)] if isinstance(value, list | tuple) else value


def option_config(group: str, option: str) -> dict[str, Any]:
    """Return the config that a class or an environment's id stands for.

    Raises:
        Mistake: it cannot be imported, or is not there.
    """
    from gym_loop import launch

    maker, _, id = option.partition(":")
    file = launch.CONF / "env" / f"{maker}.yaml"
    if group == "env" and file.exists():
        content = OmegaConf.to_container(OmegaConf.load(file))
        assert isinstance(content, dict)
        return {**content, "id": id}
    module, _, name = option.rpartition(":")
    if module.endswith(".py"):
        path = Path(module).expanduser()
        if not path.is_file():
            raise Mistake(f"{group}={option}: {no_file(module)}")
        option = f"{path.resolve()}:{name}"
    keys = wrapper_parameters if group == "wrap" else default_parameters
    target = load_class(option, group)
    followed = getattr(target, "follow_the_config", {})
    return {"_target_": option, **held(keys(target)), **followed}


def held(defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults of a class that a config's file holds, a tuple as a list.

    Others stay the class's own: members of an Enum, classes, NumPy's numbers, objects; and secrets.
    """
    return {
        key: literal(value)
        for key, value in secrets.without(defaults).items()
        if isinstance(value, Path) or kept.survives_yaml(_without_tuples(value))
    }


def load_class(target: str, group: str) -> Any:
    """Return the class that `target` names.

    Raises:
        Mistake: there is none; the line says why.
    """
    module, _, name = target.rpartition(":" if ":" in target else ".")
    if not (module and name):
        expected = "package.module:Class or path/to/file.py:Class"
        raise Mistake(f"{group}={target} names no class; expected {expected}")
    try:
        return locate(target)
    except Exception as error:
        from gym_loop import errors

        import_failed = isinstance(error, ImportError | SyntaxError)
        if errors.user_frames(error) and not import_failed:
            raise  # it comes from within the user's module
        found = getattr(error, "obj", None)
        if isinstance(error, AttributeError) and found is not None:
            classes = [key for key, value in vars(found).items() if inspect.isclass(value)]
            near = nearest(name, classes)
            if group == "env" and re.search(r"-v\d+$", name):  # an id, as `gym.make` takes it
                near = f"; did you mean env=gymnasium:{target}?"
            raise Mistake(f"{group}={target}: {module} has no {name!r}{near}") from None
        if isinstance(error, FileNotFoundError) and module.endswith(".py"):
            raise Mistake(f"{group}={target}: {no_file(module)}") from None
        reason = errors.with_place(error)
        missing = ""
        if isinstance(error, ModuleNotFoundError):
            missing = installing(error) or _near_module(error.name, module)
        raise Mistake(f"{group}={target}: cannot import {module}: {reason}{missing}") from None


def _near_module(missing: str | None, module: str) -> str:
    """Return the name nearest to `missing`, if that is `module` or a package that it is in."""
    if not missing or not f"{module}.".startswith(f"{missing}."):
        return ""
    known = {"gym", "gymnasium", *(file.stem for file in Path().glob("*.py"))}
    if package := missing.rpartition(".")[0]:
        folders = getattr(sys.modules[package], "__path__", None) or []
        known = {f"{package}.{each.name}" for each in pkgutil.iter_modules(folders)}
    return nearest(missing, known)


def no_file(module: str, otherwise: str = "") -> str:
    """Return what is said of a file of Python that is not there, with the nearest in its folder."""
    known = sorted(str(file) for file in Path(module).expanduser().parent.glob("*.py"))
    return f"no file {module}{nearest(module, known, otherwise)}"


def default_parameters(target: Any) -> dict[str, Any]:
    """Return the config keys of a class: its own list, else its constructor's keyword arguments."""
    if hasattr(target, "get_default_parameters"):
        own = inspect.getattr_static(target, "get_default_parameters")
        if inspect.isfunction(own) and inspect.signature(own).parameters:
            where = f"{target.__name__}.get_default_parameters()"
            raise Mistake(f"{where} takes an instance; expected a static method: @staticmethod")
        return dict(target.get_default_parameters())
    return constructor_parameters(target)


def wrapper_parameters(target: Any) -> dict[str, Any]:
    """Return the config keys of a wrapper; its first argument is the environment."""
    first = next(iter(signature.parameters(target) or ()), "")
    return _parameters(target, {first})  # it is passed nothing else


def constructor_parameters(target: Any) -> dict[str, Any]:
    """Return the keyword arguments of a constructor or a function; `???` where it needs one."""
    return _parameters(target, {*PASSED, WRAPPERS})


def _parameters(target: Any, passed: set[str]) -> dict[str, Any]:
    return {
        p.name: "???" if p.default is p.empty else p.default
        for p in (signature.parameters(target) or {}).values()
        if p.name not in passed and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
