"""Moving pictures from rows: small files that are equal where the frames are."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from agents import records

__all__ = ["frame", "save_frames"]

SHADES = 64
"""colours of a file, so that it stays small"""


def frame(figure: Figure) -> Image.Image:
    """What a figure shows now."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return Image.open(drawn).convert("RGB")


def save_frames(frames: Iterable[Image.Image], path: Path, *, seconds: float, last: float) -> Path:
    """Write frames as GIF that begins again after its end.

    Args:
        frames: pictures of one size; colours are those of the last.
        path: of the file; it changes only where a frame does.
        seconds: how long a frame is shown.
        last: how long the last one is.

    Raises:
        ValueError: no frames.
    """
    kept = list(frames)
    if not kept:
        raise ValueError("an animation needs at least one frame, got none")
    palette = kept[-1].quantize(SHADES)
    small = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in kept]
    durations = [round(1000 * seconds)] * (len(small) - 1) + [round(1000 * last)]
    packed = io.BytesIO()
    small[0].save(packed, format="gif", save_all=True, append_images=small[1:], duration=durations, loop=0)
    if not path.exists() or path.read_bytes() != packed.getvalue():
        records.write_atomically(path, packed.getvalue())
    return path
