"""Run directories for the tests of those who read them, as a run leaves them."""

import json
import socket
import zlib
from pathlib import Path
from typing import Any

import numpy as np

HEADER = "episode,steps,length,return,terminated,truncated,seed,seconds\n"
EVALUATION = "episode,at_episode,steps,length,return,terminated,truncated,seed,seconds\n"


def write_run(
    directory: Path,
    agent: str = "ars",
    env: str = "CartPole-v1",
    seed: int = 0,
    level: float = 100.0,
    episodes: int = 50,
    evaluations: int = 10,
    parameters: dict[str, Any] | None = None,
    **manifest: Any,
) -> Path:
    """Write a run that learns from 0 up to about `level`; `manifest` replaces parts of run.json."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{agent}{env}{parameters}".encode())])
    directory.mkdir(parents=True)
    (directory / ".hydra").mkdir()
    (directory / ".lock").touch()
    talent = level * rng.normal(1, 0.1)
    means = talent * (1 - np.exp(-4 * np.arange(episodes) / max(episodes, 1)))
    returns = rng.normal(means, 0.1 * abs(level)).round(3)
    lengths = rng.integers(20, 200, size=episodes)
    steps = lengths.cumsum()
    if episodes:
        rows = (
            f"{k},{step},{length},{value!r},1,0,{seed + k},{step / 5000:.6f}\n"
            for k, (step, length, value) in enumerate(
                zip(steps.tolist(), lengths.tolist(), returns.tolist(), strict=True)
            )
        )
        (directory / "episodes.csv").write_text(HEADER + "".join(rows))
    total = int(steps[-1]) if episodes else 0
    final = rng.normal(talent, 0.02 * abs(level), size=evaluations).round(3).tolist()
    if evaluations:
        rows = (
            f"{k},{episodes},{total},{100},{value!r},0,1,{k},{total / 5000 + k:.6f}\n"
            for k, value in enumerate(final)
        )
        (directory / "evaluations.csv").write_text(EVALUATION + "".join(rows))
    overrides = [f"agent={agent}", f"env={env}", f"seed={seed}"]
    overrides += [f"agent.{key}={value}" for key, value in (parameters or {}).items()]
    content = {
        "format": 1,
        "state": "finished",
        "command": f"gym-loop {' '.join(overrides)}",
        "overrides": overrides,
        "seed": seed,
        "config": {
            "agent": {"_target_": f"somewhere.{agent.upper()}Agent", **(parameters or {})},
            "env": {"_target_": "gym_loop.envs.make_gym", "id": env, "kwargs": {}},
            "loop": {"max_episodes": episodes, "max_steps": None, "eval_episodes": evaluations},
            "observers": {},
            "seed": seed,
        },
        "versions": {"python": "3.11.7", "numpy": "2.4.6"},
        "host": socket.gethostname(),
        "pid": 4_000_000,
        "start": f"2026-11-22T08:{seed % 60:02d}:00+00:00",
        "end": "2026-11-22T09:00:00+00:00",
        "steps": total,
        "episodes": episodes,
        "seconds": total / 5000,
        "result": sum(final) / len(final) if final else None,
        "error": None,
        "git": {"commit": "0123456789abcdef", "dirty": False},
    }
    (directory / "run.json").write_text(json.dumps(content | manifest, indent=1))
    return directory
