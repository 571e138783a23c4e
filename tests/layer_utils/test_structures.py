"""Padded structures through all layers together.

Shapes never depend on values, nothing is read back from the device or copied to it,
and the whole chain is one graph.
"""

from typing import NamedTuple

import pytest
import torch
from box_oracles import ground_truth, random_boxes
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.layer_utils.anchor_targets import AnchorCriteria, anchor_targets
from faster_rcnn.layer_utils.anchors import base_anchors, cells_inside, grid_anchors
from faster_rcnn.layer_utils.boxes import BoxCoder
from faster_rcnn.layer_utils.detections import detect
from faster_rcnn.layer_utils.losses import head_losses, rpn_losses
from faster_rcnn.layer_utils.proposal_layer import propose
from faster_rcnn.layer_utils.proposal_targets import (
    RoICriteria,
    RoISampling,
    sample_rois,
)
from faster_rcnn.layer_utils.roi_pooling import Pooling, pool_rois
from faster_rcnn.layer_utils.structures import (
    FeatureMaps,
    GroundTruth,
    Images,
    RPNOutput,
    join,
    map_tensors,
)
from faster_rcnn.nms import Suppression
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HEIGHT, WIDTH, STRIDE, CLASSES = 5, 6, 16, 4
SIZES = torch.tensor([[48, 48], [40, 44]])
BASE = base_anchors(stride=STRIDE, ratios=(0.5, 1, 2), scales=(1, 2), offset=1)
CODER = BoxCoder(1, min_size=4)
PROPOSAL_RULE = Suppression(0.7, 0)
DETECTION_RULE = Suppression(0.3, 0)


def inputs(images=2, seed=0):
    """Feature maps and outputs of a network that is not there, and ground truth."""
    generator = torch.Generator().manual_seed(seed)
    anchors = HEIGHT * WIDTH * len(BASE)
    objects = random_boxes(3, size=70, seed=seed).tolist()  # the first is a crowd
    gt = ground_truth(
        *([(k, box) for k, box in enumerate(objects)] for _ in range(images))
    )
    return {
        "base": BASE,
        "features": torch.randn(images, 3, HEIGHT, WIDTH, generator=generator),
        "logits": torch.randn(images, anchors, generator=generator),
        "deltas": torch.randn(images, anchors, 4, generator=generator) * 0.2,
        "scores": torch.rand(images, 20, CLASSES, generator=generator),
        "head_deltas": torch.randn(images, 20, CLASSES, 4, generator=generator) * 0.2,
        "sizes": torch.tensor([[75, 90], [80, 85]])[:images],
        "map_sizes": torch.tensor([[5, 6], [5, 5]])[:images],
        "boxes": gt.boxes,
        "classes": gt.classes,
        "valid": gt.valid,
        "crowd": gt.crowd,
    }


def proposals_of(x):
    anchors = grid_anchors(x["base"], HEIGHT, WIDTH, stride=STRIDE)
    inside = cells_inside(
        HEIGHT, WIDTH, x["map_sizes"], anchors_per_cell=len(x["base"])
    )
    proposals = propose(
        RPNOutput(anchors, x["logits"], x["deltas"], inside, ()),
        x["sizes"],
        pre_nms=100,
        post_nms=20,
        coder=CODER,
        suppression=PROPOSAL_RULE,
    )
    return anchors, inside, proposals


def training(x, replacement=False, mode="align"):
    """From the RPN's outputs to the four losses."""
    gt = x.get("truth", GroundTruth(x["boxes"], x["classes"], x["valid"], x["crowd"]))
    anchors, inside, proposals = proposals_of(x)
    targets = anchor_targets(
        anchors,
        gt,
        x["sizes"],
        criteria=AnchorCriteria(0.7, 0.3, border=0, offset=1, crowd_overlap=0.7),
        batch_size=64,
        fg_fraction=0.5,
        usable=inside,
        generator=None,
    )
    samples = sample_rois(
        proposals,
        gt,
        criteria=RoICriteria(0.5, 0.5, 0.0, offset=1, crowd_overlap=0.7),
        sampling=RoISampling(20, 0.25, add_ground_truth=True, replacement=replacement),
        delta_std=(0.1, 0.1, 0.2, 0.2),
        generator=None,
    )
    maps = FeatureMaps(
        [x["features"]], None if x["map_sizes"] is None else [x["map_sizes"]]
    )
    pooled = pool_rois(maps, samples.rois, Pooling(mode, 3), strides=[STRIDE])
    losses = (
        *rpn_losses(x["logits"], x["deltas"], *targets, sigma=3),
        *head_losses(
            x["scores"],
            x["head_deltas"],
            samples.classes,
            samples.target_deltas,
            samples.valid,
            sigma=1,
        ),
    )
    return proposals, targets, samples, pooled, losses


