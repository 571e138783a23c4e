"""Properties of every backbone: names, padding, freezing, and one graph."""

from functools import partial

import pytest
import torch
import torchvision.models as peers
from backbone_checks import images, load_classifier, only_map, randomise, shorten
from faster_rcnn.kernels.convolution import is_depthwise
from faster_rcnn.nets.backbone import Backbone
from faster_rcnn.nets.layers import Norm
from faster_rcnn.nets.mobilenet_v1 import MobileNetV1
from faster_rcnn.nets.mobilenet_v2 import MobileNetV2
from faster_rcnn.nets.mobilenet_v3 import MobileNetV3
from faster_rcnn.nets.resnet import ResNet
from faster_rcnn.nets.vgg import VGG16
from torch import Tensor, nn

NETS = {  # how to build it, channels of its maps, blocks that can be frozen
    "res18": (partial(ResNet, 18), (256,), 3),
    "res18_dc5": (partial(ResNet, 18, kind="dc5"), (512,), 4),
    "res18_fpn": (partial(ResNet, 18, kind="fpn"), (64, 128, 256, 512), 4),
    "res50": (partial(ResNet, 50), (1024,), 3),
    "res50, caffe": (partial(ResNet, 50, style="caffe"), (1024,), 3),
    "vgg16": (partial(VGG16, dropout=0.5), (512,), 5),
    "vgg16_fpn": (partial(VGG16, kind="fpn"), (256, 512, 512, 512), 5),
    "mobile": (MobileNetV1, (512,), 12),
    "mobile_fpn": (partial(MobileNetV1, kind="fpn"), (128, 256, 512, 1024), 14),
    "mobile_v2": (MobileNetV2, (96,), 14),
    "mobile_v2_fpn": (partial(MobileNetV2, kind="fpn"), (24, 32, 96, 1280), 19),
    "mobile_v3": (MobileNetV3, (112,), 13),
    "mobile_v3_fpn": (partial(MobileNetV3, kind="fpn"), (160, 960), 17),
}


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    """VGG16's fc6 and fc7 otherwise take seconds to draw."""
    monkeypatch.setattr(VGG16, "fc_channels", 16)
    torch.manual_seed(0)


