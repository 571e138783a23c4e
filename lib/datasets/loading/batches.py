"""Stack samples into batches: pad, fill slots, pack masks."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...layer_utils.structures import (
    Bitmaps,
    GroundTruth,
    Images,
    Polygons,
    Proposals,
    map_tensors,
    tensors_of,
)
from .masks import pack_masks
from .samples import Sample
from .tiling import Tile

_GT_SLOTS = 8
"""Fewest ground-truth slots; larger numbers are powers of two, so shapes repeat."""


class Batch(NamedTuple):
    """Input of one step of training or inference."""

    images: Images  # padded pixels and true sizes
    ground_truth: GroundTruth  # objects in pixels of the network input
    scales: Tensor  # ``(N,)`` float32, network pixels per original pixel
    original_sizes: Tensor  # ``(N, 2)`` int64, height and width of the stored images
    image_ids: tuple[str, ...]  # ids of the N images
    # files that could not be read and were replaced, with the reason
    problems: tuple[str, ...] = ()
    # per image ``(I, 4)`` boxes of visible objects that are not trained on: crowd
    # regions, difficult objects, objects cropped too much. For pictures.
    ignored: tuple[npt.NDArray[np.float32], ...] = ()
    # R given proposals of each image, best first, in pixels of the network input; None
    # if the network computes its own
    proposals: Proposals | None = None
    # the parts of images that these are; empty if they are whole images
    tiles: tuple[Tile, ...] = ()
    lost: int = 0  # number of objects that transforms and pasting have removed

    @property
    def given(self) -> dict[str, Proposals]:
        """Return given proposals as the network's argument; empty without proposals."""
        return {} if self.proposals is None else {"proposals": self.proposals}

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on ``device``; copies overlap if pinned."""
        if device.type == "cpu":
            return self
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the tensors that a training pass reads."""
        return tuple(tensors_of((self.images, self.ground_truth, self.proposals)))

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with `change` applied to each of `tensors`."""
        return self._replace(
            images=map_tensors(self.images, change),
            ground_truth=map_tensors(self.ground_truth, change),
            proposals=self.proposals and map_tensors(self.proposals, change),
        )


def collate(
    samples: Sequence[Sample],
    *,
    size_multiple: int,
    problems: tuple[str, ...] = (),
    proposal_slots: int = 0,
    bitmaps: bool = False,
) -> Batch:
    """Stack samples of any size into one zero-padded batch.

    Args:
        samples: N samples.
        size_multiple: padded height and width are multiples of this.
        problems: files that could not be read, see `Batch`.
        proposal_slots: R, for given proposals.
        bitmaps: pack masks as bitmaps, also if all are outlines.
    """
    sizes = np.array([sample.pixels.shape[:2] for sample in samples], dtype=np.int64)
    height, width = (-(-side // size_multiple) * size_multiple for side in sizes.max(0))
    # channels_last in memory, which the network computes in; the transposed view is
    # (N, C, H, W).
    kind = np.result_type(*(sample.pixels.dtype for sample in samples))
    channels = samples[0].pixels.shape[2]
    canvas = np.zeros((len(samples), height, width, channels), dtype=kind)
    most = max(len(sample.boxes) + int(sample.crowd.sum()) for sample in samples)
    slots = _GT_SLOTS
    while slots < most:
        slots *= 2
    boxes = np.zeros((len(samples), slots, 4), dtype=np.float32)
    classes = np.zeros((len(samples), slots), dtype=np.int64)
    valid = np.zeros((len(samples), slots), dtype=np.bool_)
    crowd = np.zeros((len(samples), slots), dtype=np.bool_)
    for i, sample in enumerate(samples):
        canvas[i, : sizes[i, 0], : sizes[i, 1]] = sample.pixels
        count = len(sample.boxes)
        boxes[i, :count] = sample.boxes
        classes[i, :count] = sample.classes
        valid[i, :count] = True
        crowds = sample.ignored[sample.crowd]
        boxes[i, count : count + len(crowds)] = crowds
        crowd[i, count : count + len(crowds)] = True
    return Batch(
        images=Images(
            pixels=torch.from_numpy(canvas).permute(0, 3, 1, 2),
            sizes=torch.from_numpy(sizes),
            padded=bool((sizes != (height, width)).any()),
        ),
        ground_truth=GroundTruth(
            boxes=torch.from_numpy(boxes),
            classes=torch.from_numpy(classes),
            valid=torch.from_numpy(valid),
            crowd=torch.from_numpy(crowd),
            masks=_stack_masks(samples, slots, bitmaps=bitmaps),
            keypoints=_stack_keypoints(samples, slots),
        ),
        scales=torch.tensor([s.scale for s in samples], dtype=torch.float32),
        original_sizes=torch.tensor([s.original_size for s in samples]),
        image_ids=tuple(sample.image_id for sample in samples),
        problems=problems,
        ignored=tuple(sample.ignored for sample in samples),
        proposals=_stack_proposals(samples, proposal_slots),
        tiles=tuple(sample.tile for sample in samples if sample.tile is not None),
        lost=sum(sample.lost for sample in samples),
    )


def _stack_masks(
    samples: Sequence[Sample], slots: int, *, bitmaps: bool
) -> Polygons | Bitmaps | None:
    objects = [sample.masks for sample in samples if sample.masks is not None]
    if len(objects) < len(samples):
        return None
    sizes = [(sample.pixels.shape[0], sample.pixels.shape[1]) for sample in samples]
    return pack_masks(objects, slots=slots, sizes=sizes, bitmaps=bitmaps)


def _stack_keypoints(samples: Sequence[Sample], slots: int) -> Tensor | None:
    own = [sample.keypoints for sample in samples if sample.keypoints is not None]
    if len(own) < len(samples):
        return None
    keypoints = np.zeros((len(own), slots, own[0].shape[1], 3), np.float32)
    for row, points in zip(keypoints, own, strict=True):
        row[: len(points)] = points
    return torch.from_numpy(keypoints)


def _stack_proposals(samples: Sequence[Sample], slots: int) -> Proposals | None:
    """Stack the best given proposals of each image; None if an image has none."""
    boxes = np.zeros((len(samples), slots, 4), dtype=np.float32)
    scores = np.zeros((len(samples), slots), dtype=np.float32)
    valid = np.zeros((len(samples), slots), dtype=np.bool_)
    for i, sample in enumerate(samples):
        if sample.proposals is None:
            return None
        # In a mosaic, they are sorted within each of its images only.
        best = np.argsort(-sample.proposals.scores, kind="stable")[:slots]
        boxes[i, : len(best)] = sample.proposals.boxes[best]
        scores[i, : len(best)] = sample.proposals.scores[best]
        valid[i, : len(best)] = True
    return Proposals(
        boxes=torch.from_numpy(boxes),
        scores=torch.from_numpy(scores),
        valid=torch.from_numpy(valid),
    )
