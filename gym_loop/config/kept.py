"""The config of a run: completed before anything starts, and kept unresolved in its directory.

`config.yaml` holds the config as it was composed, with every default of the classes that it
names; whatever continues or repeats a run composes from it. run.json has a view of it for
readers: resolved, without secrets. Beside that are keyed digests of what interpolations have
brought, so that a value from outside (an environment variable) cannot change without a word.
"""

import contextlib
import copy
import functools
import hashlib
import os
import re
import secrets as randomness
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from gym_loop import files
from gym_loop.compat.hydra_job import to_yaml
from gym_loop.compat.omegaconf import plain
from gym_loop.config import secrets
from gym_loop.literal import literal
from gym_loop.mistake import Mistake

FILE = "config.yaml"
HEADER = """# The config as it was composed; resume, fork, evaluate, replay, export start from it.
# Paths of files are relative to the directory that the run was launched in, `cwd` in run.json.
# It is not to be edited: `gym-loop fork RUN KEY=VALUE` starts another run with another value.
"""
LARGEST = 16_000_000  # bytes
GROUPS = ("agent", "env", "loop")
PLAIN = (type(None), bool, int, float, str, bytes)
IN_JSON = (type(None), bool, int, float, str, list, dict)
ABSENT = "(absent)"
PLAIN_KEY = re.compile(r"(?!True$|False$)[A-Za-z_][\w-]*")  # a text that reads as nothing else
# What refers to a launch: `${hydra:job.num}`, `${hydra.job.num}`, `${oc.select:hydra.job.num}`.
OF_LAUNCH = re.compile(
    r"""\$\{(?:oc\.(?:select|deprecated|dict\.(?:keys|values)):\s*["']?)?(?:hydra[.:]|now:)"""
)

Keys = tuple[Any, ...]  # the keys that lead to a value
_environment_read: list[str] = []  # names of variables, in the order in which they were read


@contextlib.contextmanager
def noting_what_is_read() -> Iterator[None]:
    """Have OmegaConf's `oc.env` note the names of variables in the block: see `changed`."""

    def environment(*arguments: Any) -> Any:
        _environment_read.append(str(arguments[0]))
        return oc.env(*arguments)

    _register(environment)
    try:
        yield
    finally:
        _register(oc.env)


def _register(environment: Callable[..., Any]) -> None:
    with warnings.catch_warnings():  # OmegaConf 2.4 has another name for it, 2.3 only this one
        warnings.simplefilter("ignore", UserWarning)
        OmegaConf.register_new_resolver("oc.env", environment, replace=True)


def content(cfg: DictConfig, resolve: bool) -> dict[str, Any]:
    """Return the config without Hydra's part, as plain values."""
    names: list[Any] = [name for name in cfg if name != "hydra"]
    whole = cfg if resolve else plain(cfg)
    return {str(name): as_plain(whole[name]) for name in names}


def resolved(cfg: DictConfig, raw: dict[str, Any]) -> dict[str, Any]:
    """Return the config's `content`, resolved; `raw` is what it is unresolved."""
    if "${" not in str(raw):
        return copy.deepcopy(raw)
    import_classes(raw)
    return content(cfg, resolve=True)


def import_classes(config: dict[str, Any]) -> None:
    """Import the classes of a config, as far as they are there: their files may have resolvers."""
    for _, section in sections(config):
        defaults(section["_target_"])


# Before a run starts


