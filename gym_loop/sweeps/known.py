"""Which jobs of a sweep are known to be finished, or to be sound, without composing them.

To compose a job and to check it takes 10 ms, and 20 more where a run lies in its directory.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gym_loop import __version__, files
from gym_loop.config import kept
from gym_loop.runs import manifest
from gym_loop.sweeps.compose import Composer
from gym_loop.sweeps.directory import LARGEST, Job

FILE = ".finished.json"  # in a sweep's directory; without it, jobs are composed once more
# What conf/config.yaml says, for other launchers. Ours name a job by what varies alone.
SUBDIR = "${hydra.job.override_dirname}"
SEED = re.compile(r"\+{0,2}seed=(0|[1-9]\d{0,17})")  # as a word of the command line
# What only composing tells: all that a resolver brings, save another key of the config.
FROM_OUTSIDE = re.compile(r"\$\{(?!oc\.select:)[^}]*:")
USES_SEED = re.compile(r"\$\{[^}]*(seed|\$\{)")


@dataclass(frozen=True)
class Origin:
    """What jobs with the same choices of files have in common.

    Attributes:
        digest: of these files' content, and of the defaults of the classes that they name.
        is_plain: whether this and a job's overrides tell the job's config, and its directory.
        takes_any_seed: whether nothing is made of the seed but seeds of classes of this package.
    """

    digest: str
    is_plain: bool
    takes_any_seed: bool


class Known:
    """Recognises jobs of the sweep in `folder`.

    A finished job is recognised when its overrides, what its config would be composed of, and the
    config that its run has kept are what they were when they were compared, or when it was run.
    A new job is sound when one that differs in nothing but the seed has been checked.
    """

    def __init__(self, composer: Composer, folder: Path) -> None:
        self.composer, self.folder = composer, folder
        self.origins: dict[tuple[str, ...], Origin] = {}
        self.checked: dict[tuple[str, ...], Job] = {}  # by the overrides without the seed
        self.digests: dict[str, str] = {}  # of finished jobs, by name
        self.recognised: set[str] = set()
        with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
            self.digests = dict(json.loads(files.read(folder / FILE, LARGEST)))

    def is_finished(self, job: Job) -> bool:
        """Return whether the job has a finished run of its config; if so, set what came of it."""
        if job.name not in self.digests or self.digests[job.name] != self._digest(job):
            return False
        known = manifest.read(job.directory) or {}
        if known.get("state") != "finished":
            return False
        job.state, job.result = "finished", known.get("result")
        self.recognised.add(job.name)
        return True

    def twin(self, job: Job) -> Job | None:
        """Return a checked job from which `job`, which is new, differs in the seed alone."""
        if job.directory.exists() or not self._origin(job.overrides).is_plain:
            return None
        return self.checked.get(self._without_seed(job.overrides))

    def add(self, job: Job) -> None:
        """Note that `job` has been composed and checked."""
        self.checked.setdefault(self._without_seed(job.overrides), job)

    def keep(self, finished: Iterable[Job]) -> None:
        """Write down which jobs have finished runs of the configs that they have now."""
        new = [job for job in finished if job.name not in self.recognised]
        found = {job.name: self._digest(job) for job in new}
        digests = self.digests | {name: digest for name, digest in found.items() if digest}
        if digests != self.digests:
            with contextlib.suppress(OSError):  # a full disk: the next launch composes them
                files.write_json(self.folder / FILE, digests)

    def _digest(self, job: Job) -> str:
        """Return a digest of what makes a job's config, and of what its run has kept, or ""."""
        origin = self._origin(job.overrides)
        try:
            own = files.read(job.directory / kept.FILE, manifest.LARGEST)
        except OSError:
            return ""
        if not origin.is_plain or any("_target_" in word or "$" in word for word in job.overrides):
            return ""
        return _digest_of((origin.digest, job.overrides, job.number, own))

    def _origin(self, words: Sequence[str]) -> Origin:
        choices = self.composer.choices(words)
        if choices not in self.origins:
            self.origins[choices] = origin_of(self.composer.template(choices))
        return self.origins[choices]

    def _without_seed(self, words: Sequence[str]) -> tuple[str, ...]:
        rest = tuple(word for word in words if not SEED.fullmatch(word))
        free = self._origin(words).takes_any_seed and not any("$" in word for word in rest)
        return rest if free else tuple(words)


def origin_of(template: DictConfig) -> Origin:
    """Return what there is to know of jobs that are made of `template`."""
    raw = kept.content(template, resolve=False)
    sweep: Any = OmegaConf.to_container(template.hydra.sweep, resolve=False)
    ours = [
        name
        for name, section in raw.items()
        if isinstance(section, dict) and str(section.get("_target_")).startswith("gym_loop.")
    ]
    seeds = (
        path[-1] == "seed" and path[0] in ours
        for path, value in kept.leaves(raw)
        if isinstance(value, str) and USES_SEED.search(value)
    )
    return Origin(
        # Paths of files in it are relative to the current directory.
        _digest_of((__version__, os.getcwd(), kept.completed(raw))),
        sweep["subdir"] == SUBDIR and not FROM_OUTSIDE.search(str(raw)),
        all(seeds),
    )


def _digest_of(content: Any) -> str:
    return hashlib.blake2b(repr(content).encode(), digest_size=16).hexdigest()
