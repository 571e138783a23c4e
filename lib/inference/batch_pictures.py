"""Pictures of batches exactly as the network gets them, many on a sheet."""

import logging
from collections.abc import Iterator

import cv2
import numpy as np

from ..datasets.loading.batches import Batch
from .drawing import Picture, class_color, draw_boxes, side_by_side

logger = logging.getLogger(__name__)

GREY = (150, 150, 150)
"""Colour of objects that are seen but not trained on."""


def network_pictures(
    batches: Iterator[Batch],
    class_names: tuple[str, ...],
    *,
    offset: float,
    count: int,
    size: int,
) -> Iterator[tuple[Picture, str]]:
    """Pictures of the first images of a stream as the network gets them, with titles.

    Args:
        batches: the stream.
        class_names: C names, the first being the background's.
        offset: of the boxes.
        count: images.
        size: longer side of a picture in pixels.
    """
    shown = 0
    for batch in batches:
        for problem in batch.problems:
            logger.warning("replaced by another image: %s", problem)
        for i, image_id in enumerate(batch.image_ids[: count - shown]):
            scale = float(batch.scales[i])
            height, width = batch.images.sizes[i].tolist()
            title = f"{image_id}: {width} x {height}, scale {scale:.2f}"
            yield _picture(batch, i, class_names, offset=offset, size=size), title
        shown += len(batch.image_ids)
        if shown >= count:
            return


def _picture(
    batch: Batch, i: int, class_names: tuple[str, ...], *, offset: float, size: int
) -> Picture:
    canvas = batch.images.pixels[i].permute(1, 2, 0).contiguous().numpy()
    factor = size / max(canvas.shape[:2])
    area = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(canvas, None, fx=factor, fy=factor, interpolation=area)
    truth = batch.ground_truth
    classes = truth.classes[i][truth.valid[i]].tolist()
    trained = truth.boxes[i][truth.valid[i]].numpy()
    edges = np.concatenate([trained, batch.ignored[i]])
    edges[:, 2:] += offset
    return draw_boxes(
        np.asarray(picture, np.uint8),
        edges * factor,
        labels=[class_names[c] for c in classes] + ["ignored"] * len(batch.ignored[i]),
        colors=[class_color(c) for c in classes] + [GREY] * len(batch.ignored[i]),
    )


def contact_sheet(cells: list[tuple[Picture, str]], *, columns: int) -> Picture:
    """Pictures with their titles in rows on white, at least one."""
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
