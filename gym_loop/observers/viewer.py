"""A window that shows episodes while they are played."""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from gym_loop.loops import BaseLoop, Episode
from gym_loop.mistake import Mistake
from gym_loop.observers import Observer

if TYPE_CHECKING:
    from gym_loop.observers.video import Camera, Frame, VideoError

log = logging.getLogger(__name__)

NO_DISPLAY = (
    "no display for loop.render or loop.eval_render: use loop.record=true or "
    "loop.eval_record=true, or run under xvfb-run"
)


class Viewer(Observer):
    """Shows episodes in a window, in real time; wraps the environment of those it shows.

    `render` is for training, `eval_render` for evaluation. An environment whose render_mode is
    "human" opens its own window. When the person closes the window, training goes on.
    """

    def __init__(self) -> None:
        self.asked = False  # for a window
        self.window = Window()
        self.camera: Camera | None = None
        self.closed = False

    def listens(self, event: str) -> bool:
        """Return whether there is anything to do: at episodes only if some are to be shown."""
        return super().listens(event) and (event == "begin" or self.asked)

    def open(self, cfg: DictConfig, directory: Path) -> None:
        """Look for a display before the environment is made.

        Without a display, making an environment may set SDL's driver to one that draws into memory;
        after that nobody can tell that the user did not ask for it.

        Raises:
            Mistake: a window is asked for and there is no display.
        """
        if _wanted(cfg.loop):
            check_display()

    def begin(self, loop: BaseLoop) -> None:
        """Look for a display before anything is played, also where `open` was not called.

        Raises:
            Mistake: a window is asked for and there is no display.
        """
        self.asked = _wanted(loop.parameters)
        if self.asked and not _draws_itself(loop.env):
            check_display()

    def begin_episode(self, loop: BaseLoop, episode: Episode) -> None:
        """Start to show the episode, if it is to be shown."""
        wanted = loop.parameters.get("render" if episode.training else "eval_render")
        if not wanted or self.closed or _draws_itself(episode.env):
            return
        from gym_loop.observers.video import Camera, env_name, frames_per_second

        what = "episode" if episode.training else "evaluation episode"
        self.window.title = f"{env_name(episode.env)}, {what} {episode.index}"
        self.window.fps = frames_per_second(episode.env)
        self.camera = Camera.watch(episode, self._receive)

    def end_episode(self, loop: BaseLoop, episode: Episode) -> None:
        """Stop watching the environment; the window stays open for the next episode."""
        if self.camera:
            self.camera.unwatch(self._receive)
            self.camera = None

    def close(self, error: BaseException | None) -> None:
        self.window.close()

    def _receive(self, frame: "Frame | VideoError") -> None:
        from gym_loop.observers.video import VideoError

        try:
            if isinstance(frame, VideoError):
                raise frame
            if self.window.show(frame):
                return
            log.info("the window was closed; training goes on")
        except VideoError as error:
            log.warning("%s; training goes on without a window", error)
        self.closed = True
        if self.camera:
            self.camera.unwatch(self._receive)
        self.window.close()


class Window:
    """A window for frames, paced at `fps` frames a second."""

    def __init__(self) -> None:
        self.title, self.fps = "", 30.0
        self._surface: Any = None
        self._clock: Any = None

    def show(self, frame: "Frame") -> bool:
        """Show a frame, uint8 of shape (height, width, 3), at most `fps` of them a second.

        Returns:
            False when the person has closed the window.

        Raises:
            VideoError: a window cannot be opened.
        """
        import pygame

        size = (frame.shape[1], frame.shape[0])
        # An environment may quit pygame when it closes, and its frames may change in size.
        lost = self._surface is None or pygame.display.get_surface() is None
        if lost or self._surface.get_size() != size:
            try:
                pygame.display.init()
                self._surface = pygame.display.set_mode(size)
            except pygame.error as error:
                from gym_loop.observers.video import VideoError

                raise VideoError(f"no window: {error}") from error
            self._clock = pygame.time.Clock()
        pygame.display.set_caption(self.title)
        self._surface.blit(pygame.image.frombuffer(frame.tobytes(), size, "RGB"), (0, 0))
        pygame.display.flip()
        self._clock.tick(self.fps)
        return not any(event.type == pygame.QUIT for event in pygame.event.get())

    def close(self) -> None:
        """Close the window, if it is open."""
        if self._surface is not None:
            import pygame

            pygame.display.quit()
            self._surface = None


def check_display() -> None:
    """Get a display ready.

    Raises:
        Mistake: there is none.
    """
    displays = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in displays):
        raise Mistake(NO_DISPLAY)  # instead of SDL's own, longer message
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    # Otherwise SDL handles SIGTERM by closing the window, and the process goes on.
    os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")
    import pygame

    try:
        pygame.display.init()
    except pygame.error as error:
        raise Mistake(NO_DISPLAY) from error
    # SDL draws into memory when the display does not answer.
    if pygame.display.get_driver() == "offscreen":
        pygame.display.quit()
        raise Mistake(NO_DISPLAY)


def _wanted(parameters: Any) -> bool:
    return bool(parameters.get("render") or parameters.get("eval_render"))


def _draws_itself(env: Any) -> bool:
    return getattr(env, "render_mode", None) == "human"
