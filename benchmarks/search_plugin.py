"""What Hydra's plugin for Optuna optimises for `benchmarks/search.py`, without gym_loop."""

import json
from pathlib import Path
from typing import Any

import hydra

from benchmarks.search import Curves


@hydra.main(version_base=None, config_path=None)
def value(cfg: Any) -> float:
    """Return a trial's value on the learning curves, and note its parameters."""
    params = {"lr": float(cfg.lr), "width": float(cfg.width)}
    with open(Path(hydra.utils.get_original_cwd(), "told.jsonl"), "a") as file:
        file.write(json.dumps(params) + "\n")
    return Curves().measured(params, Curves.evaluations, cfg.search)


if __name__ == "__main__":
    value()
