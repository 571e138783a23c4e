"""Cascade Mask R-CNN on weights by formula, beside Detectron2's numbers."""

import numpy as np
import pytest
import torch
from faster_rcnn.layer_utils.structures import Proposals, replace
from golden_family import GoldenCase, check_gradient

pytestmark = pytest.mark.slow

NAME = "d2_cascade_mask_rcnn_R_50_FPN"
RPN_BATCH = 41000  # by which Detectron2 divides the RPN's losses here


SETTINGS = {
    "rpn": {
        **{"test_pre_nms": 300, "test_post_nms": 60, "sigma": 1000},
        **{"batch_size": RPN_BATCH, "fg_fraction": 1, "border": -1},
    },
    "head": {
        **{"rois_per_image": 72, "fg_fraction": 1, "sigma": 1000},
        **{"add_ground_truth": True, "replacement": False},
    },
}


class Case(GoldenCase):
    """Detectron2's Cascade Mask R-CNN."""

    def proposals(self, key):
        boxes = torch.from_numpy(self.golden[key])[None]
        flags = torch.ones(boxes.shape[:2], dtype=torch.bool)
        return Proposals(boxes, boxes[..., 0], flags)


@pytest.fixture(scope="module")
def case(shared):
    return Case(shared / "golden" / "family", NAME, SETTINGS)


def test_weights_are_recognised(case):
    weights = case.weights
    assert weights.kind == "Detectron2 R50-FPN Cascade Mask R-CNN detector"
    assert weights.full_net == "cascade_mask_res50_fpn" and weights.num_classes == 6
    assert not [key for key in weights.unused if "roi" in key]


@torch.no_grad()
def test_outputs_of_every_stage(case):
    golden, model = case.golden, case.model
    features = model.features(case.images)
    for level, x in zip(range(2, 7), features.maps, strict=True):
        want = golden[f"test_feature_p{level}"]
        np.testing.assert_allclose(x[:, :6], want, atol=1e-4)
    proposals = model.propose(case.images)
    np.testing.assert_allclose(
        proposals.boxes[0], golden["test_proposals_0"], atol=0.02
    )
    rois = case.proposals("test_proposals_0").boxes
    for k, stage in enumerate(model.box_head.box_heads):
        logits, deltas = stage(features, rois)
        want = np.roll(golden[f"test_stage{k}_class_logits"], 1, axis=1)
        np.testing.assert_allclose(logits[0], want, atol=1e-3)
        want = golden[f"test_stage{k}_box_deltas"]
        np.testing.assert_allclose(deltas[0, :, 0], want, atol=1e-3)
        rois = model.box_head.move(stage, rois, deltas, case.images.sizes)


def test_detections(case):
    found = case.detect()
    boxes, scores, classes = case.detections()
    assert found.valid.sum() == 20
    assert np.array_equal(found.classes[0], classes)
    np.testing.assert_allclose(found.scores[0], scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes[0], boxes, atol=0.02)
    masks = case.golden["test_det0_masks"].astype(np.float32)
    np.testing.assert_allclose(found.masks[0], masks, atol=1e-3)


def test_losses_and_gradients(case):
    """Of all proposals that Detectron2 was given."""
    golden, model, sizes = case.golden, case.model.train(), case.images.sizes
    truth = replace(case.boxes, masks=case.masks("polygons"))
    features = model.features(case.images)
    regions = model.rpn(features)
    targets = model.rpn.sample(regions, truth, sizes, None)
    samples = model.box_head.sample(
        case.proposals("train_fixed_proposals_0"), truth, None
    )
    assert samples.valid.sum() == 72
    output = model.losses(features, regions, targets, samples, truth, sizes)
    losses = output.losses
    for kind in "cls", "box":  # Detectron2 divides by its batch
        losses[f"rpn_{kind}"] = output.terms[f"rpn_{kind}"].total / RPN_BATCH
    names = {"rpn_cls": "rpn_cls", "rpn_box": "rpn_loc", "mask": "mask"}
    for k, stage in enumerate(("head", "head2", "head3")):
        names[f"{stage}_cls"] = f"cls_stage{k}"
        names[f"{stage}_box"] = f"box_reg_stage{k}"
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {ours: float(golden[f"train_loss_{theirs}"]) for ours, theirs in names.items()},
        rel=1e-5,
    )
    sum(losses.values()).backward()
    for key, _, gradient, row in case.gradients():
        check_gradient(key, theirs_order(key, gradient), row)


def theirs_order(key, gradient):
    """A gradient in the rows that Detectron2's layer has."""
    if "objectness" in key:  # one score there, the object's
        return gradient[len(gradient) // 2 :]
    if "cls_score" in key:
        return np.roll(gradient, -1, axis=0)
    if "mask_head.predictor" in key:
        assert not gradient[0].any()  # of background
        return gradient[1:]
    return gradient
