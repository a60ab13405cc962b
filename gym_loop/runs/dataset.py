"""Recorded episodes with their observations, played again for them, and as one .npz file."""

import contextlib
import math
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gym_loop import files
from gym_loop.loops.copies import copied
from gym_loop.mistake import Failure
from gym_loop.runs import playback, seen, traces
from gym_loop.vector.batches import parts_of

WITHOUT_ARRAYS = ("Graph", "OneOf", "Sequence")  # spaces whose elements have no one shape

# Where an array lies in a Dict or Tuple: keys and positions, outermost first.
Part = tuple[Any, ...]


@dataclass
class Recording:
    """An episode of T steps: arrays, T + 1 long for the observations, T for the actions.

    What fits into no array is None.
    """

    episode: int
    seed: int
    observations: dict[Part, Any]
    actions: dict[Part, Any]
    rewards: Any
    terminations: Any
    truncations: Any


def play_again(job: playback.Job) -> list[Recording]:
    """Play the episodes of a job, and return what was seen of those that have a step.

    Raises:
        Failure: one is not as it was recorded.
    """
    recordings = []
    for trace in playback.recorded(job.run, job.file, job.episodes):
        with contextlib.closing(playback.make_env(job.run, job.kind, trace.episode)) as env:
            again = playback.Playback(env, trace, job.returns.get(trace.episode))
            # An environment may give one and the same array again and again.
            observations = [copied(observation) for _, observation, _ in again]
            if again.difference:
                raise Failure(
                    f"nothing written: episode {trace.episode} {again.difference} "
                    f"(`gym-loop replay {job.run} --episode {trace.episode}` shows more)"
                )
            ends = trace.terminated, trace.truncated
            if trace.actions:  # a wrapper may have ended it before its first step
                recordings.append(
                    recording(trace, env, observations, trace.actions, trace.rewards, ends)
                )
    return recordings


def seen_by_agent(run: Path, kind: str, numbers: list[int], env: Any) -> Iterator[Recording]:
    """Yield what the agent saw of the episodes `numbers`; `env` has its spaces."""
    for each in seen.by_agent(run, kind, numbers):
        ends, rewards = (each.terminated, not each.terminated), np.array(each.rewards)
        yield recording(each.trace, env, each.observations, each.actions, rewards, ends)


def recording(
    trace: traces.Trace,
    env: Any,
    observations: list[Any],
    actions: list[Any],
    rewards: Any,
    ends: tuple[bool, bool],
) -> Recording:
    """Return what was played of an episode as arrays; `ends`: terminated, truncated."""
    flags = np.zeros((2, len(actions)), np.bool_)
    flags[:, -1] = ends
    return Recording(
        trace.episode,
        trace.seed,
        stacked(observations, env.observation_space),
        stacked(actions, env.action_space),
        rewards,
        *flags,
    )


def stacked(values: list[Any], space: Any) -> dict[Part, Any]:
    """Return elements of a space as an array for each part of it that is no Dict or Tuple."""
    arrays: dict[Part, Any] = {}
    for part, leaf in simple_parts(space):
        try:
            if class_of(leaf) in WITHOUT_ARRAYS:
                raise ValueError(class_of(leaf))
            own = [value_at(value, part) for value in values]
            array = np.array(own)
            if array.dtype.kind not in "biufcSU":
                raise ValueError(array.dtype)
            if array.dtype.kind in "SU" and array.tolist() != np.array(own, object).tolist():
                raise ValueError("NumPy cuts NUL off the end of texts and bytes")
        except (LookupError, TypeError, ValueError):
            arrays[part] = None
            continue
        # As the space has it: int64 for the numbers of a Discrete, however they were given.
        if hasattr(leaf, "n") and array.dtype.kind in "bi":
            array = array.astype(leaf.dtype)
        arrays[part] = array
    return arrays


def simple_parts(space: Any, above: Part = ()) -> Iterator[tuple[Part, Any]]:
    """Yield (part, space) for each space without parts in `space`, or `space` itself."""
    parts = parts_of(space)
    if parts is None:
        yield above, space
        return
    for key, part in parts.items() if isinstance(parts, Mapping) else enumerate(parts):
        yield from simple_parts(part, (*above, key))


def value_at(value: Any, part: Part) -> Any:
    """Return the value at `part` of an element of a Dict or Tuple."""
    for key in part:
        value = value[key]
    return value


