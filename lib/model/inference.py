"""Detections of a trained network, in pixels of the original images.

Here, and only here, boxes leave the frame of the network input.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from ..datasets.loading.batches import Batch
from ..evaluation.results import ImageDetections
from ..layer_utils.detections import detect
from ..layer_utils.structures import Detections
from .config import BoxConfig, TestConfig
from .device import autocast
from .faster_rcnn import FasterRCNN, Predictions


@torch.inference_mode()
def detect_batch(
    model: FasterRCNN,
    batch: Batch,
    *,
    boxes: BoxConfig,
    test: TestConfig,
    dtype: torch.dtype,
) -> Detections:
    """Detect objects in a batch.

    RoIs are divided by the image's scale before they are regressed, so that clipping,
    the +1 of legacy boxes and suppression act on original pixels, as published.

    Args:
        model: in evaluation mode.
        batch: on the model's device.
        boxes: the box convention.
        test: thresholds and limits.
        dtype: type that the network computes in.

    Returns:
        Detections in pixels of each original image.
    """
    with autocast(batch.images.pixels.device, dtype):
        predictions = model(batch.images)
    assert isinstance(predictions, Predictions)
    return detections_of(predictions, batch, boxes=boxes, test=test)


def detections_of(
    predictions: Predictions, batch: Batch, *, boxes: BoxConfig, test: TestConfig
) -> Detections:
    """The detections that a batch's predictions amount to; see `detect_batch`."""
    device = batch.images.pixels.device
    scales = batch.scales.to(device)[:, None, None]
    return detect(
        predictions.proposals.boxes / scales,
        predictions.proposals.valid,
        predictions.class_scores,
        predictions.pred_deltas,
        batch.original_sizes.to(device),
        score_threshold=test.score_threshold,
        nms_threshold=test.nms_threshold,
        max_detections=test.detections_per_image,
        offset=boxes.offset,
        nms_offset=boxes.nms_offset,
        nms_inclusive=boxes.nms_inclusive,
        min_size=test.min_size,
        max_log_size=boxes.max_log_size,
    )


def detect_images(
    model: FasterRCNN,
    batches: Iterable[Batch],
    *,
    boxes: BoxConfig,
    test: TestConfig,
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[list[ImageDetections]]:
    """Detect objects batch by batch.

    Args:
        model: the detector; it is put into evaluation mode.
        batches: from ``datasets.loading.loader.test_batches``.
        boxes: the box convention.
        test: thresholds and limits.
        device: of the model.
        dtype: type that the network computes in.

    Yields:
        The images of each batch, boxes as pixel edges of the original image.
    """
    model.eval()
    for batch in batches:
        detections = detect_batch(
            model, batch.to(device), boxes=boxes, test=test, dtype=dtype
        )
        yield to_image_detections(detections, batch.image_ids, offset=boxes.offset)


def to_image_detections(
    detections: Detections, image_ids: Iterable[str], *, offset: float
) -> list[ImageDetections]:
    """Leave the padding and the box convention behind.

    Args:
        detections: in original pixels.
        image_ids: of the N images.
        offset: 1 for legacy boxes, whose far corner is the last pixel inside.

    Returns:
        One entry per image, boxes as pixel edges.
    """
    far_edge = torch.tensor([0, 0, offset, offset], dtype=torch.float32)
    boxes = detections.boxes.cpu() + far_edge
    scores, classes = detections.scores.cpu(), detections.classes.cpu()
    valid = detections.valid.cpu()
    return [
        ImageDetections(
            image_id=image_id,
            boxes=boxes[i][valid[i]].numpy().astype(np.float32, copy=False),
            scores=scores[i][valid[i]].numpy().astype(np.float32, copy=False),
            classes=classes[i][valid[i]].numpy(),
        )
        for i, image_id in enumerate(image_ids)
    ]
