"""Mask and Keypoint R-CNN on weights by formula, beside the published programs."""

import numpy as np
import pytest
import torch
from faster_rcnn.layer_utils.mask_pasting import paste_masks
from faster_rcnn.layer_utils.proposal_targets import RoISamples
from faster_rcnn.layer_utils.structures import replace
from golden_family import GoldenCase, check_gradient
from golden_masks import unpacked

pytestmark = pytest.mark.slow

NAMES = (
    *("tv_maskrcnn_resnet50_fpn", "d2_mask_rcnn_R_50_FPN", "d2_mask_rcnn_R_50_C4"),
    *("tv_keypointrcnn_resnet50_fpn", "d2_keypoint_rcnn_R_50_FPN"),
)


class Case(GoldenCase):
    """A detector of masks or keypoints with its golden numbers."""

    def __init__(self, folder, name):
        self.kind = "mask" if "mask" in name else "keypoint"
        # Places for the 48 to 52 foreground RoIs, and for one of background at least.
        settings = {
            "rpn": {"test_pre_nms": 300, "test_post_nms": 60},
            "head": {"fg_fraction": 1, "rois_per_image": 54},
        }
        super().__init__(folder, name, settings, "mask0" if "mask" in name else "kp0")
        with torch.no_grad():
            self.features = self.model.features(self.images)

    def truth(self, form):
        """The objects, with their masks as polygons or bitmaps, and keypoints."""
        keypoints = None
        if self.kind == "keypoint":
            keypoints = torch.from_numpy(self.data["kp0_keypoints"])[None].clone()
            keypoints[..., :2] += 0.5 if self.detectron2 else 0
        return replace(self.boxes, masks=self.masks(form), keypoints=keypoints)

    def samples(self):
        """The golden RoIs, foreground first."""
        golden = self.golden
        if self.detectron2:
            classes = golden["train_roi_classes_0"] + 1
            background = golden["test_class_logits"].shape[1]
            classes = np.where(classes == background, 0, classes)
            gt = self.data[f"{self.image}_boxes"]
            distance = np.abs(golden["train_roi_gt_boxes_0"][:, None] - gt).max(2)
            matched = distance.argmin(1)
        else:
            classes = golden["train_roi_labels_0"]
            matched = golden["train_roi_matched_0"].clip(0)
        order = np.argsort(classes == 0, kind="stable")
        rois, classes, matched = (
            torch.from_numpy(x[order])[None]
            for x in (golden["train_rois_0"], classes, matched)
        )
        valid = torch.ones_like(classes, dtype=torch.bool)
        return RoISamples(rois, classes, rois * 0, matched, valid)


@pytest.fixture(scope="module", params=NAMES)
def case(request, shared):
    return Case(shared / "golden" / "family", request.param)


@pytest.fixture(scope="module")
def found(case):
    return case.detect()


def test_detections(case, found):
    boxes, scores, classes = case.detections()
    assert len(scores) == 20 and found.valid.all()
    assert np.array_equal(found.classes[0], classes)
    np.testing.assert_allclose(found.scores[0], scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes[0], boxes, atol=0.02)


def test_masks_and_keypoints(case, found):
    golden = case.golden
    if case.kind == "keypoint":
        expected = golden["test_det0_keypoints"]
        points = found.keypoints[0].numpy()
        np.testing.assert_allclose(points[..., :2], expected[..., :2], atol=0.02)
        scores = (
            expected[..., 2]
            if case.detectron2
            else golden["test_det0_keypoints_scores"]
        )
        np.testing.assert_allclose(points[..., 2], scores, rtol=1e-3, atol=1e-3)
        return
    size = {"height": 256, "width": 320}
    boxes = found.boxes[0]
    if case.detectron2:
        np.testing.assert_allclose(
            found.masks[0], golden["test_det0_masks"].astype(np.float32), atol=1e-3
        )
        height, width = golden["test_post0_size"].tolist()
        boxes = boxes * torch.tensor([width / 320, height / 256] * 2)
        size = {"height": height, "width": width}
        expected = unpacked(golden["test_post0_masks_packed"], width)
    else:
        expected = unpacked(golden["test_det0_masks_over_half"], 320)
    pasted = paste_masks(
        found.masks[0], boxes, **size, whole_pixels=not case.detectron2
    )
    assert (pasted.numpy() != expected).mean() < 1e-5
    assert expected.mean() > 0.01


@pytest.mark.parametrize("form", ["polygons", "bitmaps"])
def test_the_loss_and_its_gradients(case, form):
    golden = case.golden
    if form == "polygons" and not case.detectron2:
        pytest.skip("torchvision trains on bitmaps")
    if form == "bitmaps" and case.name.startswith("d2_keypoint"):
        pytest.skip("no masks")
    head = getattr(case.model, f"{case.kind}_head")
    case.model.train()
    case.model.zero_grad()
    loss = head.losses(case.features, case.samples(), case.truth(form), None).total()
    loss.backward(inputs=list(head.parameters()))  # no others are compared
    other = case.detectron2 and form == "bitmaps"
    name = "train_loss_mask_from_bitmasks" if other else f"train_loss_{case.kind}"
    assert loss.item() == pytest.approx(float(golden[name]), rel=1e-5)

    # A softmax has no gradient in the last bias.
    smallest = 1e-4
    table = "train_grads_from_bitmasks" if other else "train_grads"
    checked = 0
    for key, ours, gradient, row in case.gradients(table):
        if row[0] < smallest or not ours.startswith(f"{case.kind}_head"):
            continue
        if case.detectron2 and "mask_head.predictor" in key:
            assert not gradient[0].any()  # of background
            gradient = gradient[1:]
        # Rounding moves a few ReLUs of eight convolutions over their edge.
        tolerance = 5e-3 if case.kind == "keypoint" else 1e-3
        check_gradient(key, gradient, row, tolerance=tolerance)
        checked += 1
    assert checked >= 4