def class_of(space: Any) -> str:
    """Return the name of a space's class, or of the library's class that it is derived from."""
    names = [each.__name__ for each in type(space).__mro__]
    return next((name for name in names if name in WITHOUT_ARRAYS), names[0])


def part_name(what: str, part: Part) -> str:
    """Return the name of a part: `observation.camera.0`, with `%2E` for a key's own dots."""
    words = [
        key.replace("%", "%25").replace(".", "%2E") if isinstance(key, str) else f"{key!r}"
        for key in part
    ]
    return ".".join([what, *words])


def part_names(what: str, parts: Iterable[Part]) -> dict[Part, str]:
    """Return the names of parts, those that would share one (of keys 1 and "1") by their keys."""
    names = {part: part_name(what, part) for part in parts}
    times = Counter(names.values())
    return {p: n if times[n] == 1 else f"{what}{[*p]}" for p, n in names.items()}


def write_npz(target: Path, recordings: Iterable[Recording], env: Any) -> tuple[int, list[str]]:
    """Write the recordings into one .npz file, in constant memory.

    Returns the count of steps, and a name for what could not be written.
    """
    spaces = {"observation": env.observation_space, "action": env.action_space}
    leaves = {what: dict(simple_parts(space)) for what, space in spaces.items()}
    names = {what: part_names(what, parts) for what, parts in leaves.items()}
    of_parts = {names[what][part]: leaf for what in leaves for part, leaf in leaves[what].items()}
    temporary = files.new_folder(target)
    columns: dict[str, Column] = {}
    left_out: dict[str, None] = {}
    steps = 0
    try:
        for each in recordings:
            length = len(each.rewards)
            arrays = {
                "episode": np.array([each.episode]),
                "seed": np.array([each.seed]),
                "length": np.array([length]),
                **{names["observation"][part]: a for part, a in each.observations.items()},
                **{names["action"][part]: a for part, a in each.actions.items()},
                "reward": each.rewards,
                "terminated": each.terminations,
                "truncated": each.truncations,
            }
            for name, array in arrays.items():
                if array is not None and name not in columns:
                    columns[name] = Column(temporary / str(len(columns)), array.shape[1:])
                if array is None or not columns[name].takes(array):
                    left_out[name] = None
                elif name not in left_out:
                    columns[name].append(array)
            steps += length
        path = temporary / "whole"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, column in columns.items():
                if name not in left_out:
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        column.copy_to(member)
        files.sync(path)
        path.rename(target)
        files.sync(target.absolute().parent)
    except OSError as error:
        raise Failure(files.cannot_write(error, target.absolute().parent)) from error
    finally:
        for column in columns.values():
            with contextlib.suppress(OSError):  # it writes what is buffered, on a full disk, too
                column.file.close()
        shutil.rmtree(temporary, ignore_errors=True)
    return steps, [f"{name} (a {class_of(of_parts[name])} space)" for name in left_out]


class Column:
    """An array that grows on disk, in pieces of the type that each was given in."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.file, self.shape = open(path, "w+b"), shape
        self.pieces: list[tuple[Any, int]] = []  # types, and how many rows are of each

    def takes(self, array: Any) -> bool:
        """Return whether rows are of this shape, and numbers, texts or bytes as those before."""
        kinds = {kind.kind if kind.kind in "SU" else "" for kind, _ in self.pieces}
        own = array.dtype.kind if array.dtype.kind in "SU" else ""
        return array.shape[1:] == self.shape and kinds <= {own}

    def append(self, array: Any) -> None:
        """Append rows."""
        self.file.write(array.tobytes())
        if self.pieces and self.pieces[-1][0] == array.dtype:
            self.pieces[-1] = array.dtype, self.pieces[-1][1] + len(array)
        else:
            self.pieces.append((array.dtype, len(array)))

    def copy_to(self, member: Any) -> None:
        """Write all rows as a .npy file, in the smallest type that holds those of every piece."""
        dtype = np.result_type(*{kind for kind, _ in self.pieces})
        rows = sum(count for _, count in self.pieces)
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(member, {**header, "shape": (rows, *self.shape)})
        self.file.seek(0)
        for given, count in self.pieces:
            size = given.itemsize * math.prod(self.shape)  # bytes of a row
            at_once = max(1, (1 << 20) // max(size, 1))  # rows
            for row in range(0, count, at_once):
                data = self.file.read(size * min(at_once, count - row))
                member.write(np.frombuffer(data, given).astype(dtype).tobytes())
