"""Stable-Baselines3's models on disk: checkpoints, exported zips, and `agent.init_from`."""

import contextlib
import hashlib
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import torch
from stable_baselines3.common.save_util import load_from_zip_file

from gym_loop.agents.spaces import to_gymnasium
from gym_loop.compat import stable_baselines3 as compat
from gym_loop.integrations import sb3_normalize
from gym_loop.integrations.stable_baselines3.observations import unlimited
from gym_loop.mistake import Mistake
from gym_loop.runs import checkpoints
from gym_loop.terminal import short

FILE = "agent.pt"
USERS_FILES = "gym_loop_files."  # modules of files that are named by their paths

log = logging.getLogger(__name__)


def buffers(model: Any) -> list[Any]:
    """Return the model's buffers of transitions."""
    found = (getattr(model, name, None) for name in ("replay_buffer", "rollout_buffer"))
    return [buffer for buffer in found if buffer is not None]


@contextlib.contextmanager
def empty_rows_left_out(model: Any) -> Iterator[None]:
    """Give the replay buffer no other rows than the filled ones, while it is written."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None or buffer.full:
        yield
        return
    whole = dict(vars(buffer))
    try:
        vars(buffer).update(resize(whole, buffer.buffer_size, filled(buffer)))
        yield
    finally:
        vars(buffer).update(whole)


@contextlib.contextmanager
def replay_buffer_left_out(model: Any) -> Iterator[None]:
    """Take the replay buffer away from the model, while it is written."""
    buffer, model.replay_buffer = model.replay_buffer, None
    try:
        yield
    finally:
        model.replay_buffer = buffer


def bytes_when_filled(buffer: Any, steps: int | None) -> float:
    """Return the bytes of a buffer's arrays after so many steps; None: when it is full."""
    values = [*vars(buffer).values()]
    values += [part for value in values if isinstance(value, dict) for part in value.values()]
    size = sum(value.nbytes for value in values if isinstance(value, np.ndarray))
    rows = buffer.buffer_size * buffer.n_envs
    return size if steps is None else size * min(steps / rows, 1.0)


def read(directory: Path, device: Any) -> dict[str, Any]:
    """Return the attributes of the agent saved in `directory`; its buffers have all their rows.

    On a machine without a GPU, what was on one comes to `device`, which is warned of.
    """
    on = None if torch.cuda.is_available() else "cpu"
    state: dict[str, Any] = torch.load(directory / FILE, on, weights_only=False)
    model = state["model"]
    if on and model.device.type != on:
        for part in (model, *buffers(model)):
            part.device = device
        was = state["parameters"]["device"]
        log.warning("the agent was on %s; here it is on the CPU, where results differ", was)
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None and not buffer.full:
        vars(buffer).update(resize(vars(buffer), filled(buffer), buffer.buffer_size))
    return state


def write_zip(model: Any, path: Path) -> None:
    """Write a model as the library's `save()` does, with the user's own classes by value.

    The limits of observations are as Gymnasium has them, whose environments the library compares
    with the zip's.
    """
    with contextlib.ExitStack() as stack, open(path, "wb") as file:
        for name, module in list(sys.modules.items()):
            if name.startswith(USERS_FILES):
                cloudpickle.register_pickle_by_value(module)
                stack.callback(cloudpickle.unregister_pickle_by_value, module)
        own = model.observation_space
        stack.callback(setattr, model, "observation_space", own)
        model.observation_space = unlimited(own)
        model.save(file, exclude=compat.IN_PROGRESS)


def filled(buffer: Any) -> int:
    """Return how many rows are filled; one more, which may hold the last next observation."""
    return int(min(buffer.pos + 1, buffer.buffer_size))


def resize(attributes: dict[str, Any], old: int, new: int) -> dict[str, Any]:
    """Return the arrays of `old` rows among `attributes`, cut or filled with zeros to `new`."""

    def resized(array: Any) -> Any:
        if new <= old:
            return array[:new].copy()
        grown = np.zeros((new, *array.shape[1:]), array.dtype)
        grown[:old] = array
        return grown

    result = {}
    for name, value in attributes.items():
        if name in compat.OF_ENVIRONMENTS:
            continue
        if isinstance(value, np.ndarray) and value.shape[:1] == (old,):
            result[name] = resized(value)
        elif isinstance(value, dict):
            parts = {k: v for k, v in value.items() if isinstance(v, np.ndarray)}
            result[name] = value | {k: resized(v) for k, v in parts.items() if len(v) == old}
    return result


