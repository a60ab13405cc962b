"""Reads `code/` of a run's directory: safe whatever lies in it; nothing is run or followed."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gym_loop import files
from gym_loop.runs import tables
from gym_loop.terminal import printable

FOLDER = "code"
FORMAT = 1
DESCRIPTION = "environment.json"
CHANGES = "changes.diff"  # of a repository, against its commit
PACKAGE = "gym_loop.zip"  # this package, where it is neither a release nor in a repository
ABSENT = "(absent)"
LARGEST = 4_000_000  # bytes of a description: of a larger one, nothing is read
# Of a description, what is compared, and how it is called.
SINGLE = {"python": "Python", "system": "system", "cpu": "CPU", "cores": "cores"}
SEVERAL = {"packages": "", "blas": "BLAS of ", "cuda": "CUDA, ", "threads": "threads, "}


def describe(run: Path, folder: str = FOLDER) -> dict[str, Any] | None:
    """Return the description that a run has kept; None where there is no sound one."""
    try:
        with tables.open_file(run, f"{folder}/{DESCRIPTION}") as file:
            text = file.read(LARGEST + 1)
        content = json.loads(text) if len(text) <= LARGEST else None
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def later(run: Path) -> dict[int, str]:
    """Return from which episodes on a run went on with other code, or elsewhere.

    Each has the folder that tells of it.
    """
    names = {folder.name: folder.name[8:] for folder in files.named(run / FOLDER, "episode-")}
    found = {int(number): name for name, number in names.items() if number.isdecimal()}
    return {number: f"{FOLDER}/{found[number]}" for number in sorted(found)}


def differences(
    first: dict[str, Any], second: dict[str, Any]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield (group, name, in the first, in the second) for what may explain another result."""
    for key, name in SINGLE.items():
        if first.get(key) != second.get(key):
            yield key, name, printable(first.get(key)), printable(second.get(key))
    for key, name in SEVERAL.items():
        both = (first.get(key), second.get(key))
        one, two = (side if isinstance(side, dict) else {} for side in both)
        for inner in dict.fromkeys((*one, *two)):
            if one.get(inner) != two.get(inner):
                values = [printable(side.get(inner, ABSENT)) for side in (one, two)]
                yield key, printable(f"{name}{inner}"), values[0], values[1]
    both = (first.get("cpu_features"), second.get("cpu_features"))
    sets = [{*map(str, side)} if isinstance(side, list) else set() for side in both]
    if sets[0] != sets[1]:
        only = [printable(" ".join(sorted(a))) for a in (sets[0] - sets[1], sets[1] - sets[0])]
        yield "cpu_features", "CPU features that only one has", only[0], only[1]


def files_that_differ(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Return the names of the files of code that two runs have kept, and that are not the same.

    A file that one of them has not used is none of these; changes to a commit are.
    """
    one, two = (_by_inner_name(side.get("files")) for side in (first, second))
    differ = {name for name in one.keys() & two.keys() if not _agree(one[name], two[name])}
    differ |= {CHANGES} if one.get(CHANGES) != two.get(CHANGES) else set()
    return [printable(name) for name in sorted(differ)]


def _agree(one: Counter[str], two: Counter[str]) -> bool:
    """Return whether the files of one run are all among those of the other."""
    return one <= two or two <= one


def _by_inner_name(digests: Any) -> dict[str, Counter[str]]:
    """Return digests by the names of files within their repositories; several may share a name.

    So a project that lies in another folder now has the same names.
    """
    found: dict[str, Counter[str]] = {}
    for name, digest in digests.items() if isinstance(digests, dict) else ():
        inner = name.partition("/")[2] or name
        found.setdefault(inner.removeprefix("files/"), Counter())[str(digest)] += 1
    return found
