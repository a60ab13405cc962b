"""Frames and windows, with and without a display."""

import copy
import pickle

import numpy as np
import pytest

from gym_loop.envs import EnvError, make_gym, make_gymnasium

IDS = [
    "Pendulum-v1",
    "CartPole-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Acrobot-v1",
    "FrozenLake-v1",
    "Taxi-v3",
    "CliffWalking-v0",
    "Blackjack-v1",
]


@pytest.fixture
def no_display(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "")  # so that it is put back whatever the maker does
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)


def played(env, steps=3):
    """Return `env` after at most `steps` steps of one seeded episode, rendered at each."""
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(steps):
        env.render()
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            break
    return env


@pytest.mark.parametrize("id", IDS)
def test_frames_are_drawn_without_a_display_also_after_a_float32_action(id, no_display):
    frame = played(make_gym(id, render_mode="rgb_array")).render()
    assert frame.dtype == np.uint8
    assert frame.shape[2:] == (3,)
    assert len(np.unique(frame)) > 1


@pytest.mark.parametrize("id", IDS)
def test_a_window_opens_where_there_is_a_display(id, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = played(make_gym(id, render_mode="human"), steps=1)
    import pygame

    assert pygame.display.get_surface() is not None
    env.close()


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"]
)
def test_an_environment_that_has_drawn_can_be_copied_and_draws_on(id, twin, no_display):
    env = played(make_gym(id, render_mode="rgb_array"))
    other = twin(env)
    assert np.array_equal(other.render(), env.render())
    assert np.array_equal(played(other).render(), played(env).render())


def test_a_display_is_used_where_there_is_one(monkeypatch):
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    make_gym("CartPole-v1", render_mode="rgb_array")
    import os

    assert "SDL_VIDEODRIVER" not in os.environ


def test_frames_can_be_collected():
    env = played(make_gym("CartPole-v1", render_mode="rgb_array_list"))
    assert [frame.shape for frame in env.render()] == [(400, 600, 3)]


@pytest.mark.parametrize(
    ("id", "mode", "message"),
    [
        (
            "Pendulum-v1",
            "ansi",
            "Pendulum-v1 cannot render in mode 'ansi': it offers human, rgb_array",
        ),
        (
            "FrozenLake-v1",
            "rgb",
            "FrozenLake-v1 cannot render in mode 'rgb': it offers human, ansi, rgb_array",
        ),
    ],
)
def test_a_mode_that_is_not_offered_is_named_with_those_that_are(id, mode, message):
    with pytest.raises(EnvError) as raised:
        make_gym(id, render_mode=mode)
    assert str(raised.value) == message


def test_a_mode_is_checked_also_where_a_function_makes_the_environment(register):
    make_gym("CartPole-v1")
    from gym.envs.classic_control import CartPoleEnv

    id = register(lambda render_mode=None: CartPoleEnv(render_mode))
    with pytest.raises(EnvError, match=r"^ThirdParty-v0 cannot render in mode 'ansi'"):
        make_gym(id, render_mode="ansi")


def test_gymnasium_draws_frames_and_names_a_wrong_mode(no_display):
    pytest.importorskip("gymnasium")
    env = played(make_gymnasium("CartPole-v1", render_mode="rgb_array"))
    assert np.array_equal(pickle.loads(pickle.dumps(env)).render(), env.render())
    with pytest.raises(EnvError, match=r"offers human, rgb_array$"):
        make_gymnasium("CartPole-v1", render_mode="ansi")