def initialize(
    model: Any, path: Path, option: str, known: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Give `model` the networks and optimizers of the zip or the run at `path`.

    Args:
        model: of the algorithm that `option` names, such as `sb3/ppo`.
        path: a zip of the library's, or a run's directory.
        option: see `model`.
        known: for each algorithm's option, its constructor's parameters.

    Returns:
        What run.json says of it.

    Raises:
        Mistake: it is of another algorithm, or its spaces or networks are others.
    """
    name = f"agent.init_from: {short(path)}"
    source, statistics, lineage = opened(path)
    try:
        content, networks, variables = load_from_zip_file(source, device=model.device)
    except Exception as error:
        raise Mistake(f"{name} is no zip of Stable-Baselines3's: {error}") from error
    data = content or {}
    other = algorithm_of(data, known)
    if other and other != option and algorithm_of(vars(model), known):
        raise Mistake(f"{name} is of {other}; expected one of {option}")
    for what in ("observation_space", "action_space"):
        theirs, here = unlimited(to_gymnasium(data.get(what))), unlimited(getattr(model, what))
        if theirs is not None and theirs != here:
            raise Mistake(f"{name} has another {what}: {theirs}; the environment has {here}")
    if lack := differing_layer(networks, model.get_parameters()):
        raise Mistake(
            f"{name} does not fit: {lack}; give the agent what that one had: agent.policy_kwargs, "
            "agent.use_sde"
        )
    here = model.get_vec_normalize_env()
    if statistics is not None and here is None:
        raise Mistake(f"{name} was trained with normalized observations; give agent.normalize=true")
    if here and statistics is None:
        expected = (
            f"; expected {path.stem}{sb3_normalize.SUFFIX} beside it, as VecNormalize saves it"
        )
        beside = expected if path.is_file() else ""
        log.warning("%s has no statistics: agent.normalize begins anew%s", name, beside)
    elif here:
        here.learn_from(statistics)
    model.set_parameters(networks, device=model.device)
    for key, value in (variables or {}).items():
        if value.requires_grad:  # what is learnt, such as SAC's `log_ent_coef`
            getattr(model, key).data = value.data
    return lineage


def opened(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    """Return a zip, the normalizer that belongs to it or None, and what run.json says of it.

    Args:
        path: of a zip, or of a run's directory, whose newest checkpoint is turned into one.
    """
    if not path.is_dir():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return path, sb3_normalize.beside(path), {"file": str(path.absolute()), "sha256": digest}
    checkpoint = checkpoints.find(path)
    assert checkpoint is not None  # it has one, or `find` has raised
    if not (checkpoint / "agent" / FILE).is_file():
        raise Mistake(
            f"agent.init_from: {short(path)} is the run of an agent that is none of "
            "Stable-Baselines3's"
        )
    saved = torch.load(checkpoint / "agent" / FILE, "cpu", weights_only=False)["model"]
    zipped = io.BytesIO()
    saved.save(zipped, exclude=compat.IN_PROGRESS)
    zipped.seek(0)
    lineage = {"directory": str(path.absolute()), "episode": checkpoints.episode(checkpoint)}
    return zipped, saved.get_vec_normalize_env(), lineage


def differing_layer(theirs: dict[str, Any], here: dict[str, Any]) -> str:
    """Return the first parameter in which two `get_parameters()` of the library differ, or ""."""

    def shapes(networks: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for network, parameters in networks.items():
            found[network] = "there"
            if not network.endswith("optimizer"):
                found |= {f"{network}.{k}": tuple(v.shape) for k, v in parameters.items()}
        return found

    one, two = shapes(theirs), shapes(here)
    for layer in (*one, *two):
        if one.get(layer) != two.get(layer):
            return f"{layer} is {one.get(layer, 'absent')} there, {two.get(layer, 'absent')} here"
    return ""


def algorithm_of(attributes: dict[str, Any], known: dict[str, Any]) -> str | None:
    """Return the option whose algorithm has these attributes, which a zip does not name.

    It is the one whose constructor's parameters agree best; None if several do.
    """
    every = set().union(*known.values()) - {"policy", "policy_kwargs", "seed", "device"}
    there = every & attributes.keys()
    differing = {option: len(there ^ (every & names.keys())) for option, names in known.items()}
    least = min(differing.values())
    best = [option for option, count in differing.items() if count == least]
    return best[0] if len(best) == 1 else None
