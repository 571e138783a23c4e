import backbone_checks as checks
import pytest
import torch
import torchvision.models
from faster_rcnn.kernels.convolution import is_depthwise
from faster_rcnn.nets.mobilenet_v2 import MobileNetV2


@torch.no_grad()
def test_equals_torchvision():
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v2().eval()
    checks.randomise(model)
    one, two = MobileNetV2(), MobileNetV2(head_stride=2)
    checks.load_classifier(one, model)
    checks.load_classifier(two, model)
    x = checks.images(2, 3, 77, 64)
    got, sizes = checks.only_map(one, x)
    assert sizes is None and got.shape == (2, 96, 5, 4)
    torch.testing.assert_close(got, model.features[:14](x), rtol=1e-4, atol=1e-4)

    pooled = checks.images(3, 96, 7, 7, seed=2)
    want = model.features[14:](pooled).mean((2, 3))
    torch.testing.assert_close(two.head(pooled), want, rtol=1e-4, atol=1e-4)
    model.features[14].conv[1][0].stride = (1, 1)
    want = model.features[14:](pooled).mean((2, 3))
    got = one.head(pooled)
    assert got.shape == (3, 1280)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_names_and_shapes_are_torchvisions():
    with torch.device("meta"):
        model, backbone = torchvision.models.mobilenet_v2(), MobileNetV2()
    want = {k: v.shape for k, v in model.state_dict().items()}
    assert backbone.ignored_keys(want) == ["classifier.1.weight", "classifier.1.bias"]
    del want["classifier.1.weight"], want["classifier.1.bias"]
    got = {k: v.shape for k, v in backbone.state_dict().items()}
    assert list(got.items()) == list(want.items())


def test_imagenet_weights_load(shared):
    path = shared / "weights" / "mobilenet_v2_imagenet.pth"
    if not path.is_file():
        pytest.skip("the ImageNet weights are not on this machine")
    state = torch.load(path, weights_only=True)
    backbone = MobileNetV2()
    for key in backbone.ignored_keys(state):
        del state[key]
    backbone.load_state_dict(state)
    assert backbone.features[0][1].running_var.min() > 0


def test_padded_image_has_the_features_of_the_bare_one():
    backbone = MobileNetV2()
    checks.randomise(backbone)
    checks.check_padding(backbone, 96)


@pytest.mark.parametrize(
    ("blocks", "first"),
    [(1, "features.1.conv.0.0.weight"), (5, "features.5.conv.0.0.weight")],
)
def test_freeze(blocks, first):
    checks.check_freeze(MobileNetV2(norm="batch"), blocks, first)


def test_freeze_range():
    checks.check_freeze_range(MobileNetV2(), 14)


def test_traces():
    checks.check_traces(MobileNetV2(), 4)


def test_depthwise_convolutions():
    names = [n for n, m in MobileNetV2().named_modules() if is_depthwise(m)]
    assert names[:2] == ["features.1.conv.0.0", "features.2.conv.1.0"]
    assert len(names) == 17
