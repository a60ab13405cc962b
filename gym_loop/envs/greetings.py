"""Hides what gym and pygame print when they are imported."""

import contextlib
import os
import warnings
from collections.abc import Iterator

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
    os.environ.update(added)
    try:
        from gym_notices.notices import notices  # type: ignore[import-untyped]
    except ImportError:  # gym prints nothing without it
        notices = {}
    kept = dict(notices)
    notices.clear()
    try:
        with warnings.catch_warnings():
            # pygame.pkgdata imports pkg_resources, which newer setuptools warn about.
            warnings.filterwarnings("ignore", "pkg_resources is deprecated", module=r"pygame\.")
            yield
    finally:
        notices.update(kept)
        for name in added:
            os.environ.pop(name, None)
