import backbone_checks as checks
import pytest
import torch
import torchvision
from faster_rcnn.layer_utils.structures import FeatureMaps
from faster_rcnn.nets import build_backbone
from faster_rcnn.nets.fpn import FeaturePyramid
from faster_rcnn.nets.resnet import ResNet
from faster_rcnn.nets.vgg import VGG16
from torch import nn

STRIDES = (4, 8, 16, 32)


def pyramid(channels=(3, 5), **options):
    options = {"strides": STRIDES[: len(channels)], "coarser": 0} | options
    return FeaturePyramid(channels, 4, **options)


@torch.no_grad()
def test_by_hand():
    """1x1 convolutions that copy one channel, 3x3 ones that copy the cell."""
    one = pyramid((1, 1))
    for lateral, smooth in zip(one.lateral, one.output, strict=True):
        nn.init.ones_(lateral.weight)
        nn.init.zeros_(smooth.weight)
        smooth.weight[range(4), range(4), 1, 1] = 1
    fine = torch.arange(12.0).view(1, 1, 3, 4)
    coarse = torch.tensor([[[[100.0, 200], [300, 400]]]])
    maps, sizes = one(FeatureMaps([fine, coarse], None))
    assert sizes is None
    assert maps[1][0, 0].tolist() == [[100, 200], [300, 400]]
    expected = [[100, 101, 202, 203], [104, 105, 206, 207], [308, 309, 410, 411]]
    assert maps[0][0, 2].tolist() == expected


