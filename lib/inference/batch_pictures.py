"""Draw batches exactly as the network receives them, many images on a sheet."""

import logging
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from torch import Tensor

from ..datasets.loading.batches import Batch
from ..layer_utils.structures import Detections, GroundTruth, Images, Proposals
from ..utils.drawing import BoxArray, Picture, class_color, draw_boxes

logger = logging.getLogger(__name__)

GREY = (150, 150, 150)
"""Colour of visible objects that are not trained on."""


def network_pictures(
    batches: Iterator[Batch],
    class_names: tuple[str, ...],
    *,
    offset: float,
    count: int,
    size: int,
) -> Iterator[tuple[Picture, str]]:
    """Draw the first images of a stream as the network receives them, with titles.

    Args:
        batches: the stream.
        class_names: C names, background first.
        offset: 1 for legacy boxes, 0 for continuous ones.
        count: number of images.
        size: longer side of a drawing in pixels.
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


def picture_of(images: Images, i: int) -> Picture:
    """Return image ``i`` of a batch without its padding."""
    height, width = images.sizes[i].tolist()
    pixels = images.pixels[i, :, :height, :width].permute(1, 2, 0)  # (h, w, 3)
    picture: Picture = pixels.cpu().contiguous().numpy()
    return picture


def ground_truth_picture(
    images: Images,
    gt: GroundTruth,
    i: int,
    class_names: Sequence[str],
    *,
    offset: float,
) -> Picture:
    """Draw the annotated objects of image ``i``, each class in its colour."""
    valid = gt.valid[i]
    classes = gt.classes[i][valid].tolist()
    return draw_boxes(
        picture_of(images, i),
        _pixel_edges(gt.boxes[i][valid], offset),
        labels=[class_names[c] for c in classes],
        colors=[class_color(c) for c in classes],
    )


def proposals_picture(
    images: Images, proposals: Proposals, i: int, *, offset: float, limit: int = 30
) -> Picture:
    """Draw the best ``limit`` proposals of image ``i``, from yellow to blue.

    The colour depends on the rank, because objectness logits have no fixed range.
    """
    valid = proposals.valid[i]
    boxes = _pixel_edges(proposals.boxes[i][valid][:limit], offset)
    ranks = np.linspace(0, 1, max(len(boxes), 1))
    colors = [
        (round(255 * (1 - r)), round(220 - 120 * r), round(255 * r)) for r in ranks
    ]
    return draw_boxes(picture_of(images, i), boxes, colors=colors[: len(boxes)])


def detections_picture(
    images: Images,
    detections: Detections,
    i: int,
    class_names: Sequence[str],
    *,
    offset: float,
    threshold: float = 0.5,
) -> Picture:
    """Draw the detections of image ``i`` that score at least ``threshold``."""
    shown = detections.valid[i] & (detections.scores[i] >= threshold)
    classes = detections.classes[i][shown].tolist()
    return draw_boxes(
        picture_of(images, i),
        _pixel_edges(detections.boxes[i][shown], offset),
        labels=[class_names[c] for c in classes],
        scores=detections.scores[i][shown].tolist(),
        colors=[class_color(c) for c in classes],
    )


def _pixel_edges(boxes: Tensor, offset: float) -> BoxArray:
    """Convert ``(B, 4)`` boxes of the network input to pixel edges, on the host."""
    edges: BoxArray = boxes.detach().float().cpu().numpy().copy()
    edges[:, 2:] += offset
    return edges
