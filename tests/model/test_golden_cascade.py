"""Cascade R-CNN on weights by formula, beside Detectron2's numbers."""

import numpy as np
import pytest
import torch
from faster_rcnn.layer_utils.structures import Proposals
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
    """Detectron2's Cascade Mask R-CNN, without its mask head."""

    def proposals(self, key):
        boxes = torch.from_numpy(self.golden[key])[None]
        flags = torch.ones(boxes.shape[:2], dtype=torch.bool)
        return Proposals(boxes, boxes[..., 0], flags)


@pytest.fixture(scope="module")
def case(shared):
    return Case(shared / "golden" / "family", NAME, SETTINGS)


def test_weights_are_recognised(case):
    weights = case.weights
    assert weights.full_net == "cascade_res50_fpn" and weights.num_classes == 6
    unused = {key.split(".")[1] for key in weights.unused if "roi" in key}
    assert unused == {"mask_head"}


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
        logits, deltas = stage.classify(features, rois)
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


def test_losses_and_gradients(case):
    """Of all proposals that Detectron2 was given; its mask head is left out."""
    golden, model, sizes = case.golden, case.model.train(), case.images.sizes
    features = model.features(case.images)
    regions = model.rpn(features)
    targets = model.rpn.sample(regions, case.boxes, sizes, None)
    samples = model.box_head.sample(
        case.proposals("train_fixed_proposals_0"), case.boxes, None
    )
    assert samples.valid.sum() == 72
    output = model.losses(features, regions, targets, samples, case.boxes, sizes)
    for k, stage in enumerate(("head", "head2", "head3")):
        for kind, name in ("cls", "cls"), ("box", "box_reg"):
            want = float(golden[f"train_loss_{name}_stage{k}"])
            assert output.losses[f"{stage}_{kind}"].item() == pytest.approx(
                want, rel=1e-5
            )
    rpn = {
        kind: output.terms[f"rpn_{kind}"].total / RPN_BATCH for kind in ("cls", "box")
    }
    for kind, name in ("cls", "cls"), ("box", "loc"):
        want = float(golden[f"train_loss_rpn_{name}"])
        assert rpn[kind].item() == pytest.approx(want, rel=1e-5)
    heads = [loss for name, loss in output.losses.items() if name.startswith("head")]
    (sum(heads) + sum(rpn.values())).backward()

    compared = 0
    # Not of what the mask head's loss reaches too.
    for key, _, gradient, row in case.gradients(prefix="roi_heads.box"):
        if "cls_score" in key:
            gradient = np.roll(gradient, -1, axis=0)
        check_gradient(key, gradient, row)
        compared += 1
    assert compared == 24