def prepare_to_keep(cfg: DictConfig) -> None:
    """Add every default to `cfg`, and fix what refers to this launch alone, before it is kept.

    Raises:
        Mistake: it holds what cannot be kept.
    """
    if cfg.hydra.mode != RunMode.MULTIRUN:  # the directory of a sweep's job is set already
        with read_write(cfg.hydra), open_dict(cfg.hydra):
            cfg.hydra.runtime.output_dir = os.path.abspath(cfg.hydra.run.dir)
    for folder in (cfg.hydra.runtime.cwd, cfg.hydra.runtime.output_dir):
        if not is_utf8(folder):
            raise Mistake(f"the name of the folder {folder!a} is no text in UTF-8")
    whole = content(cfg, resolve=False)
    with open_dict(cfg):
        for path, section in sections(whole):
            target = absolute(section["_target_"], Path.cwd())
            added = missing(section | {"_target_": target})
            if target != section["_target_"]:
                added["_target_"] = target
            for key, value in added.items():
                section[key] = at(cfg, path)[key] = value
        for path, value in leaves(whole):
            if isinstance(value, str) and OF_LAUNCH.search(value):
                if "${oc.env:" in value:
                    raise Mistake(
                        f"{dotted(path)} is {value}: what refers to the launch is kept as a value, "
                        "what comes from the environment is not; expected a key for each"
                    )
                value = at(cfg, path[:-1])[path[-1]] = literal(as_plain(at(cfg, path)))
            for place, each in leaves(value, path):
                _check_leaf(place, each)


def _check_leaf(path: Keys, value: Any) -> None:
    """Check that YAML in UTF-8 holds a value, and the keys that lead to it.

    Raises:
        Mistake: it does not.
    """
    for part in (*path, value):
        if type(part) not in PLAIN and not isinstance(part, Path):
            raise Mistake(f"{dotted(path)} is {value!r}, and no YAML holds {part!r}")
    if not all(map(is_utf8, (*path, value))):
        shown = ".".join(ascii(key).strip("'") for key in path)
        raise Mistake(f"{shown} is {value!a}, which is no text in UTF-8")


def sections(config: dict[str, Any]) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """Yield (path, section) for each section of a config whose class is to be built.

    The order is that in which Hydra reads the options of a launch, which may import their files:
    of two modules of one name, a resume then finds the one that the launch has found.
    """
    names = ("loop", "eval_env", "env", "agent")
    pairs: list[tuple[Keys, Any]] = [((name,), config.get(name)) for name in names]
    for path in (("observers",), ("env", "wrappers"), ("eval_env", "wrappers")):
        if isinstance(found := raw_at(config, path), dict):
            pairs += [((*path, name), section) for name, section in found.items()]
    for path, section in pairs:
        target = section.get("_target_") if isinstance(section, dict) else None
        if isinstance(target, str) and "${" not in target:
            yield path, section


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with every default of the classes that it names."""
    whole = copy.deepcopy(config)
    for _, section in sections(whole):
        section |= missing(section)
    return whole


def missing(section: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults of a section's class for the parameters that the section lacks.

    Only those that YAML gives back as they are. Others (a tuple, an object) stay the class's own,
    as do secrets: nobody typed them.
    """
    if "_args_" in section:  # positional: one of these may be given there
        return {}
    known = defaults(section["_target_"])
    return {key: value for key, value in known.items() if key not in section}


def defaults(target: str) -> dict[str, Any]:
    """Return the defaults of what `target` names that can be kept; none where it is not found."""
    try:
        return _defaults(target)
    except (Exception, SystemExit):  # building it will tell what is wrong
        return {}


@functools.cache  # but for what raises: the user may mend it, and launch again from this process
def _defaults(target: str) -> dict[str, Any]:
    from gym_loop.config.options import constructor_parameters, default_parameters, load_class

    found = load_class(target, "")
    known = secrets.without({**constructor_parameters(found), **default_parameters(found)})
    return {
        key: literal(value)
        for key, value in known.items()
        if survives_yaml(value) and value != "???"
    }


def survives_yaml(value: Any) -> bool:
    """Return whether YAML gives `value` back as it is."""
    if type(value) is dict:
        return all(
            type(key) in PLAIN[1:] and is_utf8(key) and survives_yaml(each)
            for key, each in value.items()
        )
    if type(value) is list:
        return all(map(survives_yaml, value))
    return type(value) in PLAIN and is_utf8(value)


