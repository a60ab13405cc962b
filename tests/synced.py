"""Run gym-loop, and keep what a disk would hold if the power went at each of its fsyncs.

Usage: `python synced.py DISK CUTS WORDS`. DISK holds the run's directory. Each `fsync` and
`fdatasync` of the run leaves two copies of DISK in CUTS, the two extremes of what a filesystem may
keep: in `NNN-data`, names as they are, but of a file's content only what had been synced; in
`NNN-names`, just after it, only the names that had been synced as well, with their directory.
"""

import os
import stat
import sys
from pathlib import Path

content = {}  # bytes of a file that have been synced, by its inode
listings = {}  # what a directory held when it was synced, by its inode: name -> inode, mode, link
held = []  # descriptors: an inode that is open is not used again
disk, cuts = map(Path, sys.argv[1:3])


def as_they_are(folder, target):
    target.mkdir(parents=True)
    for entry in os.scandir(folder):
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            as_they_are(entry.path, target / entry.name)
        elif stat.S_ISLNK(mode):
            (target / entry.name).symlink_to(os.readlink(entry.path))
        else:
            (target / entry.name).write_bytes(content.get(entry.inode(), b""))


def as_synced(inode, target):
    target.mkdir(parents=True)
    for name, (child, mode, link) in listings.get(inode, {}).items():
        if stat.S_ISDIR(mode):
            as_synced(child, target / name)
        elif stat.S_ISLNK(mode):
            (target / name).symlink_to(link)
        else:
            (target / name).write_bytes(content.get(child, b""))


def listing(folder):
    found = {}
    for entry in os.scandir(folder):
        mode = entry.stat(follow_symlinks=False).st_mode
        link = os.readlink(entry.path) if stat.S_ISLNK(mode) else None
        if link is None:
            held.append(os.open(entry.path, os.O_RDONLY))
        found[entry.name] = entry.inode(), mode, link
    return found


def keeping(sync):
    def call(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if not path.is_relative_to(disk):
            return sync(descriptor)
        number = len(os.listdir(cuts)) // 2
        as_they_are(disk, cuts / f"{number:03d}-data")
        result = sync(descriptor)
        held.append(os.dup(descriptor))
        if path.is_dir():
            listings[path.stat().st_ino] = listing(path)
        else:
            content[path.stat().st_ino] = path.read_bytes()
        as_synced(disk.stat().st_ino, cuts / f"{number:03d}-names")
        return result

    return call


os.fsync, os.fdatasync = keeping(os.fsync), keeping(os.fdatasync)

from gym_loop.__main__ import dispatch  # noqa: E402

dispatch(*sys.argv[3:])
