"""Puts a run where one of its checkpoints was written."""

import copy
import logging
import pickle
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from gym_loop import streams
from gym_loop.agents import BaseAgent
from gym_loop.agents.spaces import describe
from gym_loop.loops import BaseLoop
from gym_loop.loops.folders import folder_of
from gym_loop.mistake import Failure, Mistake
from gym_loop.observers import Observer, environments
from gym_loop.runs import versions
from gym_loop.runs.checkpoints import NAME, learnt, load_state
from gym_loop.runs.compare import value_differences

RECORDING = re.compile(rf"{NAME.pattern}\.mp4")
ENVIRONMENTS = {"env": "training", "eval_env": "evaluation"}  # by the loop's attributes
COUNTERS = ("episodes", "steps", "evaluated")
SHARED_KEYS_ARE_SLOW = (3, 11), (3, 12)  # see `quicken`

log = logging.getLogger(__name__)


class Trained(Observer):
    """Restores the agent alone, for a launch that only evaluates.

    Args:
        checkpoint: where it was saved; None: it plays as it is made.
    """

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    def restore(self, loop: BaseLoop) -> None:
        """Load the agent and the counts of episodes and steps."""
        if self.checkpoint is None:
            return
        path = Path(self.checkpoint)
        state = load_state(path) or {}
        with versions.reading(path, loop.directory):
            loop.agent.load(path / "agent")
            _restore_wrappers(loop, path)
        loop.episodes, loop.steps = state["episodes"], state["steps"]
        # No recording of an evaluation that the run itself, or an earlier call, has made is
        # written again.
        folder = loop.directory / folder_of(loop.parameters, "eval_record_dir")
        recorded = map(RECORDING.fullmatch, (file.name for file in folder.glob("*.mp4")))
        numbers = [int(name[1]) + 1 for name in recorded if name]
        loop.evaluated = max(state["evaluated"], *numbers, 0)
        quicken(loop)


def restore(loop: BaseLoop, path: Path) -> None:
    """Put `loop` where the checkpoint at `path` was written. Unpickles: only for trusted runs.

    A fork with another seed keeps its own random streams, one with another environment its own
    environment.

    Raises:
        Failure: no sound checkpoint lies there.
        Mistake: the agent cannot be in the fork's environment; see `check_spaces`.
    """
    state = load_state(path)
    if state is None:
        raise Failure(f"{path} is not a sound checkpoint")
    fresh = streams.get_state(), drawn(loop.agent)
    with versions.reading(path, loop.directory):
        loop.agent.load(path / "agent")
        rest = pickle.loads((path / "loop.pkl").read_bytes())
    if state.get("same_env", True):
        others = versions.changed(path, loop.directory)
        _restore_environments(loop, rest, state.get("same_eval_env", True), others)
    else:
        spaces = {name: each for name, each in fresh[1].items() if streams.is_space(each)}
        check_spaces(loop, rest["drawn"], spaces)
    _restore_wrappers(loop, path)
    load_state_dict(loop, state)
    global_streams, own = (
        (rest["streams"], rest["drawn"]) if state.get("same_seed", True) else fresh
    )
    streams.set_state(global_streams)
    if not state.get("same_env", True):
        own = own | spaces
    for name, stream in own.items():
        if isinstance(stream, dict):
            getattr(loop.agent, name).bit_generator.state = stream
        else:
            setattr(loop.agent, name, put_into(vars(loop.agent).get(name), stream))
    quicken(loop)


def put_into(space: Any, kept: Any) -> Any:
    """Return `space` as `kept` is, changed in place: the agent may have it in other objects, too.

    What is of another kind is `kept` itself.
    """
    if type(space) is not type(kept):
        return kept
    if streams.is_space(kept):
        put_into(vars(space), vars(kept))
    elif isinstance(kept, dict):
        space |= {key: put_into(space.get(key), value) for key, value in kept.items()}
    elif type(kept) is tuple and len(space) == len(kept):
        return tuple(map(put_into, space, kept))
    elif hasattr(kept, "bit_generator"):
        if type(space.bit_generator) is not type(kept.bit_generator):
            return kept
        space.bit_generator.state = kept.bit_generator.state
    else:
        return kept
    return space


def quicken(loop: BaseLoop) -> None:
    """Make attributes of agent and environment as fast as before they were pickled or unpickled.

    Names in code are interned, and CPython finds an attribute faster if the key in `__dict__` is
    the same string. Keys that were unpickled are not interned.

    CPython 3.11 and 3.12 have no fast path for an object whose `__dict__` was read or unpickled
    while it shares its keys with other objects of its class: CartPole's steps take a sixth longer.
    Removing the last item of a dict gives it keys of its own. A dummy item is added and removed, so
    that no attribute is ever missing.
    """
    quicken_all(loop.env, loop.agent)


def quicken_all(env: Any, *others: Any) -> None:
    """Make attributes fast, as `quicken` says, of an environment, all in it, and other objects."""
    owners = [*others, *environments.layers(env).values()]
    held = [each for owner in owners for each in getattr(owner, "__dict__", {}).values()]
    for each in owners + held:
        names = getattr(each, "__dict__", None)
        if type(names) is not dict or isinstance(each, ModuleType):
            continue
        if any(type(name) is str and sys.intern(name) is not name for name in names):
            for name in list(names):  # all of them: their order is part of what is kept
                names[sys.intern(name) if type(name) is str else name] = names.pop(name)
        if sys.version_info[:2] in SHARED_KEYS_ARE_SLOW:
            names[""] = None
            names.popitem()


