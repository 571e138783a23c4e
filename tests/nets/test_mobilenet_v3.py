import backbone_checks as checks
import pytest
import torch
import torchvision.models
from faster_rcnn.nets.mobilenet_v3 import MobileNetV3, SqueezeExcitation
from torch import nn


def peer():
    """torchvision's, with the epsilon that its detectors have."""
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v3_large(norm_layer=nn.BatchNorm2d).eval()
    checks.randomise(model)
    return model


@torch.no_grad()
def test_maps_of_the_pyramid_are_torchvisions():
    model, backbone = peer(), MobileNetV3(kind="fpn")
    checks.load_classifier(backbone, model)
    x = checks.images(1, 3, 77, 64)
    (first, last), sizes = backbone.feature_maps(x, None)
    assert sizes is None and backbone.strides == (32, 32)
    want = model.features[:14](x)
    torch.testing.assert_close(first, want, rtol=1e-4, atol=1e-4)
    want = model.features(x)
    torch.testing.assert_close(last, want, rtol=1e-4, atol=1e-4)


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


def test_no_dilation():
    with pytest.raises(ValueError, match="expected c4 or fpn for MobileNetV3"):
        MobileNetV3(kind="dc5")
