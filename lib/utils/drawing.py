"""Draw boxes, masks and keypoints on images.

Images are ``(H, W, 3)`` uint8 RGB. Boxes are ``x1, y1, x2, y2`` in pixel edges of the
image: pixel k spans ``[k, k + 1)``, so a box covers the pixels x1 to x2 - 1. To convert
the boxes of a batch, add ``offset`` to x2 and y2: 1 where widths are measured as
``x2 - x1 + 1``, and 0 where they are ``x2 - x1``.
"""

import base64
import colorsys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import cv2
import hotcoco.mask
import numpy as np
import numpy.typing as npt

from .files import write_atomic
from .labels import draw_labels, put_text, text_scale, text_size
from .printable import printable

Picture: TypeAlias = npt.NDArray[np.uint8]
BoxArray: TypeAlias = npt.NDArray[np.floating[Any]]
Color: TypeAlias = tuple[int, int, int]

_GOLDEN_RATIO = (5**0.5 - 1) / 2
_WHITE: Color = (255, 255, 255)
_OPACITY = 0.4  # of a mask


class EncodedMask(Protocol):
    """A mask as COCO's run lengths, such as ``datasets.records.RunLengths``."""

    @property
    def counts(self) -> bytes: ...  # noqa: D102
    @property
    def size(self) -> tuple[int, int]: ...  # noqa: D102


BitMask: TypeAlias = npt.NDArray[np.bool_]


def class_color(index: int) -> Color:
    """Return the RGB colour of a class, the same in every run and every image.

    Hues are a golden ratio apart, so that the first few classes differ clearly;
    lightness and saturation alternate to distinguish many classes.
    """
    hue = (index * _GOLDEN_RATIO) % 1.0
    saturation = (0.85, 0.6, 1.0)[index % 3]
    value = (1.0, 0.9)[index // 3 % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_boxes(
    image: Picture,
    boxes: BoxArray,
    *,
    labels: Sequence[str] | None = None,
    scores: Sequence[float] | npt.NDArray[np.floating[Any]] | None = None,
    colors: Sequence[Color] | None = None,
) -> Picture:
    """Draw boxes, the first on top, each with its label and score.

    Boxes that reach out of the picture are cut at its border. Those that are not
    finite, inverted, or wholly outside are left out.

    Args:
        image: ``(H, W, 3)`` uint8 RGB, unchanged.
        boxes: ``(B, 4)`` pixel edges.
        labels: B texts; an empty one is not drawn.
        scores: B numbers, shown with two decimals after the label.
        colors: B RGB colours. By default each box has that of its position.

    Raises:
        ValueError: if the picture is not uint8 RGB, or the lengths differ.
    """
    _check_picture(image)
    count = len(boxes)
    if boxes.shape != (count, 4):
        raise ValueError(f"expected boxes of shape (B, 4), found {boxes.shape}")
    given = {"labels": labels, "scores": scores, "colors": colors}
    for name, values in given.items():
        if values is not None and len(values) != count:
            raise ValueError(f"expected {count} {name}, found {len(values)}")
    picture: Picture = np.array(image, order="C")
    height, width, _ = picture.shape
    thickness = _thickness(picture)
    corners = {i: _inside(box, height, width) for i, box in enumerate(boxes)}
    shown = [(i, c) for i, c in reversed(corners.items()) if c is not None]
    palette = colors if colors is not None else [class_color(i) for i in range(count)]
    for i, (x1, y1, x2, y2) in shown:
        # Not anti-aliased: upright lines need none, and it would blur them.
        cv2.rectangle(picture, (x1, y1), (x2, y2), palette[i], thickness)
    # OpenCV ends the process at a lone surrogate.
    texts = [printable(label) for label in labels or [""] * count]
    if scores is not None:
        texts = [
            f"{t} {float(s):.2f}".strip() for t, s in zip(texts, scores, strict=True)
        ]
    # All the texts come after all the boxes, so that no line crosses them.
    best_first = shown[::-1]
    draw_labels(
        picture,
        [texts[i] for i, _ in best_first],
        np.array([corners for _, corners in best_first], float).reshape(-1, 4),
        [palette[i] for i, _ in best_first],
    )
    return picture


