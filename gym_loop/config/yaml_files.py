"""What is wrong with a YAML file of the user's, in one line that names the file and its line."""

import re
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml.constructor import SafeConstructor

from gym_loop.compat.omegaconf import compose
from gym_loop.mistake import Mistake
from gym_loop.terminal import short

MERGE = "tag:yaml.org,2002:merge"  # the tag of `<<`


def problem(error: BaseException, file: Path) -> str:
    """Return the line that says why `file` could not be read as a config."""
    name = short(file)
    if isinstance(error, UnicodeDecodeError):
        return f"{name}{_not_utf8(file.read_bytes())}"
    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        said = getattr(error, "problem", None) or getattr(error, "reason", None)
        return f"{place}: not YAML: {said or first_line(error)}"
    if isinstance(error, OSError):
        # OmegaConf raises a bare one for a file that holds a number or the like.
        single = f"{name} holds a single value; expected a mapping"
        return f"cannot read {name}: {error.strerror}" if error.strerror else single
    key = str(getattr(error, "full_key", None) or "")
    number = line(file, re.split(r"[.\[]", key.replace("]", ""))) if key else None
    return f"{name}{f':{number}' if number else ''}: {first_line(error)}"


def check_keys(file: Path) -> None:
    """Refuse keys that differ as texts and are one key in Python: `1` and `true`; also `1` twice.

    OmegaConf's reader refuses texts alone, and keeps the last value of others.

    Raises:
        Mistake: there are some; the line names the second.
    """
    nodes = [compose(file.read_bytes())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            seen = set[Any]()
            for key, value in node.value:
                nodes.append(value)
                if key.tag == MERGE:
                    continue
                made = SafeConstructor().construct_object(key, deep=True)
                if made in seen:
                    place = f"{short(file)}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
                    raise Mistake(f"{place}: not YAML: found duplicate key {key.value}")
                seen.add(made)


def line(file: Path, keys: list[str]) -> int | None:
    """Return the line in which `file` has the nested `keys`; the first for its whole content."""
    try:
        node = yaml.compose(file.read_text("utf-8", "replace"), Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError):
        return None
    number = None if keys else 1
    for key in keys:
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(key)] if key.isdecimal() else None
            continue
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        pair = next((pair for pair in pairs if pair[0].value == key), None)
        if pair is None:
            return None
        number, node = pair[0].start_mark.line + 1, pair[1]
    return number


def first_line(error: BaseException) -> str:
    """Return what an exception says, without OmegaConf's and Hydra's further lines."""
    lines = [
        line.strip()
        for line in str(error).strip().splitlines()
        if not re.match(r"\s*(full_key|object_type|ref\w*_type):?", line)
    ]
    kind = type(error).__name__
    if not (lines and lines[0]):
        return kind
    known = isinstance(error, HydraException | OmegaConfBaseException)
    return lines[0] if known else f"{kind}: {lines[0]}"


def _not_utf8(content: bytes) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        return f":{number}: not UTF-8 (byte 0x{content[error.start]:02x}); save it as UTF-8"
    return ": not UTF-8"
