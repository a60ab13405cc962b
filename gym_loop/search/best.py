"""The best trials: confirmed with fresh seeds, and left as a run config."""

from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial

from gym_loop import files
from gym_loop.compat.hydra_job import to_yaml
from gym_loop.mistake import Failure
from gym_loop.runs import manifest
from gym_loop.runs.reading import CONFIRMED
from gym_loop.search.report import Best
from gym_loop.search.study import OVERRIDES
from gym_loop.search.trials import Make
from gym_loop.sweeps import table
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.launcher import SweepLauncher

FILE = "best.yaml"
FINALISTS = 3


def confirm(
    launcher: SweepLauncher,
    make: Make,
    finalists: Sequence[FrozenTrial],
    seeds: Sequence[int],
) -> None:
    """Play the best trials and the agent's defaults with fresh seeds.

    The defaults are no trial: they need not lie in the space.

    Raises:
        SystemExit: a job has not finished.
    """
    both: list[Job] = []
    played = [(f"trial {t.number}", t.user_attrs[OVERRIDES]) for t in finalists[:FINALISTS]]
    for name, words in [*played, ("defaults", [])]:
        for seed in seeds:
            job, _ = make(len(both), words, seed)
            job.label = f"{name}, seed {seed}"
            both.append(job)
            job.state = "skipped" if job.state == "finished" else "new"
    missing = [job for job in both if job.state == "new"]
    launcher.table = table.Table
    code = launcher.execute(missing, len(both) - len(missing), len(both)) if missing else 0
    print(table.summary(launcher.directory / CONFIRMED, both))
    if code or any(job.state not in ("finished", "skipped") for job in both):
        print(f"continue with: gym-loop resume {launcher.directory}")
        raise SystemExit(code or 1)


def write(directory: Path, job: Path, best: Best) -> None:
    """Leave the config of a trial's job as a run config, `best.yaml`, in the search's directory."""
    content = dict(manifest.load(job)["config"])
    (content.get("observers") or {}).pop("pause", None)
    head = f"# The best is {best}. gym-loop train -c {FILE}\n"
    try:
        files.write(directory / FILE, head + to_yaml(content))
    except OSError as error:
        raise Failure(files.cannot_write(error, directory)) from error