def draw_masks(
    image: Picture,
    masks: Iterable[BitMask | EncodedMask],
    colors: Sequence[Color] | None = None,
) -> Picture:
    """Tint objects and outline them, the first on top.

    Args:
        image: ``(H, W, 3)`` uint8 RGB, unchanged.
        masks: D masks of the picture's size, ``(H, W)`` bool or run lengths.
        colors: D RGB colours. By default each mask has that of its position.

    Raises:
        ValueError: the picture is not uint8 RGB, or a mask has another size.
    """
    _check_picture(image)
    picture: Picture = np.array(image, order="C")
    thickness = _thickness(picture)
    for i, mask in reversed(list(enumerate(masks))):
        bits = mask if isinstance(mask, np.ndarray) else _decoded(mask)
        if bits.shape != picture.shape[:2]:
            raise ValueError(
                f"expected masks of the picture's size {picture.shape[:2]}, found "
                f"{bits.shape} for mask {i}"
            )
        rows, columns = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
        if not len(rows):
            continue
        own = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        crop = np.ascontiguousarray(bits[own], np.uint8)
        color = colors[i] if colors is not None else class_color(i)
        part = np.array(picture[own], order="C")
        tint = cv2.addWeighted(
            part, 1 - _OPACITY, np.full_like(part, color), _OPACITY, 0
        )
        cv2.copyTo(tint, crop, part)
        outlines, _ = cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(part, outlines, -1, color, thickness)
        picture[own] = part
    return picture


def draw_keypoints(
    image: Picture,
    keypoints: npt.NDArray[np.floating[Any]],
    skeleton: Sequence[tuple[int, int]] = (),
    colors: Sequence[Color] | None = None,
    threshold: float = 0.0,
) -> Picture:
    """Draw keypoints and the limbs between them, the first object on top.

    Args:
        image: ``(H, W, 3)`` uint8 RGB, unchanged.
        keypoints: ``(D, K, 3)`` x, y in continuous pixels, and score or visibility.
        skeleton: pairs of indices to connect.
        colors: D RGB colours. By default each object has that of its position.
        threshold: only keypoints with a score above it are drawn.

    Raises:
        ValueError: the picture is not uint8 RGB, or the keypoints' shape is wrong.
    """
    _check_picture(image)
    if keypoints.ndim != 3 or keypoints.shape[2] != 3:
        raise ValueError(f"expected keypoints (D, K, 3), found {keypoints.shape}")
    picture: Picture = np.array(image, order="C")
    thickness = _thickness(picture)
    # OpenCV's pixel centres are whole numbers, in sixteenths here. The limit keeps
    # points far outside in the range of its integers.
    limit = 8.0 * max(picture.shape)
    places = np.nan_to_num(keypoints[..., :2], posinf=limit, neginf=-limit)
    fixed = np.rint((places.clip(-limit, limit) - 0.5) * 16).astype(int)
    seen = np.isfinite(keypoints).all(axis=2) & (keypoints[..., 2] > threshold)
    for i in reversed(range(len(keypoints))):
        color = colors[i] if colors is not None else class_color(i)
        points: list[list[int]] = fixed[i].tolist()
        for a, b in skeleton:
            if seen[i, a] and seen[i, b]:
                ends = points[a], points[b]
                cv2.line(picture, *ends, color, thickness, cv2.LINE_AA, 4)
        for k in np.flatnonzero(seen[i]):
            # A light rim sets the point off from limbs of its own colour.
            for radius, ink in ((thickness + 2, _WHITE), (thickness + 1, color)):
                cv2.circle(
                    picture, points[k], radius * 16, ink, cv2.FILLED, cv2.LINE_AA, 4
                )
    return picture


