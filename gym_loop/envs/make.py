"""Make an environment of gym 0.26 or of Gymnasium by its registered id.

Both libraries check every step of a new environment by default; here they do not: it costs
time, gym's check fails on NumPy 2, and a loop resets before it steps. A mistake in the request is
an `EnvError`, in one line.
"""

import contextlib
import ctypes.util
import dataclasses
import difflib
import importlib
import os
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any, Literal

from gym_loop.config import signature
from gym_loop.envs.greetings import ENVIRONMENT, log_mujoco_warnings, without_greetings
from gym_loop.envs.screens import leave_screens_behind
from gym_loop.envs.wrappers import Wrappers, with_tuples, wrapped
from gym_loop.mistake import EXTRAS, installing, nearest, text_of

Library = Literal["gym", "gymnasium"]

# The package that registers with Gymnasium what has an id with this beginning.
REGISTERING = {"ALE/": "ale_py", "MiniGrid-": "minigrid", "BabyAI-": "minigrid"}

INSTALL = {"gym": 'pip install "gym==0.26.2"', "gymnasium": 'pip install "gym-loop[gymnasium]"'}


class EnvError(ValueError):
    """The environment was asked for in a way that cannot work; the message is one line."""


class MissingDependencyError(ImportError):
    """Something the environment needs is not installed; the message is one line."""


def make_gym(
    id: str,
    kwargs: Mapping[str, Any] | None = None,
    render_mode: str | None = None,
    imports: Iterable[str] | None = None,
    wrappers: Wrappers | None = None,
) -> Any:
    """Return the gym environment registered as `id`, with the wrappers of its registration.

    On NumPy 2 classic control gives the observations and flags that it gives on NumPy 1, bit for
    bit; a reward of Pendulum's can differ in its last bit (see `gym_numpy`).

    Args:
        id: `Name-v1`, `namespace/Name-v1`, or `module:Name-v1` to import `module` first; without a
            version, the newest.
        kwargs: passed to `gym.make`, which passes on to the environment what it does not take.
        render_mode: None, `human`, `rgb_array` or another that the environment offers.
        imports: modules to import first, such as one that registers the environment.
        wrappers: by name, innermost first; each takes the environment and returns it wrapped.

    Raises:
        EnvError: no such id, keyword argument or render mode.
        MissingDependencyError: gym, or a package the environment needs, is not installed.
    """
    import_all(imports)
    env = _make("gym", id, kwargs or {}, render_mode)
    from gym_loop.envs import gym_numpy

    return wrapped(gym_numpy.adapt(env), wrappers)


def make_gymnasium(
    id: str,
    kwargs: Mapping[str, Any] | None = None,
    render_mode: str | None = None,
    imports: Iterable[str] | None = None,
    wrappers: Wrappers | None = None,
) -> Any:
    """Return the Gymnasium environment registered as `id`: like `make_gym` in everything else."""
    import_all(imports)
    return wrapped(_make("gymnasium", id, kwargs or {}, render_mode), wrappers)


def import_all(modules: Iterable[str] | None) -> None:
    """Import the modules that register environments."""
    for module in modules or ():
        importlib.import_module(module)


def known_ids(library: Library) -> list[str]:
    """Return the ids registered with `library` at this moment, sorted; imports the library."""
    return sorted(_registry(library))


def check_id(
    library: Library,
    id: str,
    kwargs: Mapping[str, Any] | None = None,
    render_mode: str | None = None,
) -> None:
    """Raise what the maker would raise for what it is asked for, without making the environment."""
    spec = env_spec(library, id)
    _let_mujoco_draw(render_mode)  # it looks for the variable when it is imported
    try:
        creator = _load(spec.entry_point)
        _look_for_mujoco(creator)
    except (ImportError, import_library(library).error.DependencyNotInstalled) as error:
        raise MissingDependencyError(_missing(library, spec.id, error)) from error
    kwargs = kwargs or {}
    _check_kwargs(spec.id, kwargs, creator, import_library(library).make)
    _check_render_mode(spec.id, render_mode or kwargs.get("render_mode"), creator)


