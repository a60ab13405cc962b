"""Videos: whole or absent, whatever happens to the process, the encoder or the disk."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import count_frames_and_secs, get_ffmpeg_exe

from gym_loop.observers import video
from gym_loop.observers.video import (
    VideoError,
    VideoWriter,
    caption,
    captions,
    check_path,
    remove_leftovers,
)
from tests.conftest import left_by_a_killed_process

TEXT = "episode 12  step 87  return -312.4"


def noise(height=48, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def record(path, frames, fps=30):
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)


def decoded(path, number=0):
    """Return one frame of a video, as uint8 (height, width, 3)."""
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vf", f"select=eq(n\\,{number})"]
    command += ["-frames:v", "1", "-f", "image2pipe", "-c:v", "ppm", "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    _, size, _, pixels = data.split(b"\n", 3)
    width, height = map(int, size.split())
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def start(script, *args):
    """Run a script in a process group of its own, stdout piped."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(video.__file__).parents[3])},
    )


def has_ended(pid):
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return True


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".MP4"])
@pytest.mark.parametrize("size", [(48, 64), (33, 35), (1, 1)])
@pytest.mark.parametrize("count", [1, 40])
def test_every_frame_is_in_the_file_and_nothing_else_in_the_directory(
    tmp_path, suffix, size, count
):
    path = tmp_path / f"a{suffix}"
    record(path, [noise(*size, seed=n) for n in range(count)])
    assert count_frames_and_secs(path)[0] == count
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("fps", [4, 29.97, 60])
def test_the_frame_rate_is_the_one_asked_for(tmp_path, fps):
    record(tmp_path / "a.mp4", [noise()] * 60, fps)
    frames, seconds = count_frames_and_secs(tmp_path / "a.mp4")
    assert frames == 60
    assert seconds == pytest.approx(60 / fps, rel=0.02)


def test_a_gif_faster_than_browsers_play_keeps_its_time_and_leaves_out_frames(tmp_path):
    record(tmp_path / "a.gif", [noise(seed=n) for n in range(100)], 100)
    frames, seconds = count_frames_and_secs(tmp_path / "a.gif")
    assert frames == pytest.approx(50, abs=1)
    assert seconds == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_frames_look_as_they_were_whatever_their_memory_layout(tmp_path, suffix):
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[:20, :30] = (250, 20, 20)
    frame[20:, 30:] = (20, 20, 250)
    transposed = np.ascontiguousarray(frame.transpose(1, 0, 2)).transpose(1, 0, 2)
    transposed.flags.writeable = False
    record(tmp_path / f"a{suffix}", [frame, transposed, frame[::-1][::-1]])
    for number in range(3):
        shown = decoded(tmp_path / f"a{suffix}", number).astype(int)
        for corner in ((5, 5), (5, 50), (35, 5), (35, 50)):
            assert shown[corner] == pytest.approx(frame[corner].astype(int), abs=12)


def test_a_frame_may_be_overwritten_as_soon_as_it_was_written(tmp_path):
    frame = np.full((40, 60, 3), 200, np.uint8)
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for _ in range(30):
            writer.write(frame)
            frame[:] = 0
            frame[:] = 200
        writer.write(frame)
        frame[:] = 0
    assert all(decoded(tmp_path / "a.mp4", n).mean() > 190 for n in (0, 15, 30))


def test_the_name_appears_when_the_video_is_whole_and_an_old_one_is_replaced_at_once(tmp_path):
    path = tmp_path / "a.mp4"
    writer = VideoWriter(path)
    for n in range(100):
        writer.write(noise(seed=n))
    assert not path.exists()
    writer.close()
    before = path.read_bytes()
    with VideoWriter(path) as writer:
        writer.write(noise())
        assert path.read_bytes() == before
    assert count_frames_and_secs(path)[0] == 1


def test_an_aborted_video_leaves_no_file_and_the_old_one_untouched(tmp_path):
    path = tmp_path / "a.mp4"
    record(path, [noise()])
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        record(path, (noise(seed=n) if n < 50 else 1 / 0 for n in range(51)))
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert path.read_bytes() == before


def test_without_a_frame_there_is_no_file(tmp_path):
    record(tmp_path / "a.mp4", [])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        ([], "expected uint8"),
    ],
)
def test_what_is_not_a_frame_is_refused(tmp_path, frame, says):
    with pytest.raises(VideoError, match=says):
        VideoWriter(tmp_path / "a.mp4").write(frame)
    assert os.listdir(tmp_path) == []


def test_a_frame_of_another_size_is_refused(tmp_path):
    with pytest.raises(VideoError, match=r"changed from \(48, 64, 3\) to \(64, 48, 3\)"):
        record(tmp_path / "a.mp4", [noise(), noise(64, 48)])
    assert os.listdir(tmp_path) == []


