"""Messages of one line for the errors of Hydra, OmegaConf, YAML and imports."""

import contextlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.plugins.config_source import ConfigSource
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gym_loop import launch
from gym_loop.checks import foreign
from gym_loop.checks.origin import COMMAND_LINE
from gym_loop.config import kept, secrets, yaml_files
from gym_loop.config.yaml_files import first_line
from gym_loop.errors import user_frames
from gym_loop.mistake import nearest

SHOWN = 12  # of a list of what there is
# Groups that are no key of the config, and how an option of them is chosen.
OPTIONS = {"wrap": "wrap=[...]", "experiment": "+experiment=...", "sink": "+sink=..."}


def explain(error: BaseException) -> str | None:
    """Return the line that names the mistake in a request that could not be composed."""
    if line := unreadable(error):
        return line
    if isinstance(error, MissingConfigException):
        return unknown_option(error)
    if isinstance(error, OverrideParseException):
        return bad_override(error)
    if isinstance(error, ConfigCompositionException):
        return composition(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return first_line(error)
    if composing(error) and user_frames(error) is None:
        if isinstance(error, RecursionError):
            return f"the config refers to itself, in a circle{suspect()}"
        if line := no_name():
            return line
        return f"cannot compose the config{suspect()}: {first_line(error)}"
    return None


def unreadable(error: BaseException | None) -> str | None:
    """Return the line for a file that Hydra was reading when `error` was raised, or None."""
    found = None
    while error is not None:  # the first exception says most
        for frame, _ in traceback.walk_tb(error.__traceback__):
            source = frame.f_locals.get("self")
            if frame.f_code.co_name != "load_config" or not isinstance(source, ConfigSource):
                continue
            if source.scheme() == "file":
                name = frame.f_locals["config_path"].removesuffix(".yaml")
                found = yaml_files.problem(error, Path(source.path, f"{name}.yaml"))
        error = error.__cause__ or error.__context__
    return found


def unknown_option(error: MissingConfigException) -> str:
    """Return the line for an option that a group does not have."""
    path = str(error.missing_cfg_file).removesuffix(".yaml")
    # Hydra looks for `agent=sb3/dqm` in agent/sb3; the user has named the group agent.
    cuts = [i for i, letter in enumerate(path) if letter == "/"]
    asked = [i for i in cuts if on_command_line(rf"\W*{re.escape(path[:i])}(@\S*)?=.*")]
    if not cuts:
        return f"no config {path!r}{place_of(path)}{near_of(path, error.options)}"
    at = (asked or cuts)[0 if asked else -1]
    group, name = path[:at], path[at + 1 :]
    inner, _, option = name.partition("/")
    typed = on_command_line(rf"\W*{re.escape(group)}(@\S*)?={re.escape(name)}")
    if asked and option and not typed and (launch.CONF / inner).is_dir():
        expected = f"`- override /{inner}: {option}`"
        return f"the {group} chooses {inner}: {option}; expected {expected} among its defaults"
    named = on_command_line(rf"\W*{re.escape(group)}(@\S*)?=.*{re.escape(name)}.*")
    place = COMMAND_LINE if named else in_file(str(error)) or "defaults list"
    head = f"no {group} {name!r} ({place})"
    if suggestion := class_or_id(group, name):
        return f"{head}; did you mean {group}={suggestion}?"
    return f"{head}{near_of(name, {*(error.options or ()), *options(group)})}"


def options(group: str) -> set[str]:
    """Return the options of a group, those in folders of it as well, ours and the user's."""
    folders = (conf / group for conf in (launch.CONF, Path.cwd() / "conf"))
    return {
        str(file.relative_to(folder).with_suffix(""))
        for folder in folders
        for file in folder.rglob("*.yaml")
    }


def no_name() -> str | None:
    """Return the line for what is chosen of a group on the command line and is no text, or None."""
    for word in sys.argv[1:]:
        group, is_override, value = word.lstrip("+").partition("=")
        if not (is_override and (launch.CONF / group).is_dir()):
            continue
        with contextlib.suppress(yaml.YAMLError):
            chosen = yaml.safe_load(value)
            for each in chosen if isinstance(chosen, list) else [chosen]:
                if not isinstance(each, str):
                    known = enumerated(options(group))
                    return f"{word} ({COMMAND_LINE}): {each!r} is no name; expected some of {known}"
    return None


def class_or_id(group: str, name: str) -> str | None:
    """Return how `name` would be written if it was meant as a class or as an environment's id."""
    if group == "env" and re.fullmatch(r"[\w./-]*-v\d+", name):
        from gym_loop.envs.make import libraries_with

        return " or env=".join(f"{library}:{name}" for library in libraries_with(name))
    if group not in ("agent", "env", "loop"):
        return None
    module, _, attribute = name.rpartition(".")
    if attribute == "py" and Path(name).is_file():
        classes = re.findall(r"^class (\w+)", Path(name).read_text(errors="replace"), re.MULTILINE)
        return f" or {group}=".join(f"{name}:{each}" for each in classes[:SHOWN]) or None
    if module and importable(module):
        return f"{module}:{attribute}"
    if module.endswith(".py") and Path(module).is_file():
        return f"{module}:{attribute}"
    if name.isidentifier():
        for file in sorted(Path().glob("*.py")):
            if re.search(rf"^class {name}\b", file.read_text(errors="replace"), re.MULTILINE):
                return f"{file}:{name}"
    return None


def importable(module: str) -> bool:
    """Return whether there is a module of that name, without importing more than its package."""
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:
        return False


def bad_override(error: OverrideParseException) -> str:
    """Return the line for an override that Hydra's grammar does not take."""
    word = error.override
    if not word.strip():
        return f"an empty override ({COMMAND_LINE}); expected key=value"
    if "=" not in word and not word.startswith("~"):
        return f"{word!r} is no override ({COMMAND_LINE}); expected key=value"
    reason = str(error).partition("\nSee ")[0].removeprefix(f"Error parsing override '{word}'")
    reason = " ".join(reason.split()).removeprefix("LexerNoViableAltException: ")
    reason = reason.removesuffix("^").removeprefix(word).strip()
    key, _, value = word.partition("=")
    if (shown := secrets.masked_words([word])[0]) != word:
        word, value, reason = shown, secrets.HIDDEN, ""
    if f"{value}/".startswith("~/"):  # which shells leave as it is within a word
        return f"{word!r} ({COMMAND_LINE}): ~ is not read here; write {key}=$HOME{value[1:]}"
    if re.search("evaluating|osing|found duplicate key", reason):
        advice = ""
    else:
        reason = f"Hydra cannot read {value!r}" if value else "Hydra cannot read it"
        advice = f"; quote what is to be taken as it is: \"{key}='...'\""
        if "," in value and value[0] not in "[{'\"":  # for a sweep: one text would be one value
            advice = f"; quote each value that is to be taken as it is: \"{key}='...','...'\""
    return f"{word!r} ({COMMAND_LINE}): {reason}{advice}"


def composition(error: ConfigCompositionException) -> str:
    """Return the line for an override or a defaults list that does not fit the config."""
    text, cause = str(error), error.__cause__ or error.__context__
    if found := re.match(r"Could not override '([^']*)'\.\nTo append to your config", text):
        return unknown_key(found[1], cause)
    if found := re.match(r"Could not delete from config\. '([^']*)' does not exist", text):
        return f"no key {found[1]!r} to take away ({COMMAND_LINE})"
    if found := re.match(r"In '(.*)': Could not override '(.*)@.*'\.\nDid you mean to", text):
        return f"{found[1]}.yaml overrides {found[2]}: it needs the line `# @package _global_`"
    if found := re.match(r"Could not override '([^']*)'", text):
        if (launch.CONF / found[1]).is_dir():
            return not_chosen(found[1])
        group, at, package = found[1].partition("@")
        if at and (launch.CONF / group).is_dir():
            near = nearest(package, ["eval_env"], "; expected env@eval_env")
            return f"no {package!r} to choose an option of {group} for ({COMMAND_LINE}){near}"
        return f"no group {found[1]!r} to choose for ({COMMAND_LINE}); expected {groups()}"
    if found := re.match(r"Could not append to config\. An item is already at '([^']*)'", text):
        return f"{found[1]!r} is there already ({COMMAND_LINE}); leave out the +"
    if found := re.match(r"(\S+) appears more than once in the final defaults list", text):
        return f"{found[1]} is chosen twice{place_of(found[1])}; leave out the +"
    if found := re.match(r"Ambiguous value for argument '(.*)'", text):
        key = found[1].partition("=")[0]
        value = found[1].partition("=")[2]
        return (
            f"{found[1]} has several values ({COMMAND_LINE}); "
            f"-m sweeps over them, {key}=[{value}] is a list"
        )
    if found := re.match(r"Sweep parameters '(.*)' requires --multirun", text):
        return f"{found[1]} has several values ({COMMAND_LINE}); -m sweeps over them"
    more = f": {first_line(cause)}" if isinstance(cause, OmegaConfBaseException) else ""
    if found := re.match(r"Error merging override (.*)", text):
        word = f"{secrets.masked_words([found[1]])[0]} ({COMMAND_LINE})"
        if re.search(r"merge (DictConfig with ListConfig|incompatible container)", str(cause)):
            return f"{word}; expected {'a mapping' if '=[' in found[1] else 'a list'}"
        return word + more
    if text.strip():
        return first_line(error) + more
    return f"cannot compose the config{suspect()}: {first_line(cause or error)}"


def unknown_key(key: str, cause: BaseException | None) -> str:
    """Return the line for a key that the config does not have."""
    full = str(getattr(cause, "full_key", None) or key)
    name = full.rpartition(".")[2]
    parent = getattr(cause, "parent_node", None)
    content: Any = (
        OmegaConf.to_container(parent, resolve=False) if OmegaConf.is_config(parent) else None
    )
    if not isinstance(content, dict):
        section = full.rpartition(".")[0]
        inside = f"; {section} is one value, not a section" if section else ""
        return f"no key {full!r} ({COMMAND_LINE}){inside}"
    if "." not in full and (launch.CONF / full).is_dir():
        return no_name() or not_chosen(full)
    if said := foreign.ours(name):
        return f"no key {full!r} ({COMMAND_LINE}){said}"
    if "." not in full:
        for top, inside in content.items():
            if isinstance(inside, dict) and name in inside:
                return f"no key {full!r} ({COMMAND_LINE}); did you mean '{top}.{name}'?"
    known = [str(k) for k in content if not str(k).startswith("_")]
    if "." not in full:
        known.append("eval_env")
        if near := near_option(full):
            return f"no key {full!r} ({COMMAND_LINE}){near}"
    return f"no key {full!r} ({COMMAND_LINE}){near_key(full.removesuffix(name), name, known)}"


def not_chosen(group: str) -> str:
    """Return the line for a choice in a group that the config does not have by itself."""
    return f"nothing is chosen for {group!r} by default ({COMMAND_LINE}); write +{group}=..."


def near_option(name: str) -> str:
    """Return the group nearest to `name` of those that are no key of the config, or ""."""
    near = nearest(name, ["eval_env", *(p.name for p in launch.CONF.iterdir() if p.is_dir())])
    for group, example in OPTIONS.items():
        if f"'{group}'" in near:
            return f"; did you mean {example}?"
    return ""


def near_key(section: str, name: str, known: Iterable[str]) -> str:
    """Return the key nearest to `name` in a section, written whole, and otherwise what it has.

    Args:
        section: the dotted key of the section with a dot behind, or "" for the whole config.
        name: what was asked for.
        known: what the section has.
    """
    if said := foreign.ours(name):
        return said
    close = nearest(name, known)  # of the names alone: a long common section makes all near
    if close:
        return close.replace("'", f"'{section}", 1)
    has = f"has {enumerated(known)}" if known else "has no parameter"
    return f"; {section.rstrip('.') or 'the config'} {has}"


def near_of(name: str, options: Iterable[str] | None) -> str:
    """Return what is nearest to `name` among `options`, and otherwise what there is."""
    options = sorted(options or ())
    there = f"; there are: {enumerated(options)}" if options else "; there is none"
    return nearest(name, options, there)


def enumerated(names: Iterable[str]) -> str:
    """Return the first of `names`, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN + 1 else ""
    return ", ".join(names[:SHOWN] if more else names) + more


def groups() -> str:
    """Return the groups of options that there are."""
    return enumerated(p.name for p in launch.CONF.iterdir() if p.is_dir() and p.name != "hydra")


def near_interpolation(reason: str, cfg: Any) -> str:
    """Return the key nearest to the one that, as `reason` says, is interpolated and not there."""
    found = re.match(r"Interpolation key '(.+)' not found", reason)
    if not found:
        return ""
    raw = kept.content(cfg, resolve=False)
    inner = [f"{key}.{name}" for key in raw if isinstance(raw[key], dict) for name in raw[key]]
    return nearest(found[1], [*raw, *inner])


def in_file(text: str) -> str | None:
    """Return the config that Hydra's message says it was reading, unless it is the primary one."""
    found = re.match(r"In '([^']+)'", text)
    return f"conf/{found[1]}.yaml" if found and found[1] not in ("config", "run") else None


def on_command_line(pattern: str) -> bool:
    """Return whether a word of the command line matches."""
    return any(re.fullmatch(pattern, word, re.DOTALL) for word in sys.argv[1:])


def place_of(name: str) -> str:
    """Return " (command line)" if a word there begins with `name`."""
    return f" ({COMMAND_LINE})" if on_command_line(rf"\W*{re.escape(name)}.*") else ""


def suspect() -> str:
    """Return the override that is at fault, if there is only one."""
    words = [word for word in sys.argv[1:] if "=" in word or word.startswith("~")]
    return f" with {words[0]!r} ({COMMAND_LINE})" if len(words) == 1 else ""


def composing(error: BaseException) -> bool:
    """Return whether `error` was raised while Hydra composed a config."""
    frames = traceback.walk_tb(error.__traceback__)
    files = (Path(frame.f_code.co_filename) for frame, _ in frames)
    return any(f.name in ("config_loader_impl.py", "compose.py") for f in files)
