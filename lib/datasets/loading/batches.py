"""Turn records into batches: flip, resize, recolour, pad, stack.

This is the only place where file boxes (pixel edges of the stored image) become boxes
of the network input in the configured convention.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
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
from ..formats.proposals import ScoredBoxes
from ..records import BoolArray, FloatArray, Record
from ..wanted_instances import Instances
from .colours import recolour
from .images import expect_stated_size, read_image
from .instances import place_keypoints, place_masks
from .masks import ObjectMask, pack_masks
from .resizing import Cut, choose_cut, resize_image, resize_scale
from .training_stream import Draw

_GT_SLOTS = 8
"""Fewest ground-truth slots; larger numbers are powers of two, so shapes repeat."""


class Batch(NamedTuple):
    """Input of one step of training or inference.

    Attributes:
        images: padded pixels and true sizes.
        ground_truth: objects in pixels of the network input.
        scales: ``(N,)`` float32, network pixels per original pixel.
        original_sizes: ``(N, 2)`` int64, height and width of the stored images.
        image_ids: ids of the N images.
        problems: files that could not be read and were replaced, with the reason.
        ignored: per image ``(I, 4)`` boxes of visible objects that are not trained on:
            crowd regions, difficult objects, objects cropped too much. For pictures.
        proposals: R given proposals of each image, best first, in pixels of the network
            input; None if the network computes its own.
    """

    images: Images
    ground_truth: GroundTruth
    scales: Tensor
    original_sizes: Tensor
    image_ids: tuple[str, ...]
    problems: tuple[str, ...] = ()
    ignored: tuple[npt.NDArray[np.float32], ...] = ()
    proposals: Proposals | None = None

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


class Sample(NamedTuple):
    """One image, resized, with its objects in network pixels.

    Attributes:
        pixels: ``(h, w, 3)`` RGB.
        boxes: ``(G, 4)``.
        classes: ``(G,)``.
        ignored: ``(I, 4)``, boxes of visible objects that are not trained on.
        crowd: ``(I,)``, which of those are crowd regions.
        scale: network pixels per original pixel.
        original_size: height and width that ``scale`` refers to: of the stored image,
            or of its visible part.
        image_id: id of the image; of a mosaic, the ids of its images joined by ``+``.
        proposals: given proposals; None if the network computes its own.
        masks: G masks; None if they are not wanted.
        keypoints: ``(G, K, 3)``; None if they are not wanted.
    """

    pixels: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.float32]
    crowd: npt.NDArray[np.bool_]
    scale: float
    original_size: tuple[int, int]
    image_id: str
    proposals: ScoredBoxes | None = None
    masks: tuple[ObjectMask, ...] | None = None
    keypoints: FloatArray | None = None


class Preparation(NamedTuple):
    """How images and their objects become network input.

    Attributes:
        long_side: upper limit of the longer side in pixels.
        offset: 1 for legacy boxes, 0 for continuous ones.
        size_multiple: padded height and width are multiples of this.
        use_difficult: keep VOC's difficult objects.
        min_visible: least share of its area that a crop must leave of an object.
        instances: which masks and keypoints to load.
    """

    long_side: int
    offset: float
    size_multiple: int = 1
    use_difficult: bool = False
    min_visible: float = 0.25
    instances: Instances = Instances()


def make_sample(
    record: Record,
    draw: Draw,
    preparation: Preparation,
    *,
    window: tuple[int, int] | None = None,
    proposals: ScoredBoxes | None = None,
) -> Sample:
    """Read and resize an image and its objects.

    Crowd regions are not objects; difficult objects only with ``use_difficult``.

    Args:
        record: the image.
        draw: scale, flip, colours and zoom of the image. Pixels that the zoom moves
            beyond the usual size are cropped, see `choose_cut`.
        preparation: settings that all images share.
        window: height and width to fill; the scale is raised if the image would not
            fill it. If None, the image has its usual size.
        proposals: given proposals of this image, as pixel edges.

    Raises:
        ImageError: the file cannot be decoded, or does not have the annotated size.
    """
    offset, objects = preparation.offset, len(record.boxes)
    given = [] if proposals is None else [proposals.boxes]
    edges = np.concatenate([record.boxes, *given])
    pixels, edges = _read(record, edges, flip=draw.flip)
    height, width = pixels.shape[:2]
    boxes = edges - np.array([0, 0, offset, offset], dtype=np.float32)
    wanted = ~record.crowd
    if not preparation.use_difficult:
        wanted = wanted & ~record.difficult
    seen = np.ones(len(edges), np.bool_)
    scale = resize_scale(height, width, draw.short_side, preparation.long_side)
    cut = Cut(0, 0, width, height, scale, (height, width))
    if draw.zoom == 1 and window is None:
        pixels = resize_image(pixels, scale)
        cut = cut._replace(shown=pixels.shape[:2])
        boxes = (boxes * scale).astype(np.float32, copy=False)
    else:
        usual = round(scale * height), round(scale * width)
        scale *= draw.zoom
        if window is not None:
            scale = max(scale, window[0] / height, window[1] / width)
        cut = choose_cut(
            height, width, scale=scale, window=window or usual, place=draw.place
        )
        scale, height, width = cut.scale, cut.height, cut.width
        pixels, boxes = cut.resize(pixels), cut.move(boxes, offset=offset)
        share = cut.visible_share(edges)
        seen = (share > 0) & (boxes[:, 2:] + offset > boxes[:, :2]).all(axis=1)
        wanted = wanted & seen[:objects] & (share[:objects] >= preparation.min_visible)
    if draw.colour is not None or draw.hue:
        pixels = recolour(pixels, draw.colour or (1.0, 1.0, 1.0), hue=draw.hue)
    if proposals is not None:
        proposals = ScoredBoxes(
            boxes[objects:][seen[objects:]], proposals.scores[seen[objects:]]
        )
    boxes, seen = boxes[:objects], seen[:objects]
    masks, keypoints = _instances(
        record, wanted, cut, preparation.instances, flip=draw.flip
    )
    return Sample(
        pixels=pixels,
        boxes=boxes[wanted],
        classes=record.classes[wanted],
        ignored=boxes[seen & ~wanted],
        crowd=record.crowd[seen & ~wanted],
        scale=scale,
        original_size=(height, width),
        image_id=record.image_id,
        proposals=proposals,
        masks=masks,
        keypoints=keypoints,
    )


def _instances(
    record: Record, wanted: BoolArray, cut: Cut, instances: Instances, *, flip: bool
) -> tuple[tuple[ObjectMask, ...] | None, FloatArray | None]:
    """Move the masks and keypoints of some objects into the network input."""
    mirrored = record.width if flip else None
    masks, keypoints = None, None
    if instances.masks:
        own = record.masks or ((),) * len(wanted)
        masks = place_masks(list(itertools.compress(own, wanted)), cut, mirrored)
    names = instances.keypoints
    if names is not None:
        shape = (int(wanted.sum()), len(names.names), 3)
        keypoints = np.zeros(shape, np.float32)
        if record.keypoints is not None:
            keypoints = place_keypoints(
                record.keypoints[wanted], cut, mirrored, names.flip_pairs
            )
    return masks, keypoints


def _read(
    record: Record, edges: FloatArray, *, flip: bool
) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """Read an image, and mirror it and the pixel edges of its boxes if asked.

    An image is mirrored before the resize: mirroring an image of rounded width would
    shift it by a fraction of a pixel.
    """
    pixels = read_image(record.path)
    height, width = pixels.shape[:2]
    expect_stated_size(record.path, (width, height), (record.width, record.height))
    if flip:
        pixels = np.asarray(cv2.flip(pixels, 1), np.uint8)
        edges = edges.copy()
        edges[:, 0::2] = width - edges[:, 2::-2]
    return pixels, edges


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
    # (N, 3, H, W).
    canvas = np.zeros((len(samples), height, width, 3), dtype=np.uint8)
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
