"""Heads of masks and keypoints: what they train on, and what they add."""

import numpy as np
import pytest
import torch
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.datasets.loading.masks import pack_bitmaps, pack_polygons
from faster_rcnn.inference.postprocess import detect_batch
from faster_rcnn.layer_utils.structures import replace
from faster_rcnn.nets.instance_layers import MaskPredictor
from tiny_runs import (
    ground_truth,
    random_images,
    randomise,
    tiny_config,
    tiny_detector,
)

HEADS = ("mask.enabled", "true", "keypoint.enabled", "true", "keypoint.count", 5)
SMALL = ("mask.channels", 8, "keypoint.channels", 16, "keypoint.convs", 2)
NETS = {
    "fpn": ("net.features", "fpn", "net.fpn_channels", 16, "head.fc_channels", 32),
    "c4": ("net.name", "res18", "mask.convs", 0),
    "agnostic": ("net.name", "mobile_v2", "mask.class_agnostic", "true"),
    "cascade": (
        *("net.features", "fpn", "net.fpn_channels", 16, "head.fc_channels", 32),
        *("head.cascade", "[0.6, 0.7]", "rpn.border", -1),
    ),
}
IMAGES = random_images((64, 80), (50, 64))
BOXES = ((1, 10, 12, 40, 45),), ((2, 30, 5, 60, 25),)


def truth(form="polygons"):
    """Two images with an ellipse and keypoints each."""
    boxes = ground_truth(*map(list, BOXES))
    slots = boxes.boxes.shape[1]
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    outlines, masks = [], []
    for ((_, x1, y1, x2, y2),) in BOXES:
        x, y, a, b = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2
        outlines.append([[np.stack((x + a * np.cos(angle), y + b * np.sin(angle)), 1)]])
        rows, columns = np.mgrid[:64, :80]
        masks.append([((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 < 1])
    packed = pack_polygons(outlines, slots=slots)
    if form == "bitmaps":
        packed = pack_bitmaps(masks, slots=slots)
    keypoints = torch.zeros(2, slots, 5, 3)
    keypoints[:, 0] = torch.tensor([35.0, 20, 2])
    return replace(boxes, masks=packed, keypoints=keypoints)


def detector(net):
    config = tiny_config(*NETS[net], *HEADS, *SMALL, "test.score_threshold", 0)
    model = tiny_detector(config)
    randomise(model)
    return model, config


@pytest.mark.slow
@pytest.mark.parametrize("form", ["polygons", "bitmaps"])
@pytest.mark.parametrize("net", NETS)
def test_all_layers_train(net, form):
    model, _ = detector(net)
    output = model.train()(IMAGES, truth(form), torch.Generator().manual_seed(0))
    assert {"mask", "keypoint"} <= set(output.losses)
    assert output.terms["mask"].count > 0
    output.total().backward()
    for name in ("mask_head", "keypoint_head"):
        head = getattr(model, name)
        assert all(p.grad.any() for k, p in head.named_parameters() if "weight" in k)


def test_missing_masks_and_keypoints_are_errors():
    model, _ = detector("fpn")
    with pytest.raises(ValueError, match=r"mask\.enabled: expected ground truth"):
        model.train()(IMAGES, truth()._replace(masks=None))
    with pytest.raises(ValueError, match=r"keypoint\.enabled: expected"):
        model.train()(IMAGES, truth()._replace(keypoints=None))


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_final_detections_have_masks_and_keypoints(net):
    model, config = detector(net)
    batch = Batch(
        images=IMAGES,
        ground_truth=truth(),
        scales=torch.tensor([0.5, 1.0]),
        original_sizes=torch.tensor([[128, 160], [50, 64]]),
        image_ids=("a", "b"),
    )
    calls = []
    model.mask_head.register_forward_hook(lambda *_: calls.append(1))
    found = detect_batch(
        model.eval(), batch, boxes=config.boxes, test=config.test, dtype=torch.float32
    )
    assert len(calls) == 1  # on final boxes only
    count = found.boxes.shape[1]
    assert found.masks.shape[:2] == (2, count)
    assert ((found.masks >= 0) & (found.masks <= 1)).all()
    assert found.keypoints.shape == (2, count, 5, 3)
    # Within their boxes, in pixels of the original images.
    points = found.keypoints[..., :2]
    low, high = found.boxes[:, :, None, :2], found.boxes[:, :, None, 2:]
    inside = (points >= low - 0.01) & (points <= torch.maximum(high, low + 2) + 0.01)
    assert inside[found.valid].all()
    assert found.boxes[0].max() > 100


def test_the_mask_of_a_class_is_the_convolutions():
    predictor = MaskPredictor(6, 4)
    maps, classes = torch.randn(5, 6, 3, 3), torch.tensor([1, 3, 0, 2, 1])
    expected = predictor(maps)[torch.arange(5), classes]
    found = predictor.of_classes(maps, classes)
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("net", ["fpn", "c4"])
def test_losses_are_one_graph(net):
    model, _ = detector(net)
    model.train()

    head, features = model.mask_head, model.features(IMAGES)
    samples = model.box_head.sample(
        model.rpn.propose(model.rpn(features), IMAGES.sizes),
        truth(),
        torch.Generator().manual_seed(0),
    )

    def step(features):
        parts = (head, model.keypoint_head)
        outputs = [h.losses(features, samples, objects, None) for h in parts]
        terms = [loss for output in outputs for loss in output.terms.values()]
        return torch.stack([term.total for term in terms])

    objects = truth()
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(features), step(features))
