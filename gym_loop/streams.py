"""The random streams of a run: how they are seeded, kept and put back."""

import contextlib
import copy
import random
import sys
from collections.abc import Iterator
from hashlib import blake2b
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from typing import Any

import numpy as np

NO_SEED = -1  # of an episode that a library began itself: it cannot be played alone


def derive(seed: int, stream: str, size: int = 4) -> int:
    """Return the seed of one of a run's streams: a hash of the run's whole seed and of its name.

    It has `8 * size - 1` bits. The 31 of the default are what every environment and space takes.
    """
    digest = blake2b(f"{seed}/{stream}".encode(), digest_size=size).digest()
    return int.from_bytes(digest, "little") >> 1


def episode_seed(seed: int, number: int, stream: str = "train") -> int:
    """Return the reset seed of an episode, in [0, 2**31): a function of its arguments alone."""
    return derive(seed, f"{stream}/{number}")


def imported_torch() -> Any:
    """Return PyTorch if it has been imported, else None; a user's own `torch.py` is another."""
    return sys.modules.get("torch") if "torch.random" in sys.modules else None


class LateTorch(MetaPathFinder):
    """Seeds PyTorch as soon as it is imported, as within an agent's `act`."""

    seed: int | None = None  # None: it is left as it comes

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return where PyTorch is, with a seed to be set at the end of its import."""
        spec = PathFinder.find_spec(name) if name == "torch" else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_seed(module: Any) -> None:
            execute(module)
            seed_torch(self.seed)

        spec.loader.exec_module = execute_and_seed  # type: ignore[method-assign]
        return spec


late_torch = LateTorch()


def seed_torch(seed: int | None) -> None:
    """Seed PyTorch, now or when it is imported; None: leave it as it is."""
    late_torch.seed = seed
    if late_torch not in sys.meta_path:
        sys.meta_path.insert(0, late_torch)
    if seed is not None and (torch := imported_torch()):
        torch.manual_seed(seed)


def seed_all(seed: int) -> None:
    """Seed the global streams of random, NumPy and torch.

    Each has a seed of its own: with one seed, Mersenne Twisters give the same numbers.
    """
    random.seed(derive(seed, "random", size=16))
    entropy = np.random.SeedSequence(derive(seed, "numpy", size=16))
    np.random.seed(entropy.generate_state(4))
    seed_torch(derive(seed, "torch", size=8))


def get_state() -> dict[str, Any]:
    """Return the state of every global stream."""
    state: dict[str, Any] = {"random": random.getstate(), "numpy": np.random.get_state()}
    state["torch"] = late_torch.seed  # which waits for PyTorch's import
    if torch := imported_torch():
        state["torch"] = torch.get_rng_state()
        # Asking for CUDA's streams starts CUDA, on each GPU. Until somebody else does, they have no
        # state, and the seed that waits for them is that of the CPU's.
        on_gpus = torch.cuda.is_initialized()
        state["cuda"] = torch.cuda.get_rng_state_all() if on_gpus else torch.initial_seed()
    return state


def set_state(state: dict[str, Any]) -> None:
    """Put back what `get_state` returned."""
    random.setstate(state["random"])
    np.random.set_state(state["numpy"])
    if "torch" in state and "cuda" not in state:
        seed_torch(state["torch"])
    elif "torch" in state and (torch := imported_torch()):
        torch.set_rng_state(state["torch"])
        if isinstance(state["cuda"], int):
            torch.cuda.manual_seed_all(state["cuda"])
        else:
            torch.cuda.set_rng_state_all(state["cuda"])


@contextlib.contextmanager
def preserved(agent: Any, seed: int) -> Iterator[None]:
    """Undo, at the end of the block, what it did to random streams and attributes of `agent`.

    Within the block the global streams, and the agent's generators and spaces, are others: seeded
    from `seed` and the attribute's name. Attributes get their values back; what is changed in
    place (a list, an array) stays changed.
    """
    attributes, state = dict(vars(agent)), get_state()
    seed_all(derive(seed, "eval"))
    for name, value in attributes.items():
        if hasattr(value, "bit_generator"):
            bits = type(value.bit_generator)(derive(seed, f"eval/{name}", size=16))
            vars(agent)[name] = np.random.Generator(bits)
        elif is_space(value):
            vars(agent)[name] = copy.deepcopy(value)
            vars(agent)[name].seed(derive(seed, f"eval/{name}"))
    try:
        yield
    finally:
        vars(agent).clear()  # so that they come back in their order, which a pickle shows
        vars(agent).update(attributes)
        set_state(state)


def is_space(value: Any) -> bool:
    """Return whether `value` is a space of gym or Gymnasium, with a stream of its own."""
    # Asking the space itself would make its stream, from the system's entropy.
    return hasattr(value, "sample") and hasattr(type(value), "np_random")
