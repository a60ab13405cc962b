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
LONGEST = 4000  # characters of a line that is shown


class Mistake(SystemExit):
    """A mistake in the request, for the person at the keyboard.

    Not an `Exception`, so that nothing on the way takes it for a failure of the run. A script that
    does not catch it ends with that line.
    """

    def __init__(self, message: str) -> None:
        line = in_a_line(message)  # a terminal would obey what stands in a file's name
        self.message = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        super().__init__(self.message)
        self.code = f"gym-loop: {self.message}"  # which Python prints at the end of a script

    def show(self) -> int:
        """Print the line; return the exit code."""
        print(self.code, file=sys.stderr)
        return 2


class Failure(Exception):
    """A run that failed for a reason outside of any code, in one line. Exit code 1."""


def cut(text: str) -> str:
    """Return a text, or what it begins with where it is too long to be shown."""
    return f"{text[:LONGEST]}…" if len(text) > LONGEST else text


def in_a_line(text: str) -> str:
    """Return a text in one line, cut where it is too long."""
    return cut(" ".join(text.split()))


def text_of(error: BaseException) -> str:
    """Return what an exception says, in one line; its type where that is nothing, or raises."""
    try:
        said = in_a_line(str(error))
    except Exception:
        said = ""
    return said or type(error).__name__


def summary_of(error: BaseException) -> str:
    """Return `KeyError: 'x'` in one line; the type alone where nothing is said."""
    kind, said = type(error).__name__, text_of(error)
    return kind if said == kind else f"{kind}: {said}"


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
    said = text_of(error).replace("gymnasium[", "[")  # of its own extras
    named = [module.partition(".")[0], *re.findall(r"\w+", said)]
    extra = next(filter(None, map(EXTRAS.get, named)), None)
    return f': pip install "gym-loop[{extra}]"' if extra else ""