def test_an_encoder_that_was_killed_is_one_line_and_leaves_nothing(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4")
    writer.write(noise())
    os.kill(writer._process.pid, signal.SIGKILL)
    writer._process.wait()
    with contextlib.suppress(VideoError):
        for _ in range(10_000):  # far more than waits in the queue
            writer.write(noise())
    with pytest.raises(VideoError, match=r"a\.mp4: the encoder was killed by signal 9$"):
        writer.write(noise())
    writer.abort()
    with pytest.raises(VideoError, match="signal 9"):
        writer.wait()
    assert os.listdir(tmp_path) == []


def test_a_directory_that_was_deleted_while_recording_is_one_line(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    writer = VideoWriter(folder / "a.mp4")
    writer.write(noise())
    shutil.rmtree(folder)
    with pytest.raises(VideoError, match=r"^cannot write .*/films/a\.mp4: [^\n]*$"):
        writer.close()


def test_a_missing_encoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: "/nowhere/ffmpeg")
    video.encoder.cache_clear()
    with pytest.raises(VideoError, match="no video encoder: /nowhere/ffmpeg"):
        VideoWriter(tmp_path / "a.mp4").write(noise())
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(VideoError, match="pip install imageio-ffmpeg"):
        video.encoder()


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, r"[\d.]+ MB are free"),
        (errno.EDQUOT, "delete some of your own files"),
        (errno.EFBIG, "`ulimit -f`"),
    ],
)
def test_an_encoder_without_room_or_quota_is_told_as_the_system_has_it(
    tmp_path, monkeypatch, number, told
):
    encoder = tmp_path / "ffmpeg"
    encoder.write_text(f'#!/bin/sh\necho "a.mp4: {os.strerror(number)}" >&2\nexit 1\n')
    encoder.chmod(0o755)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(encoder))
    video.encoder.cache_clear()
    try:
        with pytest.raises(VideoError, match=rf"a\.mp4: {os.strerror(number)}; {told}"):
            record(tmp_path / "a.mp4", [noise()] * 3)
    finally:
        video.encoder.cache_clear()


@pytest.fixture
def small_disk(tmp_path):
    """A directory on a disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk can only be mounted by root on Linux")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_full_disk_is_one_line_with_the_free_space_and_leaves_nothing(small_disk, suffix):
    path = small_disk / f"a{suffix}"
    with pytest.raises(VideoError) as error:
        record(path, (noise(240, 320, seed=n) for n in range(100)))
    assert str(error.value) == f"cannot write {path}: No space left on device; 0.0 MB are free"
    assert os.listdir(small_disk) == []


@pytest.mark.parametrize("filler", range(780_000, 860_000, 16_000))
def test_a_disk_that_fills_up_near_the_end_leaves_a_whole_video_or_none(small_disk, filler):
    (small_disk / "filler").write_bytes(bytes(filler))
    path = small_disk / "a.mp4"
    try:
        record(path, [noise(64, 96, seed=n) for n in range(24)])
    except VideoError:
        assert os.listdir(small_disk) == ["filler"]
    else:
        assert count_frames_and_secs(path)[0] == 24


# Records videos of 40 frames on and on; says what it does.
RECORDS = """
import sys
from pathlib import Path
import numpy as np
from gym_loop.observers.video import VideoWriter
stream = np.random.default_rng(0)
frames = [stream.integers(0, 255, (96, 128, 3), dtype=np.uint8) for _ in range(40)]
closing = []
for number in range(100_000):
    writer = VideoWriter(Path(sys.argv[1]) / f"episode-{number:06d}.mp4")
    for frame in frames:
        writer.write(frame)
        if frame is frames[0]:
            print(writer._process.pid, flush=True)
    writer.finish()
    closing.append(writer)
    if len(closing) > 1:
        closing.pop(0).wait()
"""


@pytest.mark.slow
def test_after_kills_of_the_process_group_every_visible_video_is_whole(tmp_path):
    unfinished = 0
    for kill in range(10):
        process = start(RECORDS, tmp_path)
        encoders = [int(process.stdout.readline()) for _ in range(3)]
        time.sleep(0.013 * kill)
        os.killpg(process.pid, signal.SIGKILL)
        encoders += [int(pid) for pid in process.communicate()[0].split()]
        for path in tmp_path.glob("[!.]*"):
            assert count_frames_and_secs(path)[0] == 40
            path.unlink()
        wait_until(lambda: all(map(has_ended, encoders)))  # noqa: B023
        assert not list(tmp_path.glob("[!.]*")), "an encoder alone must not finish a video"
        unfinished += len(list(tmp_path.iterdir()))
        remove_leftovers(tmp_path)
        assert os.listdir(tmp_path) == []
    assert unfinished >= 10


def test_an_interrupt_from_the_terminal_leaves_the_encoder_alone(tmp_path):
    script = """
