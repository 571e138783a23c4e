import backbone_checks as checks
import numpy as np
import pytest
import torch
import torchvision.models
from faster_rcnn.nets.resnet import ResNet
from formula_weights import formula_tensor


def reference(depth: int, style: str = "pytorch") -> torchvision.models.ResNet:
    torch.manual_seed(0)
    model = getattr(torchvision.models, f"resnet{depth}")()
    if style == "caffe" and depth >= 50:
        for layer in (model.layer2, model.layer3, model.layer4):
            layer[0].conv1.stride = (2, 2)
            layer[0].conv2.stride = (1, 1)
    checks.randomise(model)
    return model.eval()


def unstride(layer: torch.nn.Module) -> torch.nn.Module:
    for part in layer.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.stride = (1, 1)
    return layer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "style"), [(18, "pytorch"), (50, "pytorch"), (50, "caffe")]
)
@torch.no_grad()
def test_equals_torchvision(depth, style):
    model = reference(depth, style).double()  # so that no rounding blurs it
    one = ResNet(depth, style=style, head_stride=1).train().double()
    two = ResNet(depth, style=style, head_stride=2).train().double()
    checks.load_classifier(one, model)
    checks.load_classifier(two, model)
    x = checks.images(1, 3, 77, 64).double()
    want = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    want = model.layer3(model.layer2(model.layer1(want)))
    got, sizes = checks.only_map(one, x)
    assert sizes is None and got.shape == (1, 64 * model.fc.in_features // 128, 5, 4)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)

    pooled = checks.images(3, one.channels[0], 7, 7, seed=2).double()
    vectors = model.layer4(pooled).mean((2, 3))
    torch.testing.assert_close(two.head(pooled), vectors, rtol=1e-9, atol=1e-9)
    vectors = unstride(model.layer4)(pooled).mean((2, 3))
    got = one.head(pooled)
    assert got.shape == (3, one.head_channels)
    torch.testing.assert_close(got, vectors, rtol=1e-9, atol=1e-9)


def test_frozen_norm_ignores_train():
    backbone = ResNet(18)
    checks.randomise(backbone)
    x = checks.images(2, 3, 48, 48)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    training, _ = checks.only_map(backbone.train(), x)
    evaluating, _ = checks.only_map(backbone.eval(), x)
    assert torch.equal(training, evaluating)
    torch.testing.assert_close(backbone.state_dict(), before, rtol=0, atol=0)
    norms = [n for n, p in backbone.named_parameters() if not p.requires_grad]
    assert len(norms) == 40 and all("bn" in n or "downsample.1" in n for n in norms)


@pytest.mark.slow
@torch.no_grad()
def test_equals_the_published_port(shared):
    backbone = ResNet(50, style="caffe")
    own = backbone.state_dict()
    state = {k: formula_tensor(f"resnet.{k}", tuple(own[k].shape)) for k in own}
    backbone.load_state_dict(state)
    golden = np.load(shared / "golden" / "test_res50.npz")
    image = np.load(shared / "golden" / "image_320x480.npz")["data"]
    x = torch.from_numpy(image).permute(0, 3, 1, 2)
    features, _ = checks.only_map(backbone, x)
    want = torch.from_numpy(golden["net_conv"])
    tolerance = 1e-4 * want.abs().max().item()
    torch.testing.assert_close(features, want, rtol=0, atol=tolerance)
    vectors = backbone.head(torch.from_numpy(golden["pool5_first3"]))
    want = torch.from_numpy(golden["fc7_first20"][:3])
    torch.testing.assert_close(vectors, want, rtol=1e-3, atol=1e-3)


def test_no_shared_layer_is_left_to_train():
    backbone = ResNet(18, norm="batch")
    backbone.freeze(3)
    features, _ = checks.only_map(backbone.train(), checks.images(1, 3, 48, 48))
    assert not features.requires_grad


@pytest.mark.parametrize(("depth", "channels"), [(34, 256), (101, 1024)])
def test_channels(depth, channels):
    with torch.device("meta"):
        assert ResNet(depth).channels == (channels,)
