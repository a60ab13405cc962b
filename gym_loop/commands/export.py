"""Write a run's agent, or its episodes as .npz or for Minari."""

import contextlib
import math
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gym_loop.agents.spaces import to_gymnasium
from gym_loop.commands import checkpoint_option, run_click
from gym_loop.commands.replay import CHUNK, Job, recorded_returns, select
from gym_loop.machine import cores
from gym_loop.mistake import Failure, Mistake

FORMATS = "a name that ends in .npz or a directory for a Minari dataset, for episodes"
WITHOUT_ARRAYS = ("Graph", "OneOf", "Sequence")  # spaces whose elements have no one shape
INSTALL = 'pip install "gym-loop[minari]"'


Part = tuple[
    Any, ...
]  # where an array lies in a Dict or Tuple: keys and positions, outermost first


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


@click.command("export", epilog="Example: gym-loop export outputs/a episodes.npz")
@click.argument("directory", type=Path, metavar="RUN_DIR")
@click.argument("target", type=Path, metavar="FILE_OR_DIR")
@click.option("--episode", metavar="WHICH", help="N | N,N,... | best | worst | last.")
@click.option("--every", type=click.IntRange(1), metavar="K", help="Every K-th episode.")
@click.option("--eval", "evaluation", is_flag=True, help="Episodes of evaluation, not training.")
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Processes; one a core if absent."
)
@click.option(
    "--observations",
    "of",
    type=click.Choice(["environment", "agent"]),
    default="environment",
    help="Below the wrappers, or as the agent saw them.",
)
@checkpoint_option()
def export(
    directory: Path,
    target: Path,
    episode: str | None,
    every: int | None,
    evaluation: bool,
    jobs: int | None,
    of: str,
    checkpoint: str,
) -> None:
    """Write the agent of RUN_DIR to a FILE.zip, or episodes to FILE.npz or a Minari dataset.

    An agent of Stable-Baselines3's becomes a zip of that library's: `PPO.load("FILE.zip")`.

    Observations are not recorded: all episodes, or those that are chosen, are played again for
    them, and checked. Runs the environment's code: only for runs that you trust.

    --observations agent plays them in their wrappers, and rewards are then the agent's, too. Where
    wrappers learn, all training episodes before are played again. An episode that a wrapper ended
    in between, as with a life, becomes several; actions are those that the environment was given.
    """
    of_agent = target.suffix != ".npz" and target.suffix[1:].isalpha()
    if of_agent:
        check_format(directory, target)
        if episode or every or evaluation or jobs or of == "agent":
            raise Mistake(
                f"{target} holds the agent; --episode, --every, --eval, --jobs and --observations "
                "are for episodes"
            )
    elif checkpoint != "latest":
        raise Mistake(f"--checkpoint chooses an agent, and {target} holds episodes")
    check_writable(target)
    if of_agent:
        write_agent(directory, target, checkpoint)
        return
    if target.suffix != ".npz":
        check_minari()

    from gym_loop.runs import manifest, playback
    from gym_loop.runs.traces import Traces

    known = manifest.load(directory)
    kind = "eval" if evaluation else "train"
    traces = Traces(directory, kind)
    everything = episode is None and every is None
    numbers = playback.playable(traces, select(traces, episode, 1 if everything else every))
    returns = recorded_returns(directory, kind, numbers)
    work = [
        Job(directory, kind, file, chunk, {n: returns[n] for n in chunk if n in returns})
        for file, chunk in traces.chunks(numbers, CHUNK)
    ]
    with contextlib.closing(
        playback.make_env(directory, kind, numbers[0], bare=of == "environment")
    ) as env:
        if hasattr(type(env), "bare_game"):
            recordings = seen_by_agent(directory, kind, numbers, env)
        else:
            played = playback.in_parallel(play_again, work, min(jobs or cores(), len(work)))
            recordings = (recording for chunk in played for recording in chunk)
        if target.suffix == ".npz":
            steps, left_out = write_npz(target, recordings, env)
            how = f"numpy.load({str(target)!r})"
        else:
            agent = known["config"]["agent"]["_target_"]
            steps, left_out, how = write_minari(target, recordings, env, agent)
    if left_out:
        print(f"left out, for {target.name} cannot hold it: {', '.join(left_out)}")
    print(f"wrote {target}: {len(numbers)} episodes, {steps} steps; {how} reads it")


