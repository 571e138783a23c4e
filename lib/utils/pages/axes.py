"""The scales, grid and labels of a plot."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .canvas import Box, Drawing, Line, Shape, Text

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axes:
    """The range of a plot's values, and its size and margins in pixels."""

    x: tuple[float, float] = (0, 1)
    y: tuple[float, float] = (0, 1)
    width: float = 400
    height: float = 260
    left: float = 52
    right: float = 18
    top: float = 26
    bottom: float = 40

    @property
    def ground(self) -> float:
        """Return y of the lower end in pixels."""
        return self.height - self.bottom

    def place(self, x: float, y: float) -> Point:
        """Return the position of a value in pixels."""
        (x0, x1), (y0, y1) = self.x, self.y
        wide = self.width - self.left - self.right
        return (
            self.left + (x - x0) / (x1 - x0) * wide,
            self.ground - (y - y0) / (y1 - y0) * (self.ground - self.top),
        )

    def bar(self, start: float, end: float, y: float, title: str) -> Box:
        """Return a bar from the lower end up to `y`, with a gap on either side."""
        (left, top), right = self.place(start, y), self.place(end, y)[0]
        width = max(right - left - 2, 1)
        return Box(left + 1, top, width, self.ground - top, "bar", 0.85, title)

    def frame(
        self,
        below: str,
        x_ticks: Iterable[tuple[float, str]],
        y_ticks: Iterable[tuple[float, str]],
        *,
        beside: str = "",
        title: str = "",
    ) -> list[Shape]:
        """Draw grid, labels of values, labels of the axes, and the title."""
        shapes: list[Shape] = []
        for value, text in x_ticks:
            x, ground = self.place(value, self.y[0])
            shapes.append(Line([(x, ground), (x, ground + 4)], "line", 1))
            shapes.append(Text(x, ground + 16, text))
        for value, text in y_ticks:
            (left, y), right = self.place(self.x[0], value), self.width - self.right
            shapes.append(Line([(left, y), (right, y)], "line", 1))
            shapes.append(Text(left - 6, y + 4, text, anchor="end"))
        middle = (self.left + self.width - self.right) / 2
        shapes.append(Text(middle, self.height - 6, below, size=12))
        shapes.append(Text(4, 11, beside, anchor="start", size=12))
        shapes.append(Text(self.left, 14, title, "ink", "start", 13, bold=True))
        return [s for s in shapes if not isinstance(s, Text) or s.text]

    def drawing(self, label: str, shapes: list[Shape]) -> Drawing:
        """Return the whole plot."""
        return Drawing(label, self.width, self.height, shapes)


def round_ticks(low: float, high: float) -> list[float]:
    """Return three to seven round numbers within a range."""
    rough = (high - low) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def dot(x: float, y: float, color: str, *, opacity: float = 1, title: str = "") -> Line:
    """Return a point drawn as a diamond, whose SVG is short."""
    corners = [(x - 2.5, y), (x, y - 2.5), (x + 2.5, y), (x, y + 2.5)]
    return Line(corners, color, opacity=opacity, filled=True, title=title)


def count_text(value: float) -> str:
    """Return a count in few letters."""
    return f"{value:g}" if value < 10000 else f"{value / 1000:.0f}k"
