"""Draw batches exactly as the network receives them, many images on a sheet."""

import logging
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from torch import Tensor

from ..datasets.loading.batches import Batch
from ..datasets.loading.channels import shown
from ..datasets.mask_encoding import run_lengths
from ..evaluation.pictures import KEYPOINT_SCORE
from ..layer_utils.mask_pasting import paste_masks
from ..layer_utils.structures import (
    Bitmaps,
    Detections,
    GroundTruth,
    Images,
    Polygons,
    Proposals,
)
from ..utils.drawing import (
    BitMask,
    BoxArray,
    Color,
    EncodedMask,
    Picture,
    class_color,
    draw_boxes,
    draw_keypoints,
    draw_masks,
)

Skeleton = Sequence[tuple[int, int]]
"""Pairs of keypoints to connect."""

logger = logging.getLogger(__name__)

GREY = (150, 150, 150)
"""Colour of visible objects that are not trained on."""


def network_pictures(
    batches: Iterator[Batch],
    class_names: tuple[str, ...],
    *,
    offset: float,
    count: int,
    size: int,
    skeleton: Skeleton = (),
) -> Iterator[tuple[Picture, str]]:
    """Draw the first images of a stream as the network receives them, with titles.

    Args:
        batches: the stream.
        class_names: C names, background first.
        offset: 1 for legacy boxes, 0 for continuous ones.
        count: number of images.
        size: longer side of a drawing in pixels.
        skeleton: pairs of keypoints to connect.
    """
    shown = 0
    for batch in batches:
        for problem in batch.problems:
            logger.warning("replaced by another image: %s", problem)
        for i, image_id in enumerate(batch.image_ids[: count - shown]):
            scale = float(batch.scales[i])
            height, width = batch.images.sizes[i].tolist()
            title = f"{image_id}: {width} x {height}, scale {scale:.2f}"
            picture = _picture(
                batch, i, class_names, skeleton, offset=offset, size=size
            )
            yield picture, title
        shown += len(batch.image_ids)
        if shown >= count:
            return


def _picture(
    batch: Batch,
    i: int,
    class_names: tuple[str, ...],
    skeleton: Skeleton,
    *,
    offset: float,
    size: int,
) -> Picture:
    canvas = shown(batch.images.pixels[i].permute(1, 2, 0).contiguous().numpy())
    truth = batch.ground_truth
    canvas = _with_masks(canvas, truth, i)
    factor = size / max(canvas.shape[:2])
    area = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(canvas, None, fx=factor, fy=factor, interpolation=area)
    picture = np.asarray(resized, np.uint8)
    picture = _with_keypoints(picture, truth, i, skeleton, factor=factor)
    classes = truth.classes[i][truth.valid[i]].tolist()
    trained = truth.boxes[i][truth.valid[i]].numpy()
    edges = np.concatenate([trained, batch.ignored[i]])
    edges[:, 2:] += offset
    return draw_boxes(
        picture,
        edges * factor,
        labels=[class_names[c] for c in classes] + ["ignored"] * len(batch.ignored[i]),
        colors=[class_color(c) for c in classes] + [GREY] * len(batch.ignored[i]),
    )


def _with_masks(picture: Picture, truth: GroundTruth | Detections, i: int) -> Picture:
    """Draw the masks of image ``i``, if there are any."""
    if truth.masks is None:
        return picture
    height, width = picture.shape[:2]
    rows = truth.valid[i].nonzero()[:, 0]
    masks: Sequence[BitMask | EncodedMask]
    if isinstance(truth.masks, Polygons):
        vertices, parts = (field[i][rows].cpu() for field in truth.masks[:2])
        masks = [
            run_lengths(
                tuple(own[part == p].numpy() for p in range(int(part.max()) + 1)),
                height,
                width,
            )
            for own, part in zip(vertices, parts, strict=True)
        ]
    else:
        if isinstance(truth.masks, Bitmaps):
            small, frames = truth.masks.values / 255, truth.masks.frames
        else:
            small, frames = truth.masks, truth.boxes
        small, frames = small[i][rows].float().cpu(), frames[i][rows].float().cpu()
        masks = [*paste_masks(small, frames, height=height, width=width).numpy()]
    return draw_masks(picture, masks, _colors(truth, i))


