"""Detections of a trained network, in pixels of the original images.

This is the only place where boxes, masks and keypoints leave the frame of the network
input.

Letters: N images, D detections per image, H, W height and width of an original image.
"""

from collections.abc import Iterable, Iterator, Sequence

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
from .box_vectors import embed_boxes, every_score, with_class_scores
from .image_results import ImageResults
from .test_time_augmentation import (
    merge_views,
    mirror,
    mirror_boxes,
    mirror_proposals,
    unmirror,
)


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
    features: bool = False,
    all_scores: bool = False,
) -> Detections:
    """Detect objects in images at several scales.

    RoIs are divided by the image's scale before decoding, so that clipping, the +1 of
    legacy boxes and suppression work in original pixels, as in the published code.

    Masks and keypoints are predicted once per object: in the merged boxes, at the first
    scale. With ``test.flip``, masks are the mean of this view and its mirror image.

    Args:
        model: the detector, in evaluation mode.
        views: one batch per scale, of the same images in the same order, on the model's
            device. With ``test.flip`` each is also run mirrored.
        boxes: the box convention.
        test: thresholds and limits.
        dtype: dtype of the computation.
        features: also return the vector of each box, at the first scale; the model must
            have ``keeps_features``.
        all_scores: also return the probabilities of all classes of the RoI, or anchor,
            that each detection comes from.

    Returns:
        Detections, with boxes and keypoints in pixels of each original image, and masks
        in the frames of the boxes.

    Raises:
        ValueError: the batches contain different images.
    """
    _check_same_images(views)
    found: list[Detections] = []
    scores: list[Tensor] = []  # (N, R, C) of each view
    shown: list[Predictions] = []  # at the first scale: as stored, then mirrored

    def take(predictions: Predictions, batch: Batch) -> None:
        own = _candidates(predictions, batch, boxes, test)
        assert own.rows is not None
        before = sum(each.shape[1] for each in scores)
        found.append(replace(own, rows=own.rows + before))
        scores.append(every_score(predictions))

    for batch in views:
        predictions = _predict(model, batch, dtype)
        take(predictions, batch)
        shown += [] if batch is not views[0] else [predictions]
        if test.flip:
            predictions = _predict(model, _mirrored(batch, boxes.offset), dtype)
            sizes = batch.images.sizes
            take(unmirror(predictions, sizes, offset=boxes.offset), batch)
            shown += [] if batch is not views[0] else [predictions]
        del predictions  # which may hold feature maps
    detections = _merged(found, views[0], boxes, test)
    if all_scores:
        detections = with_class_scores(detections, scores)
    with autocast(views[0].images.pixels.device, dtype):
        done = _finished(model, shown, views[0], detections, offset=boxes.offset)
        if features:
            inside = done.boxes * _scales(views[0])
            vectors = embed_boxes(model, shown[0].features, inside)
            done = replace(done, features=vectors)
        return done


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
    return _finished(model, [predictions], batch, detections, offset=boxes.offset)


def _finished(
    model: Network,
    views: Sequence[Predictions],
    batch: Batch,
    found: Detections,
    *,
    offset: float,
) -> Detections:
    """Run the heads that work on final boxes, in pixels of the network input.

    The views are the batch as stored and, if there is a second one, mirrored.
    """
    plain, *mirrored = views
    found = replace(found, rows=None)  # has served its purpose
    if plain.features is None:
        return found
    scales = _scales(batch)
    inputs = replace(found, boxes=found.boxes * scales)
    own = model.finish(plain, inputs)
    if mirrored and own.masks is not None:
        turned = mirror_boxes(inputs.boxes, batch.images.sizes, offset=offset)
        other = model.finish(mirrored[0], replace(inputs, boxes=turned))
        assert other.masks is not None
        own = replace(own, masks=(own.masks + other.masks.flip(-1)) / 2)
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
        score_threshold=test.least_score,
        coder=BoxCoder(
            boxes.offset,
            boxes.max_log_size,
            clips=test.clip_first,
            min_size=test.min_size,
        ),
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
    features: bool = False,
    all_scores: bool = False,
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
        features: see `detect_views`.
        all_scores: see `detect_views`.

    Yields:
        The images of each batch, boxes as pixel edges of the original image.
    """
    model.eval()
    results = ImageResults(boxes, test)
    for batch in batches:
        # A batch is itself a tuple.
        views = (batch,) if isinstance(batch, Batch) else batch
        detections = detect_views(
            model,
            [view.to(device) for view in views],
            boxes=boxes,
            test=test,
            dtype=dtype,
            features=features,
            all_scores=all_scores,
        )
        if entries := results.add(detections, views[0]):
            yield entries
