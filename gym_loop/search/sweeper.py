"""The sweeper `search`: a sweep whose jobs a study asks for."""

import functools
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from gym_loop.config.kept import as_plain
from gym_loop.mistake import Mistake, nearest
from gym_loop.runs import manifest, reading, versions
from gym_loop.sweeps import directory
from gym_loop.sweeps.compose import Composer
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.known import SUBDIR
from gym_loop.sweeps.launcher import SweepLauncher, named

try:
    import optuna  # noqa: F401
except ImportError as error:
    raise Mistake(
        f'hydra/sweeper=search needs optuna ({error}): pip install "gym-loop[search]"'
    ) from None

from gym_loop.search import best, optunas
from gym_loop.search.jobs import OBJECTIVES, name_of
from gym_loop.search.report import Found
from gym_loop.search.space import Function, Space, split
from gym_loop.search.study import EVALUATIONS, FILE, OVERRIDES, RUNGS, SEEDS, SOURCE, Study
from gym_loop.search.trials import Trials

PAUSE = "+observers.pause._target_=gym_loop.search.pausing.Pause"
WAIT_SECONDS = 0.5  # for other launches into the same search
OTHER = (
    "returns of different environments cannot be compared: search in each of them, in a "
    "hydra.sweep.dir of its own"
)
SHARED = {  # by all trials: what cannot be a parameter, and why
    "seed": "its trials have hydra.sweeper.seeds=3 (0, 1, 2) or hydra.sweeper.seeds=[4,5,6]",
    "env": OTHER,
    "env.id": OTHER,
    "env._target_": OTHER,
    "hydra": "it is of the whole launch",
}
DIRECTIONS = ("maximize", "minimize")