def _make(library: Library, id: str, kwargs: Mapping[str, Any], render_mode: str | None) -> Any:
    spec = env_spec(library, id)
    module = import_library(library)
    mode = kwargs.get("render_mode") if render_mode is None else render_mode
    try:
        do_without_display(mode)
        creator = _load(spec.entry_point)
        log_mujoco_warnings()
        _check_kwargs(spec.id, kwargs, creator, module.make)
        _check_render_mode(spec.id, mode, creator)
        arguments = {"disable_env_checker": True, **with_tuples(creator, kwargs)}
        if mode is not None:
            arguments["render_mode"] = mode
        # Given the spec and not the id, `make` does not warn about versions.
        env = module.make(dataclasses.replace(spec, order_enforce=False), **arguments)
    except (ImportError, module.error.DependencyNotInstalled) as error:
        raise MissingDependencyError(_missing(library, spec.id, error)) from error
    _check_render_mode(spec.id, mode, env)  # of an entry point that is a function, known only now
    if mode is not None:
        leave_screens_behind(env.unwrapped)
    return env


def import_library(library: Library) -> Any:
    """Return the package `library`, imported without warnings, and gym made to fit this NumPy."""
    if sys.modules.get(library) is None:
        try:
            # gym shows every user its own DeprecationWarnings by a filter that is undone here.
            with without_greetings(), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                importlib.import_module(library)
        except ModuleNotFoundError as error:
            if error.name != library:
                raise
            message = f"{library} is not installed: {INSTALL[library]}"
            raise MissingDependencyError(message, name=library) from error
    if library == "gym":
        importlib.import_module("gym_loop.envs.gym_numpy").give_names()
    return sys.modules[library]


def _registry(library: Library) -> dict[str, Any]:
    registry: dict[str, Any] = import_library(library).envs.registration.registry
    return registry


def libraries_with(id: str) -> list[Library]:
    """Return the libraries that have an environment of this id; all that are installed if none."""
    if id.startswith(tuple(REGISTERING)):
        return ["gymnasium"]
    names: tuple[Library, ...] = "gym", "gymnasium"
    installed = [name for name in names if find_spec(name)]
    return [name for name in installed if id in _registry(name)] or installed


def env_spec(library: Library, id: str) -> Any:
    """Return the `EnvSpec` that `id` names, or raise `EnvError` with the nearest that exists."""
    registry = _registry(library)
    module, _, name = str(id).rpartition(":")
    if module:
        _import_registering(module, id)
    begins = next((b for b in REGISTERING if library == "gymnasium" and name.startswith(b)), None)
    if begins and name not in registry:
        _import_known(REGISTERING[begins], id)
    if name in registry:
        return registry[name]
    newest = _newest_versions(registry)
    if name in newest:
        return registry[newest[name]]
    raise EnvError(f"{library} has no environment {name!r}{_advice(library, name)}")


