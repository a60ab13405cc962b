"""The check of a composed config: every key, type, range, id, class and directory in it."""

import contextlib
import functools
import importlib
import inspect
import os
import re
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gym_loop import files, launch
from gym_loop.checks import foreign, wording
from gym_loop.checks.kinds import is_whole, problem, problem_of
from gym_loop.checks.origin import origin
from gym_loop.compat.hydra import KEYWORDS
from gym_loop.compat.omegaconf import plain
from gym_loop.config import kept, secrets, signature, stored
from gym_loop.config.options import (
    constructor_parameters,
    default_parameters,
    load_class,
    wrapper_parameters,
)
from gym_loop.config.yaml_files import check_keys, first_line
from gym_loop.errors import user_frames, with_place
from gym_loop.mistake import Mistake, installing, nearest, text_of
from gym_loop.runs import manifest
from gym_loop.terminal import short

ENVS = ("env", "eval_env")  # sections
GROUPS = ("env", "agent", "loop")  # in the order in which they are made
# The methods that a class for each group must define. A function that makes the object has none.
METHODS = {
    "agent": ("act", "memorize", "update"),
    "env": ("reset", "step"),
    "eval_env": ("reset", "step"),
    "loop": ("train", "evaluate"),
}
MISSING = "???"
FRAMES = ("record", "render", "eval_record", "eval_render")
EXAMPLES = {"agent": "random", "env": "pendulum", "loop": "default"}
LIBRARIES = {
    "gym_loop.envs.make.make_gym": "gym",
    "gym_loop.envs.make.make_gymnasium": "gymnasium",
    "gym_loop.vector.envs.make_gym_vector": "gym",
    "gym_loop.vector.envs.make_gymnasium_vector": "gymnasium",
}
ENDING = "gym_loop.observers.ending.Ending"  # which heeds `loop.stop_at`
ENVPOOL = "gym_loop.vector.envpool.make_envpool"

# What has passed is not checked again: most jobs of a sweep have most sections in common.
_writable: set[Path] = set()  # directories
_read: set[Path] = set()  # files of the user's
_noted: set[str] = set()  # what was printed
_sound: set[tuple[str, str, bool]] = set()  # sections: name, content, whether frames are wanted


def check(cfg: DictConfig) -> None:
    """Find what is wrong with `cfg` before anything is created, and without making anything.

    Raises:
        Mistake: in one line: what was got, where it came from, what was expected, what is nearest.
        Exception: what the user's own module raised when it was imported.
    """
    raw = kept.content(cfg, resolve=False)
    check_sections(cfg, raw)
    check_files(cfg)
    content = resolve(cfg, raw)
    check_seed(cfg, content.get("seed"))
    check_is_sweep(cfg)
    for group in GROUPS:
        check_section(cfg, group, content[group])
    check_wrappers(cfg, "env", content["env"])
    if content.get("eval_env") is not None:
        check_section(cfg, "eval_env", content["eval_env"])
        check_wrappers(cfg, "eval_env", content["eval_env"])
    observers = content.get("observers")
    if not isinstance(observers, dict):
        where = origin(cfg, "observers")
        raise Mistake(f"observers is {observers!r}{where}; expected observers=default or none")
    for name, section in observers.items():
        if section is not None:
            check_section(cfg, f"observers.{name}", section)
    check_directories(cfg, content)
    note_idle_stop_at(cfg, content)


