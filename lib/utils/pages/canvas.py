"""Drawings of lines, boxes and texts that become SVG or PNG.

A shape names what it stands for, not its colour: the page's style sheet colours the
SVG for light and dark, and a PNG takes the light colours. Lengths are pixels, from the
upper left corner.

Ours instead of matplotlib's, since a page holds its plots: the precision-recall curves
of 20 classes, in one plot and in one each, are 69 kB of SVG made in 0.03 s; those of
matplotlib are 220 kB and take 1 s (one core of an AMD EPYC), in fixed colours.
"""

import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple, TypeAlias

from PIL import Image, ImageDraw, ImageFont

COLORS = {
    "ink": ("#1b1f24", "#e6e9ed"),
    "soft": ("#57606a", "#9aa5b1"),
    "paper": ("#ffffff", "#14171b"),
    "panel": ("#f6f8fa", "#1c2026"),
    "line": ("#d5dae0", "#343b43"),
    "bar": ("#2f6fb5", "#6aa5e8"),
    "earlier": ("#8a94a0", "#7d8894"),
    "mark": ("#c2410c", "#fb923c"),
    "good": ("#15803d", "#4ade80"),
    "bad": ("#b91c1c", "#f87171"),
    "violet": ("#7e22ce", "#c084fc"),
    "cyan": ("#0e7490", "#22d3ee"),
    "pink": ("#be185d", "#f472b6"),
    "amber": ("#a16207", "#facc15"),
}
"""What a colour is for, to its light and its dark value."""

_MARGIN = 8  # around a PNG
_SCALE = 2  # PNGs are drawn this much larger, for sharp displays
_OVERSAMPLED = 2  # and lines smoothed by shrinking this much


class Line(NamedTuple):
    """A line through points, or the area of a polygon if ``filled``."""

    points: Sequence[tuple[float, float]]
    color: str
    width: float = 1.5
    dashed: bool = False
    opacity: float = 1.0
    filled: bool = False
    title: str = ""


class Box(NamedTuple):
    """A filled box."""

    x: float
    y: float
    width: float
    height: float
    color: str
    opacity: float = 1.0
    title: str = ""


class Text(NamedTuple):
    """A line of text on a baseline; the anchor is "start", "middle" or "end"."""

    x: float
    y: float
    text: str
    color: str = "soft"
    anchor: str = "middle"
    size: float = 11
    bold: bool = False


Shape: TypeAlias = Line | Box | Text


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes, the first at the bottom; a label describes them to screen readers."""

    label: str
    width: float
    height: float
    shapes: Sequence[Shape]

    def __html__(self) -> str:
        """Return the SVG, for a template."""
        return self.svg()

    def svg(self) -> str:
        """Draw as an SVG element for a page with ``color_rules``."""
        label = f'role="img" aria-label="{escape(self.label)}"'
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" '
            f"{label if self.label else 'aria-hidden=true'}>"
            f"{''.join(map(_svg, self.shapes))}</svg>"
        )

    def png(self) -> bytes:
        """Draw as a PNG file, twice as large, in light colours."""
        ratio = _SCALE * _OVERSAMPLED
        width, height = self.width + 2 * _MARGIN, self.height + 2 * _MARGIN
        size = round(width * ratio), round(height * ratio)
        image = Image.new("RGB", size, COLORS["paper"][0])
        brush = ImageDraw.Draw(image, "RGBA")
        for shape in self.shapes:
            if not isinstance(shape, Text):
                _paint(brush, shape, ratio)
        image = image.reduce(_OVERSAMPLED)
        pen = ImageDraw.Draw(image)
        for shape in self.shapes:
            if isinstance(shape, Text):
                _write(pen, shape)
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()


def color_rules() -> str:
    """Return CSS with a variable and classes for fill and stroke of each colour."""
    light, dark = (
        "".join(f"--{name}:{pair[i]};" for name, pair in COLORS.items()) for i in (0, 1)
    )
    rules = "".join(
        f".f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name});fill:none}}"
        for name in COLORS
    )
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{rules}"
    )


def _svg(shape: Shape) -> str:
    if isinstance(shape, Text):
        weight = ' font-weight="600"' if shape.bold else ""
        return (
            f'<text class="f-{shape.color}" x="{shape.x:.4g}" y="{shape.y:.4g}" '
            f'text-anchor="{shape.anchor}" font-size="{shape.size:g}"{weight}>'
            f"{escape(shape.text)}</text>"
        )
    if isinstance(shape, Box):
        element = (
            f'rect class="f-{shape.color}" x="{shape.x:.4g}" y="{shape.y:.4g}" '
            f'width="{shape.width:.4g}" height="{shape.height:.4g}"'
        )
    else:
        points = " ".join(f"{x:.4g},{y:.4g}" for x, y in shape.points)
        name, kind = ("polygon", "f") if shape.filled else ("polyline", "s")
        element = f'{name} class="{kind}-{shape.color}" points="{points}"'
        if not shape.filled:
            element += f' stroke-width="{shape.width:g}"'
            element += ' stroke-dasharray="5 4"' * shape.dashed
    if shape.opacity < 1:
        element += f' opacity="{shape.opacity:.2g}"'
    if not shape.title:
        return f"<{element}/>"
    return f"<{element}><title>{escape(shape.title)}</title></{element.split()[0]}>"


def _paint(brush: ImageDraw.ImageDraw, shape: Line | Box, ratio: int) -> None:
    color = _rgba(shape.color, shape.opacity)
    if isinstance(shape, Box):
        if shape.width > 0 and shape.height > 0:
            x, y = (shape.x + _MARGIN) * ratio, (shape.y + _MARGIN) * ratio
            right, low = x + shape.width * ratio - 1, y + shape.height * ratio - 1
            brush.rectangle((x, y, max(right, x), max(low, y)), fill=color)
        return
    points = [((x + _MARGIN) * ratio, (y + _MARGIN) * ratio) for x, y in shape.points]
    if shape.filled:
        brush.polygon(points, fill=color)
        return
    for piece in _dashes(points, ratio) if shape.dashed else [points]:
        brush.line(piece, fill=color, width=round(shape.width * ratio), joint="curve")


def _dashes(
    points: Sequence[tuple[float, float]], ratio: int
) -> Iterable[list[tuple[float, float]]]:
    """Cut a line into dashes of 5 pixels with gaps of 4."""
    on, left = True, 5.0 * ratio
    piece = [points[0]]
    for (x, y), (right, low) in itertools.pairwise(points):
        length = ((right - x) ** 2 + (low - y) ** 2) ** 0.5
        done = 0.0
        while length - done > left:
            done += left
            share = done / length
            place = (x + share * (right - x), y + share * (low - y))
            if on:
                yield [*piece, place]
            on, left, piece = not on, (4.0 if on else 5.0) * ratio, [place]
        left -= length - done
        piece.append((right, low))
    if on and len(piece) > 1:
        yield piece


def _write(pen: ImageDraw.ImageDraw, text: Text) -> None:
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[text.anchor]
    pen.text(
        ((text.x + _MARGIN) * _SCALE, (text.y + _MARGIN) * _SCALE),
        text.text,
        fill=COLORS[text.color][0],
        font=ImageFont.load_default(text.size * _SCALE),
        anchor=anchor,
    )


def _rgba(name: str, opacity: float) -> tuple[int, int, int, int]:
    light = COLORS[name][0]
    red, green, blue = (int(light[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue, round(255 * opacity)