def _with_keypoints(
    picture: Picture,
    truth: GroundTruth | Detections,
    i: int,
    skeleton: Skeleton,
    *,
    factor: float = 1,
    threshold: float = 0,
) -> Picture:
    """Draw the keypoints of image ``i``, if there are any."""
    if truth.keypoints is None:
        return picture
    points = truth.keypoints[i][truth.valid[i]].detach().float().cpu().numpy()
    points = points * np.array((factor, factor, 1), np.float32)
    return draw_keypoints(picture, points, skeleton, _colors(truth, i), threshold)


def _colors(truth: GroundTruth | Detections, i: int) -> list[Color]:
    return [class_color(c) for c in truth.classes[i][truth.valid[i]].tolist()]


def picture_of(images: Images, i: int) -> Picture:
    """Return image ``i`` of a batch without its padding."""
    height, width = images.sizes[i].tolist()
    pixels = images.pixels[i, :, :height, :width].permute(1, 2, 0)  # (h, w, C)
    return shown(pixels.cpu().contiguous().numpy())


def ground_truth_picture(
    images: Images,
    gt: GroundTruth,
    i: int,
    class_names: Sequence[str],
    *,
    offset: float,
    skeleton: Skeleton = (),
) -> Picture:
    """Draw the annotated objects of image ``i``, each class in its colour."""
    valid = gt.valid[i]
    classes = gt.classes[i][valid].tolist()
    picture = _with_masks(picture_of(images, i), gt, i)
    return draw_boxes(
        _with_keypoints(picture, gt, i, skeleton),
        _pixel_edges(gt.boxes[i][valid], offset),
        labels=[class_names[c] for c in classes],
        colors=_colors(gt, i),
    )


def proposals_picture(
    images: Images, proposals: Proposals, i: int, *, offset: float, limit: int = 30
) -> Picture:
    """Draw the best ``limit`` proposals of image ``i``, from yellow to blue.

    The colour depends on the rank, because objectness logits have no fixed range.
    """
    valid = proposals.valid[i]
    boxes = _pixel_edges(proposals.boxes[i][valid][:limit], offset)
    ranks = np.linspace(0, 1, max(len(boxes), 1))
    colors = [
        (round(255 * (1 - r)), round(220 - 120 * r), round(255 * r)) for r in ranks
    ]
    return draw_boxes(picture_of(images, i), boxes, colors=colors[: len(boxes)])


def detections_picture(
    images: Images,
    detections: Detections,
    i: int,
    class_names: Sequence[str],
    *,
    offset: float,
    threshold: float = 0.5,
    skeleton: Skeleton = (),
) -> Picture:
    """Draw the detections of image ``i`` that score at least ``threshold``."""
    shown = detections.valid & (detections.scores >= threshold)
    found = detections._replace(valid=shown)
    own = shown[i]
    edges = found.boxes.clone()
    edges[..., 2:] += offset
    picture = _with_masks(picture_of(images, i), found._replace(boxes=edges), i)
    return draw_boxes(
        _with_keypoints(picture, found, i, skeleton, threshold=KEYPOINT_SCORE),
        _pixel_edges(found.boxes[i][own], offset),
        labels=[class_names[c] for c in found.classes[i][own].tolist()],
        scores=found.scores[i][own].tolist(),
        colors=_colors(found, i),
    )


def _pixel_edges(boxes: Tensor, offset: float) -> BoxArray:
    """Convert ``(B, 4)`` boxes of the network input to pixel edges, on the host."""
    edges: BoxArray = boxes.detach().float().cpu().numpy().copy()
    edges[:, 2:] += offset
    return edges
