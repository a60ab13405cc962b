"""Reads run directories: fast, and safe whatever lies in them.

Only JSON and CSV are read. Nothing is instantiated, imported or unpickled, no link is followed out
of a run's directory, and no more is read than a run would write, so a directory from somewhere else
can be looked at.
"""

import errno
import json
import math
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from gym_loop.machine import process_exists
from gym_loop.mistake import Mistake
from gym_loop.runs import manifest, tables
from gym_loop.runs.tables import EPISODES, EVALUATIONS, Row
from gym_loop.sums import mean
from gym_loop.terminal import as_text, printable

DEFAULT = ("outputs", "multirun")  # where launches and sweeps leave their runs
# A directory that holds one of these is a run's, even when its run.json is gone.
MARKS = {manifest.NAME, EPISODES, EVALUATIONS, "checkpoints"}
STUDY = "study.log"  # of a search, in its directory
CONFIRMED = "confirm"  # the folder of a search's jobs with fresh seeds, in its directory
SUBMITTED = "submitted.jsonl"  # in the directory of a sweep that an engine was given
WINDOW = 100  # episodes whose returns are averaged, as in the progress bar
BYTES_OF_ROWS = 96 * WINDOW  # bytes that hold that many rows
BYTES_OF_COLUMN = 25 * WINDOW  # ... and one further column of them
LONGEST_SILENCE = 600.0  # seconds without a sign of life after which a run elsewhere counts as dead
SILENT_EPISODES = 10  # ... or this many of its usual episodes, if that is longer
LARGEST_TAIL = 1 << 24  # bytes of the end of a table that are read
LONGEST_NAME = 100  # characters of an agent's or an environment's that are shown
LONGEST_NUMBER = 8  # characters of a fraction that names and columns show whole
WARNINGS = 50  # of a run's own that are listed


def find(directories: Sequence[str | Path]) -> list[Path]:
    """Return the run directories in and below `directories`, or below the usual places.

    Raises:
        Mistake: a directory does not exist, or there is no run at all.
    """
    given = [Path(directory) for directory in directories]
    for directory in given:
        if not directory.is_dir():
            raise Mistake(f"no directory {directory}; expected a run's, or one with runs below it")
    roots = given or [Path(name) for name in DEFAULT if Path(name).is_dir()]
    paths = (path for path, inside in _folders(roots) if MARKS & inside)
    found = list({os.path.realpath(path): path for path in paths}.values())
    if not found:
        where = " or ".join(map(str, given or map("./{}".format, DEFAULT)))
        raise Mistake(f"no runs found in {where}; name the directory that they lie in")
    return found


def is_search(directory: str | Path) -> bool:
    """Return whether a search lies in `directory`: a sweep whose jobs a study asks for."""
    return Path(directory, STUDY).is_file()


def find_submitted(directories: Sequence[str | Path]) -> Iterator[Path]:
    """Yield the sweeps in and below `directories`, or the usual places, that an engine was given.

    Those that it runs have run directories; those that wait have none yet.
    """
    return (path for path, inside in _folders(directories or DEFAULT) if SUBMITTED in inside)


def _folders(roots: Iterable[str | Path]) -> Iterator[tuple[Path, set[str]]]:
    """Yield each folder in and below `roots`, none in a run's, and the names of what it holds."""
    pending = [str(root) for root in reversed([*roots])]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as entries:
                inside = {entry.name: entry for entry in entries}
        except OSError:
            continue
        yield Path(directory), set(inside)
        if not MARKS & inside.keys():
            pending += [
                entry.path
                for name, entry in inside.items()
                if not name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]


