"""The base of all launchers: checks all jobs, runs those that are missing, reports failures."""

import contextlib
import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from gym_loop import files, launch
from gym_loop.compat.hydra import result
from gym_loop.compat.hydra_job import hydra_config, to_yaml
from gym_loop.config import by_value, options, stored
from gym_loop.errors import set_reported
from gym_loop.mistake import Failure, Mistake
from gym_loop.runs import claim, manifest, versions
from gym_loop.sweeps import directory, submitted, table
from gym_loop.sweeps.compose import Composer
from gym_loop.sweeps.directory import Job, Sweep
from gym_loop.sweeps.job import pack, reason_of
from gym_loop.sweeps.known import SUBDIR, Known

LOCK_SECONDS = 30.0  # that the sweep's record is waited for; it is locked for an instant


class SweepLauncher(Launcher):
    """Brings the sweep in a directory to completion. A subclass writes `execute`.

    Args:
        dry_run: print the jobs with their states, and start nothing.
    """

    def __init__(self, dry_run: bool = False) -> None:
        self.dry_run = dry_run
        self.config: DictConfig
        self.context: HydraContext
        self.targets: set[str] = set()  # of all that jobs build
        self.task: TaskFunction
        self.params: list[str] = []  # overrides that the sweeper's own config adds
        self.table: Callable[[int, int], table.Table] = table.Table  # of a total, and what is done
        self.asks_for_more = True  # whether jobs may be new to the sweep's record
        self.unrecorded = ""  # a job of which nobody will know whether it has finished
        self.composer: Composer

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Remember what Hydra passes."""
        self.context, self.task, self.config = hydra_context, task_function, config

    @property
    def directory(self) -> Path:
        """The sweep's directory."""
        text = str(self.config.hydra.sweep.dir)
        return stored.directory(text, f"hydra.sweep.dir is {text or repr('')}")

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run those jobs that are not finished, and return what each of all returned.

        Raises:
            Mistake: something is wrong with a job or with the directory; nothing has been started.
        """
        setup_globals()
        asked = self.asked()
        sweep = directory.merge(directory.read(self.directory), asked, self.directory)
        job_overrides = [*map(sweep.present, job_overrides)]
        known, jobs = self.check(sweep, job_overrides, max(initial_job_idx, len(sweep.jobs)))
        if self.unrecorded:
            print(
                f"note: without observers.manifest {self.unrecorded} leaves no run.json: repeating "
                "this sweep runs it again",
                file=sys.stderr,
            )
        submitted.find(self.directory, jobs)
        if self.dry_run:
            print(table.listing(jobs.values()))
            raise SystemExit(0)
        if self.asks_for_more:
            self.record(asked, sweep, jobs)
        done = [job for job in jobs.values() if job.state == "finished"]
        missing = [job for job in jobs.values() if job.state != "finished"]
        if missing:
            versions.note_others(job.directory for job in done)
        for job in jobs.values():
            job.state = "skipped" if job.state == "finished" else "new"
        code = self.execute(missing, len(done), len(jobs)) if missing else 0
        known.keep([*done, *(job for job in missing if job.ran)])
        if code:
            print(f"continue with: gym-loop resume {self.directory}")
        print(table.summary(self.directory, list(jobs.values())))
        if code:
            raise SystemExit(code)
        return [job_return(jobs[sweep.name(words)], words) for words in job_overrides]

    def asked(self) -> Sweep:
        """Return the sweep that this launch asks for."""
        # As they were typed: iterating over them would resolve what they refer to.
        words: Any = OmegaConf.to_container(self.config.hydra.overrides, resolve=False)
        if any(word.startswith("hydra.run.dir=") for word in words["hydra"]):
            text = "hydra.run.dir is of a single run; the directory of a sweep is hydra.sweep.dir"
            print(f"gym-loop: note: {text}", file=sys.stderr)
        # Those that a resumed sweep has recorded are among what was typed.
        params = [word for word in self.params if word not in words["task"]]
        asked = directory.asked([*params, *words["task"]], words["hydra"])
        name = str(self.config.hydra.job.config_name)
        config = options.in_memory.get(name)
        asked.config = config and to_yaml(config)
        sources = self.config.hydra.runtime.config_sources
        folder = Path(next(each.path for each in sources if each.provider == "main"))
        if folder != launch.CONF:
            below = folder.is_relative_to(asked.cwd)  # a project that is moved takes it along
            where = folder.relative_to(asked.cwd) if below else folder
            asked.flags += ["--config-dir", str(where)]
        if config is None and name != "config":
            asked.flags += ["--config-name", name]
        return asked

    def execute(self, jobs: Iterable[Job | None], skipped: int, total: int) -> int:
        """Run `jobs`, setting state, result and reason of each; `skipped` of `total` are done.

        They are taken as they come: one is asked for when there is room for it. None says that
        there is nothing for now, and perhaps when one that runs has ended.

        Returns 0, or the exit code of a sweep that was told to stop.
        """
        raise NotImplementedError

    def check(
        self, sweep: Sweep, job_overrides: Sequence[Sequence[str]], number: int
    ) -> tuple[Known, dict[str, Job]]:
        """Check the config of every job; return the jobs by name, and what is known of them.

        A job keeps its `hydra.job.num`, its place among all that the sweep was ever asked for;
        `number` is that of the first new one.

        Raises:
            Mistake: names the first job with something wrong.
        """
        self.composer = Composer(self.context.config_loader, self.config)
        folder = self.directory
        known = Known(self.composer, folder)
        numbers = {name: place for place, name in enumerate(sweep.jobs)}
        jobs: dict[str, Job] = {}
        for words in job_overrides:
            name = sweep.name(words)
            with named(name):
                choices = self.composer.choices(words)
                if choices not in self.composer.templates:
                    self.targets |= targets(self.composer.template(choices))
            if name not in jobs:
                own = numbers.get(name, number)
                number += name not in numbers
                jobs[name] = Job(name, list(words), own, folder / name)
        rest = [job for job in jobs.values() if not known.is_finished(job)]
        if rest:
            self.look_ahead()
        owners = {job.directory: job.name for job in jobs.values() if job.state == "finished"}
        for job in rest:
            with named(job.name):
                if twin := known.twin(job):
                    job.log = job.directory / twin.log.name
                    job.episodes, job.takes_gpu = twin.episodes, twin.takes_gpu
                else:
                    self.compose(self.composer, job)
                    known.add(job)
                if (owner := owners.setdefault(job.directory, job.name)) != job.name:
                    raise Mistake(f"its directory {job.directory} is that of the job {owner}, too")
        return known, jobs

    def compose(self, composer: Composer, job: Job) -> DictConfig:
        """Return the job's config, checked; set in `job` what the config says of it.

        Raises:
            Mistake: something is wrong with it.
        """
        config = composer.compose(job.overrides, job.number)
        with hydra_config(config):
            job.directory = self.directory / place(config, job.name)
            for preparation in launch.prepare:
                preparation(config)
            self.look(job, config)
        return config

    def look(self, job: Job, config: DictConfig) -> None:
        """Set the state of `job` from the run in its directory."""
        job.log = job.directory / f"{config.hydra.job.name}.log"
        job.episodes = OmegaConf.select(config, "loop.max_episodes")
        if not OmegaConf.select(config, "observers.manifest"):
            self.unrecorded = self.unrecorded or job.name
        if job.directory.exists() and (known := claim.run_in(job.directory, config.loop)):
            claim.check_past(job.directory, known, config)
            job.state, job.result = known["state"], known.get("result")
            job.launches = known.get("launches", 0)

    def look_ahead(self) -> None:
        """Prepare for jobs that build what `self.targets` names, while they are checked."""

    def common(self) -> bytes:
        """Return what all jobs share: the task, Hydra's context, the program's name and words."""
        context = dataclasses.replace(self.context, config_loader=None)  # type: ignore[arg-type]
        return pack((self.task, context, self.config.hydra.job.name, sys.argv, by_value.pickles))

    def packed(self, job: Job) -> bytes:
        """Return the job's config for the process that runs it, composed again: none is kept.

        The job stays as it was when it was checked.

        Raises:
            Mistake: its directory holds another run by now.
        """
        return job.packed or pack(self.compose(self.composer, dataclasses.replace(job)))

    def record(self, asked: Sweep, checked: Sweep, jobs: dict[str, Job]) -> None:
        """Write down what the sweep is and its jobs, with those of launches at the same time.

        Raises:
            Mistake: it cannot be written, or is another one than when jobs were checked.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with manifest.Lock(self.directory, LOCK_SECONDS):
                sweep = directory.merge(directory.read(self.directory), asked, self.directory)
                if sweep.varied != checked.varied:  # by which jobs are named
                    raise Mistake(
                        f"another launch has just made {', '.join(sweep.varied)} vary in "
                        f"{self.directory}, not {', '.join(checked.varied)}; try again"
                    )
                sweep.config = checked.config
                sweep.jobs |= {job.name: job.overrides for job in jobs.values()}
                directory.write(self.directory, sweep)
                by_value.keep(self.targets, self.directory)
                if not (self.directory / "multirun.yaml").exists():
                    OmegaConf.save(self.config, self.directory / "multirun.yaml")
        except OSError as error:
            raise Mistake(f"cannot write into {self.directory}: {files.reason(error)}") from None


