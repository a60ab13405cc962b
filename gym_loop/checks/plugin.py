"""Registers the checks with the launcher: they run before a run's directory is created."""

from importlib.util import find_spec

from gym_loop import launch

# The checks need this part: without it there are none.
if find_spec("gym_loop.runs"):
    from gym_loop.checks.config import check
    from gym_loop.checks.flags import parse
    from gym_loop.checks.limits import lift_default_limit
    from gym_loop.checks.returned import explain_returned
    from gym_loop.checks.running import explain_run
    from gym_loop.checks.wording import explain

    # Before another preparation claims the run's directory.
    launch.prepare[:0] = [lift_default_limit, check]
    launch.explain += [explain, explain_returned, explain_run]
    launch.parse = parse
