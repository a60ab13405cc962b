"""Reading run directories: fast, and safe whatever lies in them.

Only JSON and CSV are read. Nothing is instantiated, imported or unpickled, so a directory from
somewhere else can be looked at.
"""

import errno
import json
import math
import os
import socket
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from gym_loop.mistake import Mistake
from gym_loop.runs import manifest

DEFAULT = ("outputs", "multirun")  # where launches and sweeps leave their runs
# A directory that holds one of these is a run's, even when its run.json is gone.
MARKS = {manifest.NAME, "episodes.csv", "evaluations.csv", "checkpoints"}
WINDOW = 100  # episodes whose returns are averaged, as in the progress bar
TAIL = 96 * WINDOW  # bytes that hold that many rows
SILENCE = 600.0  # seconds without a sign of life after which a run elsewhere counts as dead
SLOW = 10  # ... or this many of its usual episodes, if that is longer

Row = dict[str, float]


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
    paths = (path for root in roots for path in _walk(root))
    found = list({os.path.realpath(path): path for path in paths}.values())
    if not found:
        where = " or ".join(map(str, given or map("./{}".format, DEFAULT)))
        raise Mistake(f"no runs found in {where}; name the directory that they lie in")
    return found


def _walk(root: Path) -> Iterator[Path]:
    pending = [str(root)]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as entries:
                inside = list(entries)
        except OSError:
            continue
        if any(entry.name in MARKS for entry in inside):
            yield Path(directory)
        else:
            pending += [
                entry.path
                for entry in inside
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]