def inference(x):
    """From the RPN's outputs to detections."""
    _, _, proposals = proposals_of(x)
    return proposals, detect(
        proposals,
        x["scores"],
        x["head_deltas"],
        x["sizes"],
        score_threshold=0.05,
        max_detections=15,
        coder=CODER,
        suppression=DETECTION_RULE,
    )


CHAINS = pytest.mark.parametrize(
    "chain",
    [
        training,
        lambda x: training(x, replacement=True, mode="pool"),
        lambda x: training(x, mode="crop"),
        inference,
    ],
    ids=["train", "replacement", "crop", "test"],
)


def shapes(result):
    leaves = [leaf for leaf in tree_leaves(result) if leaf is not None]
    return [(tuple(t.shape), t.dtype) for t in leaves]


@pytest.mark.slow
@CHAINS
def test_one_graph(chain):
    x = inputs()
    torch._dynamo.reset()
    torch.manual_seed(0)
    want = chain(x)
    torch.manual_seed(0)
    got = torch.compile(chain, fullgraph=True, backend="eager")(x)
    for a, b in zip(tree_leaves(got), tree_leaves(want), strict=True):
        torch.testing.assert_close(a, b)


@CHAINS
def test_shapes_do_not_depend_on_values(chain):
    x = inputs()
    want = shapes(chain(x))
    nothing = inputs(seed=1)
    nothing["valid"] = torch.zeros_like(nothing["valid"])
    nothing["logits"] = torch.full_like(nothing["logits"], torch.nan)
    nothing["scores"] = torch.zeros_like(nothing["scores"])
    nothing["map_sizes"] = torch.ones_like(nothing["map_sizes"])
    assert shapes(chain(nothing)) == want


class _DeviceWatch(TorchDispatchMode):
    """Fails on an operation that meets tensors of two devices."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [
            leaf
            for leaf in tree_leaves((args, kwargs, result))
            if isinstance(leaf, torch.Tensor)
        ]
        assert {t.device.type for t in tensors} <= {"meta"}, func
        return result


@CHAINS
def test_everything_stays_on_the_device(chain):
    # Tensors without data on a device of their own: reading a value raises, and a
    # tensor made on the host is found, since copying it to a GPU would stop the host.
    x = inputs()
    want = shapes(chain(x))
    x = {key: value.to("meta") for key, value in x.items()}
    with _DeviceWatch():
        result = chain(x)
    assert shapes(result) == want
    leaves = [leaf for leaf in tree_leaves(result) if leaf is not None]
    assert {t.device.type for t in leaves} == {"meta"}


def test_gradients_reach_predictions_and_features_only():
    x = inputs()
    for key in ("features", "logits", "deltas", "scores", "head_deltas"):
        x[key].requires_grad_()
    proposals, targets, samples, pooled, losses = training(x)
    for constant in tree_leaves((proposals, targets, samples)):
        assert not constant.requires_grad
    (pooled.sum() + sum(losses)).backward()
    for key in ("features", "logits", "deltas", "scores", "head_deltas"):
        assert x[key].grad.isfinite().all() and x[key].grad.any(), key


class MaskedTruth(NamedTuple):
    """Ground truth that has gained a field, in the middle."""

    boxes: torch.Tensor
    classes: torch.Tensor
    masks: torch.Tensor
    valid: torch.Tensor
    crowd: torch.Tensor | None = None


def test_structures_gain_fields_without_an_edit():
    plain = ground_truth([(0, [4, 4, 30, 30])], [(1, [2, 3, 40, 30])])
    masks = torch.rand(*plain.boxes.shape[:2], 6)
    truth = MaskedTruth(plain.boxes, plain.classes, masks, plain.valid)
    images = Images(torch.zeros(2, 3, 48, 48, dtype=torch.uint8), SIZES, True)
    batch = Batch(images, truth, torch.ones(2), SIZES, image_ids=("a", "b"))
    copied = batch.map(lambda tensor: tensor + 1).ground_truth
    assert isinstance(copied, MaskedTruth) and copied.crowd is None
    assert torch.equal(copied.masks, masks + 1)
    tensors = batch.tensors()
    assert len(tensors) == 6 and any(tensor is masks for tensor in tensors)
    assert torch.equal(
        map_tensors(batch, lambda x: x[:1]).ground_truth.masks, masks[:1]
    )
    views = join([truth, truth], dim=1)
    assert views.masks.shape[1] == 2 * masks.shape[1] and views.crowd is None
    x = inputs()
    samples = [
        training({**x, "truth": each})[2]
        for each in (truth, plain)
        if torch.manual_seed(0)
    ]
    assert_same(*samples)


def assert_same(one, other):
    for a, b in zip(tree_leaves(one), tree_leaves(other), strict=True):
        assert torch.equal(a, b)
