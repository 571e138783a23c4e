"""Pasted masks, beside Detectron2's and torchvision's."""

import numpy as np
import pytest
import torch
from faster_rcnn.kernels import library
from faster_rcnn.kernels.mask_reference import paste_by_matrices
from faster_rcnn.layer_utils.mask_pasting import paste_masks, paste_probabilities
from golden_masks import unpacked
from torchvision.models.detection.roi_heads import paste_masks_in_image


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "family" / "paste_masks.npz")


def frame(golden):
    height, width = golden["image_size"].tolist()
    return {"height": height, "width": width}


@pytest.mark.parametrize("size", [14, 28])
def test_pasted_masks_are_detectron2s(golden, size):
    name = "14" if size == 14 else ""
    masks, boxes = (torch.from_numpy(golden[k + name]) for k in ("masks", "boxes"))
    found = paste_masks(masks, boxes, **frame(golden)).numpy()
    expected = unpacked(golden[f"d2_binary{name}"], found.shape[2])
    if library.kernels_for("paste_masks", "cpu") is None:
        assert (found != expected).sum() < 40  # ties
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("program", ["d2", "tv"])
def test_probabilities_are_the_published_ones(golden, program):
    masks, boxes = torch.from_numpy(golden["masks"]), torch.from_numpy(golden["boxes"])
    found = paste_probabilities(
        masks, boxes, **frame(golden), whole_pixels=program == "tv"
    )
    np.testing.assert_allclose(found.numpy(), golden[f"{program}_soft"], atol=1e-5)


def random_masks():
    rng = torch.Generator().manual_seed(0)
    low = 120 * torch.rand(12, 2, generator=rng) - 30
    boxes = torch.cat((low, low + 90 * torch.rand(12, 2, generator=rng)), 1)
    boxes[2] = torch.tensor([200.0, 10, 240, 60])  # outside the image
    boxes[3] = torch.tensor([-50.0, -60, -10, -5])
    return torch.rand(12, 28, 28, generator=rng), boxes


def test_pasted_masks_are_torchvisions():
    masks, boxes = random_masks()
    options = {"height": 90, "width": 110, "whole_pixels": True}
    # For boxes outside the image torchvision raises.
    there = ((boxes[:, :2] < 90) & (boxes[:, 2:] > 0)).all(1)
    assert 5 < there.sum() < 11
    expected = paste_masks_in_image(masks[there, None], boxes[there], (90, 110))[:, 0]
    soft = paste_probabilities(masks, boxes, **options)
    torch.testing.assert_close(soft[there], expected, atol=1e-5, rtol=0)
    found = paste_masks(masks, boxes, **options)
    assert torch.equal(found[there], expected >= 0.5)


@pytest.mark.parametrize("whole_pixels", [False, True])
def test_boxes_without_area_or_outside_have_empty_masks(whole_pixels):
    masks = torch.ones(4, 14, 14)
    boxes = torch.tensor(
        [[200.0, 5, 260, 40], [-90, 0, -20, 30], [5, 80, 9, 95], [10, 10, 20, 20]]
    )
    options = {"height": 60, "width": 100, "whole_pixels": whole_pixels}
    found = paste_masks(masks, boxes, **options)
    assert not found[:3].any()
    assert found[3, 12:18, 12:18].all()
    none = paste_masks(masks, torch.zeros(4, 4), height=60, width=100)
    assert not none.any()
    assert paste_masks(masks[:0], boxes[:0], **options).shape == (0, 60, 100)


def test_both_ways_of_pasting_agree():
    masks, _ = random_masks()
    rows, columns = torch.arange(90) / 3 - 2, torch.arange(110) / 4 + 0.3
    rows, columns = rows.repeat(12, 1), columns.repeat(12, 1)
    kernels = library.kernels_for("paste_masks", "cpu")
    if kernels is None:
        pytest.skip("no compiled kernels")
    found = kernels.paste_masks(masks, rows, columns)
    assert torch.equal(found, paste_by_matrices(masks, rows, columns))


def test_is_one_graph():
    masks, boxes = random_masks()

    def paste(masks, boxes):
        return paste_masks(masks, boxes, height=90, width=110)

    compiled = torch.compile(paste, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(masks, boxes), paste(masks, boxes))
