"""Shows an agent with `needs_env = True` the environment that it is in, as `self.env`.

The environment is looked up in the agent's loop, so no checkpoint or pickle of the agent holds it.
"""

import weakref
from typing import Any

# The loop of each agent. Neither is kept alive by this.
_loops = weakref.WeakKeyDictionary[Any, "weakref.ref[Any]"]()


def show(loop: Any, agent: Any) -> Any:
    """Let `agent` see `loop.env`, and `loop.eval_env` while it evaluates; return `agent`."""
    if getattr(agent, "needs_env", False):
        _loops[agent] = weakref.ref(loop)
    return agent


class Environment:
    """The attribute `env` of agents; an agent that sets one of its own has that."""

    def __get__(self, agent: Any, kind: type[Any] | None = None) -> Any:
        """Return the environment.

        Raises:
            AttributeError: the agent does not say `needs_env`, or is in no loop.
        """
        held = _loops.get(agent) if agent is not None and agent.needs_env else None
        loop = held() if held else None
        env = loop and (loop.env if agent.training else loop.eval_env)
        if env is None:
            why = "does not say needs_env = True"
            if held:
                why = "is in no environment; from Python, run.policy(env=...) takes one"
            raise AttributeError(f"{type(agent).__name__} has no env: it {why}")
        return env
