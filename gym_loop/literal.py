"""Text that OmegaConf is to take as it is."""

import re
from typing import Any


def literal(value: Any) -> Any:
    """Return `value` with the `${` in its texts escaped, so that reading it resolves nothing.

    OmegaConf unescapes once each time that it reads a text which holds `${`, and only then.
    """
    if isinstance(value, dict):
        return {key: literal(each) for key, each in value.items()}
    if isinstance(value, list | tuple):  # OmegaConf makes a list of both
        return [literal(each) for each in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value
