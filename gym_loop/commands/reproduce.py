"""Run a run again, with its code and packages, and compare."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gym_loop.commands import exit_on_signals, run_click, run_process
from gym_loop.mistake import Failure, Mistake

SINKS = ("gym_loop.observers.wandb", "gym_loop.observers.mlflow")  # which tell others of a run
STOP = '''"""Stops a run after so many episodes."""

from gym_loop import Observer


class StopAfter(Observer):
    def __init__(self, episodes):
        self.episodes = episodes

    def end_cycle(self, loop):
        if loop.episodes >= self.episodes and not loop.stop:
            loop.stop = "reproduce"
'''


@click.command("reproduce", epilog="Example: gym-loop reproduce outputs/a --episodes 20")
@click.argument("run", type=Path, metavar="RUN")
@click.option(
    "--episodes", type=click.IntRange(1), metavar="N", help="Only the first N of training."
)
def reproduce(run: Path, episodes: int | None) -> None:
    """Run the run in RUN again as it was, and compare every row of its tables.

    The code is put back in a temporary git worktree: the commit, the changes, the files that git
    did not track. The packages are those of the run: where others are installed here, an
    environment is made with them, by uv where it is on PATH, else by venv and pip. Exits with 0
    when all rows are equal, with 1 and the first step that differs when not, with 2 when it cannot
    be run again. Runs code: only for runs that you trust.
    """
    exit_on_signals()
    from gym_loop.code import reading
    from gym_loop.config import kept
    from gym_loop.runs import manifest

    known = manifest.load(run)
    kept.refuse_changed(known, None)
    description = reading.describe(run)
    if description is None:
        raise Mistake(f"{run} has no readable {reading.FOLDER}/: what it ran is not known")
    if parent := known.get("parent"):
        raise Mistake(
            f"{run} was forked from {parent['directory']} at episode {parent['episode']}, "
            "and goes on from its checkpoint; reproduce that one"
        )
    with tempfile.TemporaryDirectory(prefix="gym-loop-reproduce-") as folder:
        ok = run_again(run, known, description, Path(folder).resolve(), episodes)
    sys.exit(0 if ok else 1)


def run_again(
    run: Path, known: dict[str, Any], description: dict[str, Any], folder: Path, most: int | None
) -> bool:
    """Return whether a run equals itself; print what was found.

    Args:
        run: its directory.
        known: what `manifest.load` returns.
        description: what it has kept of its code and its packages.
        folder: an empty one.
        most: how many training episodes are compared; all if None.

    Raises:
        Mistake: it cannot be run again.
        Failure: it failed.
    """
    from gym_loop.code.again import Again, launched_in
    from gym_loop.runs import tables

    played = len(tables.columns(run, tables.EPISODES, ("episode",))["episode"])
    if not played:
        raise Mistake(f"{run} has no episode to compare")
    whole = known["state"] == "finished" and (most is None or most >= played)
    count = played if most is None else min(most, played)
    again = Again(run, description, folder)
    try:
        again.put_code_back()
        roots = [(str(root["name"]), root["commit"]) for root in description["roots"]]
        told = [f"{name} at {commit[:12]}" if commit else name for name, commit in roots]
        print(f"code: {', '.join(told)}")
        print(f"environment: {again.put_packages_back()}", flush=True)
        place = again.path(launched_in(run))
        place.mkdir(parents=True, exist_ok=True)
        link_data(known["config"], Path(known["cwd"]), place)
        copy = plant(run, place, folder)
        words = overrides(known["config"], folder, None if whole else count)
        command = [again.python, "-m", "gym_loop", "resume", str(copy), *words]
        execute(command, place, again.variables(), folder / "output.log")
        return compare(run, copy, count, whole, description)
    finally:
        again.remove()


def plant(run: Path, launched_in: Path, folder: Path) -> Path:
    """Return a new run directory with the config of `run`, to be resumed from its beginning."""
    from gym_loop.config import by_value, kept
    from gym_loop.runs import manifest

    copy = folder / "run"
    copy.mkdir()
    shutil.copyfile(run / kept.FILE, copy / kept.FILE)
    if (run / by_value.FOLDER).is_dir():
        shutil.copytree(run / by_value.FOLDER, copy / by_value.FOLDER)
    content = manifest.read(run) or {}
    names = ("format", "config", "digests", "seed", "versions")
    content = {name: content[name] for name in names if name in content}
    counts = {"episodes": 0, "steps": 0, "cwd": str(launched_in)}
    manifest.write(copy, {"state": "stopped", **content, **counts})
    return copy


def overrides(config: dict[str, Any], folder: Path, count: int | None) -> list[str]:
    """Return what is told to the run beside its config: no window, no sinks, and where to end.

    It ends after `count` episodes, by a class that is written into `folder`; None: by its config.
    """
    from gym_loop.config.stored import quoted

    loop = config["loop"]
    words = [f"loop.{key}=false" for key in ("render", "eval_render") if loop.get(key)]
    for name, node in (config.get("observers") or {}).items():
        if isinstance(node, dict) and str(node.get("_target_")).startswith(SINKS):
            words.append(f"observers.{name}=null")
    if count is not None:
        file = folder / "stop_after.py"
        file.write_text(STOP)
        target = quoted(Path(f"{file}:StopAfter"))
        words.append(f"+observers.stop_after={{_target_: {target}, episodes: {count}}}")
        words += ["loop.max_time=null"] if loop.get("max_time") else []
    return words


def link_data(config: dict[str, Any], there: Path, launched_in: Path) -> None:
    """Link files that the config names by a relative path, and that are no code."""
    from gym_loop.config import kept

    for _, value in kept.leaves(config):
        path = Path(value) if isinstance(value, str) and value and "\0" not in value else None
        if path is None or path.is_absolute() or ".." in path.parts or len(value) > 1000:
            continue
        if path.parts and (there / path).exists() and not (launched_in / path).exists():
            (launched_in / path).parent.mkdir(parents=True, exist_ok=True)
            (launched_in / path).symlink_to((there / path).absolute())


def execute(command: list[str], cwd: Path, variables: dict[str, str], log: Path) -> None:
    """Run the run.

    Raises:
        Failure: it failed.
    """
    with open(log, "wb") as file:
        code = run_process(command, cwd=cwd, env=variables, stdout=file, stderr=file)
    if code:
        last = log.read_text(errors="replace").strip().splitlines()[-20:]
        raise Failure("\n".join([f"run again, it ended with exit code {code}:", *last]))


def compare(run: Path, copy: Path, count: int, whole: bool, description: dict[str, Any]) -> bool:
    """Return whether the rows are equal; print the first that is not, and what may explain it."""
    from gym_loop.runs import parting, tables

    found = {name: parting.of_table(run, copy, name) for name in parting.TABLES}
    found[tables.EPISODES] = parting.of_table(run, copy, tables.EPISODES, count)
    equal = []
    for name, what in parting.TABLES.items():
        part, rows = found[name], found[name]["rows"]
        expected = rows[0] if whole or name == tables.EPISODES else min(rows)
        if part["from"] is None and rows[1] >= expected:
            equal += [f"{expected} of {what}"] if expected else []
            continue
        if part["from"] is None:
            print(f"differs: {what} has {rows[1]} episodes, and had {rows[0]}")
        else:
            values = ", ".join(f"{k} {a} and {b}" for k, (a, b) in part["values"].items())
            print(f"differs: {what} episode {part['from']} ({values})")
            if part.get("step"):
                print(f"  {parting.told(part['step'])}")
        print("\n".join(["what may explain it:", *explanations(run, copy, description)]))
        return False
    print(f"equal: episodes {' and '.join(equal)}")
    return True


def explanations(run: Path, copy: Path, description: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each thing that was not as it had been."""
    from gym_loop.code import reading

    now = reading.describe(copy) or {}
    lines = [
        f"  {name}: {then}, now {value}"
        for group, name, then, value in reading.differences(description, now)
        if not (group == "packages" and name in description["sources"])  # put back as code
    ]
    for file, reason in description["left_out"].items():
        lines.append(f"  {file} was not kept: {reason}")
    lines += [f"  secrets in {file} were hidden" for file in description["masked"]]
    for episode in reading.later(run):
        lines.append(f"  from episode {episode} on it ran other code, or elsewhere")
    yield from lines or [
        "  nothing that is known: it does not repeat itself (a clock, a stream without a seed, the "
        "order of a set, a file that has changed?)"
    ]


def main(arguments: list[str]) -> None:
    """Run the command."""
    from gym_loop import launch

    with launch.surroundings():
        run_click(reproduce, arguments)
