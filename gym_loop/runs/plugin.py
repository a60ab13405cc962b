"""Hangs the run directory, a quicker `run_job`, and what is said of exceptions, on the launcher."""

import gc
import warnings

from gym_loop import launch
from gym_loop.compat.hydra_job import run_job
from gym_loop.config.kept import settle
from gym_loop.errors import report
from gym_loop.runs.claim import claim

launch.prepare += [settle, claim]
launch.report = report
launch.run_job = run_job  # type: ignore[attr-defined]
# That a config names what is built is what a launcher is for. Hydra 1.4 refuses the worst of it
# either way.
warnings.filterwarnings("ignore", r"hydra\.utils\.instantiate\(\) resolved", UserWarning)
# What has been imported by now stays. Collecting it, mostly at exit, was a tenth of a short run.
gc.freeze()
# Composing and copying configs makes many objects and no garbage; so do most agents.
gc.set_threshold(20_000)
