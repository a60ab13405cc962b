"""Registers a check with the launcher: whether the agent fits `loop=vector`."""

import sys

from omegaconf import DictConfig

from gym_loop import launch


def check_agent_fits_loop(cfg: DictConfig) -> None:
    """Raise Mistake for an agent that does not take batches, if the loop gives them.

    Classes that cannot be found are left to the check that names them.
    """
    try:
        agent, loop = (launch.locate(cfg[group]._target_) for group in ("agent", "loop"))
    except Exception:
        return
    vector = sys.modules.get("gym_loop.vector.loop")  # another loop's launch does not import it
    are_classes = isinstance(agent, type) and isinstance(loop, type)
    if vector and are_classes and issubclass(loop, vector.VectorLoop):
        vector.check_vectorized(agent)


# Before another preparation claims the run's directory.
launch.prepare.insert(0, check_agent_fits_loop)
