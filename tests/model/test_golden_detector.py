"""The whole network on weights by formula, beside what the published port computed."""

import numpy as np
import pytest
import torch
from faster_rcnn.config.loading import load_config
from faster_rcnn.layer_utils.structures import FeatureMaps, Images, RPNOutput
from faster_rcnn.weights import recognise_weights
from formula_weights import formula_state, golden_entries
from weight_files import loaded_detector

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(shared):
    state = formula_state(golden_entries(shared, "res50"))
    weights = recognise_weights(state, "formula")
    words = ["net.name", "res50"]
    for key, value in weights.settings.items():
        words += [key, str(list(value) if isinstance(value, tuple) else value)]
    assert weights.num_classes == 21
    return loaded_detector(load_config([], words), weights)


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "test_res50.npz")


@pytest.fixture(scope="module")
def predictions(model, shared):
    """Of the image as uint8 RGB, the way any image goes in."""
    blob = np.load(shared / "golden" / "image_320x480.npz")["data"]
    bgr = blob + np.array([102.9801, 115.9465, 122.7717], np.float32)
    pixels = torch.from_numpy(bgr.round().astype(np.uint8)[..., ::-1].copy())
    assert np.abs(bgr - bgr.round()).max() < 1e-4
    images = Images(pixels.permute(0, 3, 1, 2), torch.tensor([[320, 480]]), False)
    with torch.no_grad():
        return model(images)


def test_rois_are_the_published_ones_in_order(predictions, golden):
    proposals = predictions.proposals
    assert proposals.valid.all()
    np.testing.assert_allclose(
        proposals.boxes[0].numpy(), golden["rois"][:, 1:], atol=0.02
    )
    np.testing.assert_allclose(
        proposals.scores[0].sigmoid().numpy(), golden["roi_scores"][:, 0], atol=1e-4
    )


def test_classes_and_boxes_are_the_published_ones(predictions, golden):
    np.testing.assert_allclose(
        predictions.class_scores[0].numpy(), golden["cls_prob"], atol=1e-4
    )
    np.testing.assert_allclose(
        predictions.pred_deltas[0].flatten(1).numpy(), golden["bbox_pred"], atol=1e-3
    )


def test_proposals_of_an_odd_image(model, golden):
    """333 x 500 pixels, whose map is 21 x 32 cells."""
    height, width = golden["odd_feat_hw"].tolist()
    logits = torch.from_numpy(golden["odd_rpn_cls_score"])
    deltas = torch.from_numpy(golden["odd_rpn_bbox_pred"])
    empty = model.rpn(FeatureMaps([torch.zeros(1, 1024, height, width)], None))
    regions = RPNOutput(
        empty.anchors,
        (logits[..., 9:] - logits[..., :9]).flatten(1),
        deltas.reshape(1, -1, 4),
        None,
        empty.level_anchors,
    )
    with torch.no_grad():
        proposals = model.rpn.propose(regions, torch.tensor([[333, 500]]))
    np.testing.assert_allclose(
        proposals.boxes[0].numpy(), golden["odd_rois"][:, 1:], atol=0.02
    )
