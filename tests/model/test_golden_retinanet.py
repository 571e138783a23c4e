"""RetinaNet on weights by formula, beside torchvision's and Detectron2's numbers."""

import numpy as np
import pytest
import torch
from faster_rcnn.layer_utils.structures import replace
from golden_family import GoldenCase, check_gradient

pytestmark = pytest.mark.slow

NAMES = ("tv_retinanet_resnet50_fpn", "d2_retinanet_R_50_FPN")


class Case(GoldenCase):
    """A RetinaNet with its golden numbers."""

    def outputs(self):
        """Golden logits ``(A, C - 1)`` and deltas ``(A, 4)``, anchors as ours."""
        golden = self.golden
        if not self.detectron2:
            return golden["test_cls_logits"][0][:, 1:], golden["test_bbox_regression"][
                0
            ]
        rows = []
        for kind, numbers in ("cls_logits", 5), ("deltas", 4):
            levels = []
            for level in range(5):
                # There by size, then ratio; here by ratio, then scale.
                x = golden[f"test_{kind}_{level}"][0]
                x = x.reshape(3, 3, numbers, *x.shape[1:]).transpose(3, 4, 1, 0, 2)
                levels.append(x.reshape(-1, numbers))
            rows.append(np.concatenate(levels))
        return tuple(rows)

    def detections(self):
        """Golden boxes, clipped, with scores and classes; none of background."""
        boxes, scores, classes = super().detections()
        height, width = self.images.sizes[0].tolist()
        boxes = boxes.clip(0, [width, height, width, height])
        kept = classes > 0
        return boxes[kept], scores[kept], classes[kept]


@pytest.fixture(scope="module", params=NAMES)
def loaded(request, shared):
    folder = shared / "golden" / "family"
    return Case(folder, request.param, {"dense": {"pre_nms": 200}})


@pytest.fixture
def case(loaded):
    loaded.model.float().eval()
    return loaded


@torch.no_grad()
def test_features_and_outputs(case):
    features = case.model.features(case.images)
    keys = [key for key in case.golden.files if key.startswith("test_feature")]
    for key, x in zip(keys, features.maps, strict=True):
        np.testing.assert_allclose(x[:, :6], case.golden[key], atol=1e-4, err_msg=key)
    output = case.model.dense_head(features)
    logits, deltas = case.outputs()
    np.testing.assert_allclose(output.class_logits[0, :, 1:], logits, atol=1e-4)
    np.testing.assert_allclose(output.pred_deltas[0], deltas, atol=1e-4)


def test_detections(case):
    found = case.detect()
    boxes, scores, classes = case.detections()
    count = len(scores)  # ours go on where torchvision's are of background
    assert count >= 17 and found.valid.sum() == 20
    assert np.array_equal(found.classes[0][:count], classes)
    np.testing.assert_allclose(found.scores[0][:count], scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes[0][:count], boxes, atol=0.02)


def test_losses_and_gradients(case):
    """In float64, since float32's rounding moves a few ReLUs over their edge."""
    golden = case.golden
    names = ("train_classification", "train_bbox_regression")
    if case.detectron2:
        names = ("train_loss_cls", "train_loss_box_reg")
    case.model.double().train()
    truth = replace(case.boxes, boxes=case.boxes.boxes.double())
    output = case.model(case.images, truth)
    for loss, name in zip(output.losses.values(), names, strict=True):
        assert loss.item() == pytest.approx(float(golden[name]), rel=1e-5)
    if case.detectron2:
        divisor = output.terms["dense_cls"].divisor
        assert divisor == pytest.approx(float(golden["train_loss_normalizer"]))
    output.total().backward()

    rows = list(case.gradients())
    parameters = case.model.named_parameters()
    trained = {key for key, parameter in parameters if parameter.grad is not None}
    assert trained == {ours for _, ours, _, _ in rows}
    for key, _, gradient, row in rows:
        if case.detectron2 and key.startswith(("head.cls_score", "head.bbox_pred")):
            gradient = theirs_order(gradient, background="cls" in key)
        check_gradient(key, gradient, row)


def theirs_order(rows, *, background):
    """Rows of an output layer in Detectron2's order of anchors and classes."""
    per_anchor = rows.reshape(3, 3, -1, *rows.shape[1:]).swapaxes(0, 1)
    if background:
        assert not per_anchor[:, :, 0].any()  # it is never found, and never learns
        per_anchor = per_anchor[:, :, 1:]
    return per_anchor.reshape(-1, *rows.shape[1:])