def side_by_side(pictures: Sequence[Picture], titles: Sequence[str]) -> Picture:
    """Join pictures in a row, each under its title, top edges aligned.

    Args:
        pictures: one or more ``(H, W, 3)`` uint8 RGB, of any sizes.
        titles: as many texts, cut where they are wider than the picture.

    Raises:
        ValueError: if there is none, or the numbers differ.
    """
    if not pictures or len(pictures) != len(titles):
        raise ValueError(
            "expected one or more pictures and as many titles, "
            f"found {len(pictures)} and {len(titles)}"
        )
    for picture in pictures:
        _check_picture(picture)
    tallest = max(pictures, key=lambda picture: picture.shape[0])
    scale = text_scale(tallest)
    _, tall, depth = text_size("Ag", scale)
    bar = tall + depth + 6
    gap = 4
    height = bar + tallest.shape[0]
    width = sum(picture.shape[1] + gap for picture in pictures) - gap
    row = np.full((height, width, 3), 255, np.uint8)
    x = 0
    for picture, title in zip(pictures, titles, strict=True):
        h, w = picture.shape[:2]
        row[bar : bar + h, x : x + w] = picture
        head = np.full((bar, w, 3), 255, np.uint8)
        put_text(head, printable(title), 3, bar - depth - 3, scale, (0, 0, 0))
        row[:bar, x : x + w] = head
        x += w + gap
    return row


def shrunk(picture: Picture, side: int) -> Picture:
    """Make a picture smaller if its longer side has more pixels than `side`."""
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def jpeg_text(picture: Picture, quality: int) -> str:
    """Encode a picture as JPEG in base64, for use in a page."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    return base64.b64encode(data.tobytes()).decode("ascii")


def save_image(path: Path, picture: Picture) -> None:
    """Write a picture in the format that the file's ending names (.png, .jpg).

    Raises:
        ValueError: if the picture is not uint8 RGB or the ending names no format.
        OSError: as ``write_atomic`` does.
    """
    _check_picture(picture)
    # OpenCV ends the process at a name that is not UTF-8, so it only gets the suffix.
    if not path.suffix.isascii() or not cv2.haveImageWriter(f"x{path.suffix}"):
        raise ValueError(
            f"cannot write {path}: expected an ending such as .png or .jpg, "
            f"found {path.suffix!r}"
        )
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"cannot encode a picture of {picture.shape} as {path}")
    write_atomic(path, data.tobytes())


def _check_picture(image: Picture) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            "expected a picture of shape (H, W, 3) and type uint8, "
            f"found {image.shape} {image.dtype}"
        )
    if 0 in image.shape:
        raise ValueError(f"expected a picture with pixels, found {image.shape}")


def _inside(box: BoxArray, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Return the box's outermost pixels within the picture; None without any."""
    x1, y1, x2, y2 = (float(v) for v in box)
    if not np.isfinite(box).all() or x2 < x1 or y2 < y1:
        return None
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return None
    # Clipped before rounding to integers, which cannot hold every float.
    left, top = round(max(x1, 0)), round(max(y1, 0))
    right, bottom = round(min(x2, width)) - 1, round(min(y2, height)) - 1
    left, top = min(left, width - 1), min(top, height - 1)
    return left, top, max(right, left), max(bottom, top)


def _decoded(mask: EncodedMask) -> BitMask:
    rle = {"size": list(mask.size), "counts": mask.counts}
    return hotcoco.mask.decode(rle).astype(np.bool_)


def _thickness(picture: Picture) -> int:
    """Return the width of lines in pixels."""
    height, width, _ = picture.shape
    pixels: int = max(1, round(min(height, width) / 300))
    return pixels


def contact_sheet(cells: list[tuple[Picture, str]], *, columns: int) -> Picture:
    """Arrange one or more images with their titles in rows on white."""
    rows = [
        side_by_side(*zip(*cells[start : start + columns], strict=True))
        for start in range(0, len(cells), columns)
    ]
    gap = 8
    width = max(row.shape[1] for row in rows)
    height = sum(row.shape[0] + gap for row in rows) - gap
    sheet = np.full((height, width, 3), 255, np.uint8)
    y = 0
    for row in rows:
        sheet[y : y + row.shape[0], : row.shape[1]] = row
        y += row.shape[0] + gap
    return sheet