def _import_registering(module: str, id: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # a fault inside the module
        raise EnvError(f"no module {module!r} to import for the environment {id!r}") from error


def _import_known(package: str, id: str) -> None:
    """Import a package that registers environments, and is an extra of ours.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        install = f'pip install "gym-loop[{EXTRAS[package]}]"'
        raise MissingDependencyError(f"{id} cannot be made ({error}): {install}") from error


def _newest_versions(registry: Mapping[str, Any]) -> dict[str, str]:
    """Return the newest id of each environment, by its id without the version."""
    specs = sorted(registry.values(), key=lambda spec: spec.version or 0)
    return {_without_version(spec.id): spec.id for spec in specs}


def _without_version(id: str) -> str:
    return re.sub(r"-v\d+$", "", id)


def _advice(library: Library, name: str) -> str:
    """Return the end of the sentence about an unknown id: what to write instead, or what to do."""
    stem, newest = _without_version(name), _newest_versions(_registry(library))
    if stem in newest:
        return f" in that version; use {newest[stem]!r}"
    if near := _near(stem, newest):
        return f"; did you mean {near!r}?"
    if find_spec("gymnasium"):
        registry = _registry("gymnasium")
        for package in dict.fromkeys(REGISTERING.values()):
            with contextlib.suppress(Exception):  # whatever keeps it from being imported
                importlib.import_module(package)
            if name in registry and library == "gymnasium":
                return f", but {package} registers it: env.imports=[{package}]"
        if name in registry:
            return f"; did you mean gymnasium:{name}?"
        found = _newest_versions(registry)
        found = {k: id for k, id in found.items() if id.startswith(tuple(REGISTERING))}
        if library == "gymnasium" and (near := _near(stem, found)):
            return f"; did you mean {near!r}?"
    return ", nor one like it: add the package that registers it to env.imports"


def _near(stem: str, newest: Mapping[str, str]) -> str | None:
    """Return the id closest to one without a version, which may lack its namespace (`ALE/`)."""
    by_lower = {known.rpartition("/")[2].lower(): id for known, id in newest.items()}
    by_lower |= {known.lower(): id for known, id in newest.items()}
    near = difflib.get_close_matches(stem.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def _load(entry_point: Any) -> Any:
    """Return the class or function that `entry_point`, as `module:name` or itself, stands for."""
    if not isinstance(entry_point, str):
        return entry_point
    module, _, name = entry_point.partition(":")
    return getattr(importlib.import_module(module), name)


def _look_for_mujoco(creator: Any) -> None:
    """Raise the ImportError that gym's environments of MuJoCo keep until one of them is made."""
    for base in getattr(creator, "__mro__", ()):
        if base.__module__ == "gym.envs.mujoco.mujoco_env":
            package = {"MujocoEnv": "mujoco", "MuJocoPyEnv": "mujoco_py"}.get(base.__name__)
            importlib.import_module(package or "gym")


def _check_kwargs(id: str, kwargs: Iterable[str], creator: Any, make: Any) -> None:
    own = signature.parameters(creator)
    if own is None or signature.takes_any_keyword(creator):  # the call itself will tell
        return
    of_make = {*(signature.parameters(make) or ())} - {"id", "kwargs"}
    for name in kwargs:
        if name not in own and name not in of_make:
            takes = ", ".join(parameter for parameter in own if parameter != "render_mode")
            advice = nearest(name, [*own, *of_make], otherwise=f"; it takes {takes or 'none'}")
            raise EnvError(f"{id} has no keyword argument {name!r}{advice}")


def _check_render_mode(id: str, mode: str | None, env: Any) -> None:
    metadata = getattr(env, "metadata", None)
    if mode is None or not isinstance(metadata, dict) or "render_modes" not in metadata:
        return
    offered = list(metadata["render_modes"])
    # Both libraries show the frames of `rgb_array` in a window, and collect those of any mode.
    if "human" not in offered and {"rgb_array", "rgb_array_list"} & set(offered):
        offered.append("human")
    if mode not in offered and mode.removesuffix("_list") not in offered:
        offers = ", ".join(offered) or "no mode at all"
        raise EnvError(f"{id} cannot render in mode {mode!r}: it offers {offers}")


def do_without_display(mode: str | None) -> None:
    """Let pygame draw without a greeting, and into memory where there is no display.

    It reads these variables when it is imported.
    """
    if mode is not None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
    if _has_no_display(mode):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    _let_mujoco_draw(mode)


def _let_mujoco_draw(mode: str | None) -> None:
    """Let MuJoCo draw into memory where there is no display."""
    if _has_no_display(mode) and "MUJOCO_GL" not in os.environ and find_spec("mujoco"):
        found = (gl for gl in ("EGL", "OSMesa") if ctypes.util.find_library(gl))
        if gl := next(found, None):
            os.environ["MUJOCO_GL"] = gl.lower()


def _has_no_display(mode: str | None) -> bool:
    """Return whether pictures are asked for on a machine without a display."""
    displays = map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))
    return mode in ("rgb_array", "rgb_array_list") and sys.platform == "linux" and not any(displays)


def _missing(library: Library, id: str, error: Exception) -> str:
    """Return one line: which environment, the library's own reason, what to install."""
    reason = text_of(error).rstrip(".")
    advice = ""
    if library == "gymnasium" or re.search(r"\bmujoco\b", reason):
        advice = installing(error)
    elif "mujoco_py" in reason:
        advice = '; from v4 on they need mujoco instead: pip install "gym-loop[mujoco]"'
    elif "gym[box2d]" in reason and library == "gym":
        advice = " (gym[box2d] no longer installs; pip install box2d does)"
    elif isinstance(error, ModuleNotFoundError) and error.name:
        advice = f": install the package that provides {error.name}"
    return f"{id} cannot be made: {reason}{advice}"
