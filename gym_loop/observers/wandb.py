"""Sends a run to Weights & Biases."""

import hashlib
import sys
from pathlib import Path
from typing import Any

from gym_loop.config import secrets
from gym_loop.mistake import Mistake
from gym_loop.observers.sink import Sink


class Wandb(Sink):
    """Sends config, returns, agent metrics and the final evaluation, over steps.

    A resumed run goes on in the same W&B run. A failure after the run has begun is logged once,
    and training goes on.

    Args:
        project: where the run belongs.
        mode: `online`, `offline` or `disabled`; as WANDB_MODE says if None.
        options: whatever else `wandb.init` takes: `entity`, `group`, `tags`, ...
    """

    service, package = "Weights & Biases", "wandb"

    def __init__(self, project: str = "gym-loop", mode: str | None = None, **options: Any) -> None:
        super().__init__()
        self.options = {"project": project, "mode": mode, **options}
        self.run: Any = None

    def connect(self, directory: Path, start: str | None) -> None:
        import wandb

        name = directory.name
        defaults = {"name": name, "dir": str(directory), "config": self.config}
        if start:
            defaults["id"] = hashlib.sha256(f"{start} {name}".encode()).hexdigest()[:16]
        words, sys.argv = sys.argv, secrets.masked_words(sys.argv)  # W&B keeps the command, too
        try:
            self.run = wandb.init(**(defaults | self.options), resume="allow", reinit="create_new")
            # Steps that a resumed run plays again must not be dropped as out of order.
            self.run.define_metric("steps")
            self.run.define_metric("*", step_metric="steps")
        except Exception as error:
            what = self.told(error)
            raise Mistake(
                f"Weights & Biases: {what}; `wandb login`, or observers.wandb.mode=offline"
            ) from None
        finally:
            sys.argv = words

    def send(self, values: dict[str, float], steps: int) -> None:
        self.run.log({"steps": steps, **values})

    def close(self, error: BaseException | None) -> None:
        """Leave the final evaluation in the summary, and wait until all is sent or written."""
        self.attempt(self._finish, error)

    def _finish(self, error: BaseException | None) -> None:
        if self.loop.result is not None:
            self.run.summary["evaluation"] = self.loop.result
        self.run.finish(exit_code=0 if error is None else 1)
