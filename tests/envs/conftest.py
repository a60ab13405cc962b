import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gym_loop.envs

ROOT = Path(gym_loop.envs.__file__).parents[2]
NO_DISPLAY = {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "PYGAME_HIDE_SUPPORT_PROMPT"}


@pytest.fixture
def fresh_python(tmp_path: Path) -> Callable[..., str]:
    """Run code in a new interpreter without a display; return all it prints, on both streams."""

    def run(code: str, *args: str) -> str:
        env = {name: value for name, value in os.environ.items() if name not in NO_DISPLAY}
        done = subprocess.run(
            [sys.executable, "-c", code, *args],
            env={**env, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


@pytest.fixture
def register() -> Iterator[Callable[..., str]]:
    """Register an environment with gym for the length of a test; return its id."""
    gym_loop.envs.known_ids("gym")  # imports gym in silence
    import gym

    added = []

    def add(creator: Any, id: str = "ThirdParty-v0", **kwargs: Any) -> str:
        gym.register(id, entry_point=creator, **kwargs)
        added.append(id)
        return id

    yield add
    for id in added:
        del gym.envs.registration.registry[id]