def check_writable(target: Path) -> None:
    """Check that `target` is not there yet, and can be written.

    Raises:
        Mistake: it is there, or it cannot be written.
    """
    if target.exists():
        raise Mistake(f"{target} exists; delete it or choose another name")
    above = target.absolute().parent
    if target.suffix != ".npz":  # a dataset's namespace need not be there yet
        above = next(path for path in (above, *above.parents) if path.exists())
    if not os.access(above, os.W_OK | os.X_OK) or not above.is_dir():
        raise Mistake(f"cannot write {target}: {above} is not a directory that can be written")


def check_format(run: Path, target: Path) -> None:
    """Check that the agent of `run` has the format of `target`.

    Raises:
        Mistake: it has not; the line says which it has.
    """
    from gym_loop import launch
    from gym_loop.runs import manifest

    kind = launch.locate(manifest.load(run)["config"]["agent"]["_target_"])
    formats = getattr(kind, "formats", ())
    if target.suffix not in formats:
        raise Mistake(
            f"unknown format {target.suffix!r} of {target}: {kind.__name__} has "
            f"{', '.join(formats) or 'no format of its own'}; expected {FORMATS}"
        )


def write_agent(run: Path, target: Path, checkpoint: str) -> None:
    """Write the agent of a checkpoint by its own `export`, with the files that this adds.

    Raises:
        Failure: the disk is full.
        Mistake: what it would put there exists.
    """
    from gym_loop import files
    from gym_loop.runs.run import Run

    policy = Run(run).policy(checkpoint)
    temporary, folder = files.temporary(target), target.absolute().parent
    try:
        temporary.mkdir()
        how = policy.agent.export(temporary / target.name)
        written = sorted(temporary.iterdir())
        for file in written:
            if file.name != target.name and (folder / file.name).exists():
                raise Mistake(f"{folder / file.name} exists; choose another name than {target}")
            files.sync(file)
        for file in written:
            file.rename(folder / file.name)
        files.sync(folder)
    except OSError as error:
        raise Failure(files.disk_full(error, folder)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(f"wrote {target}: the agent after {policy.episode} episodes; {how}")


def play_again(job: Job) -> list[Recording]:
    """Play the episodes of a job, and return what was seen.

    Raises:
        Failure: one is not as it was recorded.
    """
    import numpy as np

    from gym_loop.loops.copies import copied
    from gym_loop.runs import playback, traces

    recordings = []
    for trace in traces.episodes(traces.load(job.file), job.episodes):
        length = len(trace.rewards)
        with contextlib.closing(playback.make_env(job.run, job.kind, trace.episode)) as env:
            again = playback.Playback(env, trace, job.returns.get(trace.episode))
            # An environment may give one and the same array again and again.
            observations = [copied(observation) for _, observation, _ in again]
            if again.difference:
                raise Failure(
                    f"nothing written: episode {trace.episode} {again.difference} "
                    f"(`gym-loop replay {job.run} --episode {trace.episode}` shows more)"
                )
            ends = np.zeros((2, length), np.bool_)
            ends[:, -1] = trace.terminated, trace.truncated
            recordings.append(
                Recording(
                    trace.episode,
                    trace.seed,
                    stacked(observations, env.observation_space),
                    stacked(trace.actions, env.action_space),
                    trace.rewards,
                    *ends,
                )
            )
    return recordings


def seen_by_agent(run: Path, kind: str, numbers: list[int], env: Any) -> Iterator[Recording]:
    """Yield what the agent saw of the episodes `numbers`; `env` has its spaces."""
    import numpy as np

    from gym_loop.runs import seen

    for each in seen.by_agent(run, kind, numbers):
        ends = np.zeros((2, len(each.actions)), np.bool_)
        ends[:, -1] = each.terminated, not each.terminated
        yield Recording(
            each.trace.episode,
            each.trace.seed,
            stacked(each.observations, env.observation_space),
            stacked(each.actions, env.action_space),
            np.array(each.rewards),
            *ends,
        )


def stacked(values: list[Any], space: Any) -> dict[Part, Any]:
    """Return elements of a space as an array for each part of it that is no Dict or Tuple."""
    import numpy as np

    arrays: dict[Part, Any] = {}
    for part, leaf in simple_parts(space):
        try:
            if class_of(leaf) in WITHOUT_ARRAYS:
                raise ValueError(class_of(leaf))
            array = np.array([value_at(value, part) for value in values])
            if array.dtype.kind not in "biufcSU":
                raise ValueError(array.dtype)
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
    from gym_loop.vector.envs import parts_of

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


def write_npz(target: Path, recordings: Iterable[Recording], env: Any) -> tuple[int, list[str]]:
    """Write the recordings into one .npz file, in constant memory.

    Returns the count of steps, and a name for what could not be written.
    """
    import numpy as np

    from gym_loop import files

    spaces = {"observation": env.observation_space, "action": env.action_space}
    of_parts = {
        part_name(what, part): leaf for what in spaces for part, leaf in simple_parts(spaces[what])
    }
    temporary = files.temporary(target)
    temporary.mkdir()
    columns: dict[str, Column] = {}
    left_out: dict[str, None] = {}
    steps = 0
    try:
        for recording in recordings:
            length = len(recording.rewards)
            arrays = {
                "episode": np.array([recording.episode]),
                "seed": np.array([recording.seed]),
                "length": np.array([length]),
                **{part_name("observation", part): a for part, a in recording.observations.items()},
                **{part_name("action", part): a for part, a in recording.actions.items()},
                "reward": recording.rewards,
                "terminated": recording.terminations,
                "truncated": recording.truncations,
            }
            for name, array in arrays.items():
                if array is not None and name not in columns:
                    columns[name] = Column(temporary / str(len(columns)), array.shape[1:])
                if array is None or array.shape[1:] != columns[name].shape:
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
        raise Failure(files.disk_full(error, target.absolute().parent)) from error
    finally:
        for column in columns.values():
            column.file.close()
        shutil.rmtree(temporary, ignore_errors=True)
    return steps, [f"{name} (a {class_of(of_parts[name])} space)" for name in left_out]


class Column:
    """An array that grows on disk, in pieces of the type that each was given in."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.file, self.shape = open(path, "w+b"), shape
        self.pieces: list[tuple[Any, int]] = []  # types, and how many rows are of each

    def append(self, array: Any) -> None:
        """Append rows."""
        self.file.write(array.tobytes())
        if self.pieces and self.pieces[-1][0] == array.dtype:
            self.pieces[-1] = array.dtype, self.pieces[-1][1] + len(array)
        else:
            self.pieces.append((array.dtype, len(array)))

    def copy_to(self, member: Any) -> None:
        """Write all rows as a .npy file, in the smallest type that holds those of every piece."""
        import numpy as np

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


# The spaces without parts that Minari can store.
HELD = {"Box", "Discrete", "MultiDiscrete", "MultiBinary", "Text"}


def check_minari() -> None:
    """Raise Mistake where Minari, or what it stores with, is not installed."""
    try:
        import h5py  # noqa: F401
        import minari  # noqa: F401
    except ImportError as error:
        raise Mistake(f"a Minari dataset needs {error.name}: {INSTALL}") from None


def write_minari(
    target: Path, recordings: Iterator[Recording], env: Any, agent: str
) -> tuple[int, list[str], str]:
    """Write the recordings as a Minari dataset.

    Returns the count of steps, a name for what could not be written, and how to read the dataset.
    Below Minari's own folder of datasets it has an id, by which `minari.load_dataset` finds it.

    Raises:
        Mistake: a name that Minari does not take, or spaces of which it can hold nothing.
        Failure: values that are no elements of their space.
    """
    import gymnasium
    import minari
    from minari import namespace
    from minari.data_collector import EpisodeBuffer

    from gym_loop import files

    root, whole = minari_root(), target.absolute()
    name = dataset_id(whole, root)
    left_out: list[str] = []
    spaces = minari_spaces(env, left_out)
    temporary = files.temporary(whole)
    temporary.mkdir(parents=True)
    buffers = (
        EpisodeBuffer(
            seed=recording.seed,
            observations=nested(recording.observations, env.observation_space, "observation"),
            actions=nested(recording.actions, env.action_space, "action"),
            rewards=recording.rewards,
            terminations=recording.terminations,
            truncations=recording.truncations,
        )
        for recording in recordings
    )
    try:
        with _environment("MINARI_DATASETS_PATH", str(temporary)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has no author, and the like
            dataset = minari.create_dataset_from_buffers(
                name,
                buffers,
                env if isinstance(env, gymnasium.Env) and env.spec else None,
                observation_space=spaces["observation"],
                action_space=spaces["action"],
                algorithm_name=agent,
                description="Episodes of a run of gym-loop, played again from their traces.",
                jpeg_encoding=False,  # it loses something
            )
        (temporary / name).rename(whole)
    except OSError as error:
        raise Failure(files.disk_full(error, whole.parent)) from error
    except (AssertionError, LookupError, TypeError, ValueError) as error:  # Minari's own
        text = " ".join(str(error).split())
        raise Failure(f"nothing written: Minari cannot write the episodes: {text}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if not whole.is_relative_to(root):
        how = f"minari.MinariDataset({str(target / 'data')!r})"
        return int(dataset.total_steps), left_out, how
    space, _, _ = name.rpartition("/")
    if space and space not in namespace.list_local_namespaces():
        namespace.create_namespace(space)
    return int(dataset.total_steps), left_out, f"minari.load_dataset({name!r})"


def minari_spaces(env: Any, left_out: list[str]) -> dict[str, Any]:
    """Return the spaces of observations and actions as `held_by_minari` does.

    Raises:
        Mistake: Minari holds nothing of one of them.
    """
    spaces = {"observation": env.observation_space, "action": env.action_space}
    held = {what: held_by_minari(space, what, left_out) for what, space in spaces.items()}
    for what, space in spaces.items():
        if held[what] is None:
            raise Mistake(
                f"a Minari dataset cannot hold {what}s of a {class_of(space)} space; export to .npz"
            )
    return held


def minari_root() -> Path:
    """Return Minari's own folder of datasets."""
    default = Path.home() / ".minari" / "datasets"
    return Path(os.environ.get("MINARI_DATASETS_PATH", default)).absolute()


def dataset_id(whole: Path, root: Path) -> str:
    """Return the id of the dataset at the absolute path `whole`.

    Raises:
        Mistake: it lies below Minari's folder `root` under a name that Minari does not read.
    """
    if not whole.is_relative_to(root):
        return re.sub(r"[^-\w]|-v\d+$", "", whole.name) + "-v0"
    name = str(whole.relative_to(root))
    if not re.fullmatch(r"([-\w][-\w/]*[-\w]/)?[-\w]+-v\d+", name):  # as Minari reads them
        example = "cartpole/mine" if re.search(r"-v\d+$", name) else name
        raise Mistake(f"{name} cannot be the id of a dataset; expected such as {example}-v0")
    return name


def held_by_minari(space: Any, name: str, left_out: list[str]) -> Any:
    """Return a space as one of Gymnasium's, without the parts that Minari cannot store.

    Args:
        space: of gym's or Gymnasium's.
        name: of the space; those of its parts begin with it.
        left_out: gets a line for each part that Minari does not hold.

    Returns:
        The space; None where Minari holds nothing of it.
    """
    from gymnasium import spaces

    from gym_loop.vector.envs import parts_of

    if (parts := parts_of(space)) is not None:
        each = {
            k: held_by_minari(parts[k], part_name(name, (k,)), left_out) for k in held_keys(parts)
        }
        if isinstance(parts, Mapping):
            lost = (key for key in parts if key not in each)
            left_out += [
                f"{part_name(name, (key,))} (a key that HDF5 does not take)" for key in lost
            ]
        held = {key: part for key, part in each.items() if part is not None}
        if not held:
            return None
        return spaces.Dict(held) if isinstance(parts, Mapping) else spaces.Tuple(held.values())
    if HELD & {each.__name__ for each in type(space).__mro__}:
        return to_gymnasium(space)
    left_out.append(f"{name} (a {class_of(space)} space)")
    return None


def held_keys(parts: Any) -> list[Any]:
    """Return the keys of a Dict that HDF5 can hold as names, or all positions of a Tuple."""
    if not isinstance(parts, Mapping):
        return list(range(len(parts)))
    return [key for key in parts if isinstance(key, str) and key.strip(".") and "/" not in key]


def nested(arrays: dict[Part, Any], space: Any, name: str, above: Part = ()) -> Any:
    """Return arrays as a dict or tuple, as Minari has them; None where it does not hold the space.

    Raises:
        Failure: what Minari would hold fits into no array.
    """
    from gym_loop.vector.envs import parts_of

    if held_by_minari(space, name, []) is None:
        return None
    if (parts := parts_of(space)) is None:
        if (array := arrays[above]) is None:
            raise Failure(f"{part_name(name, above)}: values that are no elements of {space}")
        return array.tolist() if array.dtype.kind == "U" else array
    each = {key: nested(arrays, parts[key], name, (*above, key)) for key in held_keys(parts)}
    held = {key: part for key, part in each.items() if part is not None}
    return held if isinstance(parts, Mapping) else tuple(held.values())


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def main(arguments: list[str]) -> None:
    """Run the command."""
    from gym_loop import launch

    with launch.surroundings():  # environments draw, and so import, when they are asked to
        run_click(export, arguments)