class RunContent:
    """The content of a run's directory. What cannot be read is absent, and named in `warnings`.

    Attributes:
        directory: where it lies.
        manifest: the content of run.json, `{}` when that is damaged.
        config: the resolved config.
        warnings: one line for each thing that is damaged, or that the run itself has warned of.
        node: where an engine runs it, "" when that is not known.
    """

    node = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.warnings: list[str] = []
        self.manifest = self._read_manifest()
        config = self.manifest.get("config")
        self.config: dict[str, Any] = config if isinstance(config, dict) else {}
        if self.manifest and not self.config:
            self.warnings.append(f"{manifest.NAME} holds no config")
        if self.manifest and not (directory / ".hydra").is_dir():
            self.warnings.append("no .hydra: Hydra's own record of the config is missing")
        own = self.manifest.get("warnings")
        if isinstance(own, list):
            self.warnings += [printable(text) for text in own[:WARNINGS] if text]

    def _read_manifest(self) -> dict[str, Any]:
        try:
            with tables.open_file(self.directory, manifest.NAME) as file:
                text = file.read(manifest.LARGEST + 1)
            if len(text) > manifest.LARGEST:
                raise OSError(errno.EFBIG, f"larger than {manifest.LARGEST:,} bytes")
            content = json.loads(text.decode()) if text.strip() else None
        except FileNotFoundError:
            problem = f"no {manifest.NAME}"
        except OSError as error:
            problem = f"cannot read {manifest.NAME}: {error.strerror}"
        except (ValueError, RecursionError):
            problem = f"{manifest.NAME} is damaged"
        else:
            if isinstance(content, dict) and isinstance(content.get("state"), str):
                return content
            problem = f"{manifest.NAME} is " + ("empty" if content is None else "not a run's")
        self.warnings.append(problem)
        return {}

    @cached_property
    def state(self) -> str:
        """running, finished, failed, stopped; paused by a search; dead: ended without a word.

        damaged: unreadable.
        """
        if not self.manifest:
            return "damaged"
        state = printable(self.manifest["state"])
        if state == "stopped" and self.manifest.get("ended_by") == manifest.PAUSED:
            return manifest.PAUSED
        return "dead" if state == "running" and not self._lives() else state

    def _lives(self) -> bool:
        """Return whether the process of a run that says `running` is there."""
        pid: Any = self.manifest.get("pid")
        if self.manifest.get("host") != socket.gethostname():
            return self._was_heard_of()
        if manifest.is_locked(self.directory):
            return True
        lock = self.directory / manifest.LOCK
        if lock.is_file() and not lock.is_symlink():
            return False
        # A copied directory, or a filesystem without locks: the process has to exist, and, as its
        # number may have been given to another, to have been heard of.
        known = type(pid) is int and pid > 0
        return known and process_exists(pid) and self._was_heard_of()

    def _was_heard_of(self) -> bool:
        """Return whether the last sign of life is recent, by this machine's clock."""
        silence, patience = time.time() - self.last_sign, self._patience()
        if silence < -patience:  # the clock of another host, or of its disk: it proves nothing
            self.warn(
                f"last written {-silence:.0f} s in the future by this machine's clock: whether it "
                "still runs cannot be told"
            )
        return abs(silence) < patience

    def _patience(self) -> float:
        rows = self.last_rows
        if len(rows) < 2:
            return LONGEST_SILENCE
        of_episode = (rows[-1]["seconds"] - rows[0]["seconds"]) / (len(rows) - 1)
        return max(LONGEST_SILENCE, SILENT_EPISODES * of_episode)

    @cached_property
    def last_sign(self) -> float:
        """When anything was last written, in seconds since 1970."""
        times = [0.0]
        for name in (manifest.NAME, EPISODES, EVALUATIONS, "gym_loop.log"):
            try:
                times.append((self.directory / name).lstat().st_mtime)
            except OSError:
                continue
        return max(times)

    @cached_property
    def start(self) -> float:
        """When the run was first launched, in seconds since 1970."""
        try:
            return datetime.fromisoformat(self.manifest["start"]).timestamp()
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            return self.last_sign

    @cached_property
    def overrides(self) -> dict[str, str]:
        """The launch's overrides: key -> the value, as `key_and_value` returns them."""
        words = self.manifest.get("overrides")
        return dict(key_and_value(printable(w)) for w in words) if isinstance(words, list) else {}

    @property
    def agent(self) -> str:
        """The agent's name: its class, as options are written (`QLearningAgent`: q_learning)."""
        return self._option("agent")

    @property
    def loop(self) -> str:
        """The loop's name, in the same way (`VectorLoop`: vector)."""
        return self._option("loop")

    def _option(self, group: str) -> str:
        name = self._class(group)
        name = name.removesuffix(group.capitalize()) or name
        return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()

    @property
    def env(self) -> str:
        """The environment's id, else its class."""
        known = self.section("env").get("id")
        return printable(known)[:LONGEST_NAME] if isinstance(known, str) else self._class("env")

    def _class(self, group: str) -> str:
        target = self.section(group).get("_target_") or ""
        return printable(target).rpartition(":")[2].rpartition(".")[2][:LONGEST_NAME]

    def section(self, group: str) -> dict[str, Any]:
        """Return a group of the config; {} where it is none, as in a damaged one."""
        section = self.config.get(group)
        return section if isinstance(section, dict) else {}

    @property
    def seed(self) -> Any:
        """The seed, None when it is not known."""
        seed = self.config.get("seed", self.manifest.get("seed"))
        return seed if isinstance(seed, int | str) else None

    @cached_property
    def confirmed(self) -> str:
        """`fresh seeds` of a run in a search's confirmation; who has read the study knows more."""
        folder = self.directory.absolute().parent
        is_fresh = folder.name == CONFIRMED and is_search(folder.parent)
        return "fresh seeds" if is_fresh else ""

    @property
    def settings(self) -> dict[str, Any]:
        """The config's leaves by dotted keys, all but the observers' and the seed.

        That is the run's own, or handed on: `agent.seed`. A run of a search's confirmation has
        `confirmed`, too: the seeds that its trial was chosen by are none of its group.
        """
        leaves = flat(self.config)
        same = {k for k, value in leaves.items() if k.endswith(".seed") and value == self.seed}
        seeds = {"seed"} | (same - self.overrides.keys())
        own = ((key, value) for key, value in leaves.items() if key not in seeds)
        more = {"confirmed": self.confirmed} if self.confirmed else {}
        return more | {key: value for key, value in own if key.partition(".")[0] != "observers"}

    @property
    def episodes(self) -> int:
        """Training episodes that have ended."""
        counted = self.last_rows[-1]["episode"] + 1 if self.last_rows else 0
        return int(max(counted, amount(self.manifest.get("episodes"))))

    @property
    def steps(self) -> int:
        """Training steps in them."""
        counted = self.last_rows[-1]["steps"] if self.last_rows else 0
        return int(max(counted, amount(self.manifest.get("steps"))))

    @property
    def seconds(self) -> float:
        """The run's clock at its last sign."""
        counted = self.last_rows[-1]["seconds"] if self.last_rows else 0.0
        return max(counted, amount(self.manifest.get("seconds")))

    @property
    def peak_memory(self) -> int | None:
        """Bytes of memory that its process had at most; None until the run has ended by itself."""
        known = amount(self.manifest.get("peak_memory"))
        return None if self.state in ("running", "dead") else int(known) or None

    @cached_property
    def steps_per_second(self) -> float | None:
        """Steps a second of training: of a running run lately, of another one as a whole.

        The time of evaluations in between is no training's.
        """
        rows = self.last_rows
        if not rows:
            return None
        steps, seconds = rows[-1]["steps"], rows[-1]["seconds"]
        if self.state == "running" and len(rows) > 1:
            steps, seconds = steps - rows[0]["steps"], seconds - rows[0]["seconds"]
            trained = {row["episode"] + 1: row["seconds"] for row in rows}
        else:
            trained = {}
        # When each evaluation ended, by the count of training episodes before it.
        table = self.table(EVALUATIONS, ("at_episode", "seconds"))
        ends = zip(table["at_episode"], table["seconds"], strict=True)
        evaluated = {count: end for count, end in ends if end <= rows[-1]["seconds"]}
        if evaluated and not trained:
            all_ends = self.table(EPISODES, ("seconds",))["seconds"]
            trained = {float(count): end for count, end in enumerate(all_ends, 1)}
        for count, end in evaluated.items():
            seconds -= max(end - trained.get(count, end), 0.0)
        return steps / seconds if seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """How long a running run will take, by the pace of its last episodes."""
        rows, loop = self.last_rows, self.section("loop")
        if self.state != "running" or len(rows) < 2:
            return None
        elapsed, left = rows[-1]["seconds"] - rows[0]["seconds"], []
        for key, limit in (("episode", "max_episodes"), ("steps", "max_steps")):
            most, pace = finite(loop.get(limit)), rows[-1][key] - rows[0][key]
            if most is not None and pace > 0:
                done = rows[-1][key] + (key == "episode")
                left.append(max(most - done, 0.0) * elapsed / pace)
        since = max(time.time() - self.last_sign, 0.0)
        return max(min(left) - since, 0.0) if left else None

    @property
    def last_return(self) -> float | None:
        """Mean return of the last 100 training episodes."""
        return mean_if_any(row["return"] for row in self.last_rows)

    @property
    def info_keys(self) -> list[str]:
        """The columns that `loop.info_keys` has added to the tables."""
        keys = self.section("loop").get("info_keys")
        return [printable(key) for key in keys] if isinstance(keys, list) else []

    def info_values(self, key: str) -> tuple[list[float], list[float]]:
        """Return an info key's values in the last evaluation, and in the last 100 episodes.

        NaN where an episode lacks it.
        """
        numbers = {row["episode"] for row in self.last_evaluation}
        table = self.table(EVALUATIONS, ("episode", key))
        rows = zip(table["episode"], table[key], strict=True)
        evaluated = [value for number, value in rows if number in numbers]
        return evaluated, self.table(EPISODES, (key,))[key][-WINDOW:]

    @cached_property
    def evaluation(self) -> float | None:
        """Mean return of the last evaluation: of a finished run, the final one."""
        rows, result = self.last_evaluation, finite(self.manifest.get("result"))
        return mean_if_any(row["return"] for row in rows) if result is None else result

    @cached_property
    def last_rows(self) -> list[Row]:
        """The last rows of episodes.csv, at most 100."""
        names = ("episode", "steps", "return", "seconds")
        size = BYTES_OF_ROWS + BYTES_OF_COLUMN * (1 + len(self.info_keys))  # with agent_return
        return self._tail(EPISODES, names, size, WINDOW)

    @cached_property
    def last_evaluation(self) -> list[Row]:
        """The rows of evaluations.csv that belong to the last evaluation that is whole."""
        names = ("episode", "at_episode", "length", "return")
        size, places = BYTES_OF_ROWS, list[float]()
        while True:
            rows = self._tail(EVALUATIONS, names, size)
            places = list(dict.fromkeys(row["at_episode"] for row in rows))
            # The first place may have begun before what was read.
            if len(places) > 2 or size >= min(
                tables.size(self.directory, EVALUATIONS), LARGEST_TAIL
            ):
                break
            size *= 8
        count = self.eval_episodes
        for place in reversed(places):
            own = [row for row in rows if row["at_episode"] == place]
            # One in training and the final one may stand at one place.
            if count and len(own) >= count:
                return own[: len(own) // count * count][-count:]
            # Only the last can have been cut by the process's end.
            if not count or place != places[-1] or self.manifest.get("state") == "finished":
                return own
        return []

    @property
    def eval_episodes(self) -> int:
        """How many episodes an evaluation has; 0 when that is not known."""
        return int(amount(self.section("loop").get("eval_episodes")))

    def whole_evaluations(self, names: Sequence[str]) -> dict[str, list[float]]:
        """Return columns of the evaluations' table, without an evaluation that was cut short."""
        table = self.table(EVALUATIONS, ["at_episode", *names])
        count = 0 if self.state == "finished" else self.eval_episodes
        whole = len(table["at_episode"]) - rows_of_a_cut(table["at_episode"], count)
        return {name: values[:whole] for name, values in table.items()}

    @property
    def error(self) -> str | None:
        """The first line of what a failed run failed of."""
        lines = as_text(self.manifest.get("error") or "").strip().splitlines()
        return printable(lines[0]) if lines else None

    @property
    def forked_at(self) -> int:
        """How many of this run's episodes were played by the run that it was forked from."""
        return max((episode for _, episode in self._ancestors()), default=0)

    @property
    def origin(self) -> str:
        """The directory of the run that has played this one's first episode; its own if none."""
        *_, directory = (str(self.directory), *(parent for parent, _ in self._ancestors()))
        try:
            return os.path.realpath(directory)
        except (OSError, ValueError):
            return directory

    def _ancestors(self) -> Iterator[tuple[str, int]]:
        """Yield directory and episode of each fork that this run's episodes have gone through."""
        parent = self.manifest.get("parent")
        while isinstance(parent, dict):
            directory, episode = parent.get("directory"), parent.get("episode")
            if not isinstance(directory, str) or not isinstance(episode, int) or episode <= 0:
                return
            yield directory, episode
            parent = parent.get("parent")

    def table(self, file: str, names: Sequence[str] | None = None) -> dict[str, list[float]]:
        """Return whole columns of a table, as `tables.columns` does; empty if it is unreadable."""
        try:
            return tables.columns(self.directory, file, names)
        except OSError as error:
            self.warn(f"cannot read {file}: {error.strerror}")
            return {name: [] for name in names or tables.COLUMNS[file]}

    def _tail(
        self, file: str, names: Sequence[str], size: int, most: int | None = None
    ) -> list[Row]:
        """Return the rows in the last `size` bytes of a table, the last `most` of them."""
        try:
            found = tables.tail(self.directory, file, names, size, most)
        except FileNotFoundError:
            return []
        except OSError as error:
            self.warn(f"cannot read {file}: {error.strerror}")
            return []
        except LookupError as error:
            self.warn(error.args[0])
            return []
        # A row that is being written, or was when the process died, is no damage.
        if found.cut and self.manifest.get("state") != "running":
            self.warn(f"{file}: the last row is cut")
        if found.damaged:
            self.warn(f"{file}: {found.damaged} damaged row{'s' * (found.damaged > 1)} left out")
        return found.rows

    def warn(self, text: str) -> None:
        """Add a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)


def rows_of_a_cut(places: Sequence[float], count: int) -> int:
    """Return how many rows at the end are of an evaluation that has not come to its end.

    Args:
        places: the column `at_episode`.
        count: episodes of an evaluation; 0 when that is not known.
    """
    own = next((n for n, place in enumerate(reversed(places)) if place != places[-1]), len(places))
    return own % count if count else 0


def flat(config: Any) -> dict[str, Any]:
    """Return a config's leaves by their dotted keys; lists and empty mappings are leaves."""
    leaves: dict[str, Any] = {}
    pending = [("", config)]  # not by recursion: who knows how deep it is
    while pending:
        prefix, node = pending.pop()
        if isinstance(node, dict) and (node or not prefix):
            names = {key: printable(key) for key in node}
            inner = [(f"{prefix}.{n}" if prefix else n, node[key]) for key, n in names.items()]
            pending += reversed(inner)
        else:
            leaves[prefix] = node
    return leaves


def wrap(config: dict[str, Any]) -> dict[str, str]:
    """Return what `wrap` has chosen, such as {"wrap": "[atari,frame_stack]"}; {} if nothing."""
    env = config.get("env")
    wrappers = env.get("wrappers") if isinstance(env, dict) else None
    if not isinstance(wrappers, dict):
        return {}
    names = [printable(name) for name, own in wrappers.items() if own]
    return {"wrap": f"[{','.join(names)}]"} if names else {}


def shown(value: Any) -> str:
    """Return a config's value as one would type it, as far as it is shown."""
    return printable(typed(value))


def typed(value: Any) -> str:
    """Return a config's value as one would type it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        return value if isinstance(value, str) else json.dumps(value, default=str)
    except RecursionError:
        return "(too deep)"


def brief(value: str) -> str:
    """Return a value for a name or a column: four digits of a long fraction."""
    if len(value) <= LONGEST_NUMBER or not re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", value):
        return value
    return f"{float(value):.4g}"


def finite(value: Any) -> float | None:
    """Return a finite number that run.json may hold, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:  # a float: what compares scores takes no integer of more than 64 bits
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # of hundreds of digits
        return None


def amount(value: Any) -> float:
    """Return a count or a time that run.json may hold, else 0."""
    known = finite(value)
    return known if known is not None and 0 <= known < tables.LARGEST else 0.0


def mean_if_any(values: Iterable[float]) -> float | None:
    """Return the mean, None of nothing."""
    known = [*values]
    return mean(known) if known else None


def key_and_value(override: str) -> tuple[str, str]:
    """Return the key and the value of an override, without `+` or `~`, and without escapes."""
    key, _, value = override.partition("=")
    if not value.startswith(("'", '"')):
        value = re.sub(r"\\(.)", r"\1", value)  # Hydra writes `:` as `\\:` in a sweep
    return key.lstrip("+~"), value
