"""The base of wrappers that an observer sets as `episode.env` to see an episode's steps."""

from typing import Any


class Wrapper:
    """Wraps an environment of any library; a subclass overrides `reset` or `step`.

    `isinstance` sees the environment's class. Copying or pickling gives the environment alone.
    """

    def __init__(self, env: Any) -> None:
        self.env = env

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.env)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.env, name)

    def __reduce__(self) -> Any:
        return _itself, (self.env,)


def _itself(env: Any) -> Any:
    return env
