"""The frames of an environment, rendered once for all observers that want them."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gym_loop.mistake import summary_of
from gym_loop.proxy import Wrapper

Frame = npt.NDArray[np.uint8]  # (height, width, 3), RGB


class VideoError(RuntimeError):
    """A frame or a video cannot be made; the message is one line and says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def frames_per_second(env: Any) -> float:
    """Return the real-time frame rate of `env`, from its metadata; 30 where it has none."""
    rate: Any = (getattr(env, "metadata", None) or {}).get("render_fps")
    with contextlib.suppress(TypeError, ValueError):
        if 0 < float(rate) < math.inf:
            return float(rate)
    return 30.0


def env_name(env: Any) -> str:
    """Return the id of `env`, or the name of its class."""
    spec = getattr(env, "spec", None)
    return getattr(spec, "id", None) or type(getattr(env, "unwrapped", env)).__name__


def render(env: Any) -> Frame:
    """Return the current frame of `env`.

    Raises:
        VideoError: it has none, or cannot draw.
    """
    try:
        frame = env.render()
    except Exception as error:
        raise VideoError(
            f"{env_name(env)} cannot render: {summary_of(error)}; if it "
            "needs a display or OpenGL, run under xvfb-run or set MUJOCO_GL=egl (or osmesa)"
        ) from error
    if frame is None:
        mode = getattr(env, "render_mode", None)
        raise VideoError(
            f"{env_name(env)} gives no frames: its render_mode is {mode!r}; make it with "
            "render_mode='rgb_array', or set record=false and render=false"
        )
    return checked_frame(frame)


def checked_frame(frame: Any) -> Frame:
    """Return `frame` as an array.

    Raises:
        VideoError: it is not uint8 (height, width, 3).
    """
    array = np.asarray(frame)
    if array.dtype != np.uint8 or array.shape[2:] != (3,) or not array.size:
        raise VideoError(
            f"a frame has type {array.dtype} and shape {array.shape}; "
            "expected uint8 and (height, width, 3)"
        )
    return array


# Takes a frame, or the reason why there is none.
Receiver = Callable[[Frame | VideoError], None]


class Camera(Wrapper):
    """An episode's environment, one `render()` a step for all who want the frames."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.receivers: list[Receiver] = []

    def reset(self, **arguments: Any) -> Any:
        """Reset the environment, and show it."""
        result = self.env.reset(**arguments)
        self.show()
        return result

    def step(self, action: Any) -> Any:
        """Step the environment, and show it."""
        result = self.env.step(action)
        self.show()
        return result

    def show(self) -> None:
        """Hand the current frame to every receiver; a receiver may take itself off the list."""
        if not self.receivers:
            return
        frame: Frame | VideoError
        try:
            frame = render(self.env)
        except VideoError as error:
            frame = error
        for receive in tuple(self.receivers):
            receive(frame)

    @classmethod
    def watch(cls, episode: Any, receive: Receiver) -> "Camera":
        """Have `receive` called with each frame of an episode, by its camera or a new one."""
        if type(episode.env) is not cls:
            episode.env = cls(episode.env)
        camera: Camera = episode.env
        camera.receivers.append(receive)
        return camera

    def unwatch(self, receive: Receiver) -> None:
        """Undo `watch`."""
        if receive in self.receivers:
            self.receivers.remove(receive)
