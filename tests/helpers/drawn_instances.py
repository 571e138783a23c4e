"""Masks and keypoints: of the drawn images of `tiny_runs`, and of boxes."""

import dataclasses

import numpy as np
from faster_rcnn.datasets.records import KeypointNames, RunLengths
from pycocotools import mask as coco_mask

NAMES = KeypointNames(("left", "right"), ((0, 1),))


def encoded(bits):
    """The run lengths of a mask ``(H, W)``."""
    rle = coco_mask.encode(np.asfortranarray(bits, np.uint8))
    return RunLengths(rle["counts"], bits.shape)


def box_mask(x1, y1, x2, y2):
    """The run lengths of a box in an image of 500 x 400."""
    bits = np.zeros((400, 500), bool)
    bits[y1:y2, x1:x2] = True
    return encoded(bits)


def with_instances(dataset):
    """Add an ellipse in each box, and a keypoint at its left and right end."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    circle = np.stack((np.cos(angle), np.sin(angle)), 1)
    records = []
    for record in dataset.records:
        middle = (record.boxes[:, :2] + record.boxes[:, 2:]) / 2
        half = (record.boxes[:, 2:] - record.boxes[:, :2]) / 2
        masks = [
            (np.float32(m + h * circle),) for m, h in zip(middle, half, strict=True)
        ]
        keypoints = np.full((len(middle), 2, 3), 2, np.float32)
        for k, sign in enumerate((-1, 1)):
            keypoints[:, k, :2] = middle + half * (0.8 * sign, 0)
        records.append(
            dataclasses.replace(record, masks=tuple(masks), keypoints=keypoints)
        )
    return dataclasses.replace(
        dataset, records=tuple(records), has_masks=True, keypoints=NAMES
    )