def check_sections(cfg: DictConfig, raw: dict[str, Any]) -> None:
    """Check the top level of the config, whose content is `raw`, unresolved."""
    for group in GROUPS:
        section = raw.get(group)
        if not isinstance(section, dict):
            got = f"is {section!r}{origin(cfg, group)}" if section else "is missing"
            raise Mistake(f"{group} {got}; expected an option such as {group}={EXAMPLES[group]}")
        if "_target_" not in section:
            instead = ", not target" if "target" in section else ""
            raise Mistake(
                f"{group} has no _target_{origin(cfg, group)}; expected _target_{instead}, the "
                f"class to make it of, as in {group}={EXAMPLES[group]}"
            )
    known = top_level() | {"hydra"}
    for name in map(str, cfg):
        if name in known:
            continue
        # A key of the user's own has to be used by another key.
        if not kept.is_referred_to(name, raw):
            near = (
                foreign.ours(name)
                or wording.near_option(name)
                or nearest(name, known, f"; expected one of {', '.join(sorted(known))}")
            )
            if (launch.CONF / name).is_dir():
                near = f"; in a file, its defaults choose it: - override /{name}: ..."
                if stored.loaded:
                    choices = {"wrap": "env.wrappers in it", "sink": "+sink=... when launching"}
                    choice = choices.get(name, "the keys themselves")
                    near = f"; a run config has no such choices: expected {choice}"
            raise Mistake(wording.no_name() or f"no key {name!r}{origin(cfg, name)}{near}")


def check_files(cfg: DictConfig) -> None:
    """Check the keys in the user's files, and print a note for each that is not read.

    A file that has the name of one of ours is not read.
    """
    sources = (Path(s.path) for s in cfg.hydra.runtime.config_sources if s.schema == "file")
    theirs = [path for path in sources if path != launch.CONF]
    names = {f"{group}/{option}" for group, option in cfg.hydra.runtime.choices.items()}
    for name in sorted({*names, str(cfg.hydra.job.config_name)}):
        for file in (folder / f"{name}.yaml" for folder in theirs):
            if file in _read or not file.is_file():
                continue
            _read.add(file)
            if (launch.CONF / f"{name}.yaml").is_file():
                why = "is not read, as gym_loop has a file of that name: give it another"
                note(f"{short(file)} {why}")
            else:
                check_keys(file)


def note_idle_stop_at(cfg: DictConfig, content: dict[str, Any]) -> None:
    """Print a note where `loop.stop_at` is given, and no observer is there that heeds it."""
    targets = (section["_target_"] for section in content["observers"].values() if section)
    if content["loop"].get("stop_at") and ENDING not in targets:
        note(
            f"loop.stop_at ends nothing{origin(cfg, 'loop.stop_at')}: the observer `ending` is not "
            f"there; add +observers.ending._target_={ENDING}"
        )


def note(text: str) -> None:
    """Print a note, once in this process."""
    if text not in _noted:
        _noted.add(text)
        print(f"gym-loop: note: {text}", file=sys.stderr)


@functools.cache
def top_level() -> frozenset[str]:
    """Return the keys that the config has by itself; what `wrap` chooses is below `env`."""
    text = (launch.CONF / "config.yaml").read_bytes()
    own = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    chosen = (name for default in own["defaults"] if isinstance(default, dict) for name in default)
    names = (name.rpartition("@")[2] for name in (*own, *chosen))
    return frozenset(names) - {"defaults", "wrap"}


def resolve(cfg: DictConfig, unresolved: dict[str, Any]) -> dict[str, Any]:
    """Return the config's content, `unresolved`, as plain values.

    Raises:
        Mistake: an interpolation that leads nowhere or round in a circle, or a value not given.
    """
    leaves = [*kept.leaves(unresolved)]
    if any("${" in str(raw) for _, raw in leaves):
        kept.import_classes(unresolved)  # whose files may have resolvers
    for path, raw in leaves:
        key = kept.dotted(path)
        try:
            if "${" in str(raw):
                check_stays(cfg, path, raw)
        except (RecursionError, OmegaConfBaseException) as error:
            reason = first_line(error)
            if isinstance(error, RecursionError) or reason.startswith("Recursive"):
                reason = "it leads back to itself"
            near = wording.near_interpolation(reason, cfg)
            raise Mistake(f"{key} is {raw}{origin(cfg, key)}: {reason}{near}") from None
        if raw == "???":
            example = "CartPole-v1" if key == "env.id" else "..."
            passed = "; an agent is given its spaces as observation_space and action_space"
            more = passed if key.startswith("agent.") and "space" in key else ""
            raise Mistake(f"{key} is not given{origin(cfg, key)}; expected {key}={example}{more}")
    return kept.resolved(cfg, unresolved)


