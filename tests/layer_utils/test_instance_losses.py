"""Losses of masks and keypoints, beside Detectron2's and torchvision's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from faster_rcnn.layer_utils.instance_losses import keypoint_loss_sum, mask_loss_sum
from faster_rcnn.layer_utils.keypoints import KeypointTargets, keypoint_targets
from golden_masks import unpacked


@pytest.mark.parametrize("program", ["d2", "tv"])
def test_the_mask_loss_is_the_published_one(shared, program):
    golden = np.load(shared / "golden" / "family" / "mask_targets.npz")
    classes = golden["loss_classes"] - 1
    own = golden["loss_logits"][np.arange(12), classes]
    logits = torch.from_numpy(own)[None].requires_grad_()
    if program == "d2":
        targets = unpacked(golden["mask0_polygon_targets_28"], 28)
    else:
        targets = golden["mask0_tv_targets_28"]
    targets = torch.from_numpy(targets[:12].astype(np.float32))[None]
    loss = mask_loss_sum(logits, targets, torch.ones(1, 12, dtype=torch.bool)).mean
    loss.backward()
    assert loss.item() == pytest.approx(golden[f"{program}_loss"].item(), rel=1e-5)
    expected = golden[f"{program}_loss_grad_selected"]
    np.testing.assert_allclose(logits.grad[0].numpy(), expected, atol=1e-8)


@pytest.mark.parametrize("program", ["d2", "tv"])
def test_the_keypoint_loss_is_the_published_one(shared, program):
    golden = np.load(shared / "golden" / "family" / "keypoints_units.npz")
    logits = torch.from_numpy(golden["loss_logits"])[None].requires_grad_()
    targets = keypoint_targets(
        torch.from_numpy(golden["loss_gt"])[None],
        torch.from_numpy(golden["loss_rois"])[None],
        torch.from_numpy(golden["loss_idx"])[None],
        size=28,
    )
    loss = keypoint_loss_sum(logits, targets, torch.ones(1, 4, dtype=torch.bool)).mean
    loss.backward()
    assert loss.item() == pytest.approx(golden[f"{program}_loss"].item(), rel=1e-5)
    row = golden[f"{program}_loss_grad_row"]
    distance = (logits.grad[0].flatten(0, 1) - torch.from_numpy(row)).abs().amax((1, 2))
    assert distance.min() < 1e-7
    assert np.abs(row).max() > 1e-4


def test_only_foreground_rois_count():
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    logits[0, 1] = torch.nan
    logits.requires_grad_()
    targets = (torch.arange(96).view(2, 3, 4, 4) % 3 == 0).float()
    wanted = torch.tensor([[True, False, True], [False, False, True]])
    loss = mask_loss_sum(logits, targets, wanted)
    expected = F.binary_cross_entropy_with_logits(logits[wanted], targets[wanted])
    torch.testing.assert_close(loss.mean, expected)
    assert loss.count == 3
    loss.mean.backward()
    assert not logits.grad[~wanted].any()
    assert mask_loss_sum(logits, targets, wanted & False).mean == 0


def test_only_valid_keypoints_count():
    logits = torch.randn(1, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    cells = torch.tensor([[[3, 0, 15], [7, 2, 1]]])
    valid = torch.tensor([[[True, False, True], [True, True, True]]])
    wanted = torch.tensor([[True, False]])
    loss = keypoint_loss_sum(logits, KeypointTargets(cells, valid), wanted)
    used = valid & wanted[..., None]
    expected = F.cross_entropy(logits.flatten(3)[used], cells[used])
    torch.testing.assert_close(loss.mean, expected)
    assert loss.count == 2
    none = keypoint_loss_sum(logits, KeypointTargets(cells, valid & False), wanted)
    assert none.mean == 0