class Run:
    """What a run's directory says of it. What cannot be read is absent, and named in `warnings`.

    Attributes:
        directory: where it lies.
        manifest: the content of run.json, `{}` when that is damaged.
        config: the resolved config.
        warnings: one line for each thing that is damaged, or that the run itself has warned of.
    """

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
        self.warnings += [plain(text) for text in own if text] if isinstance(own, list) else []

    def _read_manifest(self) -> dict[str, Any]:
        try:
            with open_file(self.directory / manifest.NAME) as file:
                text = file.read().decode()
            content = json.loads(text) if text.strip() else None
        except FileNotFoundError:
            self.warnings.append(f"no {manifest.NAME}")
            return {}
        except OSError as error:
            self.warnings.append(f"cannot read {manifest.NAME}: {error.strerror}")
            return {}
        except (ValueError, RecursionError):
            self.warnings.append(f"{manifest.NAME} is damaged")
            return {}
        if content is None:
            self.warnings.append(f"{manifest.NAME} is empty")
        elif not isinstance(content, dict) or not isinstance(content.get("state"), str):
            self.warnings.append(f"{manifest.NAME} is not a run's")
            content = None
        return content or {}

    @cached_property
    def state(self) -> str:
        """running, finished, failed, stopped; dead: ended without a word; damaged: unreadable."""
        if not self.manifest:
            return "damaged"
        state = plain(self.manifest["state"])
        return "dead" if state == "running" and not self._lives() else state

    def _lives(self) -> bool:
        """Return whether the process of a run that says `running` is there."""
        host, pid = self.manifest.get("host"), self.manifest.get("pid")
        if host != socket.gethostname():
            return time.time() - self.last_sign < self._patience()
        if manifest.is_locked(self.directory):
            return True
        if (self.directory / manifest.LOCK).is_file():
            return False
        # A copied directory, or a filesystem without locks: the process has to exist, and, as its
        # number may have been given to another, to have been heard of.
        return _exists(pid) and time.time() - self.last_sign < self._patience()

    def _patience(self) -> float:
        rows = self.last_rows
        if len(rows) < 2:
            return SILENCE
        return max(SILENCE, SLOW * (rows[-1]["seconds"] - rows[0]["seconds"]) / (len(rows) - 1))

    @cached_property
    def last_sign(self) -> float:
        """When anything was last written, in seconds since 1970."""
        times = [0.0]
        for name in (manifest.NAME, "episodes.csv", "evaluations.csv", "gym_loop.log"):
            try:
                times.append((self.directory / name).stat().st_mtime)
            except OSError:
                continue
        return max(times)

    @cached_property
    def start(self) -> float:
        """When the run was first launched, in seconds since 1970."""
        try:
            return datetime.fromisoformat(self.manifest["start"]).timestamp()
        except (KeyError, TypeError, ValueError, OverflowError):
            return self.last_sign

    @cached_property
    def overrides(self) -> dict[str, str]:
        """The launch's overrides: key -> the value as it was typed."""
        words = self.manifest.get("overrides")
        pairs = (plain(w).partition("=") for w in words) if isinstance(words, list) else ()
        return {key.lstrip("+~"): value for key, _, value in pairs}

    @property
    def agent(self) -> str:
        """The agent's name: the option it was chosen with, else its class."""
        return self._name("agent")

    @property
    def env(self) -> str:
        """The environment's id, else the option it was chosen with, else its class."""
        node = self.config.get("env")
        known = node.get("id") if isinstance(node, dict) else None
        return plain(known) if isinstance(known, str) else self._name("env")

    def _name(self, group: str) -> str:
        node = self.config.get(group)
        target = node.get("_target_") if isinstance(node, dict) else None
        name = plain(target).rpartition(":")[2].rpartition(".")[2] if target else ""
        chosen = self.overrides.get(group, "").rpartition("/")[2]
        if chosen and ":" not in chosen:
            return chosen
        return (name.removesuffix("Agent") or name).lower() if group == "agent" else name

    @property
    def seed(self) -> Any:
        """The seed, None when it is not known."""
        seed = self.config.get("seed", self.manifest.get("seed"))
        return seed if isinstance(seed, int | str) else None

    @property
    def episodes(self) -> int:
        """Training episodes that have ended."""
        counted = self.last_rows[-1]["episode"] + 1 if self.last_rows else 0
        return int(max(counted, number(self.manifest.get("episodes")) or 0))

    @property
    def steps(self) -> int:
        """Training steps in them."""
        counted = self.last_rows[-1]["steps"] if self.last_rows else 0
        return int(max(counted, number(self.manifest.get("steps")) or 0))

    @property
    def seconds(self) -> float:
        """The run's clock at its last sign."""
        counted = self.last_rows[-1]["seconds"] if self.last_rows else 0.0
        return max(counted, number(self.manifest.get("seconds")) or 0.0)

    @property
    def steps_per_second(self) -> float | None:
        """Steps a second: of a running run lately, of another one in training as a whole."""
        rows = self.last_rows
        if self.state == "running" and len(rows) > 1:
            steps, seconds = (rows[-1][key] - rows[0][key] for key in ("steps", "seconds"))
        elif rows:
            steps, seconds = rows[-1]["steps"], rows[-1]["seconds"]
        else:
            return None
        return steps / seconds if seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """How long a running run will take, by the pace of its last episodes."""
        rows, loop = self.last_rows, self.config.get("loop")
        if self.state != "running" or len(rows) < 2 or not isinstance(loop, dict):
            return None
        elapsed, left = rows[-1]["seconds"] - rows[0]["seconds"], []
        for key, limit in (("episode", "max_episodes"), ("steps", "max_steps")):
            most, pace = number(loop.get(limit)), rows[-1][key] - rows[0][key]
            if most is not None and pace > 0:
                done = rows[-1][key] + (key == "episode")
                left.append(max(most - done, 0.0) * elapsed / pace)
        since = max(time.time() - self.last_sign, 0.0)
        return max(min(left) - since, 0.0) if left else None

    @property
    def last_return(self) -> float | None:
        """Mean return of the last 100 training episodes."""
        return mean(row["return"] for row in self.last_rows)

    @cached_property
    def evaluation(self) -> float | None:
        """Mean return of the last evaluation: of a finished run, the final one."""
        rows, result = self.last_evaluation, number(self.manifest.get("result"))
        return mean(row["return"] for row in rows) if result is None else result

    @cached_property
    def last_rows(self) -> list[Row]:
        """The last rows of episodes.csv, at most 100."""
        names = ("episode", "steps", "return", "seconds")
        return self._tail("episodes.csv", names, TAIL, WINDOW)

    @cached_property
    def last_evaluation(self) -> list[Row]:
        """The rows of evaluations.csv that belong to the last evaluation."""
        names = ("episode", "at_episode", "length", "return")
        size = TAIL
        while True:
            rows = self._tail("evaluations.csv", names, size)
            last = [row for row in rows if row["at_episode"] == rows[-1]["at_episode"]]
            whole = len(last) < len(rows) or size >= self._size("evaluations.csv")
            if whole:
                break
            size *= 8
        # An evaluation during training may have come just before the final one.
        loop = self.config.get("loop")
        count = number(loop.get("eval_episodes")) if isinstance(loop, dict) else None
        return last[-int(count) :] if count else last

    @property
    def error(self) -> str | None:
        """The first line of what a failed run failed of."""
        lines = str(self.manifest.get("error") or "").strip().splitlines()
        return plain(lines[0]) if lines else None

    def table(self, file: str, names: Sequence[str]) -> dict[str, list[float]]:
        """Return whole columns of a CSV file; rows that cannot be read are left out."""
        try:
            with open_file(self.directory / file) as table:
                lines = table.read().split(b"\n")
        except OSError:
            return {name: [] for name in names}
        header = lines[0].decode("ascii", "replace").split(",")
        if not set(names) <= set(header):
            return {name: [] for name in names}
        width, places = len(header), [header.index(name) for name in names]
        rows: list[tuple[float, ...]] = []
        for line in lines[1:]:
            cells = line.split(b",")
            if len(cells) == width:
                try:
                    rows.append(tuple([float(cells[place]) for place in places]))
                except ValueError:
                    continue
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        return {name: list(column) for name, column in zip(names, columns, strict=True)}

    def _size(self, file: str) -> int:
        try:
            return (self.directory / file).stat().st_size
        except OSError:
            return 0

    def _tail(
        self, file: str, names: Sequence[str], size: int, most: int | None = None
    ) -> list[Row]:
        """Return the rows in the last `size` bytes of a CSV file, the last `most` of them."""
        try:
            with open_file(self.directory / file) as table:
                header = table.readline(1000).decode("ascii", "replace").strip().split(",")
                end = table.seek(0, os.SEEK_END)
                start = max(end - size, 0)
                table.seek(start)
                lines = table.read().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            self._warn(f"cannot read {file}: {error.strerror}")
            return []
        if not set(names) <= set(header):
            self._warn(f"{file} has no columns {', '.join(names)}")
            return []
        whole = lines[1:-1]  # the first line is the header, or cut where we began to read
        whole = whole[-most:] if most else whole
        # A row that is being written, or was when the process died, is no damage.
        if lines[-1] and self.manifest.get("state") != "running":
            self._warn(f"{file}: the last row is cut")
        places, rows, bad = [header.index(name) for name in names], [], 0
        for line in whole:
            cells = line.split(b",")
            try:
                if len(cells) != len(header):
                    raise ValueError
                values = [float(cells[place]) for place in places]
                rows.append(dict(zip(names, values, strict=True)))
            except ValueError:
                bad += 1
        if bad:
            self._warn(f"{file}: {bad} damaged row{'s' * (bad > 1)} left out")
        return rows

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def open_file(path: Path) -> BinaryIO:
    """Open a file to read its bytes.

    Raises:
        OSError: there is none, or it is something else, such as a pipe that would never end.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def flat(config: Any) -> dict[str, Any]:
    """Return a config's leaves by their dotted keys; lists and empty mappings are leaves."""
    leaves: dict[str, Any] = {}
    pending = [("", config)]  # not by recursion: who knows how deep it is
    while pending:
        prefix, node = pending.pop()
        if isinstance(node, dict) and (node or not prefix):
            inner = [(f"{prefix}.{key}" if prefix else str(key), node[key]) for key in node]
            pending += reversed(inner)
        else:
            leaves[prefix] = node
    return leaves


def shown(value: Any) -> str:
    """Return a config's value as one would type it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        return plain(value if isinstance(value, str) else json.dumps(value, default=str))
    except RecursionError:
        return "(too deep)"


def plain(value: Any) -> str:
    """Return text that can be printed: what would move the cursor or colour it is replaced."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def number(value: Any) -> float | None:
    """Return a finite number that run.json may hold, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def mean(values: Iterable[float]) -> float | None:
    """Return the mean, None of nothing."""
    values = list(values)
    return math.fsum(values) / len(values) if values else None


def short(directory: Path) -> str:
    """Return `directory` as one would type it from here."""
    here = Path.cwd()
    return plain(directory.relative_to(here) if directory.is_relative_to(here) else directory)


def _exists(pid: Any) -> bool:
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
