"""What an observer puts at `episode.env` to see an episode's steps."""

from typing import Any


class Wrapper:
    """An environment of any library, with `reset` and `step` for a subclass to replace.

    It passes for the environment where somebody asks with `isinstance`. A copy is one of the
    environment alone.
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
