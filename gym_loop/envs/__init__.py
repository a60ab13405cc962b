"""Environments: makers for gym 0.26 and Gymnasium, named as `_target_` in `conf/env`.

Importing this package imports neither library. It only keeps their greetings off the terminal,
which has to happen before either is imported, also by a package named in `env.imports`.
"""

from gym_loop.envs.greetings import hide_greetings
from gym_loop.envs.make import (
    EnvError,
    MissingDependencyError,
    check_id,
    known_ids,
    make_gym,
    make_gymnasium,
)

__all__ = [
    "EnvError",
    "MissingDependencyError",
    "check_id",
    "known_ids",
    "make_gym",
    "make_gymnasium",
]

hide_greetings()
