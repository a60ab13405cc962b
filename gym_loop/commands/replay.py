"""Play recorded episodes again: check, film, watch them."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gym_loop.commands import run_click
from gym_loop.machine import cores
from gym_loop.mistake import Failure, Mistake, nearest

if TYPE_CHECKING:
    from gym_loop.runs.playback import Job

WORDS = ("best", "worst", "last")
CHUNK = 5_000  # steps that a worker checks at a time
LISTED = 20  # episodes; of more, only those that differ are listed


@dataclass
class Played:
    """The result of an episode that was played again."""

    episode: int
    length: int
    ret: float
    difference: str | None


@click.command(
    "replay", epilog="Example: gym-loop replay outputs/a --episode best --video best.mp4"
)
@click.argument("directory", type=Path, metavar="RUN_DIR")
@click.option("--episode", metavar="WHICH", help="N | N,N,... | best | worst | last (if absent).")
@click.option("--every", type=click.IntRange(1), metavar="K", help="Every K-th episode instead.")
@click.option("--eval", "evaluation", is_flag=True, help="Episodes of evaluation, not training.")
@click.option("--video", type=Path, metavar="FILE.mp4", help="Film them.")
@click.option("--gif", type=Path, metavar="FILE.gif", help="Film them as a GIF.")
@click.option("--human", is_flag=True, help="Show them in a window, in real time.")
@click.option("--caption", is_flag=True, help="Show episode, step and return below the picture.")
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Processes; one a core if absent."
)
def replay(
    directory: Path,
    episode: str | None,
    every: int | None,
    evaluation: bool,
    video: Path | None,
    gif: Path | None,
    human: bool,
    caption: bool,
    jobs: int | None,
) -> None:
    """Play episodes of RUN_DIR again, each in a new environment, from their recorded actions.

    With `--episode best` or `worst` it may be a sweep's directory: that episode of all its runs.

    Every reward and the return must be as recorded, or the exit code is 1. Several episodes have
    their numbers in the names of their videos. Runs the environment's code: only for runs that
    you trust.
    """
    if sum(map(bool, (video, gif, human))) > 1:
        raise Mistake("expected one of --video, --gif and --human, not several")
    if jobs and human:
        raise Mistake("--human shows one episode after the other; expected no --jobs beside it")
    if caption and not (video or gif or human):
        raise Mistake("--caption needs a picture to stand below: --video, --gif or --human")
    target = checked(video, ".mp4", "--video") or checked(gif, ".gif", "--gif")

    from gym_loop.runs import manifest, playback
    from gym_loop.runs.traces import Traces

    kind = "eval" if evaluation else "train"
    directory = chosen_run(directory, kind, episode)
    manifest.load(directory)
    traces = Traces(directory, kind)
    numbers = playback.playable(traces, select(traces, episode, every))
    returns = recorded_returns(directory, kind, numbers)
    work: list[Job] = []
    for file, chunk in traces.chunks(numbers, 1 if target or human else CHUNK):
        known = {number: returns[number] for number in chunk if number in returns}
        path = target and (target if len(numbers) == 1 else numbered(target, chunk[0]))
        work.append(playback.Job(directory, kind, file, chunk, known, path, caption))
    if human:
        done: Iterator[list[Played]] = show_in_window(work)
    else:
        done = playback.in_parallel(play, work, min(jobs or cores(), len(work)))
    report(work, done, target, listed=len(numbers) <= LISTED)


def report(
    work: "list[Job]", done: Iterator[list[Played]], target: Path | None, listed: bool
) -> None:
    """Print the result of each episode as it is played; of those that differ if not `listed`.

    Raises:
        Failure: some differ from their recording.
    """
    from gym_loop.observers.video import remove_leftovers
    from gym_loop.runs import playback
    from gym_loop.runs.traces import KINDS

    run, kind = work[0].run, work[0].kind
    count, steps, differing = 0, 0, 0
    try:
        # A window may be closed before the end.
        for job, results in zip(work, done, strict=False):
            for played in results:
                count, steps = count + 1, steps + played.length
                differing += bool(played.difference)
                if played.difference or listed:
                    print(describe(kind, played, job.video), flush=True)
    finally:
        if target:
            remove_leftovers(target.parent)
    if count > LISTED:
        print(f"{count} {KINDS[kind]} episodes, {steps} steps: {differing or 'none'} differ")
    if differing:
        for line in playback.versions(run):
            print(line)
        raise Failure(
            f"{differing} of {count} episodes differ from their recording: the environment is not "
            "deterministic, keeps something from one episode to the next (as wrappers that "
            "normalize rewards do), a wrapper in env.wrappers changes it, or another version of a "
            "library plays differently"
        )


def play(job: "Job") -> list[Played]:
    """Play the episodes of a job, and film them where it says so."""
    from gym_loop.observers import video
    from gym_loop.runs import playback

    results = []
    for trace in playback.recorded(job.run, job.file, job.episodes):
        mode = "rgb_array" if job.video else None
        with contextlib.closing(playback.make_env(job.run, job.kind, trace.episode, mode)) as env:
            again = playback.Playback(env, trace, job.returns.get(trace.episode))
            if job.video:
                try:
                    with video.VideoWriter(job.video, video.frames_per_second(env)) as writer:
                        for frame in frames(again, job.caption):
                            writer.write(frame)
                except (video.VideoError, ValueError) as error:
                    raise Failure(str(error)) from error
            else:
                for _ in again:
                    pass
        results.append(Played(trace.episode, len(trace.rewards), again.ret, again.difference))
    return results


def show_in_window(work: "list[Job]") -> Iterator[list[Played]]:
    """Play the episodes of each job in a window, until it is closed."""
    from gym_loop.observers import video, viewer
    from gym_loop.runs import playback, traces

    try:
        viewer.check_display()
    except Mistake:
        raise Mistake(
            "no display to open a window on; use --video FILE.mp4, or run under xvfb-run"
        ) from None
    window = viewer.Window()
    try:
        for job in work:
            (trace,) = playback.recorded(job.run, job.file, job.episodes)
            make = playback.make_env(job.run, job.kind, trace.episode, "rgb_array")
            with contextlib.closing(make) as env:
                window.title = f"{video.env_name(env)}, {traces.KINDS[job.kind]} {trace.episode}"
                window.fps = video.frames_per_second(env)
                again = playback.Playback(env, trace, job.returns.get(trace.episode))
                try:
                    if not all(window.show(frame) for frame in frames(again, job.caption)):
                        return
                except video.VideoError as error:
                    raise Failure(str(error)) from error
            yield [Played(trace.episode, len(trace.rewards), again.ret, again.difference)]
    finally:
        window.close()


def frames(again: Any, captioned: bool) -> Iterator[Any]:
    """Play, and yield a frame after `reset` and after each step."""
    import numpy as np

    from gym_loop.observers import video

    trace = again.trace
    with np.errstate(all="ignore"):  # rewards may be infinite, NaN or too many for a float
        returns, is_whole = trace.rewards.cumsum(), (trace.rewards % 1 == 0).all()
    size = abs(returns[np.isfinite(returns)]).max(initial=0)
    digits = 0 if is_whole else max(1, 3 - int(math.log10(size + 1)))
    for step, _, ret in again:
        frame = video.render(again.env)
        if captioned:
            text = f"episode {trace.episode}  step {step}  return {ret:.{digits}f}"
            frame = video.caption(frame, text)
        yield frame


def chosen_run(directory: Path, kind: str, episode: str | None) -> Path:
    """Return the run to play: of a sweep, or of any folder of runs, the best or the worst.

    Raises:
        Mistake: which of several runs is meant cannot be known.
    """
    from gym_loop.runs import manifest, reading

    if (directory / manifest.NAME).exists() or not directory.is_dir():
        return directory
    try:
        runs = reading.find([directory])
    except Mistake:
        return directory
    if episode not in ("best", "worst"):
        raise Mistake(
            f"{directory} holds {len(runs)} runs; expected the directory of one, or --episode best "
            "or worst of all"
        )
    choose = max if episode == "best" else min
    extremes = {}
    for run in runs:
        if finite := [ret for ret in recorded_returns(run, kind).values() if math.isfinite(ret)]:
            extremes[run] = choose(finite)
    if not extremes:
        raise Mistake(f"{directory} has no run with a table of finite returns")
    run = choose(extremes, key=extremes.__getitem__)
    print(f"run: {run}")
    return run


def select(traces: Any, episode: str | None, every: int | None) -> list[int]:
    """Return the numbers of the episodes that are asked for.

    Raises:
        Mistake: the words make no sense.
    """
    if every is not None:
        if episode is not None:
            raise Mistake("expected --episode or --every, not both")
        chosen = [number for number in traces.episodes().tolist() if number % every == 0]
        if not chosen:
            raise Mistake(f"--every {every}: no episode of {traces.run} has such a number")
        return chosen
    numbers: dict[int, None] = {}
    for word in (episode or "last").split(","):
        word = word.strip()
        if word == "last":
            numbers[traces.last()] = None
        elif word in WORDS:
            returns = recorded_returns(traces.run, traces.kind)
            there = [
                n for n in traces.episodes().tolist() if math.isfinite(returns.get(n, math.nan))
            ]
            if not there:
                raise Mistake(
                    f"{traces.run} has no table of finite returns to find the {word} episode in"
                )
            choose = max if word == "best" else min
            numbers[choose(there, key=returns.__getitem__)] = None
        elif word.isdecimal():
            numbers[int(word)] = None
        else:
            raise Mistake(
                f"--episode {word}: expected a number, several set apart by commas, best, worst or "
                f"last{nearest(word, WORDS)}"
            )
    return list(numbers)


def recorded_returns(run: Path, kind: str, wanted: list[int] | None = None) -> dict[int, float]:
    """Return the return of each episode, or each of `wanted`, in a run's table."""
    from gym_loop.runs import reading, tables

    file = tables.EVALUATIONS if kind == "eval" else tables.EPISODES
    table = reading.RunContent(run).table(file, ("episode", "return"))
    both = zip(table["episode"], table["return"], strict=True)
    returns = {int(number): ret for number, ret in both if math.isfinite(number)}
    return {n: returns[n] for n in wanted if n in returns} if wanted is not None else returns


def checked(path: Path | None, suffix: str, option: str) -> Path | None:
    """Return `path` if a video of that format can be written there.

    Raises:
        Mistake: it cannot.
    """
    if path is None:
        return None
    from gym_loop.observers import video

    try:
        video.check_path(path)
    except ValueError as error:
        raise Mistake(str(error)) from None
    if path.suffix.lower() != suffix:
        raise Mistake(f"{option} {path}: expected a name that ends in {suffix}")
    return path


def numbered(path: Path, episode: int) -> Path:
    """Return a path with an episode's number in its name."""
    return path.with_name(f"{path.stem}-{episode:06d}{path.suffix}")


def describe(kind: str, played: Played, video: Path | None) -> str:
    """Return the line about an episode."""
    name = "evaluation episode" if kind == "eval" else "episode"
    line = f"{name} {played.episode}: {played.length} steps, return {played.ret:g}"
    return line + f", {played.difference or 'as recorded'}" + (f" -> {video}" if video else "")


def main(arguments: list[str]) -> None:
    """Run the command."""
    from gym_loop import launch

    # Environments draw, and so import, when they are asked to.
    with launch.surroundings():
        run_click(replay, arguments)
