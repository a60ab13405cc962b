"""Files that are kept once for many runs, by their content: each run has a hard link to them."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gym_loop import files

FOLDER = ".code"
LARGEST = 1 << 30  # bytes of a file that is kept
READ_ONLY = 0o444  # an edit in one run's directory would be one in all of them


class Store:
    """A folder of files that are named by a digest of their content.

    Where it cannot be written, nothing is shared from then on: a run has files of its own.

    Args:
        folder: None: nothing is shared.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def known(self, fingerprint: str) -> dict[str, Any] | None:
        """Return what was noted for a fingerprint; None where nothing was, or it is damaged."""
        try:
            content = json.loads(files.read(self._note(fingerprint), LARGEST))
        except (OSError, ValueError, RecursionError):
            return None
        sections = content.values() if isinstance(content, dict) else ()
        return content if sections and all(isinstance(each, dict) for each in sections) else None

    def note(self, fingerprint: str, content: dict[str, Any]) -> None:
        """Note mappings by name for a fingerprint."""
        if self.folder:
            with self._given_up_on_errors():
                files.write_json(self._note(fingerprint), content)

    def add(self, content: bytes) -> str:
        """Keep some content, again where it was damaged; return its digest."""
        name = digest(content)
        if self.folder:
            file = self.folder / name
            with self._given_up_on_errors():
                if not file.exists() or files.read(file, LARGEST) != content:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    files.write(file, content)
                    file.chmod(READ_ONLY)
        return name

    def content(self, name: str) -> bytes:
        """Return the content of a digest.

        Raises:
            OSError: it is not there, or damaged.
        """
        content = files.read(self._path(name), LARGEST)
        if digest(content) != name:
            raise OSError(f"{self._path(name)} is damaged; delete it")
        return content

    def place(self, name: str, target: Path, content: bytes | None = None) -> None:
        """Put the file of the digest `name` at `target`, where there is no other file, at once.

        Where the store does not have it, its content is given.

        Raises:
            OSError: it cannot be written, or is not in the store.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self._path(name), target)
        except FileExistsError:
            pass  # an import that the file at hand has been kept for already
        except OSError:  # a filesystem without hard links, or another user's file
            files.write(target, self.content(name) if content is None else content)
            with contextlib.suppress(OSError):  # not every filesystem has such a thing
                target.chmod(READ_ONLY)

    @contextlib.contextmanager
    def _given_up_on_errors(self) -> Iterator[None]:
        """Share nothing any more if the store cannot be written in the block."""
        try:
            yield
        except OSError:
            self.folder = None

    def _path(self, name: str) -> Path:
        if self.folder is None:
            raise FileNotFoundError(name)
        return self.folder / name

    def _note(self, fingerprint: str) -> Path:
        return self._path(f"seen-{fingerprint}.json")


def digest(content: bytes) -> str:
    """Return the name of a file of that content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
