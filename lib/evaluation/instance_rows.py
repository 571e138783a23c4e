"""Masks and keypoints in the rows of COCO's result lists."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hotcoco.mask
import numpy as np

from ..datasets.records import Dataset, FloatArray, RunLengths
from ..utils.untrusted.json_files import is_number
from .image_detections import FlatDetections


def instance_texts(flat: FlatDetections) -> Iterator[str]:
    """Yield what follows in the row of each detection: its mask and keypoints."""
    keypoints: list[list[float]] | None = None
    if flat.keypoints is not None:
        # In COCO's files, whole numbers are the centres of pixels.
        shifted = flat.keypoints.astype(np.float64)
        shifted[..., :2] -= 0.5
        keypoints = shifted.reshape(len(shifted), -1).tolist()
    for row in range(len(flat.scores)):
        text = ""
        if flat.masks is not None:
            counts, (height, width) = flat.masks[row]
            runs = json.dumps(counts.decode("ascii"))
            text = (
                f', "segmentation": {{"size": [{height}, {width}], "counts": {runs}}}'
            )
        if keypoints is not None:
            numbers = ", ".join(f"{value:.9g}" for value in keypoints[row])
            text += f', "keypoints": [{numbers}]'
        yield text


def parse_masks(
    path: Path, rows: Sequence[dict[str, Any]], sizes: Sequence[Sequence[int]]
) -> tuple[RunLengths, ...] | None:
    """Read a mask of each row: run lengths or polygons; None if no row has one.

    Args:
        sizes: width and height of each row's image.

    Raises:
        ValueError: some rows have no mask, or it is damaged or of another size.
    """
    if not any("segmentation" in row for row in rows):
        return None
    masks = []
    for place, (row, (width, height)) in enumerate(zip(rows, sizes, strict=True)):
        value = row.get("segmentation")
        try:
            masks.append(_run_lengths(value, height, width))
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise ValueError(
                f"{path}: row {place}: expected run lengths of height {height} and "
                f"width {width}, or polygons, under 'segmentation', found "
                f"{value!r:.120} ({error}); each row needs a mask of its whole image"
            ) from None
    return tuple(masks)


def _run_lengths(value: Any, height: int, width: int) -> RunLengths:
    rle: Any
    if isinstance(value, dict):
        if list(value["size"]) != [height, width]:
            raise ValueError(f"size {value['size']}")
        if isinstance(value["counts"], str):
            rle = {"size": [height, width], "counts": value["counts"].encode("ascii")}
            hotcoco.mask.area(rle)  # raises ValueError for damaged run lengths
            return RunLengths(rle["counts"], (height, width))
        rle = hotcoco.mask.frPyObjects(value, height, width)
        hotcoco.mask.area(rle)
    elif isinstance(value, list) and value and isinstance(value[0], list):
        rle = hotcoco.mask.merge(hotcoco.mask.frPyObjects(value, height, width))
    else:
        raise TypeError("neither run lengths nor polygons")
    return RunLengths(rle["counts"], (height, width))


def parse_keypoints(
    path: Path, rows: Sequence[dict[str, Any]], dataset: Dataset
) -> FloatArray | None:
    """Read the keypoints of rows.

    Returns:
        ``(D, K, 3)`` in continuous pixels; None if no row has any.

    Raises:
        ValueError: rows differ in their number, or have numbers that are not finite.
    """
    first = next((row["keypoints"] for row in rows if row.get("keypoints")), None)
    if first is None:
        return None
    count = len(dataset.keypoints.names) if dataset.keypoints else len(first) // 3
    for place, row in enumerate(rows):
        values = row.get("keypoints")
        given = isinstance(values, list) and all(map(is_number, values))
        if not given or len(values or ()) != 3 * count:
            raise ValueError(
                f"{path}: row {place}: expected x, y and score of {count} keypoints "
                f"under 'keypoints', found {values!r:.120}; each row needs all of them"
            )
    keypoints = np.array([row["keypoints"] for row in rows], np.float64)
    keypoints = keypoints.reshape(-1, count, 3)
    keypoints[..., :2] += 0.5
    return keypoints.astype(np.float32)


def boxes_of(
    rows: Sequence[dict[str, Any]], masks: Sequence[RunLengths] | None
) -> list[list[float]]:
    """Return x, y, width, height of each row: its box, or that of mask or keypoints."""
    boxes: list[list[float]] = []
    for place, row in enumerate(rows):
        if "bbox" in row:
            boxes.append(row["bbox"])
        elif masks is not None:
            counts, size = masks[place]
            rle = {"size": list(size), "counts": counts}
            boxes.append(hotcoco.mask.to_bbox(rle).tolist())
        else:
            points = np.array(row["keypoints"], np.float64).reshape(-1, 3)[:, :2]
            low, high = points.min(axis=0), points.max(axis=0)
            boxes.append([*low.tolist(), *(high - low).tolist()])
    return boxes
