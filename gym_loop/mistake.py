"""What goes wrong, said in one line for the person at the keyboard."""

import difflib
import re
import sys
from collections.abc import Iterable

# The extra that brings a package, by the names of modules.
EXTRAS = {
    "gymnasium": "gymnasium",
    **dict.fromkeys(("mujoco", "imageio"), "mujoco"),
    **dict.fromkeys(("ale_py", "cv2", "opencv"), "atari"),
    **dict.fromkeys(("Box2D", "box2d"), "box2d"),
    "minigrid": "minigrid",
    **dict.fromkeys(("stable_baselines3", "sb3_contrib"), "sb3"),
}


class Mistake(SystemExit):
    """A mistake in the request, for the person at the keyboard.

    Not an `Exception`, so that nothing on the way takes it for a failure of the run. A script that
    does not catch it ends with that line.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())  # a terminal would obey what stands in a file's name
        self.message = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        super().__init__(self.message)
        self.code = f"gym-loop: {self.message}"  # which Python prints at the end of a script

    def show(self) -> int:
        """Print the line; return the exit code."""
        print(self.code, file=sys.stderr)
        return 2


class Failure(Exception):
    """A run that failed for a reason outside of any code, in one line. Exit code 1."""


def nearest(word: object, known: Iterable[str], otherwise: str = "") -> str:
    """Return "; did you mean 'x'?" for the known word closest to `word`, else `otherwise`."""
    fold = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(word).lower(), fold, 1, 0.5)
    return f"; did you mean {fold[near[0]]!r}?" if near else otherwise


def installing(error: BaseException) -> str:
    """Return `: pip install "gym-loop[EXTRA]"` for a package that is missing, "" if unknown."""
    module = getattr(error.__cause__ or error, "name", None) or ""
    said = str(error).replace("gymnasium[", "[")  # of its own extras
    named = [module.partition(".")[0], *re.findall(r"\w+", said)]
    extra = next(filter(None, map(EXTRAS.get, named)), None)
    return f': pip install "gym-loop[{extra}]"' if extra else ""
