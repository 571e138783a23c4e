"""Detections as rows of COCO's result lists, of all tasks at once."""

from collections.abc import Mapping
from typing import Any


def coco_row(
    found: Mapping[str, Any], image_id: int | str, category_id: int
) -> dict[str, Any]:
    """Convert a detection of ``Result.to_list`` to a row of COCO's result format.

    The box is x, y, width, height, a mask is under ``segmentation``. Whole numbers in
    ``keypoints`` are the centres of pixels.
    """
    x1, y1, x2, y2 = found["box"]
    row = {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x1, y1, max(x2 - x1, 0.0), max(y2 - y1, 0.0)],
        "score": found["score"],
    }
    if "mask" in found:
        row["segmentation"] = found["mask"]
    if "keypoints" in found:
        points = [(x - 0.5, y - 0.5, score) for x, y, score in found["keypoints"]]
        row["keypoints"] = [value for point in points for value in point]
    return row
