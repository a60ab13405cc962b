"""Captions below frames; Pillow is imported with the first one."""

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from gym_loop.observers.video.camera import Frame

NARROW = 120  # pixels: below it, each part of a caption has a line of its own
MARGIN = 3


def caption(frame: Frame, text: str) -> Frame:
    """Return `frame` with a strip below that shows `text`.

    The strip's height depends on the frame's width and on the number of parts of `text` alone.

    Args:
        frame: uint8 (height, width, 3).
        text: parts set apart by two spaces, `episode 12  step 87  return -312.4`; what does not
            fit is shortened.

    Returns:
        uint8 (height + strip, width, 3), a new array.
    """
    from PIL import Image, ImageDraw

    height, width, _ = frame.shape
    font = _font(min(48, max(12, width // 26)))
    lines = text.split("  ") if width < NARROW else [text]
    line_height = sum(font.getmetrics())
    strip = Image.new("L", (width, line_height * len(lines) + 2 * MARGIN))
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        fitting = _fit(line, lambda text: font.getlength(text) <= width - 2 * MARGIN)
        draw.text((MARGIN, MARGIN + number * line_height), fitting, 255, font)
    out = np.empty((height + strip.height, width, 3), np.uint8)
    out[:height] = frame
    out[height:] = np.asarray(strip)[..., None]
    return out


@functools.cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _fit(line: str, fits: Callable[[str], bool]) -> str:
    """Return `line` in the longest form that `fits`: shorter words, initials, or its start."""
    short = re.sub(" +", " ", line.replace("episode", "ep").replace("return", "ret"))
    initials = re.sub(r"([A-Za-z])[A-Za-z]* *", r"\1", short)
    cut = (initials[:end] + "…" for end in range(len(initials) - 1, 0, -1))
    return next((form for form in (line, short, initials, *cut) if fits(form)), "")