@pytest.mark.parametrize("net", NETS)
@torch.no_grad()
def test_padded_image_has_the_features_of_the_bare_one(net):
    build, channels, blocks = NETS[net]
    backbone = build()
    randomise(backbone)
    backbone.eval()
    assert backbone.channels == channels
    assert len(backbone.strides) == len(channels)
    if len(channels) == 4:
        assert backbone.strides == (4, 8, 16, 32) and backbone.head_channels == 0
    sizes = [(61, 83), (64, 96), (50, 65), (33, 47)]
    batch = torch.zeros(len(sizes), 3, 96, 112)
    singles = [images(1, 3, h, w, seed=h) for h, w in sizes]
    for slot, single in zip(batch, singles, strict=True):
        slot[:, : single.shape[2], : single.shape[3]] = single[0]
    features, cells = backbone.feature_maps(batch, torch.tensor(sizes))
    assert cells is not None and len(features) == len(channels)
    for i, single in enumerate(singles):
        all_bare, none = backbone.feature_maps(single, None)
        assert none is None
        for level, bare in enumerate(all_bare):
            stride = backbone.strides[level]
            assert bare.shape[1] == channels[level]
            assert bare.shape[2] in (sizes[i][0] // stride, -(-sizes[i][0] // stride))
            assert cells[level].dtype == torch.int64
            assert tuple(cells[level][i].tolist()) == bare.shape[2:]
            scale = bare.abs().max().item()
            if bare[0, 0].numel() > 1:
                assert bare.std((2, 3)).max() > 0.05 * scale  # the image shows in them
            padded = features[level][i : i + 1, :, : bare.shape[2], : bare.shape[3]]
            tolerance = 1e-4 * max(1.0, scale)
            torch.testing.assert_close(padded, bare, rtol=0, atol=tolerance)
    for count in (-1, blocks + 1):
        with pytest.raises(
            ValueError, match=f"expected 0 to {blocks} .* found {count}"
        ):
            backbone.freeze(count)
    backbone.freeze(blocks)


@pytest.mark.parametrize(
    ("build", "blocks", "trained_from"),
    [
        (partial(ResNet, 18, norm="batch"), 1, "layer2.0.conv1.weight"),
        (VGG16, 1, "features.5.weight"),
        (VGG16, 2, "features.10.weight"),
        (partial(MobileNetV1, norm="batch"), 5, "Conv2d_5.depthwise.0.weight"),
        (partial(MobileNetV2, norm="batch"), 1, "features.1.conv.0.0.weight"),
        (partial(MobileNetV2, norm="batch"), 5, "features.5.conv.0.0.weight"),
        (partial(MobileNetV3, norm="batch"), 1, "features.1.block.0.0.weight"),
        (partial(MobileNetV3, norm="batch"), 7, "features.7.block.0.0.weight"),
    ],
)
def test_frozen_blocks_get_no_graph_and_no_statistics(build, blocks, trained_from):
    backbone = build()
    backbone.freeze(blocks)
    backbone.train()
    names = [name for name, _ in backbone.named_parameters()]
    first = names.index(trained_from)
    assert first > 0
    frozen = {n for n, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == set(names[:first])
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    features, _ = only_map(backbone, images(2, 3, 48, 48))
    features.square().mean().backward()
    for name, parameter in backbone.named_parameters():
        if name in frozen:
            assert parameter.grad is None
    stem = next(m for m in backbone.modules() if isinstance(m, nn.Conv2d))
    assert not stem(images(1, 3, 48, 48)).requires_grad
    for module_name, module in backbone.named_modules():
        if isinstance(module, Norm):
            fixed = f"{module_name}.weight" in frozen
            assert module.frozen == fixed and module.training != fixed
            key = f"{module_name}.running_mean"
            if fixed:
                assert torch.equal(module.state_dict()["running_mean"], before[key])


def short(*args: object, **options: object) -> ResNet:
    return shorten(ResNet(*args, **options))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "side"),
    [
        (partial(short, 18, norm="frozen"), 4),
        (partial(short, 18, norm="batch"), 4),
        (partial(short, 50, style="caffe"), 4),
        (partial(VGG16, dropout=0.0), 7),
        (MobileNetV1, 4),
        (MobileNetV2, 4),
        (MobileNetV3, 4),
    ],
)
def test_one_graph_and_bfloat16(build, side):
    """Forward and backward of padded images; bfloat16 and channels_last."""
    backbone: Backbone = build()
    backbone.train()
    pixels, sizes = images(2, 3, 48, 64), torch.tensor([[48, 64], [41, 52]])
    pooled = images(3, backbone.channels[0], side, side)

    def both(pixels: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        features, cells = only_map(backbone, pixels, sizes)
        return features, cells, backbone.head(pooled)

    expected = both(pixels, pooled)
    compiled = torch.compile(both, fullgraph=True, backend="eager")
    for got, want in zip(compiled(pixels, pooled), expected, strict=True):
        torch.testing.assert_close(got, want)
    assert expected[2].shape == (3, backbone.head_channels)
    (expected[0].sum() + expected[2].sum()).backward()

    backbone.to(memory_format=torch.channels_last)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    pooled = pooled.contiguous(memory_format=torch.channels_last)
    features, _, vectors = both(pixels, pooled)
    assert features.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(features, expected[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(vectors, expected[2], rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        features, _, vectors = both(pixels, pooled)
    assert features.dtype == torch.bfloat16
    (features.float().sum() + vectors.float().sum()).backward()

    # Statistics of the few cells here would amplify the rounding, so stored ones.
    backbone.eval()
    expected = both(pixels, pooled)
    with torch.autocast("cpu", torch.bfloat16):
        features, _, vectors = both(pixels, pooled)
    assert (features - expected[0]).norm() < 0.05 * expected[0].norm()
    assert (vectors - expected[2]).norm() < 0.05 * expected[2].norm()


@pytest.mark.parametrize(
    ("peer", "build", "unused"),
    [
        *(
            (getattr(peers, f"resnet{depth}"), partial(ResNet, depth), ("fc",))
            for depth in (18, 34, 50, 101, 152)
        ),
        (peers.vgg16, partial(VGG16, dropout=0.5), ("classifier.6",)),
        (peers.mobilenet_v2, MobileNetV2, ("classifier.1",)),
        (peers.mobilenet_v3_large, MobileNetV3, ("classifier.0", "classifier.3")),
    ],
)
def test_names_and_shapes_are_torchvisions(peer, build, unused, monkeypatch):
    monkeypatch.undo()  # VGG16 in its full width
    with torch.device("meta"):
        want = {k: v.shape for k, v in peer().state_dict().items()}
        backbone = build()
    ignored = backbone.ignored_keys(want)
    assert ignored == [f"{n}.{part}" for n in unused for part in ("weight", "bias")]
    for key in ignored:
        del want[key]
    got = {k: v.shape for k, v in backbone.state_dict().items()}
    assert list(got.items()) == list(want.items())


@pytest.mark.parametrize(
    ("peer", "kind", "head", "channels", "out"),
    [
        (peers.mobilenet_v2, MobileNetV2, 14, 96, 1280),
        # With the epsilon that torchvision's detectors have.
        (
            partial(peers.mobilenet_v3_large, norm_layer=nn.BatchNorm2d),
            *(MobileNetV3, 13, 112, 960),
        ),
    ],
)
@torch.no_grad()
def test_mobilenets_equal_torchvisions(peer, kind, head, channels, out):
    model = peer().eval()
    randomise(model)
    one, two = kind(), kind(head_stride=2)
    load_classifier(one, model)
    load_classifier(two, model)
    x = images(2, 3, 77, 64)
    got, sizes = only_map(one, x)
    assert sizes is None and got.shape == (2, channels, 5, 4)
    torch.testing.assert_close(got, model.features[:head](x), rtol=1e-4, atol=1e-4)

    pooled = images(3, channels, 7, 7, seed=2)
    want = model.features[head:](pooled).mean((2, 3))
    torch.testing.assert_close(two.head(pooled), want, rtol=1e-4, atol=1e-4)
    strided = [m for m in model.features[head].modules() if isinstance(m, nn.Conv2d)]
    strided[1].stride = (1, 1)  # the depthwise one
    want = model.features[head:](pooled).mean((2, 3))
    got = one.head(pooled)
    assert got.shape == (3, out)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "first", "count"),
    [
        (MobileNetV2, ["features.1.conv.0.0", "features.2.conv.1.0"], 17),
        (MobileNetV3, ["features.1.block.0.0", "features.2.block.1.0"], 15),
    ],
)
def test_depthwise_convolutions(kind, first, count):
    with torch.device("meta"):
        names = [n for n, m in kind().named_modules() if is_depthwise(m)]
    assert names[:2] == first and len(names) == count
