"""Checkpoints from which a run goes on bit for bit."""

import json
import logging
import math
import os
import pickle
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import google_crc32c
from omegaconf import OmegaConf

from gym_loop.agents.base_agent import FILE, BaseAgent
from gym_loop.loops import streams
from gym_loop.mistake import Failure
from gym_loop.observers import Observer
from gym_loop.runs import files, manifest

COUNTERS = ("episodes", "steps", "evaluated")
SHARED_KEYS_ARE_SLOW = (3, 11), (3, 12)  # see `quicken`
SHARE = 0.02  # of a run's time: above it, a checkpoint that is due waits
CHUNK = 1 << 18  # bytes of a file that are read at once
PAUSE = 1.0  # seconds from one to the next at least: disks are shared, too

log = logging.getLogger(__name__)


class Checkpoints(Observer):
    """Writes `checkpoints/episode-000010/` and restores the newest sound one.

    A checkpoint is due every `episodes_per_checkpoint` episodes or `time_per_checkpoint` seconds.
    One that is due waits while checkpoints have taken more than 2 % of this launch's time, and,
    unless `time_per_checkpoint` asks for more, for there to be one a second. The first, the last,
    the one on a stop, and the best by evaluation do not wait.
    """

    def __init__(self) -> None:
        self.best: float | None = None  # mean return of the best evaluation during training
        self.best_name: str | None = None
        self.best_episode: int | None = None  # after which that was, in this launch
        self.per_episodes = self.per_time = math.inf
        self.earliest = time.monotonic()  # that one which is due can be written
        self.env_pickles = True
        self.agent_config: Any = None

    def open(self, cfg: Any, directory: Path) -> None:
        """Remember what the agent's parameters are made from."""
        content: Any = OmegaConf.to_container(cfg.agent, resolve=True)
        self.agent_config = {k: v for k, v in content.items() if not k.startswith("_")}

    def begin(self, loop: Any) -> None:
        """Restore the newest sound checkpoint of the run's directory, if there is one."""
        self.per_episodes = loop.parameters.get("episodes_per_checkpoint") or math.inf
        per_time = loop.parameters.get("time_per_checkpoint")
        self.per_time = math.inf if per_time is None else per_time
        directory = loop.directory / "checkpoints"
        self.tell(loop.agent)
        files.remove_leftovers(directory)
        for path in sound(directory):
            if _is_passed_over(loop, path):
                files.remove(path)
                continue
            restore(loop, path)
            log.info("continuing from episode %d (%s)", loop.episodes, path)
            break
        self._schedule(loop)

    def tell(self, agent: Any) -> None:
        """Tell the agent what made its parameters, by which `load` compares objects."""
        if self.agent_config and hasattr(agent, "_configured"):
            agent._configured = self.agent_config

    def end_evaluation(self, loop: Any, episodes: list[Any]) -> None:
        """Keep the best: write a checkpoint when an evaluation during training is better."""
        mean = sum(episode.ret for episode in episodes) / max(len(episodes), 1)
        if math.isfinite(mean) and episodes and not (self.best is not None and mean <= self.best):
            self.best, self.best_name, self.best_episode = mean, _name(loop), loop.episodes

    def end_cycle(self, loop: Any) -> None:
        """Write a checkpoint where one is due."""
        now = time.monotonic()
        if loop.episodes == self.best_episode or (
            now >= self.earliest and (loop.episodes >= self.next_episode or now >= self.next_time)
        ):
            self.write(loop)

    def end_training(self, loop: Any) -> None:
        """Write the last checkpoint, from which the run can be extended."""
        self.write(loop)

    def write(self, loop: Any) -> None:
        """Write a checkpoint of `loop` and delete those that are not to be kept.

        Raises:
            Failure: it cannot be written; the ones before it are untouched.
        """
        began, directory = time.monotonic(), loop.directory / "checkpoints"
        try:
            directory.mkdir(exist_ok=True)
            path = directory / _name(loop)
            if path.exists() and load_state(path) is None:
                files.remove(path)
            if not path.exists():
                self._write(loop, path)
            _point(directory / "latest", path.name)
            if self.best_name and (directory / self.best_name).exists():
                _point(directory / "best", self.best_name)
            names = _names(directory)
            keep = {path.name, self.best_name, *names[: self._keep(loop)]}
            for name in set(names) - keep:
                files.remove(directory / name)
        except OSError as error:
            files.remove_leftovers(directory)
            raise Failure(files.disk_full(error, directory)) from error
        now = time.monotonic()
        self.earliest = max(self.earliest + (now - began) / SHARE, now + min(PAUSE, self.per_time))
        self._schedule(loop)

    def _schedule(self, loop: Any) -> None:
        self.next_episode = loop.episodes + self.per_episodes
        self.next_time = time.monotonic() + self.per_time

    def state_dict(self) -> dict[str, Any]:
        """Return the best evaluation so far."""
        return {"best": self.best, "best_name": self.best_name}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.best, self.best_name = state.get("best"), state.get("best_name")

    @staticmethod
    def _keep(loop: Any) -> int:
        return int(loop.parameters.get("keep_checkpoints", 2))

    def _write(self, loop: Any, path: Path) -> None:
        temporary = path.with_name(f"{files.TEMPORARY}{os.getpid()}-{path.name}")
        (temporary / "agent").mkdir(parents=True)
        save_agent(loop.agent, temporary / "agent")
        rest = {
            "streams": streams.get_state(),
            "drawn": drawn(loop.agent),
            "env": self._pickled(loop.env),
        }
        (temporary / "loop.pkl").write_bytes(pickle.dumps(rest, protocol=5))
        quicken(loop)
        written = sorted(filter(Path.is_file, temporary.rglob("*")))
        sums = {str(file.relative_to(temporary)): _checksum_of(file) for file in written}
        _write_state(temporary, {"files": sums, **state_dict(loop)})
        # A new file's name goes to disk with it, or the checksums tell after a power cut.
        files.sync(*written, temporary / "state.json")
        temporary.rename(path)
        files.sync(path.parent)

    def _pickled(self, env: Any) -> bytes | None:
        if self.env_pickles:
            try:
                return pickle.dumps(env, protocol=5)
            except Exception as error:
                self.env_pickles = False
                log.warning(
                    "the environment does not pickle (%s): a resumed run starts it anew. That is "
                    "exact unless it keeps something from one episode to the next",
                    error,
                )
        return None