def is_utf8(value: Any) -> bool:
    """Return whether UTF-8 can hold `value`: a text may contain half of a surrogate pair."""
    return not (isinstance(value, str | Path) and re.search("[\ud800-\udfff]", str(value)))


# In a run's directory


def write(directory: Path, cfg: DictConfig, base: Path) -> None:
    """Keep `cfg` in `directory`, paths of files relative to `base`."""
    whole = content(cfg, resolve=False)
    for _, section in sections(whole):
        file, colon, name = section["_target_"].rpartition(":")
        if file.endswith(".py"):
            section["_target_"] = f"{os.path.relpath(file, base)}{colon}{name}"
    text = HEADER + to_yaml(whole)
    path = directory / FILE
    if not (path.exists() and path.read_text() == text):
        files.write(path, text)


def is_foreign(directory: Path) -> bool:
    """Return whether the file in the place of a run's config is one that no run has kept."""
    try:
        own = HEADER[:40].encode()
        return not files.read(directory / FILE, LARGEST).startswith(own)
    except OSError:  # of a folder, a pipe, a link that leads nowhere
        return os.path.lexists(directory / FILE)


def read(directory: Path) -> Any:
    """Return the config that is kept in `directory`, unresolved; None when there is none.

    Raises:
        Mistake: it cannot be read.
    """
    path = directory / FILE
    try:
        files.check_regular(path)
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise Mistake(f"cannot read {path}: {error}") from None


def edits(now: Any, then: Any, path: Keys = ()) -> Iterator[tuple[Keys, Any, Any]]:
    """Yield (path, value now, value then) where somebody has edited a kept config since the launch.

    Classes and what an interpolation brings are left out, and secrets, which a record lacks.

    Args:
        now: what is kept, unresolved.
        then: what run.json says of it.
        path: of both.
    """
    if path[-1:] == ("_target_",) or (isinstance(now, str) and "${" in now):
        return
    if isinstance(now, dict) and isinstance(then, dict):
        if all(isinstance(key, str) for key in now):  # JSON has no other ones
            for key in dict.fromkeys((*now, *then)):
                yield from edits(now.get(key, ABSENT), then.get(key, ABSENT), (*path, key))
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        for place, values in enumerate(zip(now, then, strict=True)):
            yield from edits(*values, (*path, place))
    elif isinstance(now, IN_JSON) and repr(now) != repr(then) and "(hidden" not in str(then):
        yield path, now, then


def base(known: dict[str, Any]) -> Path:
    """Return what the paths of a run are relative to: where it was launched, if that is there."""
    launched_in = Path(str(known.get("cwd")))
    return launched_in if launched_in.is_dir() else Path.cwd()


def absolute(target: str, base: Path) -> str:
    """Return `target` with the path of its file, if it names one, made absolute.

    What is not in `base` may be in the current directory.
    """
    file, colon, name = target.rpartition(":")
    if not file.endswith(".py"):
        return target
    known = Path(os.path.normpath(base / Path(file).expanduser()))
    here = Path(os.path.normpath(Path.cwd() / os.path.relpath(known, base)))
    return f"{here if here.is_file() and not known.is_file() else known.resolve()}{colon}{name}"


# What comes from outside


def digests(cfg: DictConfig, raw: dict[str, Any]) -> dict[str, Any]:
    """Return a new key, and with it a digest of each value that an interpolation has brought.

    A reference to another key (`${seed}`) is none of them: it is what the other one is.

    Args:
        cfg: the config.
        raw: its content, unresolved.
    """
    key = randomness.token_hex(16)
    found = {}
    for path, _ in _brought(raw):
        if (digest := _digest(cfg, path, key)) is not None:
            found[_label(path)] = digest
    return {"key": key, "values": found}


