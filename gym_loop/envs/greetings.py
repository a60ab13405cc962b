"""Hides what gym and pygame print when they are imported; logs what MuJoCo says."""

import contextlib
import functools
import logging
import os
import sys
import warnings
from collections.abc import Iterator

from gym_loop.machine import variables_set

ENVIRONMENT = {
    "PYGAME_HIDE_SUPPORT_PROMPT": "hide",
    # Otherwise pygame.init() would have SDL swallow SIGTERM, and a run could not be stopped.
    "SDL_NO_SIGNAL_HANDLERS": "1",
}


@contextlib.contextmanager
def without_greetings() -> Iterator[None]:
    """Hide, within the block, gym's notice, pygame's greeting and the warning of its import.

    Warnings from anywhere else are shown as before.
    """
    added = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    try:
        from gym_notices.notices import notices  # type: ignore[import-untyped]
    except ImportError:  # gym prints nothing without it
        notices = {}
    kept = dict(notices)
    notices.clear()
    try:
        with variables_set(added), warnings.catch_warnings():
            # pygame.pkgdata imports pkg_resources, which newer setuptools warn about.
            warnings.filterwarnings("ignore", "pkg_resources is deprecated", module=r"pygame\.")
            yield
    finally:
        notices.update(kept)


def log_mujoco_warnings() -> None:
    """Put MuJoCo's warnings into the log, once each, if it has been imported.

    By itself it prints each again for each model, and writes MUJOCO_LOG.TXT where it is started.
    A handler of the user's own stays.
    """
    mujoco = sys.modules.get("mujoco")
    if getattr(mujoco, "get_mju_user_warning", object)() is None:
        mujoco.set_mju_user_warning(_log_mujoco_warning)  # type: ignore[union-attr]


@functools.cache
def _log_mujoco_warning(text: str) -> None:
    is_of_its_files = "deprecated" in text  # which Gymnasium brings: no user can mend them
    level = logging.DEBUG if is_of_its_files else logging.WARNING
    logging.getLogger(__name__).log(level, "MuJoCo: %s", " ".join(text.split()))
