"""What a search varies: parameters in Hydra's grammar, or a function in Python."""

import contextlib
import hashlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
)

from gym_loop import errors
from gym_loop.config.locate import locate
from gym_loop.mistake import Mistake, nearest
from gym_loop.runs.reading import typed
from gym_loop.sweeps.launcher import listed

optuna.logging.set_verbosity(optuna.logging.WARNING)

Value = bool | int | float | str | None


@dataclass(frozen=True)
class Dimension:
    """One parameter of a space.

    Attributes:
        key: of the config, with the `+` that Hydra wants for a new one.
        text: as it was typed: `interval(0, 1)`.
        distribution: Optuna's.
    """

    key: str
    text: str
    distribution: optuna.distributions.BaseDistribution

    @property
    def name(self) -> str:
        """The key of the config."""
        return self.key.lstrip("+")

    def suggest(self, trial: Any) -> Value:
        """Return the value that the trial has, or gets."""
        d: Any = self.distribution
        if isinstance(d, optuna.distributions.CategoricalDistribution):
            return trial.suggest_categorical(self.name, d.choices)
        is_int = isinstance(d, optuna.distributions.IntDistribution)
        suggest = trial.suggest_int if is_int else trial.suggest_float
        return suggest(self.name, d.low, d.high, step=d.step, log=d.log)

    def probes(self) -> Sequence[Value]:
        """Return all choices, or the ends of an interval; of one of fractions, one within, too."""
        d: Any = self.distribution
        if isinstance(d, optuna.distributions.CategoricalDistribution):
            return list(d.choices)
        if isinstance(d, optuna.distributions.FloatDistribution) and d.step is None:
            return [d.low, d.low + (d.high - d.low) * 0.3, d.high]  # an integer takes no fraction
        return [d.low, d.high]

    def check(self, value: Any) -> Value:
        """Return `value` as the distribution has it.

        Raises:
            Mistake: it does not lie in it.
        """
        d: Any = self.distribution
        found: Value
        if isinstance(d, optuna.distributions.CategoricalDistribution):
            for found in d.choices:
                if typed(found) == typed(value):
                    return found
        elif isinstance(value, int | float) and not isinstance(value, bool):
            whole = not isinstance(d, optuna.distributions.IntDistribution) or value == int(value)
            steps = (value - d.low) / d.step if d.step else 0.0
            if d.low <= value <= d.high and whole and abs(steps - round(steps)) < 1e-8:
                found = type(d.low)(value)
                return found
        raise Mistake(
            f"hydra.sweeper.enqueue: {self.name} is {typed(value)}; expected a value of {self.text}"
        )


