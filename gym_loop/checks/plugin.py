"""Hangs the checks on the launcher, before anything of a run is created."""

from gym_loop import launch
from gym_loop.checks.config import check
from gym_loop.checks.flags import one_line_parser
from gym_loop.checks.running import explain_run
from gym_loop.checks.wording import explain

# First: a run's directory is claimed by another preparation.
launch.prepare.insert(0, check)
launch.explain += [explain, explain_run]
launch.get_args_parser = one_line_parser  # type: ignore[attr-defined]
