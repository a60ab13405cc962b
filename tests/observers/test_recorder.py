"""Recordings: the right episodes, whole, and never at the cost of the training."""

import copy
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gym.spaces import Discrete
from imageio_ffmpeg import count_frames_and_secs

from gym_loop.loops import DefaultLoop
from gym_loop.observers import Observer, video
from gym_loop.observers import recorder as module
from gym_loop.observers.recorder import Recorder
from tests.conftest import left_by_a_killed_process
from tests.sample_agents import Still


class Env:
    """Counts; an episode lasts `length` steps. `draw` replaces what `render` returns."""

    metadata = MappingProxyType({"render_fps": 25})
    render_mode = "rgb_array"
    action_space = Discrete(2)

    def __init__(self, length=5, draw=None):
        self.length, self.draw, self.rendered, self.count = length, draw, 0, 0

    def reset(self, seed=None):
        self.count = 0
        return 0, {}

    def step(self, action):
        self.count += 1
        return self.count, 1.0, self.count >= self.length, False, {}

    def render(self):
        self.rendered += 1
        if self.draw:
            return self.draw(self)
        return np.full((32, 48, 3), 40 * self.count % 256, np.uint8)

    def close(self):
        pass


def make(directory, env=None, agent=None, **parameters):
    """Return a loop with a recorder, as a launch would have it in `directory`."""
    loop = DefaultLoop(agent or Still(), env or Env(), **parameters)
    loop.directory, loop.observers = directory, {"recorder": Recorder()}
    return loop


def play(directory, env=None, evaluations=0, agent=None, **parameters):
    """Train and evaluate a loop with a recorder in `directory`; return the loop."""
    loop = make(directory, env, agent, **parameters)
    error = None
    try:
        loop.notify("begin", loop)
        loop.train()
        for _ in range(evaluations):
            loop.evaluate()
    except BaseException as failure:
        error = failure
        raise
    finally:
        loop.notify("close", error)
    return loop


def lengths(folder):
    """Return the number of frames of each video in `folder`."""
    return {name: count_frames_and_secs(folder / name)[0] for name in sorted(os.listdir(folder))}


def warnings(caplog):
    return [entry.message for entry in caplog.records if entry.levelno >= logging.WARNING]


def test_each_recorded_episode_has_a_frame_of_its_reset_and_of_each_step(tmp_path):
    play(tmp_path, Env(7), record=True, max_episodes=2)
    assert lengths(tmp_path / "episode_records") == {
        "episode-000000.mp4": 8,
        "episode-000001.mp4": 8,
    }


def test_record_every_chooses_episodes_and_record_dir_the_place(tmp_path):
    env = Env()
    play(tmp_path, env, record=True, record_every=3, record_dir="films", max_episodes=7)
    assert os.listdir(tmp_path) == ["films"]
    assert list(lengths(tmp_path / "films")) == [f"episode-00000{n}.mp4" for n in (0, 3, 6)]
    assert env.rendered == 3 * 6, "episodes that are not recorded are not drawn"


def test_what_is_recorded_can_be_wrapped_and_copied_by_another_observer(tmp_path):
    class Counted(gymnasium.Env):
        metadata = MappingProxyType({"render_fps": "odd"})
        action_space, observation_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(9)
        render_mode = "rgb_array"

        def reset(self, seed=None, options=None):
            self.count = 0
            return 0, {}

        def step(self, action):
            self.count += 1
            return self.count, 1.0, self.count > 3, False, {}

        def render(self):
            return np.zeros((32, 48, 3), np.uint8)

    class Wrapping(Observer):
        def begin_episode(self, loop, episode):
            copies.append(copy.deepcopy(episode).env.reset())
            episode.env = gymnasium.wrappers.TransformReward(episode.env, lambda reward: 2 * reward)

    copies = []
    loop = make(tmp_path, Counted(), record=True, max_episodes=1)
    loop.observers["wrapping"] = Wrapping()
    loop.notify("begin", loop)
    assert loop.play(0, True).rewards == [2.0] * 4
    loop.notify("close", None)
    assert lengths(tmp_path / "episode_records") == {"episode-000000.mp4": 5}
    assert copies == [(0, {})]