class Newest(Observer):
    """Gives the agent of the newest checkpoint to a loop that only evaluates."""

    def begin(self, loop: Any) -> None:
        """Load the agent, and count from where it stood."""
        for path in sound(loop.directory / "checkpoints"):
            state = load_state(path) or {}
            loop.agent.load(path / "agent")
            loop.episodes, loop.steps = state["episodes"], state["steps"]
            quicken(loop)
            break


def restore(loop: Any, path: Path) -> None:
    """Put `loop` where the checkpoint at `path` was written. Unpickles: only for trusted runs.

    A fork may have another seed or another environment, as `plant` says: the streams or the
    environment are then the new ones.

    Raises:
        Failure: no sound checkpoint lies there.
    """
    state = load_state(path)
    if state is None:
        raise Failure(f"{path} is not a sound checkpoint")
    fresh = streams.get_state(), drawn(loop.agent)
    loop.agent.load(path / "agent")
    rest = pickle.loads((path / "loop.pkl").read_bytes())
    if rest["env"] is not None and state.get("same_env", True):
        loop.env.close()
        loop.env = pickle.loads(rest["env"])
    load_state_dict(loop, state)
    global_streams, own = (
        (rest["streams"], rest["drawn"]) if state.get("same_seed", True) else fresh
    )
    streams.set_state(global_streams)
    for name, stream in own.items():
        if isinstance(stream, dict):
            getattr(loop.agent, name).bit_generator.state = stream
        else:
            setattr(loop.agent, name, stream)
    quicken(loop)


def quicken(loop: Any) -> None:
    """Make attributes of agent and environment as fast as before they were pickled or unpickled.

    An attribute is found at once by a name that is interned, as all are in code. Those of a dict
    that was unpickled are not.

    CPython 3.11 and 3.12 have no fast path for an object whose `__dict__` has been asked for, or
    filled by unpickling, while it still shares its keys with others of its class: CartPole's steps
    take a sixth longer. A dict from which the last item was taken has keys of its own; the item is
    one put there for it, so that at no time an attribute is missing.
    """
    owners, env = [loop.agent], loop.env
    while env is not None:
        owners.append(env)
        env = getattr(env, "__dict__", {}).get("env")
    held = [each for owner in owners for each in getattr(owner, "__dict__", {}).values()]
    for each in owners + held:
        names = getattr(each, "__dict__", None)
        if type(names) is not dict or isinstance(each, ModuleType):
            continue
        for name in [n for n in names if type(n) is str and sys.intern(n) is not n]:
            names[sys.intern(name)] = names.pop(name)
        if sys.version_info[:2] in SHARED_KEYS_ARE_SLOW:
            names[""] = None
            names.popitem()


def drawn(agent: Any) -> dict[str, Any]:
    """Return what the agent draws from: its spaces, and the states of its generators.

    They are kept beside what the agent saves, for one whose own `save` leaves them out.
    """
    found = {name: value for name, value in vars(agent).items() if streams.is_space(value)}
    for name, value in vars(agent).items():
        if hasattr(value, "bit_generator"):
            found[name] = value.bit_generator.state
    return found