def changed(known: dict[str, Any], cfg: DictConfig | None = None) -> Iterator[tuple[str, str]]:
    """Yield (key, origin) of each value that is not what it was when the run was launched.

    Args:
        known: run.json, with the config that is kept.
        cfg: the config now, whose overrides may have put a value in an interpolation's place.
    """
    recorded = known.get("digests") or {}
    values = recorded.get("values") or {}
    if not values:
        return
    then: Any = OmegaConf.create(known["config"])
    key = recorded["key"]
    brought = [(path, text) for path, text in _brought(known["config"]) if _label(path) in values]
    if any(_digest(then, path, key) is None for path, _ in brought):
        import_classes(known["config"])
    for path, text in brought:
        digest = values[_label(path)]
        if cfg is not None:
            now = raw_at(content(cfg, resolve=False), path)
            if now != text or _digest(cfg, path, key) == digest:
                continue
        if _digest(then, path, key) != digest:
            read_now = dict.fromkeys(_environment_read)
            yield dotted(path), ", ".join(f"${{oc.env:{each}}}" for each in read_now) or text


def refuse_changed(
    known: dict[str, Any], cfg: DictConfig | None, otherwise: Callable[[str], str] = lambda key: ""
) -> None:
    """Raise a Mistake when a value that came from outside has changed, as `changed` finds it.

    `otherwise` returns what else can be done about a key: the end of the line.
    """
    for key, origin in changed(known, cfg):
        raise Mistake(
            f"{key} comes from {origin}, which is not what it was when the run was launched; "
            f"set it as it was{otherwise(key)}"
        )


def followers(known: dict[str, Any], cfg: DictConfig) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield (key, text, value then, now) where `cfg` refers to what an override has changed."""
    raw, then = content(cfg, resolve=False), OmegaConf.create(known["config"])
    for path, text in leaves(known["config"]):
        if isinstance(text, str) and "${" in text and raw_at(raw, path) == text:
            with contextlib.suppress(OmegaConfBaseException):
                old, new = as_plain(at(then, path)), as_plain(at(cfg, path))
                if old != new:
                    yield dotted(path), text, old, new


def is_referred_to(key: str, content: Any) -> bool:
    """Return whether an interpolation in what is unresolved names a key: `${.key}`, `${f:key}`."""
    return bool(re.search(rf"\$\{{[^}}]*(?<![\w-]){re.escape(key)}(?![\w-])", str(content)))


def is_as_recorded(known: dict[str, Any], key: str, value: Any) -> bool:
    """Return whether `value`, now given as such, is what an interpolation had brought for `key`."""
    recorded = known.get("digests") or {}
    then = (recorded.get("values") or {}).get(key)
    return then is not None and then == _digest_of(value, recorded["key"])


def _brought(whole: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
    """Yield the path and the text of each value that may call a resolver, `observers` excepted."""
    for path, text in leaves({k: v for k, v in whole.items() if k != "observers"}):
        if isinstance(text, str) and re.search(r"\$\{.*:", text, re.DOTALL):
            yield path, text


def _label(path: Keys) -> str:
    """Return the text of this path alone: the key `1` is not `'1'`, `a.b` is not `b` below `a`."""
    texts = [isinstance(key, str) and not PLAIN_KEY.fullmatch(key) for key in path]
    return dotted(tuple(repr(key) if text else key for key, text in zip(path, texts, strict=True)))


def _digest(cfg: DictConfig, path: Keys, key: str) -> str | None:
    _environment_read.clear()
    try:
        value = as_plain(at(cfg, path))
    except OmegaConfBaseException:
        return None
    if _environment_read and not survives_yaml(value):  # the text of an object says nothing
        value = [os.environ.get(name) for name in _environment_read]
    return _digest_of(value, key)


def _digest_of(value: Any, key: str) -> str | None:
    if not survives_yaml(value):  # the text of an object says nothing
        return None
    return hashlib.blake2b(repr(value).encode(), key=bytes.fromhex(key), digest_size=16).hexdigest()


# For readers


def view(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as readers see it: resolved, classes by one name each, secrets hidden."""
    return _view(cfg, content(cfg, resolve=False), Path.cwd())


