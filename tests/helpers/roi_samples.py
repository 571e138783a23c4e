"""Inputs and outputs of the RoI sampling, as its tests write and read them."""

from dataclasses import fields, replace

import torch
from faster_rcnn.layer_utils.proposal_targets import (
    RoICriteria,
    RoISampling,
    sample_rois,
)
from faster_rcnn.layer_utils.structures import Proposals

STD = (0.1, 0.1, 0.2, 0.2)
EVERYTHING = {"batch_size": 500, "fg_fraction": 1.0}  # nothing is left to chance
OBJECT = [10.0, 10.0, 29.0, 29.0]  # 20 x 20
FOREGROUND = [10.0, 10.0, 29.0, 24.0]  # 20 x 15 of it: IoU 0.75
BACKGROUND = [10.0, 10.0, 29.0, 14.0]  # 20 x 5 of it: IoU 0.25
FAR = [60.0, 60.0, 79.0, 79.0]  # IoU 0


def as_proposals(*images, junk=0.0, slots=None):
    """Proposals of images given as lists of boxes; the first slot is never valid."""
    slots = slots or max(map(len, images)) + 2
    boxes = torch.full((len(images), slots, 4), junk)
    valid = torch.zeros((len(images), slots), dtype=torch.bool)
    for i, rows in enumerate(images):
        for k, box in enumerate(rows):
            boxes[i, k + 1] = torch.as_tensor(box)
            valid[i, k + 1] = True
    return Proposals(boxes, torch.full((len(images), slots), junk), valid)


def sample(proposals, gt, seed=0, **changes):
    """Draw RoIs with some fields of the criteria and the sampling changed."""
    criteria = RoICriteria(0.5, 0.5, 0.0, offset=1)
    sampling = RoISampling(8, 0.25, add_ground_truth=False, replacement=False)
    return sample_rois(
        proposals,
        gt,
        criteria=_changed(criteria, changes),
        sampling=_changed(sampling, changes),
        delta_std=changes.pop("delta_std", STD),
        generator=torch.Generator().manual_seed(seed),
        **changes,
    )


def _changed(options, changes):
    names = {field.name for field in fields(options)} & changes.keys()
    return replace(options, **{name: changes.pop(name) for name in names})


def counts(result):
    """Valid foreground and background RoIs of each image."""
    foreground = result.valid & (result.classes > 0)
    background = result.valid & (result.classes == 0)
    return list(
        zip(foreground.sum(1).tolist(), background.sum(1).tolist(), strict=True)
    )


def drawn(result, i=0):
    """RoIs drawn for an image, in an order that does not depend on chance."""
    keep = result.valid[i]
    return sorted(
        (*roi, label, *delta)
        for roi, label, delta in zip(
            result.rois[i][keep].tolist(),
            result.classes[i][keep].tolist(),
            result.target_deltas[i][keep].tolist(),
            strict=True,
        )
    )