def check_stays(cfg: DictConfig, path: kept.Keys, raw: str) -> None:
    """Check that an interpolation brings one value: a run could not keep what it was made with.

    Raises:
        Mistake: it brings another one each time.
        OmegaConfBaseException: it brings none.
    """
    value = kept.at(cfg, path)
    if ":" not in raw or path[0] == "observers" or not kept.survives_yaml(value):
        return
    if repr(kept.at(cfg, path)) != repr(value):
        key = kept.dotted(path)
        raise Mistake(
            f"{key} is {raw}{origin(cfg, key)}: another value each time that it is read; "
            "expected a resolver that is registered with use_cache=True"
        )


def check_seed(cfg: DictConfig, seed: Any) -> None:
    """Check that the seed is one that every library takes."""
    if type(seed) is float and seed.is_integer() and not OmegaConf.is_interpolation(cfg, "seed"):
        cfg.seed = seed = int(seed)
    if type(seed) is not int or seed < 0:
        raise Mistake(f"seed is {seed!r}{origin(cfg, 'seed')}; expected an integer, 0 or more")


def check_is_sweep(cfg: DictConfig) -> None:
    """Refuse overrides for sweeps in a launch that is none; `basic` is Hydra's default."""
    if cfg.hydra.mode is RunMode.MULTIRUN:
        return
    for word in plain(cfg.hydra.overrides.hydra):
        if re.match(r"\W*hydra[/.](launcher|sweeper|sweep)[.=](?!basic$)", word):
            raise Mistake(f"{word} is for sweeps (command line); add -m, or leave it out")


def check_imports(cfg: DictConfig, imports: Any) -> None:
    """Import the modules that register environments."""
    if not isinstance(imports, list | types.NoneType) or not all(
        isinstance(module, str) for module in imports or ()
    ):
        where = origin(cfg, "env.imports")
        raise Mistake(f"env.imports is {imports!r}{where}; expected a list such as [my_package]")
    for module in imports or ():
        try:
            importlib.import_module(module)
        except Exception as error:
            if user_frames(error) and not isinstance(error, ImportError | SyntaxError):
                raise
            where = origin(cfg, "env.imports")
            file = module.endswith(".py") and Path(module).is_file()
            near = f"; did you mean {module[:-3].replace('/', '.')}?" if file else installing(error)
            raise Mistake(
                f"env.imports{where}: {module!r} cannot be imported: {with_place(error)}{near}"
            ) from None


def check_section(cfg: DictConfig, name: str, section: Any) -> None:
    """Check one thing to be made: its class, the keys it is given, their types and ranges."""
    is_env = name in ENVS
    known_as = name, repr(section), is_env and wants_frames(cfg)
    if known_as in _sound:
        return
    group = name.partition(".")[0]
    if not isinstance(section, dict) or not isinstance(section.get("_target_"), str):
        raise Mistake(without_class(cfg, name, section))
    target = find_class(cfg, name, section["_target_"])
    is_wrapper = ".wrappers." in name
    known = (wrapper_parameters if is_wrapper else default_parameters)(target)
    if hasattr(target, "get_default_parameters"):
        known = constructor_parameters(target) | known  # as `kept.defaults` has them
    given = {k: v for k, v in section.items() if k not in KEYWORDS}
    takes = signature.parameters(target) or {}
    functions = [k for k, p in takes.items() if is_wrapper and signature.wants_function(p)]
    if is_env and "render_mode" in section.keys() & takes:  # else the loop gives it for frames
        known["render_mode"] = None
    if is_env:
        given.pop("wrappers", None)  # looked at one by one
    for key, value in given.items():
        if key not in known and not takes_all(target):
            where = origin(cfg, f"{name}.{key}")
            keys = [*known, "wrappers"] if is_env else known
            raise Mistake(f"no key '{name}.{key}'{where}{wording.near_key(f'{name}.', key, keys)}")
        if key in getattr(target, "of_many_kinds", ()):
            continue  # the class's `check_parameters` judges it
        if key in known and is_whole(group, key, value, known[key]):
            given[key] = section[key] = int(value)
            node: Any = OmegaConf.select(cfg, name)
            if not OmegaConf.is_interpolation(node, key):
                node[key] = int(value)
        elif key in known and (expected := problem(group, key, value, known[key])):
            where = origin(cfg, f"{name}.{key}")
            if expected == "a string" and (word := typed_text(cfg, f"{name}.{key}")):
                quoted = f"a string: {name}.{key}='\"{word}\"'"
                expected = quoted if "${" not in word else f"a string, which {word} is not"
            raw = plain(OmegaConf.select(cfg, name))
            hides = "${oc.env:" in str(raw.get(key))  # what comes from the environment is a secret
            shown = as_written(secrets.masked(value, (name, key)))
            written = raw[key] if hides else without_secrets(cfg, shown)
            raise Mistake(f"{name}.{key} is {written}{where}; expected {expected}")
        elif isinstance(value, str) and key in functions:
            raise Mistake(
                f"{name}.{key} is {without_secrets(cfg, as_written(value))}"
                f"{origin(cfg, f'{name}.{key}')}; expected a function: "
                f"{name}.{key}='{{_target_: package.module.function, _partial_: true}}'"
            )
    for key, value in known.items():
        if isinstance(value, str) and value == MISSING and key not in given:
            raise Mistake(
                f"{name}.{key} is missing; {short_name(target)} needs it: {name}.{key}=..."
            )
    check_range(cfg, name, target, {**known, **given})
    if is_env:
        check_environment(cfg, target, section, name)
    _sound.add((name, repr(section), known_as[2]))


