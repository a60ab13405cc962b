"""What an environment's `reset` returns."""

from typing import Any

import numpy as np


def first_observation(returned: Any) -> Any:
    """Return the observation that `reset` returned beside its info.

    Raises:
        ValueError: the info is a number: an old `reset` returned an observation of length 2 alone.
    """
    observation, info = returned
    if type(info) is not dict and np.isscalar(info):
        raise ValueError(
            f"reset() returned {info!r} as info (expected a dict); an environment of the API "
            "before gym 0.26 needs wrap=[old_api]"
        )
    return observation
