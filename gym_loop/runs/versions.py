"""The versions of the packages that a process uses, and what is said where others had written."""

import contextlib
import functools
import importlib.metadata
import logging
import mmap
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from gym_loop.config import by_value
from gym_loop.errors import user_frames
from gym_loop.mistake import Failure, summary_of
from gym_loop.runs import manifest
from gym_loop.runs.checkpoints import read_state

PACKAGES = ("numpy", "gym", "gymnasium", "hydra-core", "torch", "jax", "stable-baselines3")
version = functools.cache(importlib.metadata.version)

log = logging.getLogger(__name__)


def versions() -> dict[str, str]:
    """Return the versions of what this process has imported."""
    found = {"python": sys.version.split()[0]}
    for package in ("gym_loop", *PACKAGES):
        module = {"hydra-core": "hydra", "stable-baselines3": "stable_baselines3"}
        imported = sys.modules.get(module.get(package, package))
        if imported is not None:
            # Reading a package's metadata takes a millisecond.
            own = getattr(imported, "__version__", None)
            found[package] = str(own or version(package))
    return found


def changed(checkpoint: Path, run: Path) -> dict[str, tuple[str, str]]:
    """Return (version then, version now) of each package that has another one than in `run`."""
    then = (read_state(checkpoint) or {}).get("versions")
    then = then or (manifest.read(run) or {}).get("versions") or {}
    now = versions()
    return {k: (then[k], now[k]) for k in then if now.get(k, then[k]) != then[k]}


def note_others(runs: Iterable[Path]) -> None:
    """Print a line if other versions were used in some of the runs that are to be compared."""
    others: dict[str, dict[str, None]] = {}  # of a package
    now = versions()
    for run in runs:
        recorded = (manifest.read(run) or {}).get("versions")
        for package, then in recorded.items() if isinstance(recorded, dict) else ():
            if package not in now:  # by this process, which trains nothing
                with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                    now[package] = version(package)
            if now.get(package, then) != then:
                others.setdefault(package, {})[str(then)] = None
    if others:
        told = (f"{name} {', '.join(then)}, now {now[name]}" for name, then in others.items())
        print(f"note: jobs before had {'; '.join(told)}: results may differ by it", file=sys.stderr)


@contextlib.contextmanager
def reading(checkpoint: Path, run: Path) -> Iterator[None]:
    """Warn if the checkpoint of `run`, which the block reads, is of other packages' versions.

    Raises:
        Failure: the block failed, and versions differ or a module or a part is missing; or the
            agent has code for another Python, which would crash this one.
    """
    differ = changed(checkpoint, run)
    told = (f"{name} {then}, now {now}" for name, (then, now) in differ.items())
    what = f"{checkpoint} was written with {'; '.join(told)}"
    if differ:
        log.warning("%s: from here on results may differ from those of a single run", what)
    try:
        if is_other_python(differ) and any(map(_has_code, (checkpoint / "agent").rglob("*"))):
            raise ImportError("it holds code for another Python")
        yield
    except Exception as error:
        reason = summary_of(error)
        if differ:
            raise Failure(f"{what}, and cannot be read ({reason}): resume it with those") from error
        advice = None if user_frames(error) else _advice(error)
        if advice:
            raise Failure(f"{checkpoint} cannot be read ({reason}): {advice}") from error
        raise


def _advice(error: Exception) -> str | None:
    """Return what to do where a checkpoint cannot be read, if that is known."""
    if isinstance(error, ImportError):
        return "what it holds was made with that module"
    if isinstance(error, pickle.UnpicklingError | EOFError):
        return "move it away, and the run goes on from an earlier one, or begins anew"
    return None


def is_other_python(changed: Mapping[str, tuple[str, str]]) -> bool:
    """Return whether the Python of now cannot run the code of the Python of then."""
    return len({version.rpartition(".")[0] for version in changed.get("python", ())}) > 1


def _has_code(file: Path) -> bool:
    """Return whether a file has functions by value, where no archive hides them."""
    if not file.is_file() or not file.stat().st_size:
        return False
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as all_:
        return by_value.has_code(all_)
