"""Write texts on pictures: titles, and the labels of boxes."""

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from .label_places import Array, place_labels

Color: TypeAlias = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK: Color = (0, 0, 0)
_WHITE: Color = (255, 255, 255)


def text_scale(picture: npt.NDArray[np.uint8]) -> float:
    """Return the size of texts: a fortieth of the picture, and never too small."""
    height, width, _ = picture.shape
    return float(np.clip(min(height, width) / 1200, 0.4, 6))


def _weight(scale: float) -> int:
    """Return the thickness of letters in pixels."""
    return max(1, round(1.5 * scale))


def text_size(text: str, scale: float) -> tuple[int, int, int]:
    """Return width, height over the baseline and depth below it, in pixels."""
    (width, height), depth = cv2.getTextSize(text, _FONT, scale, _weight(scale))
    return width, height, depth


def put_text(
    picture: npt.NDArray[np.uint8],
    text: str,
    x: int,
    y: int,
    scale: float,
    color: Color,
) -> None:
    """Write a text from (x, y) on, the left end of its baseline."""
    weight = _weight(scale)
    cv2.putText(picture, text, (x, y), _FONT, scale, color, weight, cv2.LINE_AA)


def draw_labels(
    picture: npt.NDArray[np.uint8],
    texts: Sequence[str],
    corners: Array,
    colors: Sequence[Color],
) -> None:
    """Write labels where they cover least, the first on top; empty ones are left out.

    Args:
        picture: drawn on.
        texts: B labels.
        corners: ``(B, 4)`` outermost pixels of their boxes.
        colors: B colours.
    """
    height, width, _ = picture.shape
    scale = text_scale(picture)
    margin = max(2, round(4 * scale))
    measured = [text_size(text, scale) for text in texts]
    sizes = [
        (wide + 2 * margin, tall + depth + margin) if text else (0, 0)
        for text, (wide, tall, depth) in zip(texts, measured, strict=True)
    ]
    places = place_labels(
        corners + np.array((0, 0, 1, 1)),
        np.array(sizes, float).reshape(-1, 2),
        width=width,
        height=height,
    )
    for i, (left, top, line) in reversed(list(enumerate(places))):
        if not texts[i]:
            continue
        if line:
            cv2.line(picture, *line, colors[i], _weight(scale))
        right, bottom = left + sizes[i][0] - 1, top + sizes[i][1] - 1
        cv2.rectangle(picture, (left, top), (right, bottom), colors[i], cv2.FILLED)
        red, green, blue = colors[i]
        ink = _BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else _WHITE
        base = bottom - measured[i][2] - margin // 2
        put_text(picture, texts[i], left + margin, base, scale, ink)
