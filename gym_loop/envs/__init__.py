"""Environments: makers for gym 0.26 and Gymnasium, named as `_target_` in `conf/env`.

Importing this package imports neither library.
"""

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
