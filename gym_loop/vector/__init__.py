"""Many environments at once: the loop, the environments in one form, EnvPool, worker processes."""

import pickle
from collections.abc import Callable
from typing import Any

# What takes an environment to another process, and what makes it there again, or returns None and
# logs why not. A part that knows of more than pickle keeps replaces both.
save: Callable[[Any], Any] = pickle.dumps
restore: Callable[[Any], Any] = pickle.loads
