"""Masks and keypoints of the drawn shapes, as in COCO's files.

Masks are polygons around the visible part; keypoints are where a vertical and a
horizontal line through the middle leave the shape.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from .mask_outlines import Polygon, trace
from .shapes_scene import CLASSES, DrawnObject, Scene

KEYPOINTS = ("top", "left_side", "right_side", "bottom")
SKELETON = ((1, 2), (1, 3), (4, 2), (4, 3))  # counted from 1


def coco_annotations(scene: Scene, image: int) -> Iterator[dict[str, object]]:
    """Yield an annotation of each object of a scene, in its order, without its id."""
    for drawn in scene.objects:
        x1, y1, x2, y2 = drawn.box
        polygons = trace(drawn.seen)
        keypoints = outline_keypoints(drawn)
        yield {
            "image_id": image,
            "category_id": 1 + sorted(CLASSES).index(drawn.name),
            "iscrowd": 0,
            "bbox": [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1],
            "area": int(np.count_nonzero(drawn.seen)),
            "segmentation": [p.round(2).ravel().tolist() for p in polygons],
            "keypoints": keypoints.round(2).ravel().tolist(),
            "num_keypoints": int(np.count_nonzero(keypoints[:, 2])),
        }


def coco_categories() -> list[dict[str, object]]:
    """Return the categories, with the names of their keypoints."""
    return [
        {
            "id": number,
            "name": name,
            "keypoints": list(KEYPOINTS),
            "skeleton": [list(link) for link in SKELETON],
        }
        for number, name in enumerate(sorted(CLASSES), start=1)
    ]


def outline_keypoints(drawn: DrawnObject) -> npt.NDArray[np.float64]:
    """Return ``(4, 3)`` x, y and visibility, in COCO's frame: pixel centres are whole.

    A keypoint outside the image is not labelled, and one under another shape is hidden.
    """
    outer = drawn.outline[0]
    middle = outer.mean(axis=0)
    across, down = (_crossings(outer, middle, axis) for axis in (0, 1))
    points = np.array(
        [
            (middle[0], down[0]),
            (across[0], middle[1]),
            (across[1], middle[1]),
            (middle[0], down[1]),
        ]
    )
    height, width = drawn.seen.shape
    inside = (points >= -0.5) & (points < (width - 0.5, height - 0.5))
    labelled = inside[:, 0] & inside[:, 1]
    # A point on the border: look at the pixels around the next one inside.
    inward = np.clip(
        points + 1.5 * np.sign(middle - points), 0, (width - 1, height - 1)
    )
    near = cv2.dilate(drawn.seen.astype(np.uint8), np.ones((3, 3), np.uint8))
    columns, rows = np.rint(inward).astype(int).T
    visibility = np.where(labelled, 1 + near[rows, columns], 0)
    return np.column_stack([np.where(labelled[:, None], points, 0), visibility])


def _crossings(outer: Polygon, middle: Polygon, axis: int) -> tuple[float, float]:
    """Find where a line through the middle, along an axis, enters and leaves."""
    after = np.roll(outer, -1, axis=0)
    here, there = outer[:, 1 - axis] - middle[1 - axis], after[:, 1 - axis]
    there = there - middle[1 - axis]
    crosses = np.not_equal(here < 0, there < 0)
    share = here[crosses] / (here[crosses] - there[crosses])
    start, end = outer[crosses, axis], after[crosses, axis]
    places = start + share * (end - start)
    return float(places.min()), float(places.max())
