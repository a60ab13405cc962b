"""The table of our loops' parameters, one entry for each.

Defaults, checks, what a resume may change, what a report ignores and the comments of a run config
come from it. `python -m tests.generated` writes conf/loop/ and docs/keys.md from it.

A parameter of a user's own loop that has the name of one of these is taken to mean the same.
"""

from gym_loop.loops.table import Free, Parameter, Table

SHARED = Table(
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
DEFAULT = Table(
    *SHARED.values(),
    Parameter("random_episodes", 0, "first episodes, played with random actions", least=0),
    Free("render", False, "show training in a window"),
    Free("record", False, "record training episodes as video"),
    Free("record_every", 1, "record every so many training episodes"),
    Parameter("record_dir", "./episode_records", "where recordings go", neutral=True),
)
VECTOR = Table(
    Parameter("num_envs", 8, "environments stepped at once"),
    Free(
        "num_workers",
        "auto",
        "processes that step copies, the run's own among them; 0: it alone; auto: what pays",
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
    SHARED["max_episodes"]._replace(default=100),
    SHARED["max_steps"]._replace(
        help="training steps of all environments together; the running episodes are cut",
    ),
)
ALL = Table(*VECTOR.values(), *DEFAULT.values())  # for who only has a name
