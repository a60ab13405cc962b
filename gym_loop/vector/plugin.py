"""Registers a check with the launcher: whether the agent fits `loop=vector`."""

from omegaconf import DictConfig

from gym_loop import launch


def check_agent_fits_loop(cfg: DictConfig) -> None:
    """Raise Mistake for an agent that does not take batches, if the loop gives them.

    Classes that cannot be found are left to the check that names them.
    """
    from gym_loop.vector.loop import VectorLoop, check_vectorized

    try:
        agent, loop = (launch.locate(cfg[group]._target_) for group in ("agent", "loop"))
    except Exception:
        return
    if isinstance(loop, type) and issubclass(loop, VectorLoop) and isinstance(agent, type):
        check_vectorized(agent)


# Before another preparation claims the run's directory.
launch.prepare.insert(0, check_agent_fits_loop)
