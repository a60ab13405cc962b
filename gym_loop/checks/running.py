"""One line for what agents and environments commonly do wrong while they run.

Nothing is checked at each step: the exception that follows from the fault tells of it.
"""

import re
import traceback
from pathlib import Path
from typing import Any

from gym_loop.errors import user_frames
from gym_loop.launch import PACKAGE
from gym_loop.mistake import summary_of, text_of
from gym_loop.sums import as_float

OLD_API = "; wrap=[old_api] is for environments of the API before gym 0.26"
OLD_STEP = (
    "step() of the environment returned four values, as in gym before 0.26; expected five: "
    f"observation, reward, terminated, truncated, info{OLD_API}"
)
OLD_RESET = (
    "reset() of the environment is that of gym before 0.26; expected "
    f"reset(seed=None, options=None) to return observation, info{OLD_API}"
)


def explain_run(error: BaseException) -> str | None:
    """Return the line that names what the agent or the environment did wrong, or None."""
    played = list(traceback.walk_tb(error.__traceback__))
    ours = [frame for frame, _ in played if _is_a_loop(frame.f_code.co_filename)]
    if not ours or user_frames(error):
        return None  # no episode was being played, or the fault shows in the user's own code
    text = text_of(error)
    if isinstance(error, ValueError) and "expected 5, got 4" in text:
        return OLD_STEP
    if isinstance(error, TypeError) and re.search(r"reset\(\).* argument '(seed|options)'", text):
        return OLD_RESET
    if isinstance(error, ValueError) and re.search(r"unpack \(expected 2|as info \(exp", text):
        return OLD_RESET
    # Of those that play, the innermost; the others tell the observers of what was played.
    playing = next((f.f_locals for f in reversed(ours) if "episode" in f.f_locals), {})
    return bad_number(playing) or bad_action(error, playing)


def bad_number(playing: dict[str, Any]) -> str | None:
    """Return the line for a reward or a metric that is no number."""
    episode = playing.get("episode")
    where = f"in episode {getattr(episode, 'number', None)}"
    for step, reward in enumerate(getattr(episode, "rewards", ()), 1):
        if not _is_number(reward):
            return (
                f"step() of the environment returned the reward {reward!r:.60} {where}, step "
                f"{step}; expected a number"
            )
    metrics = getattr(episode, "metrics", {})
    agent = type(playing.get("agent")).__name__
    if not isinstance(metrics, dict):
        return f"metrics() of {agent} returned {metrics!r:.60} {where}; expected a dict of numbers"
    for name, value in metrics.items():
        if not _is_number(value):
            return f"metrics() of {agent} has {name!r}: {value!r:.60} {where}; expected a number"
    return None


def bad_action(error: BaseException, playing: dict[str, Any]) -> str | None:
    """Return the line for an action that the environment could not take.

    `playing` has the local variables of the function that was playing the episode.
    """
    episode: Any = playing.get("episode")
    agent = playing.get("agent")
    if not getattr(episode, "actions", None) or "action" not in playing:
        return None
    action, space = playing["action"], getattr(episode.env, "action_space", None)
    if action is not None and (space is None or _fits(space, action)):
        return None
    # As in the episode: an action is kept before the environment gets it, its reward after.
    if len(episode.actions) == len(episode.rewards):
        return None
    reason = "" if action is None else f" ({summary_of(error)})"
    returned = "None" if action is None else f"{action!r:.60}"
    return (
        f"act() of {agent.__class__.__name__} returned {returned} in episode {episode.number}, "
        f"step {len(episode.actions)}; expected an element of {space}{reason}"
    )


def _is_number(value: Any) -> bool:
    try:
        as_float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, str | bytes)


def _fits(space: Any, action: Any) -> bool:
    try:
        return bool(space.contains(action))
    except Exception:
        return False


def _is_a_loop(file: str) -> bool:
    return any(Path(file).is_relative_to(PACKAGE / part) for part in ("loops", "vector"))
