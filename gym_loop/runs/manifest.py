"""run.json: reading it, writing it, and whether somebody is at it."""

import fcntl
import json
from pathlib import Path
from typing import Any

from gym_loop.runs import files

NAME, LOCK = "run.json", ".lock"
FORMAT = 1


def ended_by(loop: Any) -> str | None:
    """Return which limit ended a loop's training, or what stopped it; None while it goes on."""
    if loop.stop:
        return str(loop.stop)
    counts = {"max_episodes": loop.episodes, "max_steps": loop.steps}
    limits = {name: loop.parameters.get(name) for name in counts}
    reached = [name for name, n in counts.items() if limits[name] and n >= limits[name]]
    return ", ".join(reached) or None


def read(directory: Path) -> dict[str, Any] | None:
    """Return the content of `directory`'s run.json, or None where there is no sound one."""
    try:
        content = json.loads((directory / NAME).read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "state" in content else None


def write(directory: Path, content: dict[str, Any]) -> None:
    """Replace `directory`'s run.json."""
    files.write_json(directory / NAME, content)


def is_locked(directory: Path) -> bool:
    """Return whether a process on this machine is running the run in `directory`."""
    try:
        with open(directory / LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
