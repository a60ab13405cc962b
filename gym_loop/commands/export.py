"""Write a run's episodes, with observations, as a Minari dataset or as .npz."""

import contextlib
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

from gym_loop.commands import run_click
from gym_loop.commands.replay import CHUNK, Job, recorded_returns, select
from gym_loop.mistake import Failure, Mistake

FORMATS = "a name that ends in .npz, or a directory for a Minari dataset"
INSTALL = 'pip install "gym-loop[minari]"'


@dataclass
class Recording:
    """An episode of T steps: nested arrays, T + 1 long for the observations, T for the actions."""

    episode: int
    seed: int
    observations: Any
    actions: Any
    rewards: Any
    terminations: Any
    truncations: Any


@click.command("export")
@click.argument("directory", type=Path, metavar="RUN_DIR")
@click.argument("target", type=Path, metavar="FILE_OR_DIR")
@click.option("--episode", metavar="WHICH", help="N | N,N,... | best | worst | last.")
@click.option("--every", type=click.IntRange(1), metavar="K", help="Every K-th episode.")
@click.option("--eval", "evaluation", is_flag=True, help="Episodes of evaluation, not training.")
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Processes; one a core if absent."
)
def export(
    directory: Path,
    target: Path,
    episode: str | None,
    every: int | None,
    evaluation: bool,
    jobs: int | None,
) -> None:
    """Write episodes of RUN_DIR, all of them by default, to FILE.npz or into a Minari dataset.

    Observations are not recorded: the episodes are played again for them, and checked. Runs the
    environment's code: only for runs that you trust.
    """
    if target.suffix != ".npz" and target.suffix[1:].isalpha():
        raise Mistake(f"unknown format {target.suffix!r} of {target}; expected {FORMATS}")
    if target.exists():
        raise Mistake(f"{target} exists; delete it or choose another name")
    above = target.absolute().parent
    if target.suffix != ".npz":  # a dataset's namespace need not be there yet
        above = next(path for path in (above, *above.parents) if path.exists())
    if not os.access(above, os.W_OK | os.X_OK) or not above.is_dir():
        raise Mistake(f"cannot write {target}: {above} is not a directory that can be written")
    if target.suffix != ".npz":
        check_minari()

    from gym_loop.runs import playback, stored
    from gym_loop.runs.traces import Traces

    known = stored.load_run(directory)
    kind = "eval" if evaluation else "train"
    traces = Traces(directory, kind)
    everything = episode is None and every is None
    numbers = playback.playable(traces, select(traces, episode, 1 if everything else every))
    returns = recorded_returns(directory, kind, numbers)
    work = [
        Job(directory, kind, file, chunk, {n: returns[n] for n in chunk if n in returns})
        for file, chunk in traces.chunks(numbers, CHUNK)
    ]
    played = playback.in_parallel(record, work, min(jobs or playback.cores(), len(work)))
    recordings = (recording for chunk in played for recording in chunk)
    if target.suffix == ".npz":
        steps, how = write_npz(target, recordings), f"numpy.load({str(target)!r})"
    else:
        with contextlib.closing(playback.make_env(directory, kind, numbers[0])) as env:
            steps, how = write_minari(target, recordings, env, known["config"]["agent"]["_target_"])
    print(f"wrote {target}: {len(numbers)} episodes, {steps} steps; {how} reads it")


def record(job: Job) -> list[Recording]:
    """Play the episodes of a job, and return what was seen.

    Raises:
        Failure: one is not as it was recorded.
    """
    import numpy as np

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
            actions = [trace.action(step, env.action_space) for step in range(length)]
            ends = np.zeros((2, length), np.bool_)
            ends[:, -1] = trace.terminated, trace.truncated
            recordings.append(
                Recording(
                    trace.episode,
                    trace.seed,
                    stacked(observations, env.observation_space, "observations"),
                    stacked(actions, env.action_space, "actions"),
                    trace.rewards,
                    *ends,
                )
            )
    return recordings


