import backbone_checks as checks
import pytest
import torch
import torchvision.models
from faster_rcnn.kernels.convolution import is_depthwise
from faster_rcnn.nets.mobilenet_v3 import MobileNetV3, SqueezeExcitation
from torch import nn


def peer():
    """torchvision's, with the epsilon that its detectors have."""
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v3_large(norm_layer=nn.BatchNorm2d).eval()
    checks.randomise(model)
    return model


@torch.no_grad()
def test_equals_torchvision():
    model = peer()
    one, two = MobileNetV3(), MobileNetV3(head_stride=2)
    checks.load_classifier(one, model)
    checks.load_classifier(two, model)
    x = checks.images(2, 3, 77, 64)
    got, sizes = checks.only_map(one, x)
    assert sizes is None and got.shape == (2, 112, 5, 4)
    want = model.features[:13](x)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)

    pooled = checks.images(3, 112, 7, 7, seed=2)
    want = model.features[13:](pooled).mean((2, 3))
    torch.testing.assert_close(two.head(pooled), want, rtol=1e-4, atol=1e-4)
    model.features[13].block[1][0].stride = (1, 1)
    want = model.features[13:](pooled).mean((2, 3))
    got = one.head(pooled)
    assert got.shape == (3, 960)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_maps_of_the_pyramid_are_torchvisions():
    model, backbone = peer(), MobileNetV3(kind="fpn")
    checks.load_classifier(backbone, model)
    x = checks.images(1, 3, 77, 64)
    (first, last), sizes = backbone.trunk(x, None)
    assert sizes is None and backbone.strides == (32, 32)
    want = model.features[:14](x)
    torch.testing.assert_close(first, want, rtol=1e-4, atol=1e-4)
    want = model.features(x)
    torch.testing.assert_close(last, want, rtol=1e-4, atol=1e-4)


def test_names_and_shapes_are_torchvisions():
    with torch.device("meta"):
        model, backbone = torchvision.models.mobilenet_v3_large(), MobileNetV3()
    want = {k: v.shape for k, v in model.state_dict().items()}
    ignored = backbone.ignored_keys(want)
    assert ignored == [
        f"classifier.{i}.{part}" for i in (0, 3) for part in ("weight", "bias")
    ]
    for key in ignored:
        del want[key]
    got = {k: v.shape for k, v in backbone.state_dict().items()}
    assert list(got.items()) == list(want.items())


@pytest.mark.parametrize(("kind", "channels"), [("c4", (112,)), ("fpn", (160, 960))])
def test_padded_image_has_the_features_of_the_bare_one(kind, channels):
    backbone = MobileNetV3(kind=kind)
    checks.randomise(backbone)
    checks.check_padding(backbone, *channels)


@torch.no_grad()
def test_squeeze_averages_over_the_true_size():
    """By hand: identity layers, so each channel is weighed by its own mean."""
    layer = SqueezeExcitation(32)
    inner = layer.fc1.out_channels
    assert inner == 8
    for conv in (layer.fc1, layer.fc2):
        conv.bias.zero_()
        conv.weight.copy_(torch.eye(*conv.weight.shape[:2])[:, :, None, None])
    x = torch.full((1, 32, 3, 4), 100.0)
    x[0, :, :2, :2] = 1.5
    got = layer(x, torch.tensor([[2, 2]]))
    assert (got[0, :inner, :2, :2] == 1.5 * (1.5 / 6 + 0.5)).all()
    assert (got[0, inner:, :2, :2] == 1.5 * 0.5).all()
    assert (layer(x, None)[0, :inner, :2, :2] == 1.5).all()  # 67 on average saturates


@pytest.mark.parametrize(
    ("blocks", "first"),
    [(1, "features.1.block.0.0.weight"), (7, "features.7.block.0.0.weight")],
)
def test_freeze(blocks, first):
    checks.check_freeze(MobileNetV3(norm="batch"), blocks, first)


@pytest.mark.parametrize(("kind", "most"), [("c4", 13), ("fpn", 17)])
def test_freeze_range(kind, most):
    checks.check_freeze_range(MobileNetV3(kind=kind), most)


def test_traces():
    checks.check_traces(MobileNetV3(), 4)


def test_depthwise_convolutions():
    names = [n for n, m in MobileNetV3().named_modules() if is_depthwise(m)]
    assert names[:2] == ["features.1.block.0.0", "features.2.block.1.0"]
    assert len(names) == 15


def test_no_dilation():
    with pytest.raises(ValueError, match="expected c4 or fpn for MobileNetV3"):
        MobileNetV3(kind="dc5")
