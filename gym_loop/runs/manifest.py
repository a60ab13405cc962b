"""Reading run.json."""

import json
from pathlib import Path
from typing import Any

NAME = "run.json"
FORMAT = 1


def read(directory: Path) -> dict[str, Any] | None:
    """Return the content of `directory`'s run.json, or None where there is no sound one."""
    try:
        content = json.loads((directory / NAME).read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "state" in content else None
