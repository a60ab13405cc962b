"""Config files read by YAML's parser in C, where PyYAML has it."""

import functools
from typing import Any

import yaml
from omegaconf import _utils

in_python = _utils.get_yaml_loader


@functools.cache
def get_yaml_loader() -> Any:
    """Return the loader that OmegaConf reads with, its scanner and parser replaced.

    A file that is not YAML is read again by those in Python, whose errors say more.
    """
    slow = in_python()
    if not yaml.__with_libyaml__:
        return slow

    class Loader(yaml.cyaml.CParser, slow):  # type: ignore[misc, valid-type]
        def __init__(self, stream: Any) -> None:
            self.given = stream
            yaml.cyaml.CParser.__init__(self, stream)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

        def get_single_data(self) -> Any:
            try:
                return super().get_single_data()
            except yaml.YAMLError:
                if hasattr(self.given, "seek"):
                    self.given.seek(0)
                return slow(self.given).get_single_data()

    return Loader
