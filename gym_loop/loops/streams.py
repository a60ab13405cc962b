"""The random streams of a run: where they are, how they are seeded and put back."""

import contextlib
import random
import sys
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import numpy as np


def episode_seed(seed: int, number: int, stream: str = "train") -> int:
    """Return the reset seed of an episode, in [0, 2**31): a function of its arguments alone."""
    digest = blake2b(f"{seed}/{stream}/{number}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_all(seed: int) -> None:
    """Seed the global streams of random, NumPy and, where it has been imported, torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def get_state(agent: Any) -> dict[str, Any]:
    """Return the state of every global stream and of the generators that `agent` holds."""
    state = {
        "random": random.getstate(),
        "numpy": np.random.get_state(),
        "agent": [generator.bit_generator.state for generator in _generators(agent)],
    }
    if torch := sys.modules.get("torch"):
        state["torch"] = torch.get_rng_state()
        state["cuda"] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return state


def set_state(agent: Any, state: dict[str, Any]) -> None:
    """Put back what `get_state` returned."""
    random.setstate(state["random"])
    np.random.set_state(state["numpy"])
    for generator, saved in zip(_generators(agent), state["agent"], strict=True):
        generator.bit_generator.state = saved
    if "torch" in state:
        import torch

        torch.set_rng_state(state["torch"])
        torch.cuda.set_rng_state_all(state["cuda"])


@contextlib.contextmanager
def preserved(agent: Any) -> Iterator[None]:
    """Undo, at the end of the block, what it did to random streams and attributes of `agent`."""
    attributes, streams = dict(vars(agent)), get_state(agent)
    try:
        yield
    finally:
        vars(agent).clear()
        vars(agent).update(attributes)
        set_state(agent, streams)


def _generators(agent: Any) -> Iterator[np.random.Generator]:
    """Yield the agent's NumPy generators and those of its spaces, nested ones included."""
    spaces = []
    for value in vars(agent).values():
        if isinstance(value, np.random.Generator):
            yield value
        elif hasattr(value, "sample") and hasattr(value, "np_random"):
            spaces.append(value)
    while spaces:
        space = spaces.pop()
        yield space.np_random
        inner = getattr(space, "spaces", ())
        spaces.extend(inner.values() if hasattr(inner, "values") else inner)