class Dimensions(dict[str, Dimension]):
    """Parameters in Hydra's grammar, by key."""

    source = ""  # a `Function` has one

    def describe(self) -> dict[str, str]:
        """Return what varies, as texts by key: two searches of one space have the same."""
        return {name: dimension.text for name, dimension in self.items()}

    def probes(self) -> list[list[str]]:
        """Return overrides of configs that have each end and each choice at least once."""
        values = {dimension.key: dimension.probes() for dimension in self.values()}
        most = max(map(len, values.values()))
        return [
            [word(key, of[min(number, len(of) - 1)]) for key, of in values.items()]
            for number in range(most)
        ]

    def explain(self, message: str) -> str:
        """Return what is wrong with a probe; who typed an interval has not typed a value of it."""
        for name, each in self.items():
            inner, tagged = each.text.removesuffix(")").removeprefix("tag("), "tag(" in each.text
            is_meant = f": {name} is " in message and "expected an integer" in message
            if is_meant and "interval(" in each.text and "int," not in each.text:
                whole = f"tag(int, {inner if tagged else each.text})"
                return f"{name}={each.text} has fractions; expected an integer: {name}={whole}"
        return message

    def suggest(self, trial: Any) -> list[str]:
        """Return the overrides of a trial, of Optuna's `Trial`; those it has stay as they are."""
        return [word(each.key, each.suggest(trial)) for each in self.values()]

    def check_enqueued(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a point that is to be tried first.

        Raises:
            Mistake: it does not lie in the space.
        """
        for name in point:
            if name not in self:
                near = nearest(name, self, f"; it varies {', '.join(self)}")
                raise Mistake(f"hydra.sweeper.enqueue: {name} is not in the space{near}")
        return {name: self[name].check(value) for name, value in point.items()}


class FixedSpaceSampler(optuna.samplers.TPESampler):
    """TPE for parameters that every trial has; draws what Optuna's own draws.

    That one finds out from all trials, for each new one, which parameters they share: a sixth to a
    third of the time that the 500th takes.
    """

    def __init__(self, dimensions: Dimensions, seed: int) -> None:
        super().__init__(seed=seed)
        self.space = {name: each.distribution for name, each in sorted(dimensions.items())}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """Return the parameters that are drawn together; see Optuna."""
        return {name: each for name, each in self.space.items() if not each.single()}


class Function:
    """A space in Python: a function that is given Optuna's trial.

    It suggests values under the names of config keys, or returns the overrides as a mapping of
    config keys to values, where these are made of what it has suggested.

    Args:
        name: of the function: `my_space.py:space`.

    Attributes:
        source: the file that it is in, and the digest of its content; "" where there is none.

    Raises:
        Mistake: there is no such function.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.said = f"hydra.sweeper.space={name}"
        module, _, function = name.rpartition(":" if ":" in name else ".")
        if not module or not function or name.endswith(".py"):
            raise Mistake(
                f"{self.said} names no function; expected my_space.py:space or package.module:space"
            )
        if module.endswith(".py") and not Path(module).expanduser().is_file():
            known = sorted(map(str, Path(module).expanduser().parent.glob("*.py")))
            raise Mistake(f"{self.said}: no file {module}{nearest(module, known)}")
        try:
            found = locate(name)
        except Exception as error:
            if isinstance(error, AttributeError) and error.name == function:
                functions = [key for key, value in vars(error.obj).items() if callable(value)]
                near = nearest(function, functions)
                raise Mistake(f"{self.said}: {module} has no {function!r}{near}") from None
            why = errors.with_place(error)
            raise Mistake(f"{self.said}: cannot import {module}: {why}") from None
        if not callable(found) or len(inspect.signature(found).parameters) != 1:
            raise Mistake(f"{self.said}: expected a function of one trial")
        self.function: Callable[[Any], Mapping[str, Any] | None] = found
        self.source = ""
        with contextlib.suppress(OSError, TypeError, KeyError):  # not every module has a file
            is_file = module.endswith(".py")
            file = Path(module if is_file else inspect.getfile(sys.modules[module])).expanduser()
            digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
            self.source = f"{file.name} with SHA-256 {digest}"

    def describe(self) -> dict[str, str]:
        """Return the function's name by its key."""
        return {"hydra.sweeper.space": self.name}

    def probes(self) -> list[list[str]]:
        """Return the overrides of three random trials: what a function can return is not known."""
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        found = [self.suggest(study.ask()) for _ in range(3)]
        if not any(found):
            raise Mistake(f"{self.said} suggests nothing")
        return found

    def explain(self, message: str) -> str:
        """Return what is wrong with a probe; its function is named."""
        return f"{self.said}: {message}".replace(" (command line)", "")

    def suggest(self, trial: Any) -> list[str]:
        """Return the overrides of a trial; see `Dimensions.suggest`.

        Raises:
            Mistake: the function returns something else, or raises.
        """
        try:
            given = self.function(trial)
        except (Exception, SystemExit) as error:
            raise Mistake(f"{self.said}: {errors.with_place(error)}") from error
        if trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values:
            raise Mistake(f"{self.said} reports a value; expected it to suggest values alone")
        if given is not None and not isinstance(given, Mapping):
            raise Mistake(
                f"{self.said} returned {given!r:.60}; expected a mapping of config keys to values, "
                "or None for what it has suggested"
            )
        values = dict(trial.params if given is None else given)
        for key, value in values.items():
            if isinstance(value, np.generic):
                values[key] = value = value.item()
            if not isinstance(key, str) or not isinstance(value, Value | list | tuple | Mapping):
                raise Mistake(
                    f"{self.said} returned {value!r:.60} for {key!r:.60}; expected a config key, "
                    "and a number, a text, a truth value, None, or a list or a mapping of them"
                )
        return [word(key, value) for key, value in values.items()]

    def check_enqueued(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return `point`: the function takes of it what it suggests."""
        return dict(point)


Space = Dimensions | Function


def word(key: str, value: Any) -> str:
    """Return the override that gives `key` a value; a text is in Hydra's grammar already."""
    if isinstance(value, list | tuple):
        return f"{key}=[{','.join(word('', within(each))[1:] for each in value)}]"
    if isinstance(value, Mapping):
        pairs = (word(str(name), within(each)).replace("=", ":", 1) for name, each in value.items())
        return f"{key}={{{','.join(pairs)}}}"
    return f"{key}={typed(value)}"


def within(value: Any) -> Any:
    """Return a value of a list or a mapping; a bare text with commas is one, and not several."""
    is_bare = isinstance(value, str) and not value.startswith(("[", "{", "'", '"'))
    return QuotedString(value, Quote.single).with_quotes() if is_bare and "," in value else value


def split(overrides: Sequence[Override]) -> tuple[list[str], Dimensions]:
    """Return the overrides with one value, and the space that the others make.

    Raises:
        Mistake: something is wrong with one of those.
    """
    fixed: dict[str, str] = {}
    space = Dimensions()
    for override in overrides:
        key = override.get_key_element()
        name = key.lstrip("+~")
        fixed.pop(name, None)
        space.pop(name, None)
        if override.is_sweep_override():
            text = str(override.input_line).partition("=")[2]
            space[name] = Dimension(key, text, distribution(override, f"{name}={text}"))
        else:
            fixed[name] = str(override.input_line)
    return list(fixed.values()), space


def distribution(override: Override, said: str) -> optuna.distributions.BaseDistribution:
    """Return Optuna's distribution for an override.

    Raises:
        Mistake: there is none; the line begins with `said`.
    """
    sweep: Any = override.value()
    tags = set(getattr(sweep, "tags", ()))
    if unknown := tags - {"log", "int"}:
        raise Mistake(f"{said}: no tag {', '.join(sorted(unknown))}; there are log and int")
    if isinstance(sweep, IntervalSweep | RangeSweep):
        low, high, step = _ends(sweep, said)
        whole = "int" in tags or (isinstance(low, int) and isinstance(step, int))
        if not math.isfinite(low) or not math.isfinite(high):
            raise Mistake(f"{said}: expected finite ends")
        if high < low:
            raise Mistake(f"{said}: the first end is above the second; expected low, then high")
        if "log" in tags and low <= 0:
            raise Mistake(f"{said}: a logarithmic scale begins above 0")
        if "log" in tags and step is not None:
            raise Mistake(f"{said}: no tag log for a range; interval(...) has one")
        if whole:
            if low != int(low) or high != int(high):
                raise Mistake(f"{said}: tag(int, ...) expects integers as ends")
            return optuna.distributions.IntDistribution(
                int(low), int(high), log="log" in tags, step=int(step or 1)
            )
        return optuna.distributions.FloatDistribution(low, high, log="log" in tags, step=step)
    if tags:
        raise Mistake(f"{said}: tags are for interval(...) and range(...)")
    texts = listed(override)
    values = sweep.list if isinstance(sweep, ChoiceSweep) else texts
    if len(values) != len(texts):  # a nested one
        values = texts
    plain = [
        value if isinstance(value, bool | int | float) else text
        for value, text in zip(values, texts, strict=True)
    ]
    return optuna.distributions.CategoricalDistribution(list(dict.fromkeys(plain)))


def _ends(sweep: Any, said: str) -> tuple[Any, Any, Any]:
    """Return the least value, the greatest and the step, None for an interval."""
    if isinstance(sweep, IntervalSweep):
        return sweep.start, sweep.end, None
    if not sweep.step > 0:
        raise Mistake(f"{said}: its step is {sweep.step}; expected one above 0")
    count = math.ceil((sweep.stop - sweep.start) / sweep.step - 1e-9)  # the stop is not in it
    if count < 1:
        raise Mistake(f"{said}: an empty range")
    return sweep.start, sweep.start + (count - 1) * sweep.step, sweep.step
