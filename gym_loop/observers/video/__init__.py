"""Frames of an environment, captions below them, and video files."""

from gym_loop.observers.video.camera import (
    Camera,
    Frame,
    VideoError,
    env_name,
    frames_per_second,
    render,
)
from gym_loop.observers.video.captions import caption
from gym_loop.observers.video.writer import VideoWriter, check_path, encoder, remove_leftovers

__all__ = [
    "Camera",
    "Frame",
    "VideoError",
    "VideoWriter",
    "caption",
    "check_path",
    "encoder",
    "env_name",
    "frames_per_second",
    "remove_leftovers",
    "render",
]
