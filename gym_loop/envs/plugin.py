"""Registers with the launcher wrappers, messages of mistakes, and `without_greetings`."""

from gym_loop import launch
from gym_loop.envs import EnvError, MissingDependencyError
from gym_loop.envs.evaluation import check_eval_spaces, complete_eval_env
from gym_loop.envs.greetings import without_greetings
from gym_loop.envs.tape import warning_anew
from gym_loop.envs.wrappers import maker


def env_mistake(error: BaseException | None) -> str | None:
    """Return the message of the environment's mistake that `error` is or was caused by."""
    while error is not None:
        if isinstance(error, EnvError | MissingDependencyError):
            return str(error)
        error = error.__cause__
    return None


# A package that the user's config names may import gym before a maker does.
launch.around += [without_greetings, warning_anew]
launch.explain.append(env_mistake)
launch.maker = maker
launch.prepare.insert(0, complete_eval_env)  # before it is checked
launch.prepare.append(check_eval_spaces)  # after it is checked, before the run is claimed
