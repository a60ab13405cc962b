"""The random streams of a run: how they are seeded, kept and put back."""

import contextlib
import copy
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
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def get_state() -> dict[str, Any]:
    """Return the state of every global stream."""
    state: dict[str, Any] = {"random": random.getstate(), "numpy": np.random.get_state()}
    if torch := sys.modules.get("torch"):
        state |= {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}
    return state


def set_state(state: dict[str, Any]) -> None:
    """Put back what `get_state` returned."""
    random.setstate(state["random"])
    np.random.set_state(state["numpy"])
    if "torch" in state and (torch := sys.modules.get("torch")):
        torch.set_rng_state(state["torch"])
        torch.cuda.set_rng_state_all(state["cuda"])


@contextlib.contextmanager
def preserved(agent: Any) -> Iterator[None]:
    """Undo, at the end of the block, what it did to random streams and attributes of `agent`.

    Within the block the agent draws from copies of its generators and spaces. Attributes get
    their values back; what is changed in place (a list, an array) stays changed.
    """
    attributes, state = dict(vars(agent)), get_state()
    drawn = {k: v for k, v in attributes.items() if hasattr(v, "bit_generator") or is_space(v)}
    vars(agent).update(copy.deepcopy(drawn))
    try:
        yield
    finally:
        vars(agent).clear()
        vars(agent).update(attributes)
        set_state(state)


def is_space(value: Any) -> bool:
    """Return whether `value` is a space of gym or Gymnasium, with a stream of its own."""
    # Asking the space itself would make its stream, from the system's entropy.
    return hasattr(value, "sample") and hasattr(type(value), "np_random")


def samples(space: Any, count: int) -> Any:
    """Return a batch of `count` samples of a space, from its own stream."""
    if type(space).__name__ == "Discrete":
        return space.start + space.np_random.integers(space.n, size=count)
    if is_bounded_box(space):
        uniform = space.np_random.uniform(space.low, space.high, (count, *space.shape))
        return uniform.astype(space.dtype)
    return np.array([space.sample() for _ in range(count)])


def draw(space: Any) -> Any:
    """Return some samples of a space to be taken one by one: many at once cost less."""
    if type(space).__name__ == "Discrete":
        return samples(space, 1024).tolist()
    if is_bounded_box(space):
        return samples(space, 1 + 1023 // max(space.low.size, 1))
    return [space.sample()]


def is_bounded_box(space: Any) -> bool:
    """Return whether `space` is a box of real numbers between finite bounds."""
    return bool(type(space).__name__ == "Box" and space.dtype.kind == "f" and space.is_bounded())
