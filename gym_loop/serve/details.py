"""What a run's own page shows."""

import contextlib
import os
import shlex
import socket
import time
from pathlib import Path
from typing import Any

from gym_loop import machine
from gym_loop.runs import reading
from gym_loop.runs.checkpoints import FOLDER
from gym_loop.runs.reading import RunContent, finite, shown
from gym_loop.serve import files
from gym_loop.serve.files import RefusedFileError
from gym_loop.serve.library import LONGEST, MOST_KEYS, Entry
from gym_loop.terminal import printable

MOST_CHECKPOINTS = 50


def details(entry: Entry) -> dict[str, Any]:
    """Return a run's config, history, files and commands, as JSON can hold them."""
    content: dict[str, Any] = {
        "row": entry.row,
        "directory": printable(entry.directory),
        "commands": commands(entry),
    }
    if files_refused(entry):
        return content
    run = RunContent(entry.directory)
    known = run.manifest
    chosen = {key.lstrip("+~") for key in run.overrides}
    config = list(reading.flat(run.config).items())[:MOST_KEYS]
    versions, git, parent = (known.get(name) for name in ("versions", "git", "parent"))
    end = known.get("end")
    size, count = files.size_on_disk(entry.directory)
    return content | {
        "error": "\n".join(map(printable, str(known.get("error") or "").splitlines()[:50]))[:5000],
        # With what was found where its tables were read.
        "warnings": entry.row["warnings"],
        "config": [
            {
                "key": printable(key)[:LONGEST],
                "value": shown(value)[:LONGEST],
                "chosen": any(key == name or key.startswith(f"{name}.") for name in chosen),
            }
            for key, value in config
        ],
        "overrides": [f"{key}={value}"[:LONGEST] for key, value in run.overrides.items()],
        "versions": {
            printable(name)[:LONGEST]: printable(version)[:LONGEST]
            for name, version in (versions if isinstance(versions, dict) else {}).items()
        },
        "commit": printable(git.get("commit"))[:LONGEST] if isinstance(git, dict) else "",
        "dirty": bool(git.get("dirty")) if isinstance(git, dict) else False,
        "parent": printable(parent.get("directory"))[:LONGEST] if isinstance(parent, dict) else "",
        "command": printable(known.get("command") or "")[:2000],
        "host": printable(known.get("host") or "")[:LONGEST],
        "end": printable(end)[:LONGEST] if end else "",
        "launches": finite(known.get("launches")),
        "checkpoints": checkpoints(entry.directory / FOLDER),
        "disk": {"bytes": size, "files": count},
        "memory": memory(run),
        "now": time.time(),
    }


def files_refused(entry: Entry) -> bool:
    """Return whether a file that the table needs is refused; then nothing is read."""
    return "agent" not in entry.row


def commands(entry: Entry) -> list[dict[str, str]]:
    """Return the commands that go on from a run, as one types them anywhere."""
    if str(entry.directory) != printable(entry.directory):
        return []  # a terminal would obey what stands in the path
    path = shlex.quote(str(entry.directory))
    return [
        {"what": what, "command": command}
        for what, command in (
            ("Resume", f"gym-loop resume {path}"),
            ("Fork", f"gym-loop fork {path}"),
            ("Evaluate", f"gym-loop evaluate {path}"),
            ("Replay", f"gym-loop replay {path} --episode best --video best.mp4 --caption"),
            ("Export", f"gym-loop export {path} episodes.npz"),
        )
    ]


def checkpoints(folder: Path) -> list[dict[str, Any]]:
    """Return the checkpoints' names, sizes and times, the newest first."""
    try:
        files.check_folder(folder)
        with os.scandir(folder) as entries:
            inside = [entry for entry in entries if not entry.name.startswith(".")]
    except (OSError, RefusedFileError):
        return []
    names: dict[str, list[str]] = {}
    found = []
    for entry in inside:
        with contextlib.suppress(OSError):  # the run deletes old ones
            if entry.is_symlink():
                names.setdefault(os.path.basename(os.readlink(entry.path)), []).append(entry.name)
            elif entry.is_dir(follow_symlinks=False):
                found.append((entry.stat(follow_symlinks=False).st_mtime, entry))
    return [
        {
            "name": printable(entry.name)[:LONGEST],
            "also": [printable(name)[:LONGEST] for name in sorted(names.get(entry.name, ()))],
            "bytes": files.size_on_disk(Path(entry.path), 1000)[0],
            "time": finite(changed),
        }
        for changed, entry in sorted(found, key=lambda pair: -pair[0])[:MOST_CHECKPOINTS]
    ]


def memory(run: RunContent) -> dict[str, int | None]:
    """Return the bytes of memory that a run's process has `now`, and has had at its `peak`."""
    pid, host = run.manifest.get("pid"), run.manifest.get("host")
    known: dict[str, int] = {}
    if run.state == "running" and host == socket.gethostname() and type(pid) is int and pid > 0:
        with contextlib.suppress(OSError):
            known = machine.memory(pid)
    return {"now": known.get("VmRSS"), "peak": known.get("VmHWM", run.peak_memory)}