class GridSweeper(Sweeper):
    """Launches the product of all that varies.

    Args:
        params: overrides that are always swept over, before those of the command line.
        recorded: also bring to completion the jobs of earlier launches into the directory; `only`:
            those alone, whatever varies, as another sweeper had asked for them.
    """

    def __init__(self, params: Any = None, recorded: bool | str = False) -> None:
        self.params = [f"{key}={value}" for key, value in (params or {}).items()]
        self.recorded = recorded

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Make the launcher that the config names."""
        self.parser = OverridesParser.create(config_loader=hydra_context.config_loader)
        self.launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.config: Any = config

    def sweep(self, arguments: list[str]) -> Any:
        """Launch all jobs at once; exit with 1 when one of our own launcher's failed."""
        more = self.recorded != "only"
        jobs = product(self.parser.parse_overrides([*self.params, *arguments])) if more else []
        if not isinstance(self.launcher, SweepLauncher):
            folder = Path(self.config.hydra.sweep.dir)
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self.config, folder / "multirun.yaml")
            returns = self.launcher.launch(jobs, initial_job_idx=0)
            for job in returns:
                result(job)
            return [returns]
        self.launcher.params, self.launcher.asks_for_more = self.params, more
        if self.recorded:
            known = directory.read(self.launcher.directory)
            jobs += [words for words in (known.jobs if known else {}).values() if words not in jobs]
        returns = self.launcher.launch(jobs, initial_job_idx=0)
        if any(job.status is not JobStatus.COMPLETED for job in returns):
            raise SystemExit(1)
        return [returns]


