"""Detections of a trained network, in pixels of the original images.

This is the only place where boxes leave the frame of the network input.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..config.settings import BoxConfig, TestConfig
from ..datasets.loading.batches import Batch
from ..evaluation.image_detections import ImageDetections
from ..layer_utils.boxes import BoxCoder, clip
from ..layer_utils.detections import candidates
from ..layer_utils.outputs import Predictions
from ..layer_utils.structures import Detections, replace
from ..model.network import Network
from ..utils.device import autocast
from .test_time_augmentation import merge_views, mirror, mirror_proposals, unmirror


def detect_batch(
    model: Network,
    batch: Batch,
    *,
    boxes: BoxConfig,
    test: TestConfig,
    dtype: torch.dtype,
) -> Detections:
    """Detect objects in a batch at its single scale; see `detect_views`."""
    return detect_views(model, [batch], boxes=boxes, test=test, dtype=dtype)


@torch.inference_mode()
def detect_views(
    model: Network,
    views: Sequence[Batch],
    *,
    boxes: BoxConfig,
    test: TestConfig,
    dtype: torch.dtype,
) -> Detections:
    """Detect objects in images at several scales.

    RoIs are divided by the image's scale before decoding, so that clipping, the +1 of
    legacy boxes and suppression work in original pixels, as in the published code.

    Args:
        model: the detector, in evaluation mode.
        views: one batch per scale, of the same images in the same order, on the model's
            device. With ``test.flip`` each is also run mirrored.
        boxes: the box convention.
        test: thresholds and limits.
        dtype: dtype of the computation.

    Returns:
        Detections in pixels of each original image.

    Raises:
        ValueError: the batches contain different images.
    """
    _check_same_images(views)
    found, first = [], None
    for batch in views:
        predictions = _predict(model, batch, dtype)
        first = first or predictions
        found.append(_candidates(predictions, batch, boxes, test))
        if test.flip:
            predictions = _predict(model, _mirrored(batch, boxes.offset), dtype)
            sizes = batch.images.sizes
            predictions = unmirror(predictions, sizes, offset=boxes.offset)
            found.append(_candidates(predictions, batch, boxes, test))
    detections = _merged(found, views[0], boxes, test)
    assert first is not None
    with autocast(views[0].images.pixels.device, dtype):
        return _finished(model, first, views[0], detections)


def detections_of(
    model: Network,
    predictions: Predictions,
    batch: Batch,
    *,
    boxes: BoxConfig,
    test: TestConfig,
) -> Detections:
    """Compute the detections of a batch's predictions, as its only view."""
    found = _candidates(predictions, batch, boxes, test)
    detections = _merged([found], batch, boxes, test)
    return _finished(model, predictions, batch, detections)


def _finished(
    model: Network, predictions: Predictions, batch: Batch, found: Detections
) -> Detections:
    """Run the heads that work on final boxes, on those of a view's own pixels."""
    if predictions.features is None:
        return found
    scales = _scales(batch)
    own = model.finish(predictions, replace(found, boxes=found.boxes * scales))
    if own.keypoints is not None:
        points = own.keypoints[..., :2] / scales[..., None]
        keypoints = torch.cat((points, own.keypoints[..., 2:]), dim=3)
        own = replace(own, keypoints=keypoints)
    return replace(own, boxes=found.boxes)


def _predict(model: Network, batch: Batch, dtype: torch.dtype) -> Predictions:
    with autocast(batch.images.pixels.device, dtype):
        predictions = model(batch.images, **batch.given)
    assert isinstance(predictions, Predictions)
    return predictions


def _mirrored(batch: Batch, offset: float) -> Batch:
    """Mirror the network's input for a batch, left to right."""
    given, sizes = batch.proposals, batch.images.sizes
    if given is not None:
        given = mirror_proposals(given, sizes, offset=offset)
    return batch._replace(images=mirror(batch.images), proposals=given)


def _candidates(
    predictions: Predictions, batch: Batch, boxes: BoxConfig, test: TestConfig
) -> Detections:
    """Compute boxes of all classes in pixels of each original image, unsuppressed."""
    proposals = predictions.proposals
    return candidates(
        proposals._replace(boxes=proposals.boxes / _scales(batch)),
        predictions.class_scores,
        predictions.pred_deltas,
        _original_sizes(batch),
        score_threshold=test.score_threshold,
        coder=BoxCoder(boxes.offset, boxes.max_log_size, clips=test.clip_first),
        min_size=test.min_size,
        classes=predictions.classes,
    )


def _merged(
    found: Sequence[Detections], batch: Batch, boxes: BoxConfig, test: TestConfig
) -> Detections:
    """Leave one box per object, inside its image."""
    detections = merge_views(found, boxes=boxes, test=test)
    if test.clip_first:
        return detections
    sizes = _original_sizes(batch)
    inside = clip(detections.boxes, sizes, offset=boxes.offset)
    return replace(detections, boxes=inside)


def _original_sizes(batch: Batch) -> Tensor:
    """Return heights and widths ``(N, 2)`` in pixels, on the images' device."""
    return batch.original_sizes.to(batch.images.pixels.device, non_blocking=True)


def _scales(batch: Batch) -> Tensor:
    """Return input pixels per original pixel, ``(N, 1, 1)``, on the images' device."""
    # A blocking copy would make the host wait for all work that it has queued.
    scales = batch.scales.to(batch.images.pixels.device, non_blocking=True)
    return scales[:, None, None]


def _check_same_images(views: Sequence[Batch]) -> None:
    if not views:
        raise ValueError("expected one batch per view, found none; give at least one")
    for batch in views[1:]:
        if batch.image_ids != views[0].image_ids:
            raise ValueError(
                "expected the same images in every view, found "
                f"{list(views[0].image_ids)} and {list(batch.image_ids)}"
            )


def detect_images(
    model: Network,
    batches: Iterable[Batch | tuple[Batch, ...]],
    *,
    boxes: BoxConfig,
    test: TestConfig,
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[list[ImageDetections]]:
    """Detect objects batch by batch.

    Args:
        model: the detector; it is put into evaluation mode.
        batches: from ``datasets.loading.loader.evaluation_batches``, or of several
            views from ``test_time_augmentation.view_batches``.
        boxes: the box convention.
        test: thresholds and limits.
        device: the model's device.
        dtype: dtype of the computation.

    Yields:
        The images of each batch, boxes as pixel edges of the original image.
    """
    model.eval()
    for batch in batches:
        # A batch is itself a tuple.
        views = (batch,) if isinstance(batch, Batch) else batch
        detections = detect_views(
            model,
            [view.to(device) for view in views],
            boxes=boxes,
            test=test,
            dtype=dtype,
        )
        yield to_image_detections(detections, views[0].image_ids, offset=boxes.offset)


def to_image_detections(
    detections: Detections, image_ids: Iterable[str], *, offset: float
) -> list[ImageDetections]:
    """Remove the padding and the box convention.

    Args:
        detections: detections in original pixels.
        image_ids: ids of the N images.
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
