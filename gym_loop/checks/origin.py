"""Where a value of the config comes from: the command line, or a line of a YAML file."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gym_loop.config import stored, yaml_files
from gym_loop.launch import CONF
from gym_loop.terminal import short

COMMAND_LINE = "command line"


def origin(cfg: DictConfig, key: str) -> str:
    """Return " (command line)" or " (FILE:LINE)" for the dotted `key`, or "" for a default."""
    said = _said(cfg)
    if _overridden(cfg, key, said):
        return f" ({COMMAND_LINE})"
    if place := _place(cfg, key):
        return f" ({short(place[0])}:{place[1]})"
    within = any(name.startswith(f"{key}.") for name in said)
    return f" ({COMMAND_LINE})" if within or key.partition(".")[0] in said else ""


def is_given(cfg: DictConfig, key: str) -> bool:
    """Return whether the user gives `key`: on the command line, or in a file that is not ours."""
    place = _place(cfg, key)
    return _overridden(cfg, key, _said(cfg)) or bool(place and not place[0].is_relative_to(CONF))


def _said(cfg: DictConfig) -> list[str]:
    """Return the keys on the command line."""
    # Unresolved: only the keys matter here.
    words: Any = OmegaConf.to_container(cfg.hydra.overrides, resolve=False)
    return [
        word.lstrip("+~").partition("=")[0].partition("@")[0]
        for word in words["task"] + words["hydra"]
    ]


def _overridden(cfg: DictConfig, key: str, said: list[str]) -> bool:
    groups = set(cfg.hydra.runtime.choices)
    return any(f"{key}.".startswith(f"{name}.") for name in said if name not in groups)


def _place(cfg: DictConfig, key: str) -> tuple[Path, int] | None:
    """Return the file and the line that say `key`, or None."""
    parts = key.split(".")
    for file, prefix in _files(cfg):
        if parts[: len(prefix)] == prefix and (line := yaml_files.line(file, parts[len(prefix) :])):
            return file, line
    return None


def _files(cfg: DictConfig) -> Iterator[tuple[Path, list[str]]]:
    """Yield the YAML files that `cfg` is composed of, each with the key that its content is under.

    Those that reach into the whole config come first: they override the others.
    """
    if cfg.hydra.job.config_name == stored.NAME:
        for file in stored.loaded:
            yield file, []
    found: list[tuple[Path, list[str]]] = []
    sources = [s.path for s in cfg.hydra.runtime.config_sources if s.schema == "file"]
    if not CONF.is_relative_to(Path.cwd()):  # what comes with the package is not the user's
        sources.remove(str(CONF))
    for group, options in cfg.hydra.runtime.choices.items():
        for option in options if isinstance(options, list) else [options]:
            for source in sources:
                file = Path(source, str(group), f"{option}.yaml")
                if file.is_file():
                    text = file.read_text(errors="replace")
                    package = re.search(r"^# *@package +(\S+)", text, re.MULTILINE)
                    name = package[1] if package else str(group).replace("/", ".")
                    found.append((file, [] if name == "_global_" else name.split(".")))
    yield from sorted(found, key=lambda pair: len(pair[1]))
    for source in sources:
        file = Path(source, f"{cfg.hydra.job.config_name}.yaml")
        if file.is_file():
            yield file, []
