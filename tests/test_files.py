"""Appending, and tidying up after killed writers."""

import errno
import os
import re
import resource
import socket

import pytest

from gym_loop import files
from tests.conftest import left_by_a_killed_process


def test_records_without_room_wait_and_are_written_in_order_once_there_is(
    tmp_path, limited, monkeypatch
):
    monkeypatch.setattr(files, "RETRY", 0.0)
    file = files.AppendOnly(tmp_path / "table", 0)
    file.append(b"one\n")
    limited(6)
    for record in (b"two\n", b"three\n"):
        file.append(record)
        assert file.error is not None
        assert (tmp_path / "table").read_bytes() == b"one\n", "a part of a record stayed"
    with pytest.raises(OSError, match="too large"):
        file.sync()
    limited()
    file.append(b"four\n")
    assert file.error is None
    file.sync()
    file.close()
    assert (tmp_path / "table").read_bytes() == b"one\ntwo\nthree\nfour\n"
    assert file.size == len(b"one\ntwo\nthree\nfour\n")


def test_a_part_of_a_record_that_cannot_be_removed_at_once_is_before_the_next_one_is_written(
    tmp_path, limited, monkeypatch
):
    monkeypatch.setattr(files, "RETRY", 0.0)
    file = files.AppendOnly(tmp_path / "table", 0)
    file.append(b"one\n")
    limited(6)
    with monkeypatch.context() as patched:

        def refused(*_):
            raise OSError(28, "No space left on device")

        patched.setattr(os, "ftruncate", refused)
        file.append(b"two\n")
        assert (tmp_path / "table").read_bytes() == b"one\ntw"
    limited()
    file.append(b"three\n")
    assert (tmp_path / "table").read_bytes() == b"one\ntwo\nthree\n"
    assert file.size == len(b"one\ntwo\nthree\n")


def test_a_file_that_is_cut_while_it_is_written_has_no_gap_and_is_not_whole(tmp_path, limited):
    file = files.AppendOnly(tmp_path / "table", 0)
    file.append(b"one\n")
    os.truncate(tmp_path / "table", 0)
    file.append(b"two\n")
    limited(6)
    file.append(b"three\n")
    assert (tmp_path / "table").read_bytes() == b"two\n"
    assert not file.is_whole


def test_a_name_is_looked_for_as_it_is_spelt(tmp_path):
    left = left_by_a_killed_process(tmp_path / "run[1]*.json")
    other = left_by_a_killed_process(tmp_path / "run1.json")
    for path in (left, other):
        path.touch()
    files.remove_leftovers(tmp_path, "run[1]*.json")
    assert os.listdir(tmp_path) == [other.name]
    files.remove_leftovers(tmp_path / "absent")


def test_a_directory_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            files.named(tmp_path, "episode-")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EDQUOT, "; delete some of your own files"),
        (errno.EFBIG, "; `ulimit -f`, or the file system, allows no larger file"),
        (errno.EMFILE, "; `ulimit -n` allows this process no more open files"),
        (errno.ENAMETOOLONG, "; choose a shorter name"),
        (errno.ENOTEMPTY, "; another program has put files there"),
        (errno.EROFS, "; choose a directory on another one"),
        (errno.EEXIST, ""),
        (errno.ENOSPC, r"; [\d.]+ MB are free"),
    ],
)
def test_free_space_is_told_where_it_may_be_what_lacks_and_else_what_helps(tmp_path, number, said):
    words = os.strerror(number)
    line = files.cannot_write(OSError(number, words, "file"), tmp_path)
    assert re.fullmatch(rf"cannot write file: {words}{said}", line)


def test_an_error_without_a_number_tells_the_free_space_and_one_of_our_own_speaks_for_itself(
    tmp_path,
):
    line = files.cannot_write(OSError("no such luck"), tmp_path)
    assert re.fullmatch(r"cannot write .*: no such luck; [\d.]+ MB are free", line)
    (tmp_path / "large").write_text("more")
    with pytest.raises(OSError, match="larger than 3 bytes") as caught:
        files.read(tmp_path / "large", 3)
    assert files.reason(caught.value) == "larger than 3 bytes"


def test_only_what_killed_processes_of_this_program_left_is_removed(tmp_path):
    own = files.temporary(tmp_path / "run.json")
    left = left_by_a_killed_process(tmp_path / "episode-000010")
    elsewhere = own.name.replace(f"@{socket.gethostname()}@", "@elsewhere@")
    alive = own.name.replace(f"{os.getpid()}@", f"{os.getppid()}@")
    others = [".tmp-mydata", ".tmp-1-episode-000010", ".tmp-gym_loop-notes", "results", alive]
    for name in (*others, elsewhere, own.name, left.name):
        (tmp_path / name / "deep").mkdir(parents=True)
    files.remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_a_new_folder_takes_the_place_of_those_that_killed_processes_left_of_it(tmp_path):
    target = tmp_path / "a[1].npz"
    old, other = (left_by_a_killed_process(path) for path in (target, tmp_path / "b.npz"))
    elsewhere = files.temporary(target).name.replace(socket.gethostname(), "another-host")
    for folder in (old, other, tmp_path / elsewhere):
        folder.mkdir()
        (folder / "column").touch()
    new = files.new_folder(target)
    assert {*tmp_path.iterdir()} == {new, other, tmp_path / elsewhere}
    assert not [*new.iterdir()]


def test_leftovers_of_another_name_stay(tmp_path):
    run, other = (left_by_a_killed_process(tmp_path / name) for name in ("run.json", "a.html"))
    run.touch()
    other.touch()
    files.remove_leftovers(tmp_path, "run.json")
    assert list(tmp_path.iterdir()) == [other]


def test_the_copy_that_takes_a_shared_files_place_is_on_the_disk(tmp_path, monkeypatch):
    table, backup = tmp_path / "episodes.csv", tmp_path / "backup.csv"
    table.write_text("rows")
    os.link(table, backup)
    sync, synced = os.fsync, []
    monkeypatch.setattr(
        os, "fsync", lambda file: (synced.append(os.fstat(file).st_ino), sync(file))
    )
    files.make_own(table)
    assert table.stat().st_ino in synced
    assert not table.samefile(backup)
    assert table.read_text() == backup.read_text() == "rows"