class SearchSweeper(Sweeper):
    """Runs the jobs of a study's trials until there have been enough. See conf/hydra/sweeper."""

    def __init__(
        self,
        n_trials: int = 20,
        seeds: Any = 3,
        objective: str = "evaluation",
        direction: str = "maximize",
        pruner: Any = "asha",
        sampler: Any = "tpe",
        seed: int = 0,
        params: Any = None,
        space: str | None = None,
        enqueue: Any = (),
        confirm: int = 0,
    ) -> None:
        counts = ("n_trials", n_trials, 1), ("seed", seed, 0), ("confirm", confirm, 0)
        for name, value, least in counts:
            if type(value) is not int or value < least:
                raise Mistake(f"hydra.sweeper.{name}={value}; expected an integer from {least}")
        one_of("objective", objective, OBJECTIVES)
        one_of("direction", direction, DIRECTIONS)
        self.n_trials, self.seed, self.confirm = n_trials, seed, confirm
        self.objective, self.direction = objective, direction
        self.seeds = seeds_of(as_plain(seeds))
        self.pruner, self.sampler = as_plain(pruner), as_plain(sampler)
        chosen = (
            ("pruner", self.pruner, optunas.PRUNERS),
            ("sampler", self.sampler, optunas.SAMPLERS),
        )
        for name, value, known in chosen:
            if not isinstance(value, dict) or "_target_" not in value:
                more = f", or one of Optuna's: {{_target_: optuna.{name}s.NAME}}"
                one_of(name, value, known, more)
        self.by_seed = isinstance(self.pruner, dict) and optunas.is_by_seed(
            optunas.pruner_of(self.pruner)
        )
        if self.by_seed:
            optunas.check_by_seed(self.pruner, len(self.seeds))
        self.params = [f"{key}={value}" for key, value in (as_plain(params) or {}).items()]
        self.space, self.enqueue = space, as_plain(enqueue) or []
        is_list = isinstance(self.enqueue, list)
        if not is_list or not all(isinstance(point, dict) for point in self.enqueue):
            raise Mistake(
                f"hydra.sweeper.enqueue={self.enqueue}; expected a list of points: "
                "[{agent.learning_rate: 3e-4}]"
            )

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Make the launcher that the config names."""
        launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        if not isinstance(launcher, SweepLauncher):
            raise Mistake(
                f"hydra/sweeper=search does not run on {type(launcher).__name__}, which takes "
                "whole batches of jobs; use hydra/launcher=pool, ray or slurm"
            )
        if not getattr(launcher, "wait", True):
            raise Mistake(
                "hydra.launcher.wait=false: a search asks for jobs as others end; leave it out"
            )
        # A study that is asked for all jobs at once has not been told of any.
        if getattr(launcher, "n_jobs", None) is None:
            raise Mistake(
                "hydra/sweeper=search needs hydra.launcher.n_jobs=8, or another number of jobs "
                "that the engine is given at a time"
            )
        self.launcher: SweepLauncher = launcher
        self.config: DictConfig = config
        self.loader = hydra_context.config_loader

    def sweep(self, arguments: list[str]) -> Any:
        """Run what is missing of the search; exit with 1 when something still is."""
        setup_globals()
        sweep: Any = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)
        if sweep["subdir"] != SUBDIR:
            raise Mistake(
                f"hydra.sweep.subdir={sweep['subdir']}: a search names its jobs' directories by "
                "their parameters; leave it out"
            )
        launcher, place = self.launcher, self.launcher.directory
        fixed, space = self._space([*self.params, *arguments])
        enqueued = [space.check_enqueued(point) for point in self.enqueue]
        open_study = self._study_of(space)
        study = open_study() if (place / FILE).exists() else None
        self._check(fixed, space)
        told = len(study.trials()) if study else 0
        if told > self.n_trials:
            print(
                f"note: hydra.sweeper.n_trials={self.n_trials} is a total, and {told} trials are "
                "there already: no new one is asked for",
                file=sys.stderr,
            )
        if launcher.dry_run:
            print(f"{told} of {self.n_trials} trials asked for, {len(self.seeds)} seeds each")
            raise SystemExit(0)
        launcher.record(self.asked, self.checked, {})
        study = study or open_study()
        new = study.enqueue(enqueued)
        if new < len(enqueued) and told < self.n_trials:
            print(
                f"note: hydra.sweeper.enqueue: {len(enqueued) - new} of {len(enqueued)} points "
                "were asked for before, and are not tried again",
                file=sys.stderr,
            )
        trials = self._trials(study, fixed)
        if told < self.n_trials and getattr(launcher, "n_jobs", 2) > 1:
            print(
                "note: jobs run side by side: which trials are asked for depends on the order in "
                "which they end; hydra.launcher.n_jobs=1 makes the search repeat itself",
                file=sys.stderr,
            )
        if told < self.n_trials:
            versions.note_others(file.parent for file in place.glob(f"*/{manifest.NAME}"))
        launcher.table = lambda total, done: trials.table
        code = 0
        while trials.open and not code:  # again while other launches run what lacks
            code = launcher.execute(trials, 0, self.n_trials)
            if trials.open and not code:
                time.sleep(WAIT_SECONDS)
        self._conclude(trials, fixed, code)
        return []

    def _conclude(self, trials: Trials, fixed: Sequence[str], code: int) -> None:
        """Say what a search has come to, and leave its best; exit with 1 when something lacks."""
        place = self.launcher.directory
        found = Found(place)
        trials.standing.counts = found.counts()
        print(f"{place}: {len(found.trials)} trials: {trials.standing}")
        for unfinished, why in trials.given_up.items():
            print(f"not finished  {unfinished.name}  {why}")
        if code or trials.given_up:
            print(f"continue with: gym-loop resume {place}")
            raise SystemExit(code or 1)
        if trials.standing.best is None:
            print(self._why_no_best(trials.standing.counts))
            raise SystemExit(1)
        self._leave_best(fixed, found)

    def _why_no_best(self, counts: Mapping[str, int]) -> str:
        """Return why a search that has asked for all trials has no best one, and what to do."""
        left_out = "nothing to confirm" if self.confirm else "no best.yaml"
        said = f"no trial has come to its end: {left_out}"
        if not counts["paused"] or self.by_seed:
            return said
        again = f"gym-loop resume {self.launcher.directory} hydra.sweeper.pruner=none"
        return f"{said}. To play the paused ones to their ends: {again}"

    def _study_of(self, space: Space) -> Callable[[], Study]:
        """Return what opens the study of `space`, or makes it; check its sampler and pruner."""
        definition = {
            **space.describe(),
            SOURCE: space.source,
            "hydra.sweeper.objective": self.objective,
            "hydra.sweeper.direction": self.direction,
            "hydra.sweeper.seeds": ",".join(map(str, self.seeds)),
            RUNGS: SEEDS if self.by_seed else EVALUATIONS,
        }
        make_sampler = optunas.sampler_of(self.sampler, self.seed, space)
        if isinstance(self.sampler, dict) or isinstance(self.pruner, dict):
            optunas.check_optunas(self.sampler, make_sampler, self.pruner, space)
        place = self.launcher.directory
        return functools.partial(Study, place, definition, space, self.direction, make_sampler)

    def _leave_best(self, fixed: Sequence[str], found: Found) -> None:
        """Confirm the best trials, if that was asked for, and write the best one's config."""
        place = self.launcher.directory
        if self.confirm:
            fresh = range(max(self.seeds) + 1, max(self.seeds) + 1 + self.confirm)
            make = functools.partial(self._make, fixed, f"{reading.CONFIRMED}/", ())
            best.confirm(self.launcher, make, found.ranked(), fresh)
        if unconfirmed := found.unconfirmed():
            print(unconfirmed)
        first = found.best()
        assert first is not None  # a trial is complete
        words = first.trial.user_attrs[OVERRIDES]
        best.write(place, place / name_of(words, self.seeds[0]), first)
        print(f"{first}: {place / best.FILE}")

    def _space(self, words: Sequence[str]) -> tuple[list[str], Space]:
        """Return the overrides of every job, and what varies."""
        parser = OverridesParser.create(config_loader=self.loader)
        fixed, dimensions = split(parser.parse_overrides(list(words)))
        given = (reading.key_and_value(word)[0] for word in fixed)
        check_varied([*(key for key in given if key == "seed"), *dimensions])
        if self.space is None and not dimensions:
            raise Mistake(
                "an empty space: nothing varies; expected a parameter such as "
                "'agent.learning_rate=tag(log, interval(1e-5, 1e-2))'"
            )
        if self.space is None:
            return fixed, dimensions
        if dimensions:
            raise Mistake(
                f"two spaces: hydra.sweeper.space={self.space}, and {', '.join(dimensions)} in "
                "Hydra's grammar; leave out one of them"
            )
        return fixed, Function(self.space)

    def _check(self, fixed: Sequence[str], space: Space) -> None:
        """Check the configs of the ends and choices of the space, and what the search needs.

        Raises:
            Mistake: something is wrong with one of them.
        """
        launcher = self.launcher
        launcher.params = self.params
        self.asked = launcher.asked()
        self.asked.varied += [name for name in space.describe() if name not in self.asked.varied]
        self.asked.varied.append("seed")
        self.checked = directory.merge(
            directory.read(launcher.directory), self.asked, launcher.directory
        )
        probes = space.probes()
        names = [word.partition("=")[0].lstrip("+") for words in probes for word in words]
        check_varied(names)
        by_all = directory.Sweep([], {}, [*self.checked.varied, *names])
        jobs = [[*fixed, *words, f"seed={self.seeds[0]}", PAUSE] for words in probes]
        try:
            launcher.check(by_all, jobs, 0)
        except Mistake as mistake:
            raise Mistake(space.explain(mistake.message)) from None
        self.composer = Composer(self.loader, self.config)
        cfg = self.composer.compose(jobs[0], 0)
        unread = "manifest" if launcher.unrecorded else "episodes"
        if launcher.unrecorded or not OmegaConf.select(cfg, "observers.episodes"):
            raise Mistake(
                f"a search reads from its jobs' files how far they are, and a job has no "
                f"observers.{unread}; expected it, as observers=default has it"
            )
        loop: Any = OmegaConf.to_container(cfg.loop, resolve=True)
        if self.objective in ("evaluation", "auc") and not loop.get("eval_episodes"):
            raise Mistake(
                f"hydra.sweeper.objective={self.objective} needs evaluations: loop.eval_episodes "
                f"is {loop.get('eval_episodes')}; expected at least 1"
            )
        between = [str(key) for key in loop if re.fullmatch(r"\w+_per_eval", str(key))]
        if self.pruner != "none" and not self.by_seed and not any(loop[key] for key in between):
            raise Mistake(
                f"hydra.sweeper.pruner={optunas.choice_name(self.pruner)} needs evaluations during "
                f"training: set {' or '.join(f'loop.{key}' for key in between) or 'another loop'}, "
                "or hydra.sweeper.pruner=none"
            )

    def _make(
        self,
        fixed: Sequence[str],
        folder: str,
        more: Sequence[str],
        number: int,
        words: Sequence[str],
        seed: int,
    ) -> tuple[Job, DictConfig]:
        """Return the job of a trial's overrides and a seed, and its config, checked."""
        own = folder + name_of(words, seed)
        overrides = [*fixed, *words, f"seed={seed}", *more]
        job = Job(own, overrides, number, self.launcher.directory / own)
        with named(own):
            config = self.launcher.compose(self.composer, job)
        return job, config

    def _trials(self, study: Study, fixed: Sequence[str]) -> Trials:
        return Trials(
            study,
            optunas.rungs_of(self.pruner, study, self.direction == "maximize"),
            functools.partial(self._make, fixed, "", (PAUSE,)),
            lambda words, seed: self.launcher.directory / name_of(words, seed),
            self.seeds,
            self.n_trials,
            self.objective,
        )


def check_varied(keys: Iterable[str]) -> None:
    """Check that nothing varies that trials have to share.

    Raises:
        Mistake: something does.
    """
    for key in keys:
        if why := SHARED.get("hydra" if key.startswith("hydra.") else key):
            raise Mistake(f"{key}= is no parameter of a search; {why}")


def one_of(name: str, value: Any, known: Sequence[str] | Mapping[str, Any], more: str = "") -> None:
    """Check that a text is one of those known."""
    if not isinstance(value, str) or value not in known:
        near = nearest(str(value), known, ";")
        raise Mistake(f"hydra.sweeper.{name}={value}{near} expected {', '.join(known)}{more}")


def seeds_of(given: Any) -> list[int]:
    """Return the seeds for a count or a list.

    Raises:
        Mistake: it is neither.
    """
    found = list(range(given)) if type(given) is int else given
    if (
        not isinstance(found, list)
        or not found
        or not all(type(each) is int and each >= 0 for each in found)
        or len(set(found)) < len(found)
    ):
        raise Mistake(
            f"hydra.sweeper.seeds={given}; expected how many (at least 1), or a list, "
            "such as [4,5,6]"
        )
    return found
