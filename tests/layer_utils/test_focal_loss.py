import math

import numpy as np
import pytest
import torch
from faster_rcnn.layer_utils.dense_losses import dense_class_losses
from faster_rcnn.layer_utils.focal_loss import sigmoid_focal_loss
from torchvision.ops import sigmoid_focal_loss as torchvisions


def test_by_hand():
    logits = torch.tensor([math.log(3), math.log(3), 0.0])
    loss = sigmoid_focal_loss(
        logits, torch.tensor([True, False, False]), alpha=0.25, gamma=2
    )
    # Probabilities 3/4, 3/4 and 1/2; of the true class 3/4, 1/4 and 1/2.
    want = [
        0.25 * (1 / 16) * math.log(4 / 3),
        0.75 * (9 / 16) * math.log(4),
        0.75 * (1 / 4) * math.log(2),
    ]
    torch.testing.assert_close(loss, torch.tensor(want))


@pytest.mark.parametrize("alpha", [0.25, None])
@pytest.mark.parametrize("gamma", [0, 1.5, 2])
def test_as_torchvisions(alpha, gamma):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 7, generator=generator) * 4
    targets = torch.rand(20, 7, generator=generator) < 0.2
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    got = sigmoid_focal_loss(ours, targets, alpha=alpha, gamma=gamma)
    want = torchvisions(
        theirs, targets.float(), alpha=-1 if alpha is None else alpha, gamma=gamma
    )
    got.sum().backward()
    want.sum().backward()
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [0, 0.5, 1.5, 2])
def test_extreme_logits_are_finite(gamma):
    logits = torch.tensor([-1e4, -90.0, 0.0, 90.0, 1e4]).repeat(2, 1).requires_grad_()
    targets = torch.tensor([[True], [False]]).expand(2, 5)
    loss = sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=gamma)
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all()
    assert (
        sigmoid_focal_loss(logits.bfloat16(), targets, alpha=None, gamma=gamma).dtype
        is torch.float32
    )


def test_golden(shared):
    data = np.load(shared / "golden" / "family" / "dense_losses.npz")
    keys = [key for key in data.files if key.startswith("loss_a")]
    assert len(keys) == 9
    targets = torch.from_numpy(data["targets"]) > 0
    for key in keys:
        alpha, gamma = (float(word[1:]) for word in key.split("_")[1:])
        logits = torch.from_numpy(data["logits"]).requires_grad_()
        loss = sigmoid_focal_loss(
            logits, targets, alpha=None if alpha < 0 else alpha, gamma=gamma
        )
        loss.sum().backward()
        for got, name in (
            (loss.detach(), key),
            (logits.grad, key.replace("loss", "grad")),
        ):
            np.testing.assert_allclose(
                got.numpy(), data[name], rtol=1e-5, atol=1e-6, err_msg=name
            )


def test_class_weights_scale_the_loss_of_their_anchors():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 4, generator=generator)
    classes = torch.tensor([[0, 1, 2, 3, -1, 0], [3, 3, -1, 0, 1, 2]])
    weights = torch.tensor([1, 0.5, 2, 7])
    options = {"alpha": 0.25, "gamma": 2.0}
    got = dense_class_losses(logits, classes, weights, **options)
    want = sum(
        weight * dense_class_losses(logits, classes.where(classes == c, -1), **options)
        for c, weight in enumerate(weights)
    )
    torch.testing.assert_close(got, want)
