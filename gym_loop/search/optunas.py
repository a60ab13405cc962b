"""Optuna's samplers and pruners, as `hydra.sweeper.sampler` and `hydra.sweeper.pruner` name them.

Each is one of our names (`tpe`, `asha`), or a mapping with the `_target_` of a class of Optuna's.
"""

import contextlib
import functools
import importlib.util
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna

from gym_loop.config import signature
from gym_loop.config.options import load_class
from gym_loop.mistake import Mistake
from gym_loop.search.rungs import Halving, Judged, Rungs, SeedBySeed
from gym_loop.search.space import Dimensions, FixedSpaceSampler, Space
from gym_loop.search.study import Study
from gym_loop.streams import derive

TRIED = 12  # random trials on which samplers are tried; the first ten, most draw at random
PRUNERS, SAMPLERS = ("asha", "median", "none"), ("tpe", "random")


def choice_name(named: Any) -> str:
    """Return the name of a pruner or a sampler."""
    return str(named["_target_"] if isinstance(named, dict) else named)


def sampler_of(named: Any, seed: int, space: Space) -> Callable[[int], Any]:
    """Return a function that returns Optuna's sampler for the trial of a number.

    A new one for each trial, with a seed of its own: what a search asks for does not depend on how
    often it was launched.
    """
    if named == "tpe" and isinstance(space, Dimensions):
        return lambda number: FixedSpaceSampler(space, derive(seed, f"trial/{number}"))
    known = {"tpe": "optuna.samplers.TPESampler", "random": "optuna.samplers.RandomSampler"}
    own = named if isinstance(named, dict) else {"_target_": known[named]}
    base = optuna.samplers.BaseSampler
    kind = class_of(own["_target_"], base, "sampler")
    takes_seed = "seed" in (signature.parameters(kind) or ())

    def make(number: int) -> Any:
        more = {"seed": derive(seed, f"trial/{number}")} if takes_seed else {}
        return built({**more, **own}, base, "sampler")

    make(0)
    return make


def check_optunas(sampler: Any, make: Callable[[int], Any], pruner: Any, space: Space) -> None:
    """Try one of Optuna's samplers and pruners on a study of random trials.

    Raises:
        Mistake: it cannot do with the space, or takes a package that is not installed.
    """

    def ask() -> Any:
        trial = study.ask()
        with contextlib.suppress(Mistake):  # a function need not do with all values
            space.suggest(trial)
        for step in (1, 2, 3):
            trial.report(0.0, step)
        return trial

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(TRIED):
        study.tell(ask(), float(number))
    with of_optunas("sampler", sampler):
        study.sampler = make(TRIED)
        ask()
    if isinstance(pruner, dict):
        with of_optunas("pruner", pruner):
            pruner_of(pruner).prune(study, study.get_trials()[-1])


def rungs_of(named: Any, study: Study, maximize: bool) -> Rungs:
    """Return what decides which trials go on."""
    if named == "none":
        return Rungs()
    if named == "asha":
        return Halving(maximize)
    if named == "median":
        pruner: Any = optuna.pruners.MedianPruner()
    else:
        pruner = pruner_of(named)
    kind = SeedBySeed if is_by_seed(pruner) else Judged
    return kind(functools.partial(study.is_pruned, pruner))


def pruner_of(named: Mapping[str, Any]) -> Any:
    """Return one of Optuna's pruners."""
    return built(named, optuna.pruners.BasePruner, "pruner")


def is_by_seed(pruner: Any) -> bool:
    """Return whether a pruner of Optuna's compares trials instance by instance: seed by seed."""
    return isinstance(pruner, optuna.pruners.WilcoxonPruner)


def check_by_seed(named: Mapping[str, Any], seeds: int) -> None:
    """Check that the WilcoxonPruner could prune a trial before its last seed.

    Raises:
        Mistake: it could not, or SciPy, which it takes, is not installed.
    """
    if not importlib.util.find_spec("scipy"):
        raise Mistake('WilcoxonPruner needs SciPy: pip install "gym-loop[report]"')
    threshold = float(named.get("p_threshold", 0.1))
    # Of n seeds that are all worse, the test's p is 2 to the -n.
    least = math.floor(-math.log2(threshold)) + 1 if 0 < threshold < 1 else 2
    needed = max(least, int(named.get("n_startup_steps", 2))) + 1
    if seeds < needed:
        raise Mistake(
            f"hydra.sweeper.seeds={seeds}: WilcoxonPruner, which compares trials seed by seed, can "
            f"prune none before its last seed at p_threshold={threshold:g}; expected at least "
            f"{needed} seeds"
        )


def built(named: Mapping[str, Any], base: type, what: str) -> Any:
    """Return the object of Optuna's that `_target_` names, and those among its arguments.

    Raises:
        Mistake: there is none, or it refuses its arguments.
    """
    arguments = {
        key: built(value, base, what) if isinstance(value, dict) and "_target_" in value else value
        for key, value in named.items()
        if key != "_target_"
    }
    kind = class_of(named["_target_"], base, what)
    with of_optunas(what, named):
        return kind(**arguments)


def class_of(target: str, base: type, what: str) -> Any:
    """Return the class that `target` names.

    Raises:
        Mistake: it is none of Optuna's kind.
    """
    kind = load_class(target, f"hydra.sweeper.{what}")
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise Mistake(f"hydra.sweeper.{what}={target} is not derived from {base.__name__}")
    return kind


@contextlib.contextmanager
def of_optunas(what: str, named: Any) -> Iterator[None]:
    """Raise what a sampler or a pruner raises in the block as a Mistake; ignore its warnings."""
    name = choice_name(named)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        package = error.name or getattr(error.__cause__, "name", None)
        raise Mistake(
            f"hydra.sweeper.{what}={name} needs {package}: pip install {package}"
        ) from None
    except Exception as error:
        raise Mistake(f"hydra.sweeper.{what}={name}: {error}") from None
