"""Ways of computing the same in less time, beside the plain ones."""

import backbone_checks as checks
import pytest
import torch
from faster_rcnn.kernels.convolution import (
    _Convolution,
    _plainly,
    clear_beyond,
    convolve,
    own_convolution,
)
from faster_rcnn.layer_utils.structures import FeatureMaps
from faster_rcnn.model.two_stage import TwoStage
from faster_rcnn.nets.resnet import ResNet
from pairwise import pairwise
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


@pairwise(
    {
        "bias": [True, False],
        "kernel, stride": [(1, 1), (3, 1), (3, 2)],
        "shape": [(2, 8, 5, 7), (40, 8, 3, 3), (3, 8, 2, 1)],
        "small": [True, False],
    }
)
def test_convolution_by_products(shape, kernel, stride, bias, small):
    conv = nn.Conv2d(8, 6, kernel, stride, kernel // 2, bias=bias).double()

    def plain(x):
        return conv(x)

    def products(x):
        how = ((stride, stride), conv.padding, (1, 1), 1)
        return own_convolution(
            x, conv.weight, conv.bias, how, products=True, small=small
        )

    values = []
    for way in (plain, products):
        x = checks.images(*shape).double().requires_grad_()
        conv.zero_grad()
        out = way(x)
        out.backward(checks.images(*out.shape, seed=3).double())
        values.append([out, x.grad, *(p.grad.clone() for p in conv.parameters())])
    for want, got in zip(*values, strict=True):
        torch.testing.assert_close(got, want)


CONVOLUTIONS = {
    "pointwise": (nn.Conv2d(8, 8, 1), (2, 20, 20), True, False),
    "strided pointwise": (nn.Conv2d(8, 8, 1, 2), (2, 20, 20), False, False),
    "map": (nn.Conv2d(8, 8, 3, padding=1), (2, 20, 20), False, False),
    "region": (nn.Conv2d(8, 8, 3, padding=1), (40, 7, 7), True, False),
    "small region": (nn.Conv2d(8, 8, 3, padding=1), (40, 2, 2), True, True),
    "to a small one": (nn.Conv2d(8, 8, 3, 2, 1), (40, 5, 5), True, True),
    "wide": (nn.Conv2d(8, 8, 7, padding=3), (2, 3, 3), False, False),
    "dilated": (nn.Conv2d(8, 8, 3, 1, 2, 2), (40, 2, 2), False, False),
    "grouped": (nn.Conv2d(8, 8, 3, 1, 1, groups=2), (40, 2, 2), False, False),
    "strided depthwise": (nn.Conv2d(8, 8, 3, 2, 1, groups=8), (2, 9, 9), True, False),
    "wide depthwise": (nn.Conv2d(8, 8, 5, 1, 2, groups=8), (2, 9, 6), True, False),
    "wide strided": (nn.Conv2d(8, 8, 5, 2, 2, groups=8), (2, 9, 6), True, False),
    "padded before": (nn.Conv2d(8, 8, 5, 2, groups=8), (2, 10, 7), True, False),
    "very wide": (nn.Conv2d(8, 8, 7, 1, 3, groups=8), (2, 9, 6), True, False),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_by_whichever_way(name, monkeypatch):
    """The result is that of PyTorch, and products serve where they are faster."""
    conv, (number, height, width), training, testing = CONVOLUTIONS[name]
    calls = []
    real = _Convolution.apply
    monkeypatch.setattr(_Convolution, "apply", lambda *a: calls.append(1) or real(*a))
    x = checks.images(number, 8, height, width)
    with torch.autocast("cpu", torch.bfloat16):
        out = convolve(x.bfloat16(), conv, conv.weight, conv.bias)
        want = conv(x.bfloat16())
        assert bool(calls) == training and out.dtype == torch.bfloat16
        torch.testing.assert_close(out, want, rtol=0.02, atol=0.02)
        calls.clear()
        with torch.no_grad():
            convolve(x.bfloat16(), conv, conv.weight, conv.bias)
        assert bool(calls) == testing
    calls.clear()
    torch.testing.assert_close(convolve(x, conv, conv.weight, conv.bias), conv(x))
    assert not calls  # in float32 the convolution is the faster one
    conv.zero_grad()
    out.float().sum().backward()
    assert conv.weight.grad.dtype == torch.float32 and conv.weight.grad.any()


@pairwise({"activation": ["relu", "relu6", "hardswish"], "name": list(CONVOLUTIONS)})
def test_activations_within_the_convolution(name, activation):
    """Output and gradients are those of separate passes, in a padded batch too."""
    conv, (number, height, width), *_ = CONVOLUTIONS[name]
    x = 20 * checks.images(number, 8, height, width).bfloat16()
    want = conv(x.float())
    sizes = torch.tensor([[want.shape[2] - 1, want.shape[3]]] * number)
    grad = checks.images(*want.shape, seed=3).bfloat16()
    values = []
    for way in (convolve, _plainly):
        x = x.detach().requires_grad_()
        conv.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = way(x, conv, conv.weight, conv.bias, activation, sizes)
        out.backward(grad)
        values.append([out, x.grad, *(p.grad.clone() for p in conv.parameters())])
    for got, plain in zip(*values, strict=True):
        scale = plain.abs().max().item()
        torch.testing.assert_close(got, plain, rtol=0.02, atol=0.01 * scale)
    assert (values[0][0][:, :, -1] == 0).all() and values[0][0].any()


@pytest.mark.parametrize("learns", [True, False])
def test_cells_beyond_the_true_sizes(learns):
    pixels = torch.full((3, 2, 5, 4), torch.nan, requires_grad=learns)
    sizes = torch.tensor([[3, 4], [5, 2], [5, 4]])
    maps = pixels.nan_to_num(1).contiguous(memory_format=torch.channels_last)
    clear_beyond(maps, sizes)
    want = torch.ones(3, 2, 5, 4)
    want[0, :, 3:] = want[1, :, :, 2:] = 0
    assert maps.equal(want)
    assert maps.requires_grad == learns


@pytest.mark.slow
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
    got = model.backbone.head(model.box_head.regions.pool(lifted, rois))
    want = model.backbone.head(model.box_head.regions.pool(features, rois))
    torch.testing.assert_close(got, want)


def test_lifted_only_where_it_is_less_work(monkeypatch):
    model = tiny_detector(tiny_config(*RES50)).eval()
    features = FeatureMaps([torch.zeros(1, 1024, 6, 8)], None)
    regions = model.box_head.regions
    assert regions.lifted(features, torch.zeros(1, 3, 4)) is features
    assert regions.lifted(features, torch.zeros(1, 4, 4)).maps[0].shape[1] == 2560
    other = tiny_detector(tiny_config(*RES50, "pooling.mode", "pool")).eval()
    assert other.box_head.regions.lifted(features, torch.zeros(1, 40, 4)) is features


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
    """The RPN's layers on the drawn cells alone, beside its backward pass over all."""
    overrides = ("net.features", features, "rpn.batch_size", 16, "rpn.border", -1)
    overrides += ("net.norm", "frozen")
    small = ("net.fpn_channels", 16, "head.fc_channels", 32)
    images = random_images(*sizes, multiple=32)
    truth = ground_truth([(1, 10, 12, 40, 45)], [(2, 30, 5, 60, 25), (1, 2, 2, 60, 60)])
    results = []
    for dense in (False, True):
        model = tiny_detector(tiny_config(*overrides, *small))
        randomise(model)
        assert isinstance(model, TwoStage)
        assert model.rpn.head.is_cheaper_at(16, model.features(images))
        if dense:
            monkeypatch.setattr(model.rpn.head, "is_cheaper_at", lambda *_: False)
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