def save_agent(agent: Any, directory: Path) -> None:
    """Let the agent save itself.

    Raises:
        Failure: an attribute cannot be pickled, or what was saved could not be loaded.
    """
    try:
        agent.save(directory)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        for name, value in vars(agent).items():
            try:
                pickle.dumps(value)
            except Exception:
                raise Failure(
                    f"{type(agent).__name__}.{name} cannot be saved ({error}); override "
                    "save(directory) and load(directory), or keep it out of the agent"
                ) from error
        raise
    if not (directory / FILE).exists() and getattr(type(agent), "load", None) is BaseAgent.load:
        name = type(agent).__name__
        raise Failure(f"{name}.save() wrote no {FILE}, which load() reads: write a load() as well")


def _is_passed_over(loop: Any, path: Path) -> bool:
    """Return whether the run cannot go on from here, of which a fork's beginning is no case."""
    if not hasattr(loop, "passes_over"):
        return False
    parent = (manifest.read(loop.directory) or {}).get("parent") or {}
    return parent.get("episode") != episode(path) and bool(loop.passes_over(load_state(path)))


def state_dict(loop: Any) -> dict[str, Any]:
    """Return a loop's counters and each observer's own state, as JSON can hold it."""
    counters = {name: getattr(loop, name) for name in COUNTERS}
    counters["whole"] = getattr(loop, "whole", True)
    watched = {name: observer.state_dict() for name, observer in loop.observers.items()}
    return counters | {"seconds": loop.seconds, "observers": watched}


def load_state_dict(loop: Any, state: dict[str, Any]) -> None:
    """Let a loop, and each of its observers, go on from what `state_dict` returned."""
    for name in COUNTERS:
        setattr(loop, name, state[name])
    loop.began = time.perf_counter() - state["seconds"]
    for name, observer in loop.observers.items():
        observer.load_state_dict(state["observers"].get(name, {}))


def sound(directory: Path) -> Iterator[Path]:
    """Yield the sound checkpoints in `directory`, the newest first; warn of each damaged one."""
    for name in _names(directory):
        if load_state(directory / name) is None:
            log.warning("%s is damaged; trying the one before it", directory / name)
        else:
            yield directory / name


def load_state(path: Path) -> dict[str, Any] | None:
    """Return the counters in the checkpoint at `path`, or None when a checksum is wrong."""
    try:
        checksum, _, text = (path / "state.json").read_text().partition("\n")
        if _checksum([text.rstrip("\n").encode()]) != checksum:
            return None
        state: dict[str, Any] = json.loads(text)
        right = all(_checksum_of(path / f) == s for f, s in state["files"].items())
        return state if right else None
    except (OSError, ValueError):
        return None


def _write_state(path: Path, state: dict[str, Any]) -> None:
    text = json.dumps(state, indent=1)
    (path / "state.json").write_text(f"{_checksum([text.encode()])}\n{text}\n")


def plant(checkpoint: Path, path: Path, same_env: bool, same_seed: bool) -> None:
    """Copy a checkpoint to `path`, in the directory of a fork.

    Args:
        checkpoint: the parent's.
        path: where the fork begins.
        same_env: whether the environment goes on; else what observers have kept is of another
            one, and is left out.
        same_seed: whether the streams go on.
    """
    state = load_state(checkpoint)
    assert state is not None
    shutil.copytree(checkpoint, path)
    state |= {"same_env": same_env, "same_seed": same_seed}
    _write_state(path, state if same_env else state | {"observers": {}})


def episode(path: Path) -> int:
    """Return how many training episodes went before the checkpoint at `path`."""
    return int(path.name.partition("-")[2])


def _name(loop: Any) -> str:
    return f"episode-{loop.episodes:06d}"


def _names(directory: Path) -> list[str]:
    """Return the checkpoints' names, the newest first."""
    return [path.name for path in sorted(directory.glob("episode-*"), key=episode, reverse=True)]


def _checksum(parts: Iterable[bytes]) -> str:
    """Return the checksum of accidents, not of malice: SHA-256 takes 20 times as long."""
    checksum = 0
    for part in parts:
        checksum = google_crc32c.extend(checksum, part)
    return f"{checksum:08x}"


def _checksum_of(path: Path) -> str:
    """Return a file's checksum; it may be larger than what is left of the memory."""
    with open(path, "rb", buffering=0) as file:
        return _checksum(iter(lambda: file.read(CHUNK), b""))


def _point(link: Path, name: str) -> None:
    """Make `link` a symbolic link to `name`, at once."""
    if not link.is_symlink() or os.readlink(link) != name:
        temporary = link.with_name(f"{files.TEMPORARY}{os.getpid()}-{link.name}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name)
        temporary.replace(link)
