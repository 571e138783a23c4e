"""Cascade R-CNN on weights by formula, beside Detectron2's numbers."""

import json
import zlib

import numpy as np
import pytest
import torch
from family_weights import family_weights
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.inference.postprocess import detect_batch
from faster_rcnn.layer_utils.structures import GroundTruth, Images, Proposals
from faster_rcnn.model.build import build_detector
from faster_rcnn.weights import load_weights, recognise_weights
from faster_rcnn.weights.layouts import layouts, nearest_layout
from faster_rcnn.weights.writing import detector_config

pytestmark = pytest.mark.slow

NAME = "d2_cascade_mask_rcnn_R_50_FPN"
RPN_BATCH = 41000  # by which Detectron2 divides the RPN's losses here


class Case:
    """The detector with its golden numbers."""

    def __init__(self, folder):
        self.golden = np.load(folder / f"{NAME}.npz")
        spec = json.loads((folder / f"{NAME}_state.json").read_text())
        self.theirs = family_weights(spec)
        weights = recognise_weights(self.theirs, NAME)
        assert weights.full_net == "cascade_res50_fpn" and weights.num_classes == 6
        assert {key.split(".")[1] for key in weights.unused if "roi" in key} == {
            "mask_head"
        }
        settings = detector_config(weights, []).model_dump(mode="json")
        settings["rpn"] |= {"test_pre_nms": 300, "test_post_nms": 60, "sigma": 1000}
        settings["rpn"] |= {"batch_size": RPN_BATCH, "fg_fraction": 1, "border": -1}
        settings["head"] |= {"rois_per_image": 72, "fg_fraction": 1, "sigma": 1000}
        settings["head"] |= {"add_ground_truth": True, "replacement": False}
        settings["test"]["detections_per_image"] = 20
        self.config = Config.model_validate(settings)
        self.model = build_detector(self.config, 6).eval()
        assert load_weights(self.model, weights) == []
        data = np.load(folder / "inputs.npz")
        pixels = torch.from_numpy(data["mask0_image"]).permute(2, 0, 1)[None]
        self.images = Images(pixels, torch.tensor([pixels.shape[2:]]), False)
        classes = torch.from_numpy(data["mask0_classes"]).long()[None]
        self.truth = GroundTruth(
            boxes=torch.from_numpy(data["mask0_boxes"]).float()[None],
            classes=classes,
            valid=torch.ones_like(classes, dtype=torch.bool),
        )

    def proposals(self, key):
        boxes = torch.from_numpy(self.golden[key])[None]
        flags = torch.ones(boxes.shape[:2], dtype=torch.bool)
        return Proposals(boxes, boxes[..., 0], flags)


@pytest.fixture(scope="module")
def case(shared):
    return Case(shared / "golden" / "family")


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
    assert found.valid.sum() == 20
    assert np.array_equal(found.classes[0], case.golden["test_det0_classes"] + 1)
    np.testing.assert_allclose(
        found.scores[0], case.golden["test_det0_scores"], atol=1e-4
    )
    np.testing.assert_allclose(
        found.boxes[0], case.golden["test_det0_boxes"], atol=0.02
    )


def test_losses_and_gradients(case):
    """Of all proposals that Detectron2 was given; its mask head is left out."""
    golden, model, sizes = case.golden, case.model.train(), case.images.sizes
    features = model.features(case.images)
    regions = model.rpn(features)
    targets = model.rpn.sample(regions, case.truth, sizes, None)
    samples = model.box_head.sample(
        case.proposals("train_fixed_proposals_0"), case.truth, None
    )
    assert samples.valid.sum() == 72
    output = model.losses(features, regions, targets, samples, case.truth, sizes)
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

    layout = nearest_layout(case.theirs, layouts(), source=NAME)
    ours = {name: key for key, name in layout.names.items()}
    parameters = dict(model.named_parameters())
    compared = 0
    for key, (norm, _, along) in zip(
        golden["train_grad_keys"], golden["train_grads"], strict=True
    ):
        if not key.startswith("roi_heads.box"):
            continue  # what the mask head's loss reaches too
        gradient = parameters[ours[key]].grad.double().numpy()
        if "cls_score" in key:
            gradient = np.roll(gradient, -1, axis=0)
        draw = np.random.default_rng(zlib.crc32(f"grad.{key}".encode()))
        direction = draw.standard_normal(gradient.shape)
        assert np.linalg.norm(gradient) == pytest.approx(norm, rel=1e-3), key
        assert (gradient * direction).sum() == pytest.approx(along, abs=5e-3 * norm)
        compared += 1
    assert compared == 24
