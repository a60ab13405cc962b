"""Config files read by YAML's parser in C, where PyYAML has it."""

import contextlib
import io
from typing import Any

import yaml
from omegaconf import _utils

in_python = _utils.get_yaml_loader


def get_yaml_loader() -> Any:
    """Return the loader that OmegaConf reads with, its scanner and parser replaced.

    The parser in Python still reads what is not YAML to the other one, as its errors say more, and
    what has tabs, where the other one is more lenient.
    """
    slow = in_python()
    if not yaml.__with_libyaml__:
        return slow

    class Loader(yaml.cyaml.CParser, slow):  # type: ignore[misc, valid-type]
        def __init__(self, stream: Any) -> None:
            self.text, self.name = stream, None
            if hasattr(stream, "read"):
                self.text, self.name = stream.read(), getattr(stream, "name", "<file>")
            yaml.cyaml.CParser.__init__(self, self.text)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

        def get_single_data(self) -> Any:
            if ("\t" if isinstance(self.text, str) else b"\t") not in self.text:
                with contextlib.suppress(yaml.YAMLError, ValueError):
                    return super().get_single_data()
            again = self.text
            if self.name is not None:
                again = io.StringIO(again) if isinstance(again, str) else io.BytesIO(again)
                again.name = self.name
            return slow(again).get_single_data()

    return Loader
