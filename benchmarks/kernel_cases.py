"""The comparisons of kernels.py: suppression, RoI pooling and matching.

Letters: A anchors, G objects, R RoIs.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
import torchvision
from faster_rcnn.kernels.matching import match_boxes
from faster_rcnn.nms import nms
from kernel_inputs import Sizes, image_size, rpn_boxes, scene
from kernel_pools import Pools, random_map
from timing import Case
from torch import Tensor


def cases(device: torch.device, sizes: Sizes) -> Iterator[Case]:
    """Yield all comparisons."""
    generator = torch.Generator().manual_seed(0)
    anchors, gt_boxes = scene(sizes.height, sizes.width, sizes.objects, generator)
    size = image_size(sizes.height, sizes.width)
    boxes, scores = rpn_boxes(anchors, gt_boxes, size, generator)
    early = rpn_boxes(anchors, gt_boxes, size, generator, trained=False)
    for (count, kept), wanted in ((sizes.train_nms, 80.0), (sizes.test_nms, 300.0)):
        for name, (b, s), w in (
            ("", (boxes, scores), wanted),
            (", untrained RPN", early, None),
        ):
            yield nms_case(name, b[:count].to(device), s[:count].to(device), kept, w)
    rois = boxes[torchvision.ops.nms(boxes, scores, 0.7)[: sizes.test_rois]]
    shape = (1, sizes.channels, sizes.height, sizes.width)
    pools = Pools(random_map(shape, generator).to(device), rois.to(device), generator)
    for count in (sizes.train_rois, sizes.test_rois):
        for backward, wanted in ((True, 15.0), (False, 5.0)):
            yield pools.align(count, 7, 2, backward, wanted)
    yield pools.align(sizes.train_rois, 14, 0, True, 12.0)
    for count in (sizes.train_rois, sizes.test_rois):
        yield pools.maxima(count, 4.0)
    for count in (sizes.train_rois, sizes.test_rois):
        for backward in (True, False):
            yield pools.crop(count, backward, 1.0)
    yield pools.crop_with_maxima(sizes.train_rois)
    yield matching_case(anchors.to(device), gt_boxes.to(device), 6.0)


def nms_case(
    name: str, boxes: Tensor, scores: Tensor, kept: int, wanted: float | None
) -> Case:
    """Compare greedy suppression at IoU .7."""
    valid = torch.ones_like(scores, dtype=torch.bool)[None]

    def ours() -> tuple[Tensor, ...]:
        index, _ = nms(
            boxes[None], scores[None], valid, threshold=0.7, max_outputs=kept
        )
        return (index[0],)

    def theirs() -> tuple[Tensor, ...]:
        return (torchvision.ops.nms(boxes, scores, 0.7)[:kept],)

    def expected() -> tuple[Tensor, ...]:
        index = theirs()[0]
        return (F.pad(index, (0, kept - len(index))),)  # 0 where a slot is empty

    return Case(
        f"suppression, {kept} of {len(boxes)}{name}",
        {"float32": ours},
        "torchvision",
        theirs,
        wanted,
        {"float32": 20 * len(boxes) + 8 * kept},
        expected,
    )


def matching_case(anchors: Tensor, gt_boxes: Tensor, wanted: float | None) -> Case:
    """Compare matching: each anchor's best object, and each object's best anchors."""
    valid = torch.ones(1, len(gt_boxes), dtype=torch.bool, device=anchors.device)

    def ours() -> tuple[Tensor, ...]:
        matches = match_boxes(anchors, gt_boxes[None], valid, offset=0)
        return matches.overlap[0], matches.matched[0]

    def theirs() -> tuple[Tensor, ...]:
        iou = torchvision.ops.box_iou(anchors, gt_boxes)
        iou.max(dim=0)  # ours marks the anchors that reach it
        return tuple(iou.max(dim=1))

    return Case(
        f"matching, {len(anchors)} anchors, {len(gt_boxes)} objects",
        {"float32": ours},
        "torchvision's box_iou, max, argmax",
        theirs,
        wanted,
        {"float32": (16 + 4 + 8 + 1 + 4) * len(anchors) + 16 * len(gt_boxes)},
    )