import signal, sys, numpy as np
from gym_loop.observers.video import VideoWriter
frame = np.zeros((48, 64, 3), np.uint8)
with VideoWriter(sys.argv[1]) as writer:
    try:
        writer.write(frame)
        print("ready", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        writer.write(frame)
"""
    process = start(script, tmp_path / "a.mp4")
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    assert process.returncode == 0
    assert count_frames_and_secs(tmp_path / "a.mp4")[0] == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_that_was_forked_while_recording_does_not_hold_the_encoder_up(tmp_path):
    # Not forked from this process: who knows what threads it has.
    script = """
import os, signal, sys, numpy as np
from gym_loop.observers.video import VideoWriter
with VideoWriter(sys.argv[1]) as writer:
    writer.write(np.zeros((48, 64, 3), np.uint8))
    if not (child := os.fork()):
        signal.pause()
print("closed")
os.kill(child, signal.SIGKILL)
"""
    process = start(script, tmp_path / "a.mp4")
    try:
        assert process.communicate(timeout=20)[0] == "closed\n"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert count_frames_and_secs(tmp_path / "a.mp4")[0] == 1


def test_cleaning_up_spares_results_other_files_and_videos_in_the_making(tmp_path):
    left_by_a_killed_process(tmp_path / "episode-000001.mp4").touch()
    (tmp_path / ".tmp-00-episode-000001.mp4").touch()  # somebody else's
    (tmp_path / ".tmp-00-results.csv").touch()
    (tmp_path / "b.mp4").touch()
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for _ in range(300):
            writer.write(noise())
        # Until the encoder has opened the file, it would just make it again.
        wait_until(lambda: writer._temporary.stat().st_size)
        remove_leftovers(tmp_path)
    others = [".tmp-00-episode-000001.mp4", ".tmp-00-results.csv"]
    assert sorted(os.listdir(tmp_path)) == [*others, "a.mp4", "b.mp4"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("a.avi", r"unknown video format '\.avi' of .*a\.avi; known are \.mp4, \.gif"),
        ("a", "unknown video format ''"),
        ("missing/a.mp4", "there is no directory"),
        ("folder.mp4", "it is a directory"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_anything_is_played(tmp_path, path, says):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ValueError, match=says) as error:
        check_path(tmp_path / path)
    assert "\n" not in str(error.value)


def test_a_directory_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(ValueError, match="no permission to write in"):
        check_path(tmp_path / "a.mp4")


@pytest.mark.parametrize("width", [1, 8, 32, 64, 119, 120, 160, 256, 500, 600, 1920])
def test_a_caption_is_below_the_frame_and_of_constant_height(width):
    frame = noise(50, width)
    shown = [
        caption(frame, f"episode {n}  step {n}  return -{n}.5") for n in (0, 87, 12_345, 10**9)
    ]
    assert {image.shape for image in shown} == {shown[0].shape}
    assert all((image[:50] == frame).all() for image in shown)
    if width >= 32:
        assert all(image[50:].max() > 200 for image in shown)


@pytest.mark.parametrize("width", [160, 256, 500, 600, 1920])
def test_a_caption_fits_the_frame(width):
    strip = caption(noise(50, width), TEXT)[50:]
    assert not strip[:, -2:].any()
    used = np.flatnonzero(strip.any(axis=(0, 2)))
    assert used[-1] > width / 3


def test_what_does_not_fit_is_shortened_as_little_as_needed():
    def fit(room):
        return captions._fit(TEXT, lambda text: len(text) <= room)

    assert fit(40) == TEXT
    assert fit(30) == "ep 12 step 87 ret -312.4"
    assert fit(20) == "e12 s87 r-312.4"
    assert fit(6) == "e12 s…"
    assert fit(0) == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
def test_a_recording_of_20000_frames_takes_little_memory_and_has_them_all(tmp_path):
    def peak(pid):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1000

    record(tmp_path / "warm.mp4", [noise()])
    frames = [noise(400, 600, seed=n) // 64 * 64 for n in range(4)]
    before = peak("self")
    writer = VideoWriter(tmp_path / "a.mp4")
    for n in range(20_000):
        frame = np.full((400, 600, 3), 255, np.uint8)
        frame[:40, :40] = frames[n % 4][:40, :40]
        writer.write(frame)
    encoders = peak(writer._process.pid)
    assert peak("self") - before + encoders < 100
    writer.close()
    assert count_frames_and_secs(tmp_path / "a.mp4")[0] == 20_000


def test_of_two_runs_that_film_one_episode_at_once_the_second_leaves_the_film_of_the_first(
    tmp_path,
):
    frame = np.zeros((16, 16, 3), np.uint8)
    writers = [VideoWriter(tmp_path / "episode-000000.mp4") for _ in range(2)]
    for count, writer in enumerate(writers, 1):
        writer.is_new = True
        for _ in range(count):
            writer.write(frame)
    writers[0].close()
    film = (tmp_path / "episode-000000.mp4").read_bytes()
    with pytest.raises(VideoError, match="left alone"):
        writers[1].close()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [film]
