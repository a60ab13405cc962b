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
# What is written after `gym-loop` -> the words that other tools have for it.
COMMANDS = {
    "cancel": "abort kill stop",
    "check": "doctor dry-run validate",
    "create-default": "init new",
    "evaluate": "eval test",
    "fork": "branch clone copy",
    "ls": "info list runs status",
    "replay": "enjoy play render video watch",
    "report": "analyze compare plot results summary",
    "resume": "continue restart",
    "serve": "dashboard gui logs server tensorboard ui view web",
    "train": "launch run start",
    "--cfg job": "config show",
    "--version": "version",
    "-m": "grid multirun sweep",
    "-m hydra/sweeper=search": "hpo optimize optuna search tune",
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
    """Return "; did you mean 'x'?" for the known word closest to `word`, else `otherwise`.

    A word of three letters or more is close to each that begins with it.
    """
    fold, text = {name.lower(): name for name in known}, str(word).lower()
    near = difflib.get_close_matches(text, fold, 1, 0.6)
    near += [name for name in fold if len(text) > 2 and name.startswith(text)]
    return f"; did you mean {fold[near[0]]!r}?" if near else otherwise


def command_meant(word: str, known: Iterable[str]) -> str:
    """Return what to write instead of a command that there is not; else, what there is."""
    for ours, names in COMMANDS.items():
        if word.lower() in names.split():
            return f"; here it is gym-loop {ours}"
    names = ", ".join(sorted(known))
    return nearest(word, known, f"; expected one of {names}, or a launch such as env=cartpole")


def installing(error: BaseException) -> str:
    """Return `: pip install "gym-loop[EXTRA]"` for a package that is missing, "" if unknown."""
    module = getattr(error.__cause__ or error, "name", None) or ""
    said = str(error).replace("gymnasium[", "[")  # of its own extras
    named = [module.partition(".")[0], *re.findall(r"\w+", said)]
    extra = next(filter(None, map(EXTRAS.get, named)), None)
    return f': pip install "gym-loop[{extra}]"' if extra else ""
