"""Shows an agent with `needs_env = True` the environment that it is in, as `self.env`.

The environment is looked up in the agent's loop, so no checkpoint or pickle of the agent holds it.
"""

import weakref
from typing import Any

# For each agent what has its `env` and `eval_env`: its loop. Neither keeps the other alive here.
_places = weakref.WeakKeyDictionary[Any, "weakref.ref[Any]"]()


def put(agent: Any, place: Any) -> Any:
    """Let `agent`, which is returned, see `place.env`, and `place.eval_env` while it evaluates."""
    if getattr(agent, "needs_env", False):
        _places[agent] = weakref.ref(place)
    return agent


class Environment:
    """The attribute `env` of agents; an agent that sets one of its own has that."""

    def __get__(self, agent: Any, kind: type[Any] | None = None) -> Any:
        """Return the environment.

        Raises:
            AttributeError: the agent does not say `needs_env`, or is in no loop.
        """
        held = _places.get(agent) if agent is not None and agent.needs_env else None
        place = held() if held else None
        env = place and (place.env if agent.training else place.eval_env)
        if env is None:
            why = "does not say needs_env = True"
            if held:
                why = "is in no environment; from Python, run.policy(env=...) takes one"
            raise AttributeError(f"{type(agent).__name__} has no env: it {why}")
        return env


def each(env: Any, name: str, *args: Any) -> list[Any]:
    """Return what the method `name` returns of `env`, or of each one in a vector environment.

    Raises:
        AttributeError: there is no such method.
    """
    if hasattr(env, "num_envs") and not hasattr(env, "envs"):
        return list(env.env.call(name, *args))  # a library's vector environment
    return [_method(one, name)(*args) for one in getattr(env, "envs", [env])]


def has(env: Any, name: str) -> bool:
    """Return whether `env`, or each one in a vector environment, has the method `name`."""
    if hasattr(env, "num_envs") and not hasattr(env, "envs"):
        env = env.env
        if not hasattr(env, "envs"):  # in other processes
            return True
    try:
        return all(callable(_method(one, name)) for one in getattr(env, "envs", [env]))
    except AttributeError:
        return False


def _method(env: Any, name: str) -> Any:
    # Gymnasium's wrappers do not hand attributes on by themselves.
    return env.get_wrapper_attr(name) if hasattr(env, "get_wrapper_attr") else getattr(env, name)