def test_evaluations_are_numbered_through_the_run_and_go_to_their_own_place(tmp_path):
    play(tmp_path, evaluations=2, eval_record=True, eval_episodes=2, eval_record_dir="e")
    assert os.listdir(tmp_path) == ["e"]
    assert list(lengths(tmp_path / "e")) == [f"episode-00000{n}.mp4" for n in range(4)]


def test_nothing_is_drawn_written_or_imported_when_nothing_is_recorded(tmp_path):
    env = Env()
    play(tmp_path, env, evaluations=1)
    assert env.rendered == 0
    assert os.listdir(tmp_path) == []
    heavy = "gym_loop.observers.video", "imageio_ffmpeg", "PIL", "pygame"
    code = (
        f"import sys, gym_loop.observers.recorder; print([m for m in {heavy} if m in sys.modules])"
    )
    root = Path(module.__file__).parents[2]
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True
    ).stdout
    assert out == "[]\n"


def test_the_frame_rate_is_the_environments_own(tmp_path):
    play(tmp_path, Env(49), record=True, max_episodes=1)
    assert count_frames_and_secs(tmp_path / "episode_records/episode-000000.mp4") == (50, 2.0)


@pytest.mark.parametrize("metadata", [{}, None, {"render_fps": None}, {"render_fps": 0}])
def test_without_a_frame_rate_it_is_30(metadata):
    assert video.frames_per_second(SimpleNamespace(metadata=metadata)) == 30
    assert video.frames_per_second(object()) == 30


def test_an_episode_that_is_played_again_replaces_its_video(tmp_path):
    play(tmp_path, Env(9), record=True, max_episodes=1)
    play(tmp_path, Env(3), record=True, max_episodes=1)
    assert lengths(tmp_path / "episode_records") == {"episode-000000.mp4": 4}


def test_a_start_removes_what_a_killed_run_left(tmp_path):
    for folder in ("episode_records", "eval_records"):
        (tmp_path / folder).mkdir()
        left_by_a_killed_process(tmp_path / folder / "episode-000004.mp4").touch()
    play(tmp_path)
    assert [os.listdir(folder) for folder in tmp_path.iterdir()] == [[], []]


def test_an_episode_that_fails_leaves_no_video_and_earlier_ones_are_whole(tmp_path):
    class Fails(Still):
        def act(self, state, episode_num):
            return 1 / 0 if episode_num == 2 and state == 3 else 0

    with pytest.raises(ZeroDivisionError):
        play(tmp_path, agent=Fails(), record=True)
    assert lengths(tmp_path / "episode_records") == {
        "episode-000000.mp4": 6,
        "episode-000001.mp4": 6,
    }


def test_training_goes_on_while_an_encoder_finishes_and_few_encoders_run_at_once(
    tmp_path, monkeypatch
):
    running = []

    class Counted(video.VideoWriter):
        def __init__(self, *args):
            running.append(self)
            super().__init__(*args)

        def write(self, frame):
            super().write(frame)
            assert sum(not writer.done for writer in running) <= module.MAX_ENCODERS

    monkeypatch.setattr(video, "VideoWriter", Counted)
    play(tmp_path, record=True, max_episodes=12)
    assert set(lengths(tmp_path / "episode_records").values()) == {6}
    assert len(running) == 12


def no_encoder(monkeypatch):
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: "/nowhere/ffmpeg")
    video.encoder.cache_clear()


def test_a_missing_encoder_is_said_once_before_anything_is_played(tmp_path, monkeypatch, caplog):
    no_encoder(monkeypatch)
    env = Env()
    loop = make(tmp_path, env, record=True)
    loop.notify("begin", loop)
    [message] = warnings(caplog)
    assert message.startswith("no video encoder: /nowhere/ffmpeg")
    loop.train()
    loop.notify("close", None)
    assert loop.episodes == 5
    assert len(warnings(caplog)) == 1
    assert env.rendered == 0


