"""The table of our loops' parameters, one entry for each.

Defaults, checks, what a resume may change, what a report ignores and the comments of a run config
come from it. `python -m tests.generated` writes conf/loop/ and docs/keys.md from it.

A parameter of a user's own loop that has the name of one of these is taken to mean the same.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gym_loop.loops.base_loop import BaseLoop


@dataclass(frozen=True)
class Parameter:
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
Table = dict[str, Parameter]
EVALUATION_METRICS = ("eval/return", "eval/length")  # means over an evaluation's episodes


def table(*entries: Parameter) -> Table:
    """Return entries by name. Of two that have the same name the later one holds."""
    return {entry.name: entry for entry in entries}


def defaults(entries: Table) -> dict[str, Any]:
    """Return the default of each parameter by name."""
    return {name: entry.default for name, entry in entries.items()}


def check(entries: Table, values: dict[str, Any]) -> None:
    """Raise ValueError, in one line, for a number that is too small, or a `stop_at` without use."""
    for name, entry in entries.items():
        value: Any = values.get(name)
        # NaN is not at least anything.
        if type(value) in (int, float) and not value >= entry.least:
            raise ValueError(f"{name} is {value}; expected at least {entry.least}")
    if values.get("stop_at"):
        check_stop_at(values["stop_at"])
        if not (values.get("episodes_per_eval") or values.get("steps_per_eval")):
            raise ValueError(
                "stop_at looks at evaluations during training, and there are none: give "
                "loop.episodes_per_eval or loop.steps_per_eval"
            )


def check_stop_at(rule: dict[str, Any]) -> None:
    """Raise ValueError, in one line, for a `stop_at` that says nothing."""
    example = "{metric: eval/return, at_least: 195, evaluations: 3}"
    if unknown := [key for key in rule if key not in ("metric", "at_least", "evaluations")]:
        raise ValueError(f"stop_at has no {unknown[0]!r}; expected such as {example}")
    if rule.get("metric", EVALUATION_METRICS[0]) not in EVALUATION_METRICS:
        expected = " or ".join(EVALUATION_METRICS)
        raise ValueError(f"stop_at.metric is {rule['metric']!r}; expected {expected}")
    if type(rule.get("at_least")) not in (int, float):
        raise ValueError(f"stop_at.at_least is {rule.get('at_least')!r}; expected a number")
    count = rule.get("evaluations", 1)
    if type(count) is not int or count < 1:
        raise ValueError(f"stop_at.evaluations is {count!r}; expected an integer, 1 or more")


def limit_is_reached(loop: "BaseLoop") -> bool:
    """Return whether the number of episodes or steps that was asked for has been played."""
    episodes, steps = loop.parameters["max_episodes"], loop.parameters["max_steps"]
    return bool(loop.episodes >= (episodes or math.inf) or loop.steps >= (steps or math.inf))


def evaluation_is_due(loop: "BaseLoop", episodes: int, steps: int) -> bool:
    """Return whether to evaluate, after so many more `episodes` and `steps` have been played."""
    every, every_steps = (loop.parameters.get(n) for n in ("episodes_per_eval", "steps_per_eval"))
    return bool(every and loop.episodes // every > (loop.episodes - episodes) // every) or bool(
        every_steps and loop.steps // every_steps > (loop.steps - steps) // every_steps
    )


SHARED = table(
    Parameter("max_episodes", 5, "training episodes; null: no limit", null=True, resume=True),
    Parameter(
        "max_steps",
        None,
        "training steps; the episode in which it is reached is played to its end",
        kind=int,
        resume=True,
    ),
    Free("max_time", None, "seconds; then checkpoint and stop, to be resumed", kind=float, least=0),
    Parameter("max_episode_len", 5000, "steps after which an episode is truncated"),
    Parameter(
        "episodes_per_eval",
        None,
        "evaluate after every so many training episodes, and at the end",
        kind=int,
        resume=True,
    ),
    Parameter(
        "steps_per_eval",
        None,
        "evaluate at the first episode's end after every so many training steps",
        kind=int,
        resume=True,
    ),
    Parameter("eval_episodes", 10, "episodes of an evaluation", least=0, resume=True),
    Parameter(
        "stop_at",
        None,
        "end training early: {metric: eval/return, at_least: 195, evaluations: 3}, in a row",
        kind=dict,
        resume=True,
    ),
    Free(
        "episodes_per_checkpoint",
        10,
        "a checkpoint is due every so many episodes; null: never",
        null=True,
    ),
    Free(
        "time_per_checkpoint",
        None,
        "a checkpoint is due every so many seconds",
        kind=float,
        least=0,
    ),
    Free("keep_checkpoints", 2, "newest ones kept, besides the best and the final one"),
    Parameter(
        "info_keys", [], "keys of the last step's info that become columns and curves: [is_success]"
    ),
    Parameter("logdir", "./logs", "TensorBoard events of training", neutral=True),
    Parameter("trace", True, "keep what it takes to play any episode again", neutral=True),
    Parameter(
        "on_nan",
        "warn",
        "stop or warn when a return or a metric is NaN or infinite",
        choices=("stop", "warn"),
        resume=True,
    ),
    Free("eval_render", False, "show evaluation in a window"),
    Free("eval_record", False, "record evaluation episodes as video"),
    Parameter(
        "eval_record_dir", "./eval_records", "where evaluation's recordings go", neutral=True
    ),
    Parameter("eval_logdir", "./eval_logs", "TensorBoard events of evaluation", neutral=True),
)
DEFAULT = SHARED | table(
    Parameter("random_episodes", 0, "first episodes, played with random actions", least=0),
    Free("render", False, "show training in a window"),
    Free("record", False, "record training episodes as video"),
    Free("record_every", 1, "record every so many training episodes"),
    Parameter("record_dir", "./episode_records", "where recordings go", neutral=True),
)
VECTOR = table(
    Parameter("num_envs", 8, "environments stepped at once"),
    Free(
        "num_workers",
        "auto",
        "processes that step the copies of an environment; 0: none; auto: where that pays",
        kind=object,
        least=0,
    ),
    Parameter(
        "episodes_per_round",
        None,
        "then all environments begin anew; null: 20 for each environment",
        kind=int,
    ),
    *SHARED.values(),
    replace(SHARED["max_episodes"], default=100),
    replace(
        SHARED["max_steps"],
        help="training steps of all environments together; the running episodes are cut",
    ),
)
ALL = VECTOR | DEFAULT  # for who only has a name
