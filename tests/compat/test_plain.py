"""A config as plain values: our walk over OmegaConf's nodes gives what OmegaConf's own gives."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import AnyNode, DictConfig, ListConfig, OmegaConf

from gym_loop.compat.omegaconf import plain


class Colour(Enum):
    RED = 1


@dataclass
class Typed:
    either: int | str = 3
    colour: Colour = Colour.RED
    path: Path = Path("x")
    numbers: list[int] = field(default_factory=lambda: [1, 2])
    nothing: dict[str, int] | None = None
    asked: int = "???"  # type: ignore[assignment]
    raw: bytes = b"12"


def test_a_config_is_as_plain_as_omegaconf_makes_it():
    content: dict[Any, Any] = {
        "typed": OmegaConf.structured(Typed),
        "follows": "${typed.either}",
        "group": "${typed}",
        "asked": "???",
        "keys": {True: 1, 2.5: [], b"k": [{"a": "${follows}"}, None], Colour.RED: {}},
        "escaped": r"\${x}",
    }
    cfg = OmegaConf.create(content)
    cfg.no_dict, cfg.no_list = DictConfig(None), ListConfig("???")
    cfg.other_list = ListConfig("${typed.numbers}")

    assert repr(plain(cfg)) == repr(OmegaConf.to_container(cfg, resolve=False))


def test_omegaconf_keeps_what_is_in_a_node_under_these_names():
    cfg = OmegaConf.create({"a": [1], "b": "${a}", "c": None})

    assert list(cfg._content) == ["a", "b", "c"]
    assert [type(each) for each in cfg._content["a"]._content] == [AnyNode]
    assert cfg._content["a"]._content[0]._value() == 1
    assert ListConfig("${a}")._content == "${a}"
