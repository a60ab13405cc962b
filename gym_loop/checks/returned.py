"""One line for what an environment returned that no loop can take.

Nothing is checked at each step: the exception that follows from the fault tells of it.
"""

import linecache
import re
import traceback
from typing import Any

from gym_loop.checks.running import OLD_API
from gym_loop.errors import user_frames
from gym_loop.launch import PACKAGE
from gym_loop.mistake import text_of

# What functions of ours that step many environments call in each.
CALLS = {"first_observation": "reset()", "step": "step()", "start": "reset()", "restart": "reset()"}
EXPECTED = {
    "step()": "five: observation, reward, terminated, truncated, info",
    "reset()": "two: observation, info",
}


def explain_returned(error: BaseException) -> str | None:
    """Return the line that names what the environment returned or is, or None."""
    if user_frames(error) or not isinstance(error, Exception):
        return None
    ours = [
        (frame, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename.startswith(str(PACKAGE))
    ]
    if not ours:
        return None
    frame, number = ours[-1]
    source = linecache.getline(frame.f_code.co_filename, number)
    played = next((f.f_locals for f, _ in reversed(ours) if "episode" in f.f_locals), {})
    return (
        wrong_count(error, CALLS.get(frame.f_code.co_name) or source)
        or wrong_flag(error, played)
        or huge_reward(error, played)
        or other_kind(error, [env for f, _ in ours for env in environments(f.f_locals)])
    )


def environments(names: dict[str, Any]) -> list[Any]:
    """Return what a function of ours calls an environment, or the first of several."""
    several = names.get("envs")
    return [names.get("env"), *(several[:1] if isinstance(several, list) else ())]


def wrong_count(error: Exception, source: str) -> str | None:
    """Return the line for a number of values that is not the one expected of the call."""
    call = next((name for name in EXPECTED if name.removesuffix(")") in source), None)
    text = text_of(error)
    if call is None:
        return None
    if found := re.search(
        r"cannot unpack non-iterable (\w+) object|'(\w+)' object is not (?:iter|subscript)able",
        text,
    ):
        kind = found[1] or found[2]
        came = "None" if kind == "NoneType" else f"one value, of type {kind}"
    elif found := re.search(r"too many values to unpack \(expected (\d)(?:, got (\d+))?", text):
        came = f"{found[2] or f'more than {found[1]}'} values"
    elif found := re.search(r"not enough values to unpack \(expected 5, got ([0-35-9])", text):
        came = f"{found[1]} value{'s' * (found[1] != '1')}"
    else:
        return None
    old = call == "reset()" or came.startswith("4")
    advice = OLD_API if old else ""
    return f"{call} of the environment returned {came}; expected {EXPECTED[call]}{advice}"


def wrong_flag(error: Exception, played: dict[str, Any]) -> str | None:
    """Return the line for a `terminated` or `truncated` that is neither true nor false."""
    if not isinstance(error, ValueError) or "truth value" not in text_of(error):
        return None
    episode = played.get("episode")
    for name in ("terminated", "truncated"):
        value = played.get(name)
        if getattr(value, "size", 1) != 1:
            return (
                f"step() of the environment returned {value!r:.60} as {name} in episode "
                f"{getattr(episode, 'number', 0)}, step {getattr(episode, 'length', 0)}; expected "
                "true or false (an environment of many at once is for loop=vector)"
            )
    return None


def huge_reward(error: Exception, played: dict[str, Any]) -> str | None:
    """Return the line for a reward that is no number of 64 bits."""
    episode = played.get("episode")
    if not isinstance(error, OverflowError):
        return None
    for step, reward in enumerate(getattr(episode, "rewards", ()), 1):
        if isinstance(reward, int) and reward.bit_length() > 1023:
            return (
                f"step() of the environment returned a reward of {reward.bit_length()} bits in "
                f"episode {getattr(episode, 'number', 0)}, step {step}; expected a number that a "
                "float can hold"
            )
    return None


def other_kind(error: Exception, envs: list[Any]) -> str | None:
    """Return the line for an environment that is not one of gym's or Gymnasium's kind."""
    for env in envs:
        space = getattr(env, "observation_space", None)
        env = getattr(space, "__self__", env)  # a method's environment is what has that kind
        kind = type(env).__name__
        if hasattr(env, "possible_agents"):
            return (
                f"{kind} is an environment of PettingZoo's, for many agents; expected an "
                "environment of gym or Gymnasium, for one"
            )
        if space is None and env is not None and isinstance(error, AttributeError):
            return f"{kind} has no observation_space; expected an environment of gym or Gymnasium"
        if callable(space):
            return (
                f"observation_space of {kind} is a method, as in JAX's environments; expected an "
                "environment of gym or Gymnasium: wrap it in one"
            )
    return None
