"""Learning curves of the Stable-Baselines3 presets beside those of the library's own `learn()`.

    python -m benchmarks.curves sb3_ppo_cartpole sb3_dqn_acrobot --seeds 5 --directory curves

trains each preset and, with the same hyperparameters and seeds, the library in Gymnasium's
environment of the same id, then draws `curves/curves.png`. Takes hours for all seven. Repeated, it
runs only what is missing: ours is a sweep, and of theirs each curve is a file. The environments'
seeds differ, so the curves are alike but not equal; equal weights are shown in `tests/`.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, launch
from gym_loop import launch as launcher

PRESETS = sorted(file.stem for file in (ROOT / "conf" / "experiment").glob("sb3_*.yaml"))
BINS = 40  # points of a curve; each is the mean of the episodes that ended since the one before
Curve = tuple[Any, Any]  # steps and returns of the episodes, (n,) each


def ours(directory: Path, preset: str, seeds: int) -> list[Curve]:
    """Train a preset as anybody would, one job at a time."""
    sweep = directory / preset / "ours"
    launch(
        *("-m", f"+experiment={preset}", f"seed=choice({','.join(map(str, range(seeds)))})"),
        *("hydra.launcher.n_jobs=1", f"hydra.sweep.dir={sweep}"),
    )
    return [_read(sweep / f"seed={seed}" / "episodes.csv") for seed in range(seeds)]


def _read(table: Path) -> Curve:
    columns = table.read_text().partition("\n")[0].split(",")
    found = np.loadtxt(table, delimiter=",", skiprows=1, ndmin=2)
    return found[:, columns.index("steps")], found[:, columns.index("return")]


def theirs(directory: Path, preset: str, seeds: int) -> list[Curve]:
    """Have the library learn with the hyperparameters of a preset."""
    curves = []
    for seed in range(seeds):
        file = directory / preset / "theirs" / f"{seed}.npz"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            words = [f"+experiment={preset}", f"seed={seed}", f"hydra.run.dir={file.parent}/config"]
            steps, returns = launcher.launch(words, task=_learn)
            np.savez(file, steps=steps, returns=returns)
        with np.load(file) as found:
            curves.append((found["steps"], found["returns"]))
    return curves


def _learn(cfg: Any) -> Curve:
    import torch
    from omegaconf import OmegaConf
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    from gym_loop.integrations.stable_baselines3 import parameters

    class Episodes(BaseCallback):  # type: ignore[misc]
        """Keeps the return of each episode, and the step at which it ended."""

        found: list[tuple[int, float]] = []  # noqa: RUF012

        def _on_step(self) -> bool:
            infos = (info["episode"] for info in self.locals["infos"] if "episode" in info)
            self.found.extend((self.num_timesteps, info["r"]) for info in infos)
            return True

    torch.set_num_threads(1)
    given: Any = OmegaConf.to_container(cfg.agent, resolve=True)
    kind = launcher.locate(given.pop("_target_")).algorithm
    own = {name: given.pop(name) for name in parameters.OURS}
    steps = own["total_timesteps"]
    env: Any = make_vec_env(cfg.env.id, own["n_envs"], seed=cfg.seed)
    if own["normalize"]:  # the presets say true
        env = VecNormalize(env, gamma=given["gamma"])
    episodes = Episodes()
    kind(env=env, **parameters.translate(given)).learn(steps, callback=episodes)
    found = np.array(episodes.found, float).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def draw(curves: dict[str, dict[str, list[Curve]]], file: Path) -> None:
    """Draw a panel for each preset: a thin line for each seed, a thick one for their mean."""
    from matplotlib.figure import Figure

    across = min(len(curves), 3)
    down = -(-len(curves) // across)
    figure = Figure(figsize=(5 * across, 3.5 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flat
    for axes in panels[len(curves) :]:
        axes.remove()
    for axes, (preset, sides) in zip(panels, curves.items(), strict=False):
        last = max(steps[-1] for side in sides.values() for steps, _ in side if len(steps))
        for colour, (side, found) in zip(("C0", "C1"), sides.items(), strict=True):
            edges = np.linspace(0, last, BINS + 1)
            lines = np.array([_binned(curve, edges) for curve in found])
            for line in lines:
                axes.plot(edges[1:], line, color=colour, linewidth=0.6, alpha=0.5)
            axes.plot(edges[1:], lines.mean(0), color=colour, linewidth=2, label=side)
        axes.set(title=preset, xlabel="steps", ylabel="return of training episodes")
        axes.legend(frameon=False)
    figure.savefig(file, dpi=100)


def _binned(curve: Curve, edges: Any) -> Any:
    """Return the mean return of the episodes that ended in each bin; of none, the one before."""
    steps, returns = curve
    where = np.digitize(steps, edges[1:], right=True).clip(max=len(edges) - 2)
    counts = np.bincount(where, minlength=len(edges) - 1)
    means = np.bincount(where, returns, len(edges) - 1) / np.maximum(counts, 1)
    filled = np.flatnonzero(counts)
    return means[filled][np.searchsorted(filled, np.arange(len(means)), "right").clip(1) - 1]


def _final(directory: Path, preset: str) -> Iterator[str]:
    """Yield, for each seed, the mean return of the final evaluation."""
    for path in sorted((directory / preset / "ours").glob("seed=*/run.json")):
        found = re.search(r'"result": ([-\d.]+)', path.read_text())
        yield f"{float(found[1]):.1f}" if found else "?"


def main() -> None:
    """Train, draw, and print what each seed of ours has reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curves", description=__doc__)
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=", ".join(PRESETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=Path("curves"))
    options = parser.parse_args()
    if unknown := set(options.presets) - set(PRESETS):
        parser.error(f"no preset {', '.join(unknown)}; there are {', '.join(PRESETS)}")
    directory, curves = options.directory.resolve(), {}
    sys.argv = ["gym-loop"]  # Hydra reads it
    for preset in options.presets or PRESETS:
        curves[preset] = {
            "gym_loop": ours(directory, preset, options.seeds),
            "learn()": theirs(directory, preset, options.seeds),
        }
        print(f"{preset}: {', '.join(_final(directory, preset))}", flush=True)
        draw(curves, directory / "curves.png")
    print(directory / "curves.png")


if __name__ == "__main__":
    main()
