"""The window: shown, paced, closed by the person, and never needed when there is no display."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
from gym.spaces import Discrete
from imageio_ffmpeg import count_frames_and_secs

from gym_loop.loops import DefaultLoop
from gym_loop.mistake import Mistake
from gym_loop.observers import viewer
from gym_loop.observers.recorder import Recorder
from gym_loop.observers.viewer import Viewer
from tests.sample_agents import Still


class Env:
    """Counts; five steps an episode; frames are as bright as the count."""

    metadata = MappingProxyType({"render_fps": 1000})
    spec = SimpleNamespace(id="Count-v0")
    action_space = Discrete(2)

    def __init__(self, render_mode="rgb_array", on_step=None):
        self.render_mode, self.on_step, self.rendered, self.count = render_mode, on_step, 0, 0

    def reset(self, seed=None):
        self.count = 0
        return 0, {}

    def step(self, action):
        self.count += 1
        if self.on_step:
            self.on_step(self)
        return self.count, 1.0, self.count >= 5, False, {}

    def render(self):
        self.rendered += 1
        return np.full((32, 48, 3), 40 * self.count, np.uint8)

    def close(self):
        pass


@pytest.fixture
def pygame(monkeypatch):
    """Pygame, drawing into memory."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import pygame

    pygame.display.quit()
    yield pygame
    pygame.display.quit()


def play(env, evaluate=False, observers=None, directory=None, **parameters):
    """Train a loop with a viewer, or these observers, and return it."""
    loop = DefaultLoop(Still(), env, **parameters)
    loop.observers, loop.directory = observers or {"viewer": Viewer()}, directory
    try:
        loop.notify("begin", loop)
        loop.train()
        if evaluate:
            loop.evaluate()
    finally:
        loop.notify("close", None)
    return loop


def test_the_window_shows_each_frame_under_the_environments_name_and_episode(pygame):
    seen = []

    def look(env):  # at what the previous step has left on the screen
        surface = pygame.display.get_surface()
        seen.append((surface.get_at((20, 20))[0], pygame.display.get_caption()[0]))

    play(Env(on_step=look), render=True, max_episodes=2)
    assert seen == [(40 * n, f"Count-v0, episode {e}") for e in (0, 1) for n in range(5)]
    assert not pygame.display.get_init(), "the window is closed at the end"


def test_render_shows_training_and_eval_render_evaluation(pygame):
    for parameters in ({"render": True}, {"eval_render": True}):
        env = Env()
        play(env, evaluate=True, max_episodes=3, eval_episodes=3, **parameters)
        assert env.rendered == 3 * 6


def test_closing_the_window_ends_the_viewing_and_not_the_training(pygame, caplog):
    caplog.set_level(logging.INFO)

    def close(env):
        if pygame.display.get_init() and env.count == 2:
            pygame.event.post(pygame.event.Event(pygame.QUIT))

    env = Env(on_step=close)
    assert play(env, render=True).episodes == 5
    assert env.rendered == 3
    assert [entry.message for entry in caplog.records] == [
        "the window was closed; training goes on"
    ]


def test_the_window_comes_back_when_an_environment_has_ended_pygame(pygame):
    env = Env(on_step=lambda env: pygame.quit() if env.count == 2 else None)
    assert play(env, render=True, max_episodes=2).episodes == 2
    assert env.rendered == 12


def test_a_display_that_goes_away_ends_the_viewing_and_not_the_training(
    pygame, monkeypatch, caplog
):
    def gone(*_):
        raise pygame.error("the display\nis gone")

    monkeypatch.setattr(pygame.display, "set_mode", gone)
    assert play(Env(), render=True).episodes == 5
    [entry] = caplog.records
    assert entry.message == "no window: the display is gone; training goes on without a window"


def test_an_environment_that_draws_itself_is_left_alone(monkeypatch):
    monkeypatch.setattr(viewer, "check_display", lambda: pytest.fail("no display is needed"))
    env = Env("human")
    assert play(env, render=True).episodes == 5
    assert env.rendered == 0


def test_recording_and_viewing_together_draw_each_frame_once(pygame, tmp_path):
    env = Env()
    observers = {"recorder": Recorder(), "viewer": Viewer()}
    play(env, False, observers, tmp_path, render=True, record=True, max_episodes=2)
    assert env.rendered == 2 * 6
    for n in range(2):
        path = tmp_path / f"episode_records/episode-00000{n}.mp4"
        assert count_frames_and_secs(path)[0] == 6


def test_recording_goes_on_when_the_window_is_closed(pygame, tmp_path):
    def close(env):
        if pygame.display.get_init():
            pygame.event.post(pygame.event.Event(pygame.QUIT))

    observers = {"viewer": Viewer(), "recorder": Recorder()}
    play(Env(on_step=close), False, observers, tmp_path, render=True, record=True, max_episodes=2)
    for n in range(2):
        path = tmp_path / f"episode_records/episode-00000{n}.mp4"
        assert count_frames_and_secs(path)[0] == 6


SHOWS = """
import os, signal, time
from types import MappingProxyType, SimpleNamespace
from gym_loop.mistake import Mistake
from gym_loop.observers.viewer import Viewer
parameters = {PARAMETERS}
loop = SimpleNamespace(parameters=parameters, env=SimpleNamespace(render_mode="rgb_array"))
try:
    if HOOK == "open":
        Viewer().open(SimpleNamespace(loop=parameters), None)
    else:
        Viewer().begin(loop)
except Mistake as mistake:
    print(mistake.message)
else:
    print("shows", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    print("cannot be ended")
"""


def begin(parameters, hook="begin", **extra):
    """Begin a viewer in a process without a display; return what it printed, and exit code."""
    script = SHOWS.replace("PARAMETERS", repr(parameters)[1:-1]).replace("HOOK", repr(hook))
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "XDG_RUNTIME_DIR")
    env = {name: value for name, value in os.environ.items() if name not in hidden} | extra
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(viewer.__file__).parents[2],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()[-1], done.returncode


@pytest.mark.skipif(sys.platform != "linux", reason="macOS always has a display")
@pytest.mark.parametrize("hook", ["open", "begin"])
@pytest.mark.parametrize("parameter", ["render", "eval_render"])
def test_without_a_display_it_says_so_in_one_line_with_the_fix(parameter, hook):
    said, _ = begin({parameter: True}, hook)
    assert said == viewer.NO_DISPLAY
    assert f"loop.{parameter}" in said


@pytest.mark.skipif(sys.platform != "linux", reason="macOS always has a display")
def test_a_launch_without_a_display_ends_before_anything_is_played(tmp_path):
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-m", "gym_loop", "env=cartpole", "loop.render=true"]
    command += ["++observers.viewer._target_=gym_loop.observers.viewer.Viewer"]
    root = str(Path(viewer.__file__).parents[2])
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**env, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"gym-loop: {viewer.NO_DISPLAY}\n"


def test_nothing_is_asked_of_the_display_when_nothing_is_to_be_shown():
    assert begin({"render": False, "record": True})[0] == "shows"


def test_a_window_does_not_keep_the_process_from_being_terminated():
    assert begin({"render": True}, SDL_VIDEODRIVER="dummy") == ("shows", -15)


def test_no_display_is_a_mistake_in_the_request(monkeypatch):
    def none():
        raise Mistake(viewer.NO_DISPLAY)

    monkeypatch.setattr(viewer, "check_display", none)
    with pytest.raises(Mistake):
        play(Env(), render=True)