def check_numbers(cfg: DictConfig, key: str, section: dict[str, Any], wrapper: Any) -> None:
    """Check the arguments of the wrapper `key` that are annotated as numbers."""
    for name, parameter in (signature.parameters(wrapper) or {}).items():
        kind, value = signature.number(parameter), section.get(name)
        if kind and value is not None and (expected := problem_of(kind, value)):
            written = without_secrets(cfg, as_written(value))
            where = origin(cfg, f"{key}.{name}")
            raise Mistake(f"{key}.{name} is {written}{where}; expected {expected}")


def check_wrappers(cfg: DictConfig, group: str, env: dict[str, Any]) -> None:
    """Check each wrapper of the section `group`, and that it fits the environment's library."""
    wrappers = env.get("wrappers")
    if not isinstance(wrappers, dict | types.NoneType):
        where = origin(cfg, f"{group}.wrappers")
        raise Mistake(
            f"{group}.wrappers is {wrappers!r}{where}; expected a mapping of "
            "names to wrappers: env.wrappers.NAME._target_=package.module.Class, or wrap=[NAME]"
        )
    chosen = typed_text(cfg, "wrap") or ""
    names = _options(chosen)
    for name in names:
        if names.count(name) > 1:
            raise Mistake(
                f"wrap={chosen} has {name!r} twice, and env.wrappers holds one of each name; "
                "expected the second one as env.wrappers.ANOTHER_NAME._target_=package.module.Class"
            )
    words = plain(cfg.hydra.overrides.task)  # iterating would resolve them
    removed = any(word.startswith("~env.wrappers") for word in words)
    for word in words:  # Hydra drops it where another choice replaces that of the config
        missing = set(_options(word.removeprefix("+wrap="))) - set(wrappers or ())
        if word.startswith("+wrap=") and missing and not removed:
            raise Mistake(
                f"{word} adds nothing to the wrappers that are chosen already: expected all of "
                "them as wrap=[...], innermost first"
            )
    if not wrappers:
        return
    made_by = load_class(env["_target_"], f"{group}._target_")
    takes = signature.parameters(made_by) or {}
    if "num_envs" in takes and "wrappers" not in takes:
        where = origin(cfg, f"{group}.wrappers")
        raise Mistake(
            f"{short_name(made_by)} makes many environments at once, and {group}.wrappers"
            f"{where} wrap single ones: use env=gymnasium or env=gym, of "
            "which loop=vector makes as many as it needs"
        )
    from gym_loop.envs.wrappers import library

    path = f"{made_by.__module__}.{made_by.__qualname__}"
    known = LIBRARIES.get(path) or library(made_by)
    for name, section in wrappers.items():
        if section is None:  # taken away
            continue
        key = f"{group}.wrappers.{name}"
        if isinstance(section, dict) and "_target_" not in section:
            near = nearest(name, [each for each in wrappers if each != name])
            raise Mistake(
                f"{key} has no _target_{origin(cfg, key)}{near}; expected "
                f"{key}._target_=package.module.Class"
            )
        check_section(cfg, key, section)
        wrapper = load_class(section["_target_"], f"{key}._target_")
        check_numbers(cfg, key, section, wrapper)
        own = library(wrapper)
        if own and own != known and (known or inspect.isclass(made_by)):
            what = f"one of {known}" if known else "of neither library"
            raise Mistake(
                f"{key}{origin(cfg, key)} is {short_name(wrapper)} of {own}, and the environment "
                f"is {what}; expected a wrapper for it, such as wrap=[frame_stack], which fits both"
            )


