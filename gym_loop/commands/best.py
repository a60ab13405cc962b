"""Name the best run, and what can be done with it."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from gym_loop.commands import run_click
from gym_loop.commands.report import compared
from gym_loop.mistake import Mistake
from gym_loop.output import exit_if_lost
from gym_loop.reports import films
from gym_loop.reports.text import broken
from gym_loop.terminal import is_terminal, printable, short, width

Told = tuple[dict[str, Any], list[str]]  # of a run: facts for programs, lines for people


@click.command("best", epilog="Example: gym-loop best sweep --by agent,env")
@click.argument("directories", nargs=-1, metavar="[DIR]...")
@click.option("--by", default="", metavar="KEYS", help="Group by these alone: agent,env.")
@click.option("--metric", metavar="NAME", help="As for `gym-loop report`.")
@click.option("--unfinished", is_flag=True, help="Look at runs that have not finished, too.")
@click.option("--json", "as_json", is_flag=True, help="For programs: a JSON list.")
def best(
    directories: tuple[str, ...], by: str, metric: str | None, unfinished: bool, as_json: bool
) -> None:
    """Name the best run in and below each DIR (./outputs and ./multirun), and what to do with it.

    That is the best run of the best group. Runs are grouped and compared as `gym-loop report` does:
    groups differ in more than the seed, and the best has the highest interquartile mean. Where the
    seeds cannot tell it from others, these are named. Each environment has a best run of its own.

    Of a search, without options, that is the best run of its best trial: of the confirmed ones by
    the fresh seeds, if there are any.
    """
    from gym_loop.runs import reading

    if (
        directories
        and all(map(reading.is_search, directories))
        and not (by or metric or unfinished)
    ):
        told = [of_search(Path(name)) for name in directories]
    else:
        told = of_runs(compared(directories, by, metric, unfinished))
    if as_json:
        print(json.dumps([facts for facts, _ in told], indent=1, allow_nan=False))
    else:
        shown = printable if is_terminal(sys.stdout) else str  # a program takes the path as it is
        blocks = ([in_terminal(shown(line)) for line in lines] for _, lines in told)
        print("\n\n".join(map("\n".join, blocks)))


def in_terminal(line: str) -> str:
    """Return a line broken as wide as the terminal is, but for paths and commands, to be copied."""
    is_sentence = line.startswith("  ") and not line.startswith("  gym-loop ")
    return broken(line, width()) if is_sentence else line


def of_runs(content: dict[str, Any]) -> list[Told]:
    """Return what there is to say of the best run of each environment."""
    best_of: dict[tuple[str, ...], int] = {}
    for place, group in enumerate(content["groups"]):
        if group["iqm"] is not None:
            best_of.setdefault(tuple(group["envs"]), place)  # the groups of each come in order
    return [of_group(content, place) for place in best_of.values()]


def of_search(directory: Path) -> Told:
    """Return what there is to say of the best trial of a search."""
    from gym_loop.search.report import Found

    found = Found(directory)
    best = found.best()
    if best is None:
        more = f"gym-loop resume {short(directory)} goes on"
        if {*found.counts()} == {"failed"}:
            count = 2 * len(found.trials)
            more = (
                f"gym-loop resume {short(directory)} hydra.sweeper.n_trials={count} asks for others"
            )
        raise Mistake(f"{directory}: no trial has come to its end; {found.counted()}; {more}")
    order = max if found.maximize else min
    run = order(best.results, key=best.results.__getitem__, default=None)
    if run is None:
        raise Mistake(f"{directory}: the runs of trial {best.trial.number} are gone")
    config = directory / "best.yaml"
    train = f"  gym-loop train -c {shlex.quote(short(config))}" if config.exists() else ""
    told = [f"  {best}; in this run {best.results[run]:.6g}", f"  {found.unconfirmed()}".rstrip()]
    facts = {
        "directory": str(run),
        "group": f"trial {best.trial.number}",
        "metric": found.objective,
        "score": best.results[run],
        "group_score": best.value,
        "said": str(best),
    }
    lines = [str(run), *filter(None, [*told, train]), *commands(run)]
    return facts, lines


def of_group(content: dict[str, Any], place: int) -> Told:
    """Return what there is to say of the group at `place` of a report."""
    group, metric = content["groups"][place], content["metric"]
    run = films.best_run(content, place)
    assert run is not None  # the group has a score
    doubts = [
        pair["sentence"]
        for pair in content["pairs"]
        if place in pair["groups"] and pair["verdict"] != "better"
    ]
    said = (
        f"{group['name']}, seed {run['seed']}: {metric} {run['scores'][metric]:.6g}; the group's "
        f"interquartile mean is {group['iqm']:.6g} (seeds: {group['seeds']})"
    )
    facts = {
        "directory": run["directory"],
        "group": group["name"],
        "metric": metric,
        "score": run["scores"][metric],
        "group_score": group["iqm"],
        "said": "\n".join([said, *doubts]),
    }
    told = [f"  {sentence}" for sentence in (said, *doubts)]
    return facts, [run["directory"], *told, *commands(Path(run["directory"]))]


def commands(directory: Path) -> list[str]:
    """Return what can be done with a run, as commands."""
    from gym_loop.runs import reading

    path, known = shlex.quote(short(directory)), reading.RunContent(directory)
    kind = str(known.section("agent").get("_target_"))
    target = "model.zip" if "stable_baselines3" in kind else "episodes.npz"
    has_steps = known.section("loop").get("max_steps")
    limit = f"max_steps={2 * known.steps}" if has_steps else f"max_episodes={2 * known.episodes}"
    return [
        f"  gym-loop replay {path} --episode best",
        f"  gym-loop evaluate {path}",
        f"  gym-loop export {path} {target}",
        f"  gym-loop resume {path} loop.{limit}",
    ]


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(best, arguments)
    exit_if_lost()