def drawn(agent: BaseAgent) -> dict[str, Any]:
    """Return what the agent draws from: its spaces, and the states of its generators.

    Checkpoints keep them apart, since an agent's own `save` may leave them out.
    """
    found = {name: value for name, value in vars(agent).items() if streams.is_space(value)}
    for name, value in vars(agent).items():
        if hasattr(value, "bit_generator"):
            found[name] = value.bit_generator.state
    return found


def check_spaces(loop: BaseLoop, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Check that the agent can go on in an environment whose spaces may be others.

    It can if nothing but these differs between an agent built with one environment's spaces and one
    built with the other's.

    Args:
        loop: with the restored agent.
        then: the agent's spaces in the environment that it comes from, by its attributes' names.
        now: those in the loop's.

    Raises:
        Mistake: something does; the line names the attribute.
    """
    names = ("observation_space", "action_space")
    if not all(name in spaces for name in names for spaces in (then, now)):
        return
    if all(form(then[name]) == form(now[name]) for name in names):
        return
    agent = loop.agent
    try:
        old, new = (built(agent, [spaces[name] for name in names], loop) for spaces in (then, now))
    except Exception:  # its class takes something else: whether it can act will show
        return
    for attribute in (*old, *(name for name in new if name not in old)):
        if any(value_differences(old.get(attribute), new.get(attribute), attribute)):
            there, here = (
                "{} observations, {} actions".format(*(describe(spaces[name]) for name in names))
                for spaces in (then, now)
            )
            raise Mistake(
                f"{type(agent).__name__} has built `{attribute}` from {there}; this environment "
                f"has {here}, and it cannot go on there: expected one with the same spaces"
            )


def built(agent: Any, spaces: Sequence[Any], loop: BaseLoop) -> dict[str, Any]:
    """Return the attributes of a new agent like `agent`, without what it was given and draws from.

    Args:
        agent: of the same class and parameters.
        spaces: of observations and of actions.
        loop: its seed is used.
    """
    streams.seed_all(loop.seed)
    observations, actions = copy.deepcopy(spaces)
    parameters = copy.deepcopy(agent.parameters)
    made = type(agent)(observation_space=observations, action_space=actions, **parameters)
    given = {"parameters", "_configured", *drawn(made)}
    return {name: value for name, value in vars(made).items() if name not in given}


def form(space: Any) -> Any:
    """Return what of a space an agent may have built something from: all but its limits."""
    parts = getattr(space, "spaces", None)
    if parts:
        pairs = parts.items() if hasattr(parts, "items") else enumerate(parts)
        return {key: form(part) for key, part in pairs}
    return describe(space), str(getattr(space, "start", 0)), str(getattr(space, "dtype", None))


def _restore_environments(
    loop: BaseLoop, rest: dict[str, Any], same_eval_env: bool, changed: dict[str, tuple[str, str]]
) -> None:
    """Put back the environments of the checkpoint, where they come back.

    Where one does not, training's is made anew here, and evaluation's when it is first needed.

    Args:
        loop: whose environment is new.
        rest: of the checkpoint.
        same_eval_env: whether that of evaluation is to be put back.
        changed: packages that have another version than then.
    """
    new = loop.env
    saved = rest.get("envs") or {"env": rest["env"]}  # older checkpoints have one
    rendered = rest.get("rendered", {})
    count = getattr(loop.env, "num_envs", None)  # a fork may have others, or another loop
    for name, each in saved.items():
        if each is None or (is_rendered(loop, name) and not rendered.get(name, True)):
            continue  # it was made without rendering, which this launch needs
        if name == "eval_env" and not same_eval_env:
            continue
        if name == "env":
            loop.env.close()  # first: both may use one handle, such as a port
        make = getattr(loop, "make_env_again" if name == "env" else "make_eval_env", None)
        env = environments.restore(each, ENVIRONMENTS[name], make, changed, new)
        if name == "env" and env is not None and getattr(env, "num_envs", None) != count:
            env.close()
            env = None
        if env is None and name == "env":
            env = loop.make_env_again()
        setattr(loop, name, env)


def _restore_wrappers(loop: BaseLoop, path: Path) -> None:
    """Put back what wrappers had learnt, also into the wrappers of a new environment."""
    if hasattr(loop.env, "put_into_wrappers"):
        loop.env.put_into_wrappers(learnt(path))


def is_rendered(loop: BaseLoop, name: str) -> bool:
    """Return whether the environment `name` of a loop gives frames."""
    prefix = "eval_" if name == "eval_env" else ""
    return any(loop.parameters.get(f"{prefix}{word}") for word in ("record", "render"))


def load_state_dict(loop: BaseLoop, state: dict[str, Any]) -> None:
    """Put back a loop's counters and each observer's state, as `state_dict` returned them."""
    for name in COUNTERS:
        setattr(loop, name, state[name])
    loop.began = time.perf_counter() - state["seconds"]
    for name, observer in loop.observers.items():
        observer.load_state_dict(state["observers"].get(name, {}))
