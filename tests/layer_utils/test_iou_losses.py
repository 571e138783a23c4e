import numpy as np
import pytest
import torch
from faster_rcnn.layer_utils.iou_losses import iou_loss
from faster_rcnn.layer_utils.losses import smooth_l1
from torchvision import ops

PEERS = {
    "giou": ops.generalized_box_iou_loss,
    "diou": ops.distance_box_iou_loss,
    "ciou": ops.complete_box_iou_loss,
}


def random_pairs(count=200, seed=0):
    """Boxes and targets, some of them apart."""
    generator = torch.Generator().manual_seed(seed)
    corners, sizes = torch.rand(2, 2, count, 2, generator=generator) * 50
    return torch.cat((corners, corners + sizes + 1), dim=2).unbind(0)


def test_by_hand():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    targets = torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    # They share 1 of 7, within 9; centres sqrt(2) apart, the diagonal 3 sqrt(2).
    giou, diou, ciou = (
        iou_loss(boxes, targets, kind=kind, offset=0).item() for kind in PEERS
    )
    assert giou == pytest.approx(1 - 1 / 7 + 2 / 9)
    assert diou == ciou == pytest.approx(1 - 1 / 7 + 2 / 18)
    # The same pixels as legacy boxes, whose far corners are one less.
    legacy = torch.tensor([0.0, 0.0, 1.0, 1.0])
    moved = iou_loss(boxes - legacy, targets - legacy, kind="giou", offset=1)
    assert moved.item() == pytest.approx(giou)


@pytest.mark.parametrize("kind", PEERS)
def test_as_torchvisions(kind):
    boxes, targets = random_pairs()
    ours, theirs = (boxes.clone().requires_grad_() for _ in range(2))
    got = iou_loss(ours, targets, kind=kind, offset=0)
    want = PEERS[kind](theirs, targets)
    got.sum().backward()
    want.sum().backward()
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    assert not iou_loss(targets, targets, kind=kind, offset=0).round(decimals=5).any()


@pytest.mark.parametrize("kind", PEERS)
def test_golden(shared, kind):
    data = np.load(shared / "golden" / "family" / "dense_losses.npz")
    boxes = torch.from_numpy(data["boxes1"]).requires_grad_()
    loss = iou_loss(boxes, torch.from_numpy(data["boxes2"]), kind=kind, offset=0)
    loss.sum().backward()
    for got, name in (loss.detach(), kind), (boxes.grad, f"{kind}_grad"):
        np.testing.assert_allclose(
            got.numpy(), data[name], rtol=1e-5, atol=2e-6, err_msg=name
        )


@pytest.mark.parametrize(
    ("beta", "sigma"), [("0.100", 10**0.5), ("0.111", 3), ("1.000", 1)]
)
def test_golden_smooth_l1(shared, beta, sigma):
    data = np.load(shared / "golden" / "family" / "dense_losses.npz")
    difference = torch.from_numpy(data["logits"] - data["targets"]).requires_grad_()
    loss = smooth_l1(difference, sigma=sigma)
    loss.sum().backward()
    for got, name in (loss.detach(), ""), (difference.grad, "_grad"):
        np.testing.assert_allclose(
            got.numpy(), data[f"smooth_l1_{beta}{name}"], rtol=1e-5, atol=1e-6
        )
