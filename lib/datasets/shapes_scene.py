"""One image of the drawn data set: shapes on a textured background with clutter.

Shapes overlap, leave the image, and are 24 to about 120 pixels large. A class is an
outline with a usual colour; a few objects have any colour, and some images are grey.

Outlines are (P, 2) float64 points x, y in pixels, with pixel centres at integers as in
OpenCV. Boxes are VOC's: whole pixels, 1-based, both ends included.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

CLASSES = ("disc", "square", "triangle", "star", "ring", "cross")

Outline = tuple[npt.NDArray[np.float64], ...]
"""Closed contours; a point inside an even number of them is outside the shape."""

_IMAGE_SIZES = ((160, 128), (128, 160), (144, 144), (176, 120))  # width, height
_IMAGE_SIZE_SHARES = (0.76, 0.1, 0.08, 0.06)
_COUNT_SHARES = (0.06, 0.26, 0.3, 0.2, 0.1, 0.05, 0.03)  # of 0, 1, ... 6 objects
_SIZE_RANGES = ((24, 34), (34, 88), (88, 108))  # diameter before the aspect, pixels
_SIZE_SHARES = (0.05, 0.9, 0.05)
_GREY_SHARE = 0.015
_BORDER_SHARE = 0.12  # of objects whose centre may lie anywhere in the image
_LEAST_VISIBLE = 0.6  # share of the whole shape; less is never drawn
_DIFFICULT_VISIBLE = 0.7
_DIFFICULT_SIDE = 20  # pixels
_HUE_SPREAD = 15.0  # degrees to either side of the class's usual hue
_ANY_COLOUR_SHARE = 0.04
_LEAST_CONTRAST = 60.0  # in luma, against what lies under the object
_PLACEMENTS = 12
_PAD = 96  # pixels around the image, so that a truncated shape's whole area is known
_SUBPIXEL_BITS = 4
_LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # of blue, green, red


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """One annotated shape of a scene.

    `box` is xmin, ymin, xmax, ymax in VOC's frame around the visible pixels; `visible`
    is their share of the whole shape, including parts beyond the border; `seen` shows
    where they are, (H, W).
    """

    name: str
    outline: Outline
    box: tuple[int, int, int, int]
    visible: float
    truncated: bool
    difficult: bool
    seen: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scene:
    """An image and its objects, from the farthest to the nearest.

    `pixels` is uint8, (H, W, 3) in BGR order, or (H, W) for a grayscale image.
    """

    pixels: npt.NDArray[np.uint8]
    objects: tuple[DrawnObject, ...]


@dataclass(slots=True)
class _Layer:
    """A shape on the canvas; nearer shapes reduce its visible pixels `seen`, (H, W)."""

    name: str
    outline: Outline
    area: int  # pixels of the whole shape
    cut: bool  # by the image border
    seen: npt.NDArray[np.bool_]

    @property
    def visible(self) -> float:
        return float(np.count_nonzero(self.seen)) / self.area


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw one image: background, clutter, objects from far to near, camera noise."""
    width, height = _IMAGE_SIZES[rng.choice(len(_IMAGE_SIZES), p=_IMAGE_SIZE_SHARES)]
    canvas = _background(rng, height, width)
    _clutter(rng, canvas, int(rng.integers(2, 9)))
    layers: list[_Layer] = []
    for _ in range(rng.choice(len(_COUNT_SHARES), p=_COUNT_SHARES)):
        _add_object(rng, canvas, layers)
    if rng.random() < 0.25:
        _clutter(rng, canvas, 1)
    noise = rng.standard_normal(canvas.shape, np.float32) * np.float32(
        rng.uniform(1, 7)
    )
    canvas = _to_bytes(canvas + noise)
    if rng.random() < _GREY_SHARE:
        canvas = np.asarray(cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY), np.uint8)
    return Scene(canvas, tuple(_annotate(layer) for layer in layers))


def _annotate(layer: _Layer) -> DrawnObject:
    """Compute the box of the visible part of a shape, after everything is drawn."""
    columns = np.flatnonzero(layer.seen.any(axis=0))
    rows = np.flatnonzero(layer.seen.any(axis=1))
    box = (
        int(columns[0]) + 1,
        int(rows[0]) + 1,
        int(columns[-1]) + 1,
        int(rows[-1]) + 1,
    )
    side = min(box[2] - box[0], box[3] - box[1]) + 1
    difficult = layer.visible < _DIFFICULT_VISIBLE or side < _DIFFICULT_SIDE
    return DrawnObject(
        name=layer.name,
        outline=layer.outline,
        box=box,
        visible=layer.visible,
        truncated=layer.cut,
        difficult=difficult,
        seen=layer.seen,
    )