def _view(cfg: DictConfig, raw: dict[str, Any], base: Path) -> dict[str, Any]:
    whole = resolved(cfg, raw)
    shown = OmegaConf.select(cfg, "observers.manifest.shown") or ()
    if "${" in str(raw):
        hidden = secrets.secret_texts(whole)
        for path, text in leaves(raw):
            if isinstance(text, str) and "${" in text and dotted(path) not in shown:
                _environment_read.clear()
                value = as_plain(at(cfg, path))
                if _environment_read:
                    value = secrets.masked(value, path, from_environment=True)
                elif secrets.holds_one_of(hidden, value):
                    value = secrets.HIDDEN
                at(whole, path[:-1])[path[-1]] = value
    for _, section in sections(whole):
        section["_target_"] = one_name(section["_target_"], base)
    masked: dict[str, Any] = secrets.masked(whole)
    return masked


def hidden_texts(cfg: DictConfig, shown: dict[str, Any]) -> dict[str, str]:
    """Return the texts that the view `shown` of `cfg` hides, each with what it shows instead.

    What is short, or the path of something that is there, says nothing; it may be in any message.
    """
    if "(hidden" not in str(shown):
        return {}
    raw = content(cfg, resolve=False)
    found = {}
    for path, value in (*leaves(resolved(cfg, raw)), *leaves(raw)):
        instead = raw_at(shown, path)
        if not isinstance(value, str) or not isinstance(instead, str) or "(hidden" not in instead:
            continue
        if "${" not in value:
            found[value] = instead
        for name in re.findall(r"\$\{oc\.env:([^,}]+)", value):
            found.setdefault(os.environ.get(name.strip(), ""), secrets.HIDDEN)
    return {
        text: instead
        for text, instead in found.items()
        if len(text) > 3 and not (os.path.isabs(text) and os.path.exists(text))
    }


def without_secrets(text: str, hidden: dict[str, str]) -> str:
    """Return a message without the texts that are `hidden` by what is shown instead."""
    for each in sorted(hidden, key=len, reverse=True):
        text = text.replace(each, hidden[each])
    return secrets.masked_text(text)


def record(cfg: DictConfig, base: Path) -> dict[str, Any]:
    """Return what run.json says of a config that is kept with paths relative to `base`."""
    raw = content(cfg, resolve=False)
    return {"config": _view(cfg, raw, base), "digests": digests(cfg, raw), "cwd": str(base)}


def one_name(target: str, base: Path) -> str:
    """Return the one spelling of a class: `FILE.py:Name` for a file below `base`, else dotted."""
    module, _, name = target.rpartition(":" if ":" in target else ".")
    if module.endswith((".py", ".pkl")):
        return target
    file = getattr(sys.modules.get(module), "__file__", None)
    if file and "." not in module and Path(file).resolve().is_relative_to(base):
        return f"{Path(file).resolve()}:{name}"
    return f"{module}.{name}"


# Places in a config


def leaves(node: Any, path: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield the path and the value of each leaf of plain containers; empty ones have none."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, (*path, key))
    else:
        yield path, node


def dotted(path: Keys) -> str:
    """Return a path as one types it."""
    return ".".join(map(str, path))


def at(cfg: Any, path: Keys) -> Any:
    """Return what lies at `path` in plain containers or in a config, there resolved."""
    return functools.reduce(lambda node, key: node[key], path, cfg)


def raw_at(node: Any, path: Keys) -> Any:
    """Return what lies in plain containers at `path`; ABSENT when nothing does."""
    try:
        return at(node, path)
    except (KeyError, IndexError, TypeError):
        return ABSENT


def as_plain(value: Any) -> Any:
    """Return a node of a config as plain values, resolved; any other value as it is."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