def _options(chosen: str) -> list[str]:
    """Return the names in what is given for `wrap`, as keys of `env.wrappers`."""
    return [each.rpartition(":")[2] for each in re.findall(r"[^][,'\" ]+", chosen)]


def without_class(cfg: DictConfig, name: str, section: Any) -> str:
    """Return the line about something to be made, of which the config names no class."""
    key, value, example = name, section, "package.module.Class"
    if isinstance(section, dict):
        key, value = f"{name}._target_", section.get("_target_")
    elif "." in str(section):
        example = str(section)
    return f"{key} is {value!r}{origin(cfg, name)}; expected {name}._target_={example}"


def typed_text(cfg: DictConfig, key: str) -> str | None:
    """Return the value of `key` as it stands on the command line, or None."""
    pairs = (word.partition("=") for word in reversed(plain(cfg.hydra.overrides.task)))
    return next((value for name, _, value in pairs if name.lstrip("+") == key), None)


def find_class(cfg: DictConfig, name: str, target: str) -> Any:
    """Return the class or function that `target` names; a class must have its METHODS."""
    if "." not in target and ":" not in target:
        raise Mistake(
            f"{name}._target_ is {target!r}{origin(cfg, f'{name}._target_')}; "
            "expected package.module.Class, package.module:Class or path/to/file.py:Class"
        )
    found = load_class(target, f"{name}._target_")
    if not callable(found):
        raise Mistake(
            f"{name}._target_ is {target}{origin(cfg, f'{name}._target_')}, "
            f"a {type(found).__name__}; expected a class, or a function that returns an object"
        )
    if inspect.isclass(found):
        for method in METHODS.get(name, ()):
            own = getattr(found, method, None)
            if own is None or (own.__module__.startswith("gym_loop.") and _refuses(own)):
                raise Mistake(
                    f"{short_name(found)} has no {method}(){origin(cfg, f'{name}._target_')}; "
                    f"expected {'an' if name[0] in 'ae' else 'a'} {name} with the methods "
                    f"{', '.join(METHODS[name])}{nearest(method, {*vars(found)} - {method})}"
                )
    return found


def _refuses(method: Any) -> bool:
    """Return whether a method only raises NotImplementedError, as those of our base classes do."""
    code = getattr(method, "__code__", None)
    return code is not None and "NotImplementedError" in code.co_names


def check_range(cfg: DictConfig, name: str, target: Any, parameters: dict[str, Any]) -> None:
    """Check the values by the class's own `check_parameters`."""
    if not hasattr(target, "check_parameters"):
        return
    try:
        target.check_parameters(parameters)
    except ValueError as error:
        text = without_secrets(cfg, text_of(error))
        said = re.match(r"(\w+)\b", text)
        if said and said[1] in parameters:
            head, semicolon, tail = text.partition(";")
            where = origin(cfg, f"{name}.{said[1]}")
            raise Mistake(f"{name}.{head}{where}{semicolon}{tail}") from None
        raise Mistake(f"{name}: {text}") from None