def test_an_encoder_that_fails_is_said_once_and_later_episodes_are_tried_again(
    tmp_path, monkeypatch, caplog
):
    write = video.VideoWriter.write

    def fail_at_first(self, frame):
        if self.path.stem in ("episode-000000", "episode-000001") and self._thread:
            self._process.kill()
            self._process.wait()
        write(self, frame)

    monkeypatch.setattr(video.VideoWriter, "write", fail_at_first)
    loop = play(tmp_path, record=True, max_episodes=4)
    assert loop.episodes == 4
    assert list(lengths(tmp_path / "episode_records")) == [
        "episode-000002.mp4",
        "episode-000003.mp4",
    ]
    [message] = warnings(caplog)
    assert "killed by signal 9; training goes on" in message


def test_a_full_disk_is_said_once_and_training_goes_on(tmp_path, caplog):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root on Linux")
    try:
        stream = np.random.default_rng(0)
        env = Env(60, lambda env: stream.integers(0, 255, (240, 320, 3), dtype=np.uint8))
        loop = play(disk, env, record=True, max_episodes=3)
        assert loop.steps == 180
        assert lengths(disk / "episode_records") == {}
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    [message] = warnings(caplog)
    assert re.search(r"No space left on device; \d\.\d MB are free; training goes on", message)


def test_a_directory_that_cannot_be_made_is_said_once(tmp_path, caplog):
    (tmp_path / "file").touch()
    assert play(tmp_path, record=True, record_dir="file").episodes == 5
    [message] = warnings(caplog)
    assert "file" in message


def test_an_environment_without_frames_is_named_with_its_render_mode_and_the_fix(tmp_path, caplog):
    env = Env(draw=lambda env: None)
    env.render_mode = None
    assert play(tmp_path, env, record=True).episodes == 5
    [message] = warnings(caplog)
    assert message.startswith("Env gives no frames: its render_mode is None")
    assert "rgb_array" in message
    assert lengths(tmp_path / "episode_records") == {}
    assert env.rendered == 1, "what cannot be drawn is not asked for again"


def test_an_evaluation_that_cannot_be_recorded_is_said_before_anything_is_played(tmp_path, caplog):
    def fails(env):
        raise RuntimeError("no renderer")

    loop = make(tmp_path, Env(), eval_record=True)
    made = []
    loop.make_eval_env = lambda: made.append(Env(draw=fails)) or made[-1]
    before = np.random.get_state()[1].tolist()
    loop.notify("begin", loop)
    [message] = warnings(caplog)
    assert "no renderer" in message
    assert loop.env.rendered == 0
    assert np.random.get_state()[1].tolist() == before
    loop.train()
    loop.evaluate()
    loop.notify("close", None)
    assert loop.evaluated == 10
    assert len(warnings(caplog)) == 1
    assert [env.rendered for env in made] == [1, 0]


def test_an_environment_that_cannot_draw_is_one_line_with_the_fix(tmp_path, caplog):
    def fails(env):
        raise RuntimeError("gladLoadGL error\nno context")

    assert play(tmp_path, Env(draw=fails), record=True).episodes == 5
    [message] = warnings(caplog)
    assert "RuntimeError: gladLoadGL error no context" in message
    assert "MUJOCO_GL=egl" in message
    assert "\n" not in message


def test_a_recording_in_a_folder_that_is_shared_is_not_written_over(launch, tmp_path):
    shared = tmp_path / "shared"
    words = ("env=cartpole", "loop.max_episodes=2", "loop.record=true", "loop.eval_episodes=0")
    words = (*words, "loop.max_episode_len=3", f"loop.record_dir={shared}")
    launch("agent=random", *words, directory="one")
    before = {file.name: file.read_bytes() for file in shared.iterdir()}
    assert set(before) == {"episode-000000.mp4", "episode-000001.mp4"}
    two = launch("agent=random", "seed=1", *words, directory="two")
    assert {file.name: file.read_bytes() for file in shared.iterdir()} == before
    said = json.loads((two / "run.json").read_text())["warnings"]
    assert len(said) == 1
    assert "may be another run's" in said[0]
