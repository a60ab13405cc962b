"""What this project touches of OmegaConf's private parts, each with the reason."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, Node, _utils
from omegaconf._utils import get_omega_conf_dumper


def representers() -> Any:
    """Return how OmegaConf writes values as YAML: its `to_yaml` has the emitter in Python alone."""
    return get_omega_conf_dumper().yaml_representers


def plain(node: Any) -> Any:
    """Return a node of a config as plain values, nothing resolved.

    So does `OmegaConf.to_container(node, resolve=False)`, in eight times the time: what takes long
    there is to look whether each value is an interpolation. Enums stay what they are.
    """
    if not isinstance(node, DictConfig | ListConfig):
        value = node._value()
        return value._value() if isinstance(value, Node) else value  # of a union
    content = node._content
    if isinstance(content, dict):
        return {key: plain(each) for key, each in content.items()}
    # Else None, or the text of an interpolation.
    return [plain(each) for each in content] if isinstance(content, list) else content


_in_python = getattr(_utils, "get_yaml_loader", None)


@contextlib.contextmanager
def parsing_in_c(folders: Sequence[Path]) -> Iterator[None]:
    """Have YAML's parser in C read the files in `folders`, in a tenth of the time.

    Those are files of packages, which both parsers read alike. OmegaConf 2.3 has the one in Python
    alone; it takes a few texts otherwise, and goes on reading the files of users.
    """
    if _in_python is None or not yaml.__with_libyaml__:
        yield
        return
    starts = tuple(f"{folder}/" for folder in folders)

    def loader(stream: Any) -> Any:
        is_known = str(getattr(stream, "name", "")).startswith(starts)
        return _loaders()[is_known](stream)

    before, _utils.get_yaml_loader = _utils.get_yaml_loader, lambda: loader
    try:
        yield
    finally:
        _utils.get_yaml_loader = before


def compose(text: bytes) -> yaml.Node | None:
    """Return the nodes of YAML, with the tags that OmegaConf's reader gives them."""
    if _in_python is None or not yaml.__with_libyaml__:
        return yaml.compose(text, yaml.SafeLoader)
    in_python, in_c = _loaders()
    try:
        return yaml.compose(text, in_c)
    except yaml.YAMLError:  # the parser in Python takes half of a surrogate pair
        return yaml.compose(text, in_python)


@functools.cache
def _loaders() -> tuple[Any, Any]:
    """Return OmegaConf's loader, and one that differs from it in nothing but the parser."""
    assert _in_python
    in_python = _in_python()

    class InC(yaml.cyaml.CParser, in_python):  # type: ignore[misc, valid-type]
        def __init__(self, stream: Any) -> None:
            yaml.cyaml.CParser.__init__(self, stream)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

    return in_python, InC
