"""Pictures of images with their objects: boxes, masks and keypoints."""

from collections.abc import Sequence

import numpy as np

from ..datasets.mask_encoding import run_lengths
from ..datasets.records import Dataset, FloatArray, IntArray, Record, RunLengths
from ..utils.drawing import Picture, class_color, draw_boxes, draw_keypoints, draw_masks
from .image_detections import ImageDetections

KEYPOINT_SCORE = 0.05
"""Keypoints of detections are drawn above this score."""


def truth_picture(pixels: Picture, record: Record, dataset: Dataset) -> Picture:
    """Draw the objects of an image, each class in its colour."""
    height, width = pixels.shape[:2]
    masks = None
    if record.masks is not None:
        masks = [run_lengths(mask, height, width) for mask in record.masks]
    return _draw(pixels, dataset, record.boxes, record.classes, masks, record.keypoints)


def detections_picture(
    pixels: Picture, entry: ImageDetections, dataset: Dataset, *, threshold: float
) -> Picture:
    """Draw the detections of an image that score at least ``threshold``."""
    shown = np.flatnonzero(entry.scores >= threshold)
    masks, points = entry.masks, entry.keypoints
    return _draw(
        pixels,
        dataset,
        entry.boxes[shown],
        entry.classes[shown],
        None if masks is None else [masks[row] for row in shown.tolist()],
        None if points is None else points[shown],
        scores=entry.scores[shown],
        keypoint_threshold=KEYPOINT_SCORE,
    )


def _draw(
    pixels: Picture,
    dataset: Dataset,
    boxes: FloatArray,
    classes: IntArray,
    masks: Sequence[RunLengths] | None,
    keypoints: FloatArray | None,
    *,
    scores: FloatArray | None = None,
    keypoint_threshold: float = 0,
) -> Picture:
    colors = [class_color(c) for c in classes.tolist()]
    labels = [dataset.classes[c] for c in classes.tolist()]
    if masks is not None:
        pixels = draw_masks(pixels, masks, colors)
    if keypoints is not None:
        skeleton = dataset.keypoints.skeleton if dataset.keypoints else ()
        pixels = draw_keypoints(pixels, keypoints, skeleton, colors, keypoint_threshold)
    # The labels come last, so that nothing crosses them.
    return draw_boxes(pixels, boxes, labels=labels, scores=scores, colors=colors)
