"""A run in Weights & Biases, for those who use it."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from gym_loop.config import kept
from gym_loop.mistake import Mistake
from gym_loop.observers import Observer
from gym_loop.runs import manifest


class Wandb(Observer):
    """Sends config, returns, agent metrics and the final evaluation, over steps.

    A resumed run goes on in the same W&B run. What fails once the run has begun is said once, and
    training goes on.

    Args:
        project: where the run belongs.
        mode: `online`, `offline` or `disabled`; as WANDB_MODE says if None.
        options: whatever else `wandb.init` takes: `entity`, `group`, `tags`, ...
    """

    def __init__(self, project: str = "gym-loop", mode: str | None = None, **options: Any) -> None:
        self.options = {"project": project, "mode": mode, **options}
        self.run: Any = None
        self.loop: Any = None

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        """Find out before anything starts whether the package is there."""
        try:
            import wandb  # noqa: F401
        except ImportError:
            raise Mistake(
                'the observer wandb needs a package: pip install "gym-loop[wandb]"'
            ) from None

    def open(self, cfg: Any, directory: Path) -> None:
        """Keep the config that is sent."""
        self.config = {k: node for k, node in kept.view(cfg).items() if k != "observers"}

    def begin(self, loop: Any) -> None:
        """Start the run in W&B, or go on with it."""
        import wandb

        self.loop = loop
        # Of run.json: a fork has another one than the run that it was forked from.
        start = (manifest.read(loop.directory) or {}).get("start")
        name = loop.directory.name
        defaults = {"name": name, "dir": str(loop.directory), "config": self.config}
        if start:
            defaults["id"] = hashlib.sha256(f"{start} {name}".encode()).hexdigest()[:16]
        try:
            self.run = wandb.init(**(defaults | self.options), resume="allow", reinit="create_new")
        except Exception as error:
            raise Mistake(
                f"Weights & Biases: {error}; `wandb login`, or observers.wandb.mode=offline"
            ) from None
        # Steps that a resumed run plays again must not be dropped as out of order.
        self.run.define_metric("steps")
        self.run.define_metric("*", step_metric="steps")

    def end_episode(self, loop: Any, episode: Any) -> None:
        """Log a training episode."""
        if episode.training:
            metrics = {f"agent/{name}": value for name, value in episode.metrics.items()}
            self._log(
                {"train/return": episode.ret, "train/length": episode.length, **metrics},
                episode.steps,
            )

    def end_evaluation(self, loop: Any, episodes: list[Any]) -> None:
        """Log the mean return of an evaluation."""
        if episodes:
            mean = sum(episode.ret for episode in episodes) / len(episodes)
            self._log({"eval/return": mean}, loop.steps)

    def close(self, error: BaseException | None) -> None:
        """Leave the final evaluation in the summary, and wait until all is sent or written."""
        if self.run:
            if self.loop.result is not None:
                self.run.summary["evaluation"] = self.loop.result
            self.run.finish(exit_code=1 if isinstance(error, Exception) else 0)

    def _log(self, values: dict[str, Any], steps: int) -> None:
        if self.run:
            try:
                self.run.log({"steps": steps, **values})
            except Exception as error:
                logging.getLogger(__name__).warning(
                    "Weights & Biases: %s; training goes on without it", error
                )
                self.run = None
