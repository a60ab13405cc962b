"""A table of parameters: what an entry says, and how values are checked against it."""

import functools
from typing import Any, NamedTuple

EVALUATION_METRICS = ("eval/return", "eval/length")  # means over an evaluation's episodes


class Parameter(NamedTuple):
    """A parameter of a loop. A directory, relative to the run's, has a name that ends in `dir`.

    Attributes:
        name: the key in the config.
        default: the value where a config gives none.
        help: what it is, in one line.
        kind: type of its values, where the default does not tell it.
        null: whether it may be null though its default is not.
        least: least value of a number.
        choices: all its values, if they are these few texts.
        resume: whether a resumed run may be given another value.
        neutral: whether it never changes what happens in a run, only what is kept of it: a report
            compares runs that differ in it as if they did not.
    """

    name: str
    default: Any
    help: str
    kind: type | None = None
    null: bool = False
    least: float = 1
    choices: tuple[str, ...] = ()
    resume: bool = False
    neutral: bool = False


# One that never changes what happens in a run, so that a resume may give it another value.
Free = functools.partial(Parameter, resume=True, neutral=True)


class Table(dict[str, Parameter]):
    """Parameters by name. Of two entries that have the same name the later one holds."""

    def __init__(self, *entries: Parameter) -> None:
        super().__init__({entry.name: entry for entry in entries})

    def defaults(self) -> dict[str, Any]:
        """Return the default of each parameter by name."""
        return {name: entry.default for name, entry in self.items()}

    def check(self, values: dict[str, Any]) -> None:
        """Raise ValueError, in one line, for a number that is too small, or an idle `stop_at`."""
        for name, entry in self.items():
            value: Any = values.get(name)
            # NaN is not at least anything.
            if type(value) in (int, float) and not value >= entry.least:
                raise ValueError(f"{name} is {value}; expected at least {entry.least}")
        if values.get("stop_at"):
            check_stop_at(values["stop_at"], values.get("info_keys") or [])
            if not (values.get("episodes_per_eval") or values.get("steps_per_eval")):
                raise ValueError(
                    "stop_at looks at evaluations during training, and there are none: give "
                    "loop.episodes_per_eval or loop.steps_per_eval"
                )


def check_stop_at(rule: dict[str, Any], info_keys: list[str]) -> None:
    """Raise ValueError, in one line, for a `stop_at` that says nothing."""
    example = "{metric: eval/return, at_least: 195, evaluations: 3}"
    if unknown := [key for key in rule if key not in ("metric", "at_least", "evaluations")]:
        raise ValueError(f"stop_at has no {unknown[0]!r}; expected such as {example}")
    known = (*EVALUATION_METRICS, *(f"eval/{key}" for key in info_keys))
    if rule.get("metric", EVALUATION_METRICS[0]) not in known:
        expected = f"{' or '.join(known)}, or eval/NAME for a NAME in loop.info_keys"
        raise ValueError(f"stop_at.metric is {rule['metric']!r}; expected {expected}")
    if type(rule.get("at_least")) not in (int, float):
        raise ValueError(f"stop_at.at_least is {rule.get('at_least')!r}; expected a number")
    count = rule.get("evaluations", 1)
    if type(count) is not int or count < 1:
        raise ValueError(f"stop_at.evaluations is {count!r}; expected an integer, 1 or more")
