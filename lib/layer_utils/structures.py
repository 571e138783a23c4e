"""The padded, masked structures that carry a batch through the network.

Every tensor has a fixed size. Rows count where ``valid`` is True, and no code reads a
row without its mask. Letters, here and in the whole package:

    N  images in the batch
    A  anchors of all levels
    G  ground-truth slots per image
    R  proposals or sampled RoIs per image
    D  detections per image
    H, W  height and width of the padded network input

Boxes are float32 ``x1, y1, x2, y2`` in pixels of the network input.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor


class Images(NamedTuple):
    """A batch of images as it is sent to the device.

    Attributes:
        pixels: ``(N, 3, H, W)`` uint8 RGB, or float32 or other channels as they are
            stored; zero beyond each image's true size.
        sizes: ``(N, 2)`` int64, height and width of each image without padding.
        padded: whether any image is smaller than ``(H, W)``; a Python bool, so that a
            batch without padding skips masking without a device synchronisation.
    """

    pixels: Tensor
    sizes: Tensor
    padded: bool


class FeatureMaps(NamedTuple):
    """The feature maps shared by RPN and heads, finest first; a single one without FPN.

    Attributes:
        maps: ``(N, C, Hf, Wf)`` each.
        sizes: for each map, ``(N, 2)`` int64 true rows and columns of each image; None
            if no image is padded.
    """

    maps: list[Tensor]
    sizes: list[Tensor] | None

    def of(self, levels: int) -> "FeatureMaps":
        """Return the finest ``levels`` maps."""
        sizes = None if self.sizes is None else self.sizes[:levels]
        return FeatureMaps(self.maps[:levels], sizes)


class Polygons(NamedTuple):
    """The outlines of a batch's objects, as closed rings.

    Attributes:
        vertices: ``(N, G, V, 2)`` float32 x and y in pixels of the network input. The
            last vertex of each part repeats its first one.
        parts: ``(N, G, V)`` int16 in ascending order, the part of each vertex; -1 for
            unused slots, which come last.
        num_parts: largest number of parts, or a greater one: like V it is rounded up to
            few values, since shapes follow from it.
    """

    vertices: Tensor
    parts: Tensor
    num_parts: int


class Bitmaps(NamedTuple):
    """The masks of a batch's objects, each as a bitmap of its box.

    A bitmap covers the object and, within the image, one pixel around it. So where the
    object touches an edge of the image, there is an edge of the bitmap, and RoIAlign
    sees what it would see in a bitmap of the whole image.

    Attributes:
        values: ``(N, G, B, B)`` uint8, the share of each cell that is inside, times
            255.
        frames: ``(N, G, 4)`` box of all B x B cells, in pixels of the network input;
            its sides are B if a cell is a pixel.
        sizes: ``(N, G, 2)`` int64 rows and columns that the bitmap has, the first ones.
    """

    values: Tensor
    frames: Tensor
    sizes: Tensor


class GroundTruth(NamedTuple):
    """The annotated objects of a batch.

    Attributes:
        boxes: ``(N, G, 4)`` boxes.
        classes: ``(N, G)`` int64 class indices, 1..C-1 where valid.
        valid: ``(N, G)`` bool.
        crowd: ``(N, G)`` bool, slots outside ``valid`` whose box is a crowd region
            (COCO's iscrowd); None if there are none.
        masks: the objects' masks; None if nothing needs them.
        keypoints: ``(N, G, K, 3)`` x and y in pixels of the network input, and
            visibility, above 0 if labelled; None if nothing needs them.
    """

    boxes: Tensor
    classes: Tensor
    valid: Tensor
    crowd: Tensor | None = None
    masks: Polygons | Bitmaps | None = None
    keypoints: Tensor | None = None


_S = TypeVar("_S", bound=tuple[Any, ...])


def replace(structure: _S, **fields: Any) -> _S:
    """Return a copy of a named tuple with some fields replaced.

    `NamedTuple._replace` does the same, but torch.compile of PyTorch 2.8 does not trace
    it: use this one wherever a compiled graph may pass.
    """
    kind: Any = type(structure)
    values = zip(kind._fields, structure, strict=True)
    return cast(_S, kind(*[fields.get(name, value) for name, value in values]))


def map_tensors(structure: _S, change: Callable[[Tensor], Tensor]) -> _S:
    """Return a copy of a named tuple with ``change`` applied to each of its tensors.

    Named tuples inside it are copied likewise; all other fields stay as they are. Use
    this, `tensors_of` and `join` in place of a list of fields, so that a structure can
    gain a field without an edit elsewhere.
    """
    fields: dict[str, Any] = {}
    for name, value in zip(_names(structure), structure, strict=True):
        if isinstance(value, Tensor):
            fields[name] = change(value)
        elif _names(value):
            fields[name] = map_tensors(value, change)
    return replace(structure, **fields)


def tensors_of(structure: tuple[Any, ...]) -> Iterator[Tensor]:
    """Yield the tensors of a named tuple and of the named tuples inside it."""
    for value in structure:
        if isinstance(value, Tensor):
            yield value
        elif _names(value):
            yield from tensors_of(value)


def join(structures: Sequence[_S], *, dim: int) -> _S:
    """Concatenate each tensor field of equal named tuples along a dimension."""
    first = structures[0]
    if len(structures) == 1:
        return first
    fields = {
        name: torch.cat([getattr(each, name) for each in structures], dim)
        for name, value in zip(_names(first), first, strict=True)
        if isinstance(value, Tensor)
    }
    return replace(first, **fields)


def _names(value: object) -> tuple[str, ...]:
    """Return the fields of a named tuple; nothing for any other value."""
    return getattr(type(value), "_fields", ())


class RPNOutput(NamedTuple):
    """RPN predictions for every anchor, finest level first.

    Attributes:
        anchors: ``(A, 4)``.
        objectness_logits: ``(N, A)``.
        pred_deltas: ``(N, A, 4)``.
        usable: ``(N, A)`` bool, anchors of cells inside the image; None for all.
        level_anchors: number of anchors of each level.
    """

    anchors: Tensor
    objectness_logits: Tensor
    pred_deltas: Tensor
    usable: Tensor | None
    level_anchors: tuple[int, ...]


class DenseOutput(NamedTuple):
    """Predictions of a one-stage detector for every anchor, finest level first.

    Attributes:
        anchors: ``(A, 4)``.
        class_logits: ``(N, A, C)``, one logit per class.
        pred_deltas: ``(N, A, 4)``.
        usable: ``(N, A)`` bool, anchors of cells inside the image; None for all.
        level_anchors: number of anchors of each level.
    """

    anchors: Tensor
    class_logits: Tensor
    pred_deltas: Tensor
    usable: Tensor | None
    level_anchors: tuple[int, ...]


class Proposals(NamedTuple):
    """Candidate regions, best first (Faster R-CNN, section 3.1).

    Attributes:
        boxes: ``(N, R, 4)`` boxes.
        scores: ``(N, R)`` objectness logits.
        valid: ``(N, R)`` bool.
    """

    boxes: Tensor
    scores: Tensor
    valid: Tensor


class Detections(NamedTuple):
    """Final detections, best first.

    Attributes:
        boxes: ``(N, D, 4)`` boxes.
        scores: ``(N, D)`` class probabilities.
        classes: ``(N, D)`` int64 class indices, 1..C-1 where valid.
        valid: ``(N, D)`` bool.
        masks: ``(N, D, S, S)`` probabilities in the frame of each box; None without a
            mask head.
        keypoints: ``(N, D, K, 3)`` x and y in the frame of the boxes, and score; None
            without a keypoint head.
        rows: ``(N, D)`` int64 row of the predictions that each comes from; None where
            several are averaged.
        features: ``(N, D, F)`` vector of each box before the predictor; None unless
            requested.
        class_scores: ``(N, D, C)`` probabilities, background first; None unless
            requested.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    valid: Tensor
    masks: Tensor | None = None
    keypoints: Tensor | None = None
    rows: Tensor | None = None
    features: Tensor | None = None
    class_scores: Tensor | None = None