def _add_object(
    rng: np.random.Generator, canvas: npt.NDArray[np.uint8], layers: list[_Layer]
) -> None:
    """Draw one more shape where it hides no other shape too much, if there is a place.

    Changes `canvas`, (H, W, 3), and the `seen` of `layers`, and appends to `layers`.
    """
    height, width = canvas.shape[:2]
    name = CLASSES[rng.integers(len(CLASSES))]
    low, high = _SIZE_RANGES[rng.choice(len(_SIZE_RANGES), p=_SIZE_SHARES)]
    size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    margin = 0.0 if rng.random() < _BORDER_SHARE else size / 2
    for _ in range(_PLACEMENTS):
        centre = rng.uniform(margin, np.array([width, height]) - margin)
        outline = _place(rng, _unit_outline(name), size, centre)
        padded = np.zeros((height + 2 * _PAD, width + 2 * _PAD), np.uint8)
        points = [
            np.round((contour + _PAD) * 2**_SUBPIXEL_BITS).astype(np.int32)
            for contour in outline
        ]
        cv2.fillPoly(padded, points, [255.0], cv2.LINE_AA, _SUBPIXEL_BITS)
        area = int(np.count_nonzero(padded > 127))
        alpha = padded[_PAD:-_PAD, _PAD:-_PAD]
        solid = alpha > 127
        inside = int(np.count_nonzero(solid))
        left = [np.count_nonzero(o.seen & ~solid) / o.area for o in layers]
        if min([inside / area, *left]) >= _LEAST_VISIBLE:
            break
    else:
        return
    for layer in layers:
        layer.seen &= ~solid
    layers.append(_Layer(name, outline, area, inside < area, solid))
    _paint(rng, canvas, alpha, _colours(rng, name))


def _unit_outline(name: str) -> Outline:
    """Return a class's contours around the origin, about 1 wide."""
    if name == "disc":
        return (_regular(48, 0.5),)
    if name == "square":
        return (_regular(4, 0.6),)
    if name == "triangle":
        return (_regular(3, 0.6),)
    if name == "star":
        points = _regular(10, 0.57)
        points[1::2] *= 0.42
        return (points,)
    if name == "ring":
        return (_regular(48, 0.5), _regular(40, 0.27))
    # A cross: the corners of one arm, turned by each quarter.
    arm, half = 0.54, 0.16
    corners = np.array([[half, -half], [arm, -half], [arm, half]])
    return (np.concatenate([_turn(corners, q * np.pi / 2) for q in range(4)]),)


def _regular(corners: int, radius: float) -> npt.NDArray[np.float64]:
    """Return the (corners, 2) points of a regular polygon."""
    angles = np.arange(corners) * (2 * np.pi / corners)
    points: npt.NDArray[np.float64] = np.stack([np.cos(angles), np.sin(angles)], 1)
    return radius * points


