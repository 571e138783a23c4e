"""Ways of computing the same in less time, beside the plain ones."""

import backbone_checks as checks
import pytest
import torch
import torch.nn.functional as F
from faster_rcnn.layer_utils.structures import FeatureMaps
from faster_rcnn.model.faster_rcnn import FasterRCNN
from faster_rcnn.nets import layers
from faster_rcnn.nets.resnet import ResNet
from tiny_runs import (
    ground_truth,
    random_images,
    randomise,
    tiny_config,
    tiny_detector,
)
from torch import nn

RES50 = (
    *("net.name", "res50", "net.norm", "frozen", "net.head_stride", 1),
    *("pooling.size", 4),
)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 8, 5, 7), (6, 8, 3, 3), (1, 8, 1, 1)])
def test_gradient_of_a_pointwise_convolution(shape, bias):
    conv = nn.Conv2d(8, 6, 1, bias=bias)
    values = []
    for way in (F.conv2d, layers._Pointwise.apply):
        x = checks.images(*shape).requires_grad_()
        conv.zero_grad()
        out = way(x, conv.weight, conv.bias)
        out.backward(checks.images(*out.shape, seed=3))
        grads = [p.grad.clone() for p in conv.parameters()]
        values.append([out, x.grad, *grads])
    for want, got in zip(*values, strict=True):
        torch.testing.assert_close(got, want)


def test_pointwise_where_it_pays(monkeypatch):
    """In bfloat16, in training, on CPUs."""
    calls = []
    real = layers._Pointwise.apply
    monkeypatch.setattr(
        layers._Pointwise, "apply", lambda *a: calls.append(1) or real(*a)
    )
    conv = nn.Conv2d(4, 4, 1, bias=False)
    x = checks.images(1, 4, 5, 5)
    layers.convolve(x, conv, conv.weight)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        layers.convolve(x.bfloat16(), conv, conv.weight)
    assert not calls
    with torch.autocast("cpu", torch.bfloat16):
        out = layers.convolve(x.bfloat16(), conv, conv.weight)
    assert calls and out.dtype == torch.bfloat16
    out.sum().backward()
    assert conv.weight.grad.dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize("aligned", ["true", "false"])
def test_lifted_head_is_the_head(aligned):
    """Regions at the far edge, thinner than a cell, read zeros from beyond the map."""
    model = tiny_detector(tiny_config(*RES50, "pooling.aligned", aligned))
    randomise(model)
    model.eval().double()
    features = FeatureMaps([checks.images(2, 1024, 6, 8).double()], None)
    rois = torch.tensor([[[0.0, 0, 90, 80], [126, 0, 127, 95], [60, 94, 80, 95]]] * 2)
    rois = rois.double()
    lifted = model.backbone.lift(features)
    assert lifted.maps[0].shape == (2, 512 + 2048, 6, 8)
    got = model.backbone.head(model.pool(lifted, rois))
    want = model.backbone.head(model.pool(features, rois))
    torch.testing.assert_close(got, want)


def test_lifted_only_where_it_is_less_work(monkeypatch):
    model = tiny_detector(tiny_config(*RES50)).eval()
    features = FeatureMaps([torch.zeros(1, 1024, 6, 8)], None)
    assert model.lifted(features, torch.zeros(1, 3, 4)) is features
    assert model.lifted(features, torch.zeros(1, 4, 4)).maps[0].shape[1] == 2560
    other = tiny_detector(tiny_config(*RES50, "pooling.mode", "pool")).eval()
    assert other.lifted(features, torch.zeros(1, 40, 4)) is features


@pytest.mark.parametrize("options", [{"head_stride": 2}, {"norm": "batch"}])
def test_heads_that_cannot_be_lifted(options):
    with torch.device("meta"):
        backbone = ResNet(50, **options).train()
        features = FeatureMaps([torch.zeros(1, 1024, 6, 8)], None)
        stride_in_first = ResNet(50, head_stride=2, style="caffe")
    assert backbone.lift(features) is None
    assert stride_in_first.lift(features) is None


@pytest.mark.parametrize("features", ["c4", "fpn"])
@pytest.mark.parametrize("sizes", [[(96, 128)] * 2, [(96, 128), (70, 101)]])
def test_drawn_anchors_have_the_gradient_of_all(features, sizes, monkeypatch):
    """The RPN's head on the drawn cells alone, beside its backward pass over all."""
    overrides = ("net.features", features, "rpn.batch_size", 16, "rpn.border", -1)
    overrides += ("net.norm", "frozen")
    small = ("net.fpn_channels", 16, "head.fc_channels", 32)
    images = random_images(*sizes, multiple=32)
    truth = ground_truth([(1, 10, 12, 40, 45)], [(2, 30, 5, 60, 25), (1, 2, 2, 60, 60)])
    results = []
    for dense in (False, True):
        model = tiny_detector(tiny_config(*overrides, *small))
        randomise(model)
        assert isinstance(model, FasterRCNN) and model.rpn._recomputes(
            model.features(images)
        )
        if dense:
            monkeypatch.setattr(model.rpn, "_recomputes", lambda _: False)
        generator = torch.Generator().manual_seed(1)
        output = model.train()(images, truth, generator)
        sum(output.losses.values()).backward()
        learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
        grads = {name: p.grad for name, p in learning.items()}
        results.append((output.losses, output.counts, grads))
    (losses, counts, grads), (want_losses, want_counts, want_grads) = results
    assert counts == want_counts and counts["rpn_fg"] > 0
    torch.testing.assert_close(losses, want_losses, rtol=1e-5, atol=1e-6)
    for name, want in want_grads.items():
        scale = want.abs().max().item()
        torch.testing.assert_close(
            grads[name], want, rtol=1e-3, atol=1e-4 * scale + 1e-9, msg=name
        )