def product(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each job: every combination of the values that are given.

    Raises:
        Mistake: something varies in a way that has no list of values, such as an interval, or an
            empty one.
    """
    values: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            values[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            values[key] = [f"{key}={value}" for value in listed(override)]
        else:
            kind = str(override.value_type and override.value_type.name).partition("_")[0].lower()
            raise Mistake(
                f"the grid sweeper does not take {kind}(...) for {key}: choice(...) and range(...) "
                f"are for it; {kind}(...) is for a search: hydra/sweeper=search"
            )
    return [list(words) for words in itertools.product(*values.values())]


def listed(override: Override) -> list[str]:
    """Return the values of an override that lists some.

    Raises:
        Mistake: there are none.
    """
    values = list(override.sweep_string_iterator())
    if not values:
        loader: Any = override.config_loader
        known = loader.get_group_options(override.key_or_group)
        expected = f"one of {', '.join(known)}" if known else "at least one"
        raise Mistake(f"{override.input_line} has no value; expected {expected}")
    return values


def targets(config: DictConfig) -> set[str]:
    """Return what `config` names to be built."""
    found = set()
    for group in (config, config.get("observers") or {}):
        for node in group.values():
            if isinstance(node, DictConfig) and "_target_" in node:
                found.add(str(node["_target_"]))
    return found


def place(config: DictConfig, name: str) -> str:
    """Set the job's own directory in its config: `name`, unless the user says; return it.

    Raises:
        Mistake: it has the time in its name, by which it would not be found again.
    """
    with read_write(config.hydra), open_dict(config.hydra):
        sweep: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
        if "${now:" in str(sweep["subdir"]):
            raise Mistake(
                f"hydra.sweep.subdir is {sweep['subdir']}: the same sweep at another time would "
                "run its jobs again; put ${now:...} into hydra.sweep.dir"
            )
        if sweep["subdir"] == SUBDIR:
            config.hydra.sweep.subdir = name
        subdir = str(OmegaConf.select(config, "hydra.sweep.subdir"))
        config.hydra.runtime.output_dir = os.path.join(config.hydra.sweep.dir, subdir)
    return subdir


def job_return(job: Job, words: Sequence[str]) -> JobReturn:
    """Return what a sweeper is to know of `job`; the configs stay in its directory."""
    completed = job.state in ("finished", "skipped")
    value: Any = job.result
    if not completed:
        value = Failure(f"{job.name}: {job.reason}")
        set_reported(value)  # in the table
    result = JobReturn(
        overrides=list(words),
        working_dir=os.getcwd(),
        task_name=job.name,
        status=JobStatus.COMPLETED if completed else JobStatus.FAILED,
    )
    result.return_value = value
    return result


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Add the job's name to the message of a mistake or a failure in the block."""
    try:
        yield
    except Mistake as mistake:
        raise Mistake(f"job {name}: {mistake.message}") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise Mistake(f"job {name}: {reason_of(error)}") from error
    except Failure as failure:
        raise Failure(f"job {name}: {failure}") from failure
