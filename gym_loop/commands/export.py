"""Write a run's agent, or its episodes as .npz or for Minari."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from gym_loop.commands import checkpoint_option, run_click
from gym_loop.commands.replay import CHUNK, recorded_returns, select
from gym_loop.machine import cores
from gym_loop.mistake import Failure, Mistake

FORMATS = "a name that ends in .npz or a directory for a Minari dataset, for episodes"


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
        from gym_loop.integrations import minari

        minari.check()

    from gym_loop.runs import manifest, playback
    from gym_loop.runs.traces import Traces

    agent = manifest.load(directory)["config"]["agent"]["_target_"]
    kind = "eval" if evaluation else "train"
    traces = Traces(directory, kind)
    everything = episode is None and every is None
    numbers = playback.playable(traces, select(traces, episode, 1 if everything else every))
    returns = recorded_returns(directory, kind, numbers)
    work = [
        playback.Job(directory, kind, file, chunk, {n: returns[n] for n in chunk if n in returns})
        for file, chunk in traces.chunks(numbers, CHUNK)
    ]
    with contextlib.closing(
        playback.make_env(directory, kind, numbers[0], bare=of == "environment")
    ) as env:
        write_episodes(target, numbers, work, env, agent, jobs or cores())


def write_episodes(
    target: Path, numbers: list[int], work: list[Any], env: Any, agent: str, jobs: int
) -> None:
    """Play the episodes `numbers` again, and write them to `target`.

    Args:
        target: a .npz file, or a folder.
        numbers: of the episodes.
        work: they, as jobs of `playback`.
        env: in which they are seen; as the agent saw them where it has wrappers.
        agent: the class of the agent that played them.
        jobs: processes, at most.
    """
    from gym_loop.runs import dataset, playback

    if hasattr(type(env), "bare_game"):
        recordings = dataset.seen_by_agent(work[0].run, work[0].kind, numbers, env)
    else:
        played = playback.in_parallel(dataset.play_again, work, min(jobs, len(work)))
        recordings = (recording for chunk in played for recording in chunk)
    written = set[int]()
    recordings = _noting(written, recordings)
    if target.suffix == ".npz":
        steps, left_out = dataset.write_npz(target, recordings, env)
        how = f"numpy.load({str(target)!r})"
    else:
        from gym_loop.integrations import minari

        steps, left_out, how = minari.write(target, recordings, env, agent)
    if left_out:
        print(f"left out, for {target.name} cannot hold it: {', '.join(left_out)}")
    if empty := len(numbers) - len(written):
        print(f"left out: {empty} episodes that a wrapper ended before their first step")
    print(f"wrote {target}: {len(written)} episodes, {steps} steps; {how} reads it")


def _noting(written: set[int], recordings: Iterable[Any]) -> Iterator[Any]:
    """Yield the recordings, and add the numbers of their episodes to `written`."""
    for recording in recordings:
        written.add(recording.episode)
        yield recording


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
    from gym_loop.compat.torch import write_errors
    from gym_loop.runs.run import Run

    policy = Run(run).policy(checkpoint)
    temporary, folder = files.new_folder(target), target.absolute().parent
    try:
        with write_errors():
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
        raise Failure(files.cannot_write(error, folder)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(f"wrote {target}: the agent after {policy.episode} episodes; {how}")


def main(arguments: list[str]) -> None:
    """Run the command."""
    from gym_loop import launch

    # Environments draw, and so import, when they are asked to.
    with launch.surroundings():
        run_click(export, arguments)
