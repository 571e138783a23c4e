"""Keypoint targets and decoding, beside Detectron2's and torchvision's."""

import numpy as np
import pytest
import torch
from faster_rcnn.layer_utils.keypoints import decode_keypoints, keypoint_targets
from torchvision.models.detection.roi_heads import (
    heatmaps_to_keypoints,
    keypoints_to_heatmap,
)


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "family" / "keypoints_units.npz")


@pytest.mark.parametrize("size", [28, 56])
@pytest.mark.parametrize("program", ["tv", "d2"])
def test_targets_are_the_published_ones(golden, size, program):
    points = torch.from_numpy(golden["keypoints"])[None]
    rois = torch.from_numpy(golden["rois"])[None]
    found = keypoint_targets(points, rois, torch.arange(24)[None], size=size)
    valid = golden[f"{program}_valid_{size}"].astype(bool)
    np.testing.assert_array_equal(found.valid[0].numpy(), valid)
    np.testing.assert_array_equal(
        found.cells[0].numpy()[valid], golden[f"{program}_target_{size}"][valid]
    )


def test_decoded_points_are_the_published_ones(golden):
    heatmaps = torch.from_numpy(golden["heatmaps"])
    rois = torch.from_numpy(golden["heatmap_rois"])
    points, logits, scores = decode_keypoints(heatmaps, rois, max_side=1344)
    for program in ("tv", "d2"):
        expected = golden[f"{program}_decoded"][..., :2]
        np.testing.assert_allclose(points.numpy(), expected, atol=2e-3)
    tv_scores, d2 = golden["tv_decoded_scores"], golden["d2_decoded"]
    np.testing.assert_allclose(logits.numpy(), tv_scores, atol=1e-4)
    np.testing.assert_allclose(logits.numpy(), d2[..., 2], atol=1e-4)
    np.testing.assert_allclose(scores.numpy(), d2[..., 3], rtol=1e-4)


def test_targets_are_torchvisions():
    rng = torch.Generator().manual_seed(0)
    low = 50 * torch.rand(20, 2, generator=rng)
    rois = torch.cat((low, low + 1 + 50 * torch.rand(20, 2, generator=rng)), 1)
    points = 100 * torch.rand(20, 5, 3, generator=rng)
    points[..., 2] = torch.randint(0, 3, (20, 5), generator=rng)
    points[3, 0] = torch.tensor([*rois[3, 2:], 2])  # on the far corner
    cells, valid = keypoints_to_heatmap(points, rois, 56)
    found = keypoint_targets(points[None], rois[None], torch.arange(20)[None], size=56)
    assert torch.equal(found.valid[0], valid.bool())
    assert torch.equal(found.cells[0], cells)
    assert valid[3, 0]


@pytest.mark.parametrize("kind", ["noise", "peaks"])
def test_decoding_is_torchvisions(kind):
    """Boxes below a pixel, smaller than the heatmap, and larger than an image."""
    rng = torch.Generator().manual_seed(1)
    sides = torch.tensor([0.3, 1, 7.5, 40, 56, 111.2, 113, 300.7, 640, 1333])
    sides = torch.stack((sides, sides.flip(0).clamp(max=800)), 1)
    boxes = torch.cat((torch.rand(10, 2, generator=rng) * 9, sides), 1)
    boxes[:, 2:] += boxes[:, :2]
    heatmaps = torch.randn(10, 6, 56, 56, generator=rng)
    if kind == "peaks":
        centres = 56 * torch.rand(10, 6, 2, 1, generator=rng)
        y, x = torch.exp(-(((torch.arange(56) - centres) / 6) ** 2)).unbind(2)
        heatmaps = 8 * y[..., None] * x[:, :, None] + 0.01 * heatmaps
    expected, expected_logits = heatmaps_to_keypoints(heatmaps, boxes)
    points, logits, scores = decode_keypoints(heatmaps, boxes, max_side=1344)
    torch.testing.assert_close(logits, expected_logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(points, expected[..., :2], atol=2e-3, rtol=0)
    assert ((scores > 0) & (scores < 1)).all()


def test_many_boxes_are_decoded_as_one_is():
    """More than are decoded at once, and none."""
    rng = torch.Generator().manual_seed(3)
    heatmaps = torch.randn(9, 100, 14, 14, generator=rng)
    boxes = torch.cat((torch.zeros(9, 2), 60 * torch.rand(9, 2, generator=rng)), 1)
    found = decode_keypoints(heatmaps, boxes, max_side=64)
    for i in range(9):
        own = slice(i, i + 1)
        one = decode_keypoints(heatmaps[own], boxes[own], max_side=64)
        for a, b in zip(found, one, strict=True):
            torch.testing.assert_close(a[own], b)
    points, logits, scores = decode_keypoints(heatmaps[:0], boxes[:0], max_side=64)
    assert points.shape == (0, 100, 2) and logits.shape == scores.shape == (0, 100)


@pytest.mark.slow
def test_decoding_is_one_graph():
    heatmaps = torch.randn(3, 2, 56, 56, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.0, 0, 30, 50], [5, 5, 300, 290], [0, 0, 0, 0]])

    def decode(heatmaps, boxes):
        return decode_keypoints(heatmaps, boxes, max_side=320)

    compiled = torch.compile(decode, backend="aot_eager", fullgraph=True)
    for a, b in zip(compiled(heatmaps, boxes), decode(heatmaps, boxes), strict=True):
        torch.testing.assert_close(a, b)


def test_a_peak_between_samples_is_not_missed():
    """Noise whose peaks are nearly as high as each other, in boxes of 150 to 300."""
    rng = torch.Generator().manual_seed(2)
    heatmaps = torch.randn(12, 17, 14, 14, generator=rng)
    heatmaps = torch.nn.functional.interpolate(heatmaps, (56, 56), mode="bicubic")
    sides = 150 + 150 * torch.rand(12, 2, generator=rng)
    boxes = torch.cat((torch.zeros(12, 2), sides), 1)
    expected, _ = heatmaps_to_keypoints(heatmaps, boxes)
    points, _, _ = decode_keypoints(heatmaps, boxes, max_side=320)
    torch.testing.assert_close(points, expected[..., :2], atol=2e-3, rtol=0)