def copied(value: Any) -> Any:
    """Return a copy of an observation's arrays."""
    import numpy as np

    if isinstance(value, Mapping):
        return {key: copied(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(copied, value))
    return np.array(value)


def stacked(values: list[Any], space: Any, what: str) -> Any:
    """Return elements of a space as one array, or as a dict or tuple of arrays as the space is.

    Raises:
        Mistake: a space whose elements are no arrays.
    """
    import numpy as np

    # A sample of a OneOf is of one of its spaces, and so no two need fit together.
    parts = None if type(space).__name__ == "OneOf" else getattr(space, "spaces", None)
    if isinstance(parts, Mapping):
        return {key: stacked([v[key] for v in values], part, what) for key, part in parts.items()}
    if isinstance(parts, list | tuple):
        numbered = enumerate(parts)
        return tuple(stacked([v[i] for v in values], part, what) for i, part in numbered)
    if space.shape is None:
        raise Mistake(f"{what} of a {type(space).__name__} space cannot be exported")
    return np.array(values, space.dtype if hasattr(space, "n") else None)


def write_npz(target: Path, recordings: Iterable[Recording]) -> int:
    """Write the recordings into one .npz file, in constant memory; return the count of steps."""
    import numpy as np

    from gym_loop.runs import files

    temporary = target.with_name(f"{files.TEMPORARY}{os.getpid()}-{target.stem}")
    temporary.mkdir()
    raw: dict[str, Any] = {}
    kinds: dict[str, Any] = {}
    steps = 0
    try:
        for recording in recordings:
            length = len(recording.rewards)
            arrays = {
                "episode": np.array([recording.episode]),
                "seed": np.array([recording.seed]),
                "length": np.array([length]),
                **flat(recording.observations, "observation"),
                **flat(recording.actions, "action"),
                "reward": recording.rewards,
                "terminated": recording.terminations,
                "truncated": recording.truncations,
            }
            for name, array in arrays.items():
                if name not in raw:
                    raw[name] = open(temporary / f"{len(raw)}", "wb")
                    kinds[name] = [array.dtype, 0, array.shape[1:]]
                array.astype(kinds[name][0], copy=False).tofile(raw[name])
                kinds[name][1] += len(array)
            steps += length
        path = temporary / "whole"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, file in raw.items():
                file.close()
                kind, rows, shape = kinds[name]
                header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header | {"shape": (rows, *shape)})
                    with open(file.name, "rb") as source:
                        shutil.copyfileobj(source, member, 1 << 20)
        files.sync(path)
        path.rename(target)
        files.sync(target.absolute().parent)
    except OSError as error:
        raise Failure(files.disk_full(error, target.absolute().parent)) from error
    finally:
        for file in raw.values():
            file.close()
        shutil.rmtree(temporary, ignore_errors=True)
    return steps


def flat(value: Any, name: str) -> dict[str, Any]:
    """Return nested arrays by dotted names."""
    if isinstance(value, dict | tuple):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: a for key, part in parts for k, a in flat(part, f"{name}.{key}").items()}
    return {name: value}


def check_minari() -> None:
    """Raise Mistake where Minari, or what it stores with, is not installed."""
    try:
        import h5py  # noqa: F401
        import minari  # noqa: F401
    except ImportError as error:
        raise Mistake(f"a Minari dataset needs {error.name}: {INSTALL}") from None


def write_minari(
    target: Path, recordings: Iterator[Recording], env: Any, agent: str
) -> tuple[int, str]:
    """Write the recordings as a Minari dataset; return the count of steps, and how to read it.

    Below Minari's own folder of datasets it has an id, by which `minari.load_dataset` finds it.

    Raises:
        Mistake: a name that Minari does not take.
    """
    import gymnasium
    import minari
    from minari import namespace
    from minari.data_collector import EpisodeBuffer

    from gym_loop.runs import files

    default = Path.home() / ".minari" / "datasets"
    root, whole = (
        Path(os.environ.get("MINARI_DATASETS_PATH", default)).absolute(),
        target.absolute(),
    )
    if whole.is_relative_to(root):
        name = str(whole.relative_to(root))
        if not re.fullmatch(r"([-\w][-\w/]*[-\w]/)?[-\w]+-v\d+", name):  # as Minari reads them
            example = "cartpole/mine" if re.search(r"-v\d+$", name) else name
            raise Mistake(f"{name} cannot be the id of a dataset; expected such as {example}-v0")
    else:
        name = re.sub(r"[^-\w]|-v\d+$", "", whole.name) + "-v0"
    temporary = whole.with_name(f"{files.TEMPORARY}{os.getpid()}-{whole.name}")
    temporary.mkdir(parents=True)
    buffers = (
        EpisodeBuffer(
            seed=recording.seed,
            observations=recording.observations,
            actions=recording.actions,
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
                observation_space=to_gymnasium(env.observation_space),
                action_space=to_gymnasium(env.action_space),
                algorithm_name=agent,
                description="Episodes of a run of gym-loop, played again from their traces.",
                jpeg_encoding=False,  # it loses something
            )
        (temporary / name).rename(whole)
    except OSError as error:
        raise Failure(files.disk_full(error, whole.parent)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if not whole.is_relative_to(root):
        return int(dataset.total_steps), f"minari.MinariDataset({str(target / 'data')!r})"
    space, _, _ = name.rpartition("/")
    if space and space not in namespace.list_local_namespaces():
        namespace.create_namespace(space)
    return int(dataset.total_steps), f"minari.load_dataset({name!r})"


def to_gymnasium(space: Any) -> Any:
    """Return a space of gym's as the one of Gymnasium's that it is.

    Raises:
        Mistake: there is none.
    """
    from gymnasium import spaces

    kind = type(space).__name__
    if isinstance(space, spaces.Space):
        return space
    if kind == "Box":
        return spaces.Box(space.low, space.high, space.shape, space.dtype)
    if kind == "Discrete":
        return spaces.Discrete(int(space.n), start=int(space.start))
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(space.nvec, space.dtype)
    if kind == "MultiBinary":
        return spaces.MultiBinary(space.n)
    if kind == "Tuple":
        return spaces.Tuple([to_gymnasium(part) for part in space.spaces])
    if kind == "Dict":
        return spaces.Dict({key: to_gymnasium(part) for key, part in space.spaces.items()})
    raise Mistake(f"a {kind} space cannot be written as a Minari dataset; export to .npz")


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
    run_click(export, arguments)
