"""Slow, plain Python versions of the layers' arithmetic, and builders of inputs.

Nothing here calls the package: boxes are lists of four floats, numbers are Python's.
"""

import math

import numpy as np
import torch
from faster_rcnn.layer_utils.structures import GroundTruth

JUNK = [math.nan, math.inf, -math.inf, 1e30, -1e30, 12345.0]
"""Content of invalid rows, which nothing may depend on."""


def slow_iou(a, b, offset):
    """IoU of two boxes; 0 where the union is empty."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    inter = max(width, 0.0) * max(height, 0.0)
    union = -inter
    for box in (a, b):
        union += (box[2] - box[0] + offset) * (box[3] - box[1] + offset)
    # Rounded as a float32 layer rounds it, so that ties are ties and limits limits.
    return float(np.float32(inter) / np.float32(union)) if union > 0 else 0.0


def slow_encode(box, target, offset):
    """Deltas from a box to its target."""
    deltas = []
    for low in (0, 1):
        size = box[low + 2] - box[low] + offset
        target_size = target[low + 2] - target[low] + offset
        centre = box[low] + size / 2
        target_centre = target[low] + target_size / 2
        deltas.append(((target_centre - centre) / size, math.log(target_size / size)))
    (dx, dw), (dy, dh) = deltas
    return [dx, dy, dw, dh]


def slow_decode(box, delta, offset):
    """The box that a delta moves a box to; centre -/+ half the width."""
    decoded = [0.0] * 4
    for low in (0, 1):
        size = box[low + 2] - box[low] + offset
        centre = box[low] + size / 2 + delta[low] * size
        new_size = size * math.exp(delta[low + 2])
        decoded[low], decoded[low + 2] = centre - new_size / 2, centre + new_size / 2
    return decoded


def slow_clip(box, height, width, offset):
    """The box with its corners moved into the image."""
    limits = [width - offset, height - offset] * 2
    return [min(max(v, 0.0), limit) for v, limit in zip(box, limits, strict=True)]


def slow_nms(boxes, threshold, offset=0.0):
    """Positions of the kept ones of boxes that are already ordered, best first."""
    kept = []
    for i, box in enumerate(boxes):
        if all(slow_iou(box, boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


def random_boxes(count, *, size=100.0, seed=0, whole=False):
    """``(count, 4)`` boxes of 4 px and more inside a ``size`` x ``size`` image."""
    rng = np.random.default_rng(seed)
    sides = rng.uniform(4, 0.6 * size, (count, 2))
    corner = rng.uniform(0, 1, (count, 2)) * (size - 1 - sides)
    boxes = np.concatenate([corner, corner + sides], axis=1)
    return torch.tensor(np.floor(boxes) if whole else boxes, dtype=torch.float32)


def ground_truth(*images, slots=4, junk=0.0):
    """Ground truth of images given as lists of ``(class, box)``, 0 being a crowd.

    Rows that are not valid are spread before, between and after the valid ones, and
    hold ``junk``.
    """
    count = len(images)
    boxes = torch.full((count, slots, 4), junk)
    classes = torch.full((count, slots), 77, dtype=torch.int64)
    valid = torch.zeros((count, slots), dtype=torch.bool)
    crowd = torch.zeros((count, slots), dtype=torch.bool)
    for i, objects in enumerate(images):
        for k, (label, box) in enumerate(objects):
            slot = slots - 1 - 2 * k if 2 * len(objects) <= slots else k
            boxes[i, slot] = torch.as_tensor(box, dtype=torch.float32)
            classes[i, slot] = label
            valid[i, slot], crowd[i, slot] = label > 0, label == 0
    return GroundTruth(boxes, classes, valid, crowd)


def flip(boxes, width, offset):
    """Boxes of the image mirrored left to right."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((width - offset - x2, y1, width - offset - x1, y2), dim=-1)


def pixel_boxes(*shape, seed=0):
    """Boxes of whole pixels, so that equal overlaps are common; some inverted."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 30, (*shape, 2), generator=generator)
    sides = torch.randint(-1, 20, (*shape, 2), generator=generator)
    return torch.cat((corner, corner + sides), dim=-1).float()


def random_mask(*shape, share, seed):
    """A mask that is True for about a share of its elements."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < share
