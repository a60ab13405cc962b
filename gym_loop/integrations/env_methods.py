"""Methods of the environment that an agent is in, or of each one where there are many."""

from typing import Any


def call(env: Any, name: str, *args: Any) -> list[Any]:
    """Return what the method `name` of `env` returns; a list, with an entry for each environment.

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