@torch.no_grad()
@pytest.mark.parametrize("sides", [(64, 96), (70, 91)])
def test_equals_torchvision(sides):
    height, width = sides
    maps = []
    for i, channels in enumerate((3, 5, 6)):
        maps.append(checks.images(2, channels, height, width, seed=i))
        height, width = -(-height // 2), -(-width // 2)
    peer = torchvision.ops.FeaturePyramidNetwork(
        [3, 5, 6], 4, torchvision.ops.feature_pyramid_network.LastLevelMaxPool()
    )
    ours = pyramid((3, 5, 6), coarser=1)
    for i in range(3):
        ours.lateral[i].load_state_dict(peer.inner_blocks[i][0].state_dict())
        ours.output[i].load_state_dict(peer.layer_blocks[i][0].state_dict())
    want = peer(dict(enumerate(maps))).values()
    got = ours(FeatureMaps(maps, None)).maps
    assert ours.strides == (4, 8, 16, 32)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@torch.no_grad()
@pytest.mark.parametrize("by", ["p5", "c5"])
def test_retinanets_levels_are_torchvisions(by):
    """P3 to P7 of a backbone with C2 to C5."""
    sides = [(-(-70 // 2**i), 96 // 2**i) for i in range(4)]
    maps = [checks.images(2, 3 + i, *side, seed=i) for i, side in enumerate(sides)]
    lasts = torchvision.ops.feature_pyramid_network.LastLevelP6P7
    peer = torchvision.ops.FeaturePyramidNetwork(
        [4, 5, 6], 4, lasts(6 if by == "c5" else 4, 4)
    )
    ours = pyramid((3, 4, 5, 6), coarser=2, coarser_by=by, finest=8)
    assert ours.strides == (8, 16, 32, 64, 128)
    for i in range(3):
        ours.lateral[i].load_state_dict(peer.inner_blocks[i][0].state_dict())
        ours.output[i].load_state_dict(peer.layer_blocks[i][0].state_dict())
    for i, last in enumerate((peer.extra_blocks.p6, peer.extra_blocks.p7)):
        ours.down[i].load_state_dict(last.state_dict())
    peer.extra_blocks.use_P5 = by == "p5"  # torchvision guesses it from the channels
    want = peer(dict(enumerate(maps[1:]))).values()
    for a, b in zip(ours(FeatureMaps(maps, None)).maps, want, strict=True):
        torch.testing.assert_close(a, b)


@torch.no_grad()
@pytest.mark.parametrize("by", ["subsample", "p5", "c5"])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("down", ["ceil", "floor"])
def test_padded_image_has_the_pyramid_of_the_bare_one(down, norm, by):
    one = pyramid((3, 5), coarser=2, coarser_by=by, norm=norm).eval()
    checks.randomise(one)
    for height, width in ((7, 12), (8, 9), (5, 5)):
        half = [(n + (down == "ceil")) // 2 for n in (height, width)]
        bare = [checks.images(1, 3, height, width), checks.images(1, 5, *half)]
        padded = []
        for x, size in zip(bare, ((10, 14), (5, 7)), strict=True):
            padded.append(torch.full((1, x.shape[1], *size), 9.0))
            padded[-1][:, :, : x.shape[2], : x.shape[3]] = x
        sizes = [torch.tensor([[*x.shape[2:]]]) for x in bare]
        want = one(FeatureMaps(bare, None)).maps
        got = one(FeatureMaps(padded, sizes))
        for a, size, b in zip(got.maps, got.sizes, want, strict=True):
            rows, columns = size[0].tolist()
            assert (rows, columns) == b.shape[2:]
            torch.testing.assert_close(a[:, :, :rows, :columns], b)


@torch.no_grad()
def test_maps_of_one_stride_are_added():
    """As of torchvision's MobileNet v3, whose last two maps are both at stride 32."""
    one = pyramid((3, 3), strides=(32, 32), coarser=1)
    maps = [checks.images(1, 3, 4, 5), checks.images(1, 3, 4, 5, seed=2)]
    got = one(FeatureMaps(maps, None)).maps
    above = one.lateral[1](maps[1])
    torch.testing.assert_close(got[0], one.output[0](one.lateral[0](maps[0]) + above))
    assert one.strides == (32, 32, 64) and got[2].shape[2:] == (2, 3)


@pytest.mark.slow
def test_traces():
    one = pyramid()
    maps = [checks.images(2, 3, 7, 9), checks.images(2, 5, 4, 5)]
    sizes = [torch.tensor([[7, 9], [5, 8]]), torch.tensor([[4, 5], [3, 4]])]
    want = one(FeatureMaps(maps, sizes))
    got = torch.compile(one, fullgraph=True, backend="eager")(FeatureMaps(maps, sizes))
    torch.testing.assert_close(got.maps, want.maps)
    sum(x.sum() for x in got.maps).backward()
    assert all(p.grad is not None for p in one.parameters())


def test_unknown_words():
    with pytest.raises(ValueError, match="none or batch, found 'layer'"):
        pyramid(norm="layer")
    with pytest.raises(ValueError, match="subsample, p5, c5; found 'c6'"):
        pyramid(coarser_by="c6")


@torch.no_grad()
def test_stages_are_the_classification_networks():
    with torch.device("cpu"):
        peer = torchvision.models.resnet18().eval()
    checks.randomise(peer)
    ours = ResNet(18, kind="fpn").eval()
    checks.load_classifier(ours, peer)
    x = checks.images(1, 3, 64, 96)
    want = [peer.maxpool(peer.relu(peer.bn1(peer.conv1(x))))]
    for layer in (peer.layer1, peer.layer2, peer.layer3, peer.layer4):
        want.append(layer(want[-1]))
    for a, b in zip(ours.feature_maps(x, None).maps, want[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_dilated_last_stage():
    """Every 3x3 of conv5 looks two cells aside, at the stride of conv4."""
    ours = ResNet(18, kind="dc5").eval()
    checks.randomise(ours)
    assert ours.strides == (16,) and ours.channels == (512,)
    convs = [m for m in ours.layer4.modules() if isinstance(m, nn.Conv2d)]
    wide = [conv for conv in convs if conv.kernel_size == (3, 3)]
    assert len(wide) == 4 and all(conv.dilation == (2, 2) for conv in wide)
    assert all(conv.stride == (1, 1) for conv in convs)


@torch.no_grad()
def test_resnext_equals_torchvision():
    with torch.device("meta"):
        peer = torchvision.models.resnext101_32x8d()
        ours = build_backbone(
            "resx101",
            features="fpn",
            style="pytorch",
            norm="frozen",
            fixed_blocks=0,
            head_stride=1,
            dropout=0,
        )
    want = {k: v.shape for k, v in peer.state_dict().items() if "fc." not in k}
    assert {k: v.shape for k, v in ours.state_dict().items()} == want
    assert ours.layer1[0].conv2.groups == peer.layer1[0].conv2.groups == 32


def test_no_dilated_vgg():
    with pytest.raises(ValueError, match="expected c4 or fpn for VGG16, found 'dc5'"):
        VGG16(kind="dc5")
