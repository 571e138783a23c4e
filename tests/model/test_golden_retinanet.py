"""RetinaNet on weights by formula, beside torchvision's and Detectron2's numbers."""

import json
import zlib

import numpy as np
import pytest
import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.inference.postprocess import detect_batch
from faster_rcnn.layer_utils.structures import GroundTruth, Images
from faster_rcnn.model.build import build_detector
from faster_rcnn.weights import load_weights, recognise_weights
from faster_rcnn.weights.layouts import layouts, nearest_layout
from faster_rcnn.weights.writing import detector_config
from formula_weights import family_state

pytestmark = pytest.mark.slow

NAMES = ("tv_retinanet_resnet50_fpn", "d2_retinanet_R_50_FPN")


class Case:
    """A detector with its golden numbers."""

    def __init__(self, folder, name):
        self.name = name
        self.golden = np.load(folder / f"{name}.npz")
        spec = json.loads((folder / f"{name}_state.json").read_text())
        self.theirs = family_state(spec)
        weights = recognise_weights(self.theirs, name)
        settings = detector_config(weights, []).model_dump(mode="json")
        settings["dense"]["pre_nms"] = 200
        settings["test"]["detections_per_image"] = 20
        self.config = Config.model_validate(settings)
        self.model = build_detector(self.config, weights.num_classes).eval()
        assert load_weights(self.model, weights) == []
        data = np.load(folder / "inputs.npz")
        pixels = torch.from_numpy(data["mask0_image"]).permute(2, 0, 1)[None]
        sizes = torch.tensor([pixels.shape[2:]])
        self.images = Images(pixels, sizes, False)
        classes = torch.from_numpy(data["mask0_classes"]).long()[None]
        self.truth = GroundTruth(
            boxes=torch.from_numpy(data["mask0_boxes"]).float()[None],
            classes=classes,
            valid=torch.ones_like(classes, dtype=torch.bool),
        )

    @property
    def detectron2(self):
        return self.name.startswith("d2")

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
        golden = self.golden
        key, shift = ("classes", 1) if self.detectron2 else ("labels", 0)
        classes = golden[f"test_det0_{key}"] + shift
        height, width = self.images.sizes[0].tolist()
        boxes = golden["test_det0_boxes"].clip(0, [width, height, width, height])
        kept = classes > 0
        return boxes[kept], golden["test_det0_scores"][kept], classes[kept]


@pytest.fixture(scope="module", params=NAMES)
def case(request, shared):
    return Case(shared / "golden" / "family", request.param)


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
    batch = Batch(
        images=case.images,
        ground_truth=case.truth,
        scales=torch.ones(1),
        original_sizes=case.images.sizes,
        image_ids=("0",),
    )
    config = case.config
    found = detect_batch(
        case.model, batch, boxes=config.boxes, test=config.test, dtype=torch.float32
    )
    boxes, scores, classes = case.detections()
    count = len(scores)  # ours go on where torchvision's are of background
    assert count >= 17 and found.valid.sum() == 20
    assert np.array_equal(found.classes[0][:count], classes)
    np.testing.assert_allclose(found.scores[0][:count], scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes[0][:count], boxes, atol=0.02)


def test_losses_and_gradients(case):
    golden = case.golden
    names = ("train_classification", "train_bbox_regression")
    if case.detectron2:
        names = ("train_loss_cls", "train_loss_box_reg")
    case.model.train()
    output = case.model(case.images, case.truth)
    for loss, name in zip(output.losses.values(), names, strict=True):
        assert loss.item() == pytest.approx(float(golden[name]), rel=1e-5)
    if case.detectron2:
        divisor = output.terms["dense_cls"].divisor
        assert divisor == pytest.approx(float(golden["train_loss_normalizer"]))
    output.total().backward()

    layout = nearest_layout(case.theirs, layouts(), source=case.name)
    ours = {name: key for key, name in layout.names.items()}
    parameters = dict(case.model.named_parameters())
    trained = {ours[key] for key in golden["train_grad_keys"]}
    assert trained == {k for k, p in parameters.items() if p.grad is not None}
    rows = zip(golden["train_grad_keys"], golden["train_grads"], strict=True)
    for key, (norm, _, along) in rows:
        gradient = parameters[ours[key]].grad.double().numpy()
        if case.detectron2 and key.startswith(("head.cls_score", "head.bbox_pred")):
            gradient = theirs_order(gradient, background="cls" in key)
        draw = np.random.default_rng(zlib.crc32(f"grad.{key}".encode()))
        direction = draw.standard_normal(gradient.shape)
        assert np.linalg.norm(gradient) == pytest.approx(norm, rel=1e-3), key
        # Rounding moves a few ReLUs over their edge.
        assert (gradient * direction).sum() == pytest.approx(along, abs=5e-3 * norm)


def theirs_order(rows, *, background):
    """Rows of an output layer in Detectron2's order of anchors and classes."""
    per_anchor = rows.reshape(3, 3, -1, *rows.shape[1:]).swapaxes(0, 1)
    if background:
        assert not per_anchor[:, :, 0].any()  # it is never found, and never learns
        per_anchor = per_anchor[:, :, 1:]
    return per_anchor.reshape(-1, *rows.shape[1:])
