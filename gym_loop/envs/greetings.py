"""What gym and pygame print when they are imported, kept off the user's terminal."""

import os
import warnings


def hide_greetings() -> None:
    """Hide gym's notice, pygame's greeting, and the warning that pygame's import may cause.

    Affects what is imported later. Warnings from anywhere else are shown as before.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "hide")
    # Otherwise pygame.init() would have SDL swallow SIGTERM, and a run could not be stopped.
    os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")
    # pygame.pkgdata imports pkg_resources, which newer setuptools warn about to every user.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", module=r"pygame\.")
    try:
        from gym_notices.notices import notices  # type: ignore[import-untyped]
    except ImportError:  # gym prints nothing without it
        return
    notices.clear()
