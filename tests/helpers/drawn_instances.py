"""Masks and keypoints for the drawn images of `tiny_runs`."""

import dataclasses

import numpy as np
from faster_rcnn.datasets.records import KeypointNames

NAMES = KeypointNames(("left", "right"), ((0, 1),))


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