def _turn(points: npt.NDArray[np.float64], angle: float) -> npt.NDArray[np.float64]:
    """Rotate (P, 2) points about the origin, radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    turned: npt.NDArray[np.float64] = points @ np.array([[cos, sin], [-sin, cos]])
    return turned


def _place(
    rng: np.random.Generator,
    unit: Outline,
    size: float,
    centre: npt.NDArray[np.float64],
) -> Outline:
    """Stretch by up to 1.25 along a random axis of the shape, rotate and move."""
    stretch = np.sqrt(np.exp(rng.uniform(-1, 1) * np.log(1.25)))
    first, second = rng.uniform(0, 2 * np.pi, 2)
    scale = size * np.array([stretch, 1 / stretch])
    return tuple(_turn(_turn(c, first) * scale, second) + centre for c in unit)


def _colours(rng: np.random.Generator, name: str) -> npt.NDArray[np.float32]:
    """Return (8, 3) candidate colours, BGR, of an object of this class."""
    if rng.random() < _ANY_COLOUR_SHARE:
        return rng.uniform(0, 255, (8, 3)).astype(np.float32)
    usual = 360 / len(CLASSES) * CLASSES.index(name)
    hue = (usual + rng.uniform(-_HUE_SPREAD, _HUE_SPREAD)) % 360
    saturation, value = rng.uniform([0.6, 0.25], 1, (8, 2)).T
    hsv = np.stack([np.full(8, hue), saturation, value], axis=1).astype(np.float32)
    bgr = np.asarray(cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR), np.float32)[0]
    colours: npt.NDArray[np.float32] = bgr * np.float32(255)
    return colours


def _paint(
    rng: np.random.Generator,
    canvas: npt.NDArray[np.uint8],
    alpha: npt.NDArray[np.uint8],
    colours: npt.NDArray[np.float32],
) -> None:
    """Fill a shape of coverage `alpha` (H, W) with the colour of most contrast."""
    x, y, width, height = cv2.boundingRect(alpha)
    behind = canvas[y : y + height, x : x + width].astype(np.float32)
    cover = alpha[y : y + height, x : x + width, None].astype(np.float32) / 255
    under = float((behind * cover).sum(axis=(0, 1)) @ _LUMA) / float(cover.sum())
    contrast = np.minimum(np.abs(colours @ _LUMA - under), _LEAST_CONTRAST)
    colour = colours[np.argmax(contrast)]
    fill = _texture(rng, height, width, colour, rng.uniform(0, 28))
    painted = _to_bytes(behind + cover * (fill - behind))
    canvas[y : y + height, x : x + width] = painted


def _background(
    rng: np.random.Generator, height: int, width: int
) -> npt.NDArray[np.uint8]:
    """Return an (H, W, 3) canvas of two textures, one over the other."""
    grey = rng.uniform(40, 215)
    colour = (grey + rng.uniform(-30, 30, 3)).astype(np.float32)
    first = _texture(rng, height, width, colour, rng.uniform(4, 26))
    second = _texture(rng, height, width, np.zeros(3, np.float32), rng.uniform(0, 16))
    return _to_bytes(first + second)


def _texture(
    rng: np.random.Generator,
    height: int,
    width: int,
    colour: npt.NDArray[np.float32],
    amplitude: float,
) -> npt.NDArray[np.float32]:
    """Vary a (3,) colour by up to `amplitude` over (H, W, 3)."""
    angle, phase = rng.uniform(0, 2 * np.pi, 2).astype(np.float32)
    period = np.float32(rng.uniform(6, 28))
    x = np.arange(width, dtype=np.float32) - width / 2
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    u = np.cos(angle) * x + np.sin(angle) * y
    v = np.cos(angle) * y - np.sin(angle) * x
    turns = np.float32(2 * np.pi) / period
    kind = rng.integers(5)
    if kind == 0:
        field = 2 * u / np.float32(width + height)
    elif kind == 1:
        field = np.sin(turns * u + phase)
    elif kind == 2:
        field = np.sign(np.sin(turns * u + phase) * np.sin(turns * v))
    elif kind == 3:
        coarse = rng.uniform(-1, 1, (5, 6)).astype(np.float32)
        field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    else:
        field = rng.uniform(-1, 1, (height, width)).astype(np.float32)
    tint = (rng.uniform(0.4, 1, 3) * amplitude).astype(np.float32)
    values: npt.NDArray[np.float32] = colour + field[:, :, None] * tint
    return values


def _clutter(
    rng: np.random.Generator, canvas: npt.NDArray[np.uint8], strokes: int
) -> None:
    """Draw lines, arcs, dots and scribbled words, which have no class, on `canvas`."""
    height, width = canvas.shape[:2]
    for _ in range(strokes):
        at = rng.uniform(0, [width, height])
        kind = rng.integers(4)
        curves: list[npt.NDArray[np.float64]] = []
        if kind == 0:
            curves = [np.stack([at, at + rng.normal(0, 60, 2)])]
        elif kind == 1:
            start, sweep = rng.uniform([0, 0.6], [2 * np.pi, 2.4])
            angles = np.linspace(start, start + sweep, 16)
            bend = np.stack([np.cos(angles), np.sin(angles)], axis=1)
            curves = [at + bend * rng.uniform(12, 70, 2)]
        elif kind == 2:
            dots = at + rng.normal(0, 12, (int(rng.integers(3, 12)), 2))
            curves = [np.stack([dot, dot]) for dot in dots]
        else:
            tall = rng.uniform(4, 9)
            for letter in range(int(rng.integers(3, 9))):
                corner = at + np.array([letter * tall, 0])
                curves.append(corner + rng.uniform(0, [0.7 * tall, tall], (4, 2)))
        cv2.polylines(
            canvas,
            [np.round(c * 2**_SUBPIXEL_BITS).astype(np.int32) for c in curves],
            isClosed=False,
            color=rng.uniform(0, 255, 3).tolist(),
            thickness=int(rng.integers(1, 3)) + int(kind == 2),
            lineType=cv2.LINE_AA,
            shift=_SUBPIXEL_BITS,
        )


def _to_bytes(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Round and clip to 0..255."""
    levels: npt.NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels
