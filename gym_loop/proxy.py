"""What stands in an environment's place, of whichever library that is."""

from typing import Any


class Proxy:
    """What it does not define itself is the environment's.

    `isinstance` sees the environment's class, which the libraries' wrappers ask for.
    """

    def __init__(self, env: Any) -> None:
        self.env = env

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self.env.__class__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    def __reduce__(self) -> Any:
        return type(self), (self.env,)


class Wrapper(Proxy):
    """The base of what an observer sets as `episode.env` to see an episode's steps.

    Copying or pickling gives the environment alone.
    """

    def __reduce__(self) -> Any:
        return _itself, (self.env,)


def _itself(env: Any) -> Any:
    return env