def check_environment(cfg: DictConfig, target: Any, section: dict[str, Any], name: str) -> None:
    """Check an environment's id, keyword arguments and packages; make nothing."""
    path = f"{target.__module__}.{target.__qualname__}"
    library: Any = LIBRARIES.get(path)
    if library is None and path != ENVPOOL:
        takes = None if takes_all(target) else signature.parameters(target)  # None: perhaps any
        if wants_frames(cfg) and takes is not None and "render_mode" not in takes:
            raise Mistake(
                f"{short_name(target)} cannot render: it takes no render_mode; leave out "
                f"{' and '.join(f'loop.{name}' for name in FRAMES if cfg.loop.get(name))}"
            )
        return
    from gym_loop import envs

    check_imports(cfg, section.get("imports"))
    kwargs = section.get("kwargs")
    if not isinstance(kwargs, dict | types.NoneType):
        where = origin(cfg, f"{name}.kwargs")
        raise Mistake(
            f"{name}.kwargs is {kwargs!r}{where}; expected a mapping: {name}.kwargs.key=value"
        )
    try:
        mode = "rgb_array" if wants_frames(cfg) else None
        if library:
            envs.check_id(library, section.get("id", ""), kwargs, mode)
        else:
            importlib.import_module("gym_loop.vector.envpool").check_envpool(section["id"], kwargs)
    except (envs.EnvError, envs.MissingDependencyError) as error:
        key = f"{name}.id" if isinstance(error, envs.EnvError) else name
        raise Mistake(f"{error}{origin(cfg, key)}") from None


def wants_frames(cfg: DictConfig) -> bool:
    """Return whether the loop is to render or to record."""
    return any(map(cfg.loop.get, FRAMES))


def check_directories(cfg: DictConfig, content: dict[str, Any]) -> None:
    """Check that the run can write where it is told to."""
    key = "hydra.sweep.dir" if cfg.hydra.mode is RunMode.MULTIRUN else "hydra.run.dir"
    try:
        text = str(OmegaConf.select(cfg, key))
    except (OmegaConfBaseException, RecursionError) as error:
        raise Mistake(f"{key}{origin(cfg, key)}: {first_line(error)}") from None
    directory = stored.directory(text, f"{key} is {text or repr('')}{origin(cfg, key)}")

    def said() -> str:
        if os.path.exists(directory / manifest.NAME):  # a resume or an evaluation has set the key
            return f"cannot write into the run's directory {short(directory)} (a copy will do)"
        return f"{key} is {directory}{origin(cfg, key)}"

    check_writable(directory, said)
    for name, value in content["loop"].items():
        if name.endswith("dir") and isinstance(value, str):
            check_writable(directory / value, functools.partial(described, cfg, name, value))


def described(cfg: DictConfig, name: str, value: str) -> str:
    """Return how a message names a directory of the loop's."""
    return f"loop.{name} is {value}{origin(cfg, f'loop.{name}')}"


def check_writable(path: Path, what: Callable[[], str]) -> None:
    """Raise a Mistake unless a directory can be made at `path` and written into."""
    try:
        existing = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))
        for name in path.parts:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                (existing / name).lstat()  # one that is too long cannot even be asked for
        if existing in _writable:
            return
        if not existing.is_dir():
            kind = "a file" if existing.exists() else "a link that leads nowhere"
            raise Mistake(f"{what()}: {existing} is {kind}; expected a directory")
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(1 << 16))
    except OSError as error:
        place = f"cannot write into {path}" if error.errno in files.OF_PROCESS else what()
        raise Mistake(f"{place}: {files.reason(error)}") from None
    except ValueError as error:
        raise Mistake(f"{what()}: {error}") from None
    _writable.add(existing)


def takes_all(target: Any) -> bool:
    """Return whether `target` takes any keyword, without a list of those that it knows."""
    return not hasattr(target, "get_default_parameters") and signature.takes_any_keyword(target)


def without_secrets(cfg: DictConfig, text: str) -> str:
    """Return a message without the texts that a view of the config hides."""
    return kept.without_secrets(text, kept.hidden_texts(cfg, kept.view(cfg)))


def short_name(target: Any) -> str:
    """Return what a class or function is called."""
    return getattr(target, "__qualname__", str(target))


def as_written(value: Any) -> str:
    """Return a value as YAML and Hydra write it."""
    return "null" if value is None else str(value).lower() if type(value) is bool else repr(value)
