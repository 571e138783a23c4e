"""Backbones of timm: its own maps at any size, norms folded, blocks fixed."""

import copy
import sys

import pytest
import torch
from backbone_checks import images, randomise
from faster_rcnn.nets import build_backbone
from faster_rcnn.nets.layers import FoldingConv, NormAct
from faster_rcnn.nets.sync_norm import synchronise_norms
from torch import nn

timm = pytest.importorskip("timm")

pytestmark = pytest.mark.slow

# TensorFlow's padding and no squeeze-and-excite; layer norms; windows and NHWC.
NETS = {
    "test_efficientnet": {},
    "tf_efficientnet_lite0": {},
    "test_convnext": {},
    "swin_tiny_patch4_window7_224": {"strict_img_size": False},
}


def backbone(name: str, kind: str = "fpn", *, norm: str = "frozen", fixed=0):
    return build_backbone(
        f"timm/{name}",
        features=kind,
        style="pytorch",
        norm=norm,
        fixed_blocks=fixed,
        head_stride=1,
        dropout=0.0,
    )


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_maps_are_those_of_timm(name):
    ours = backbone(name).eval()
    randomise(ours)
    peer = timm.create_model(name, features_only=True, **NETS[name]).eval()
    peer.load_state_dict(ours.net.state_dict())
    pixels = images(2, 3, 64, 96)
    theirs = peer(pixels)
    if getattr(peer, "output_fmt", None) == "NHWC":
        theirs = [x.permute(0, 3, 1, 2) for x in theirs]
    maps = ours.feature_maps(pixels, None).maps
    assert ours.strides == (4, 8, 16, 32)
    for x, y, channels in zip(maps, theirs[-4:], ours.channels, strict=True):
        assert x.shape[1] == channels
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-3 * float(y.abs().max()))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext"])
@torch.no_grad()
def test_sizes_that_no_stride_divides(name):
    net = backbone(name).eval()
    single = images(1, 3, 61, 83)
    batch = torch.zeros(1, 3, 64, 96)
    batch[:, :, :61, :83] = single
    maps, none = net.feature_maps(single, None)
    padded, cells = net.feature_maps(batch, torch.tensor([[61, 83]]))
    assert none is None
    for x, y, size, stride in zip(maps, padded, cells, net.strides, strict=True):
        assert x.shape[2:] == (-(-61 // stride), -(-83 // stride))
        assert size.tolist() == [list(x.shape[2:])]
        torch.testing.assert_close(y[:, :, : x.shape[2], : x.shape[3]], x)


def test_one_map_and_the_rest_as_head():
    net = backbone("test_efficientnet", "c4").eval()
    randomise(net)
    pixels = images(1, 3, 64, 96)
    (shared,) = net.feature_maps(pixels, None).maps
    last = backbone("test_efficientnet").eval()
    last.load_state_dict(net.state_dict())
    whole = last.feature_maps(pixels, None).maps[-1]
    torch.testing.assert_close(net.head_map(shared), whole)
    assert net.head(shared).shape == (1, net.head_channels)
    net.remove_head()
    assert torch.equal(net.feature_maps(pixels, None).maps[0], shared)


def test_frozen_norms_are_folded_with_the_same_gradients():
    net = backbone("test_efficientnet").train()
    randomise(net)
    plain = copy.deepcopy(net)
    for part in plain.modules():
        if isinstance(part, NormAct):
            part.folded = False
        elif isinstance(part, FoldingConv):
            part.__class__ = nn.Conv2d
    folding = sum(isinstance(part, FoldingConv) for part in net.modules())
    norms = [part for part in net.modules() if isinstance(part, NormAct)]
    assert folding == len(norms) > 10 and all(norm.frozen for norm in norms)
    pixels = images(1, 3, 64, 64)
    for each in (net, plain):
        (each.feature_maps(pixels, None).maps[-1] ** 2).mean().backward()
    expected = dict(plain.named_parameters())
    for name, parameter in net.named_parameters():
        if expected[name].grad is not None:
            torch.testing.assert_close(
                parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-4
            )


def test_trained_norms_keep_their_activation_when_synchronised():
    net = backbone("test_efficientnet", norm="batch").train()
    pixels = images(2, 3, 64, 64)
    before = copy.deepcopy(net).feature_maps(pixels, None).maps[-1]
    assert synchronise_norms(net) > 10
    torch.testing.assert_close(
        net.feature_maps(pixels, None).maps[-1], before, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("name", ["test_resnet", "swin_tiny_patch4_window7_224"])
def test_fixed_blocks_end_at_the_maps(name):
    net = backbone(name, fixed=None, norm="batch")
    trained = {key for key, p in net.named_parameters() if p.requires_grad}
    stages = ("layer1", "layer2") if name == "test_resnet" else ("layers_0", "layers_1")
    assert not any(stages[0] in key for key in trained)
    assert any(stages[1] in key for key in trained)
    blocks = len(net.blocks())
    net.freeze(blocks)
    assert not any(p.requires_grad for p in net.parameters())
    with pytest.raises(ValueError, match=f"expected 0 to {blocks} .* found 9"):
        net.freeze(9)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("resnet81", "fpn", "timm .* has no model resnet81; did you mean resnet"),
        ("resnet18.mine", "fpn", "no weights resnet18.mine; .* are resnet18.a1_in1k"),
        ("test_vit", "fpn", "has maps at strides 16; a pyramid .* needs several"),
        ("hrnet_w18_small", "c4", "at stride 16 .*; give NET as timm/hrnet_w18_small_"),
        ("maxvit_tiny_tf_224", "fpn", "any size .its own is 224x224.*convnext_tiny"),
        ("swin_tiny_patch4_window7_224", "dc5", "has no output_stride"),
    ],
)
def test_nets_that_do_not_fit(name, kind, message):
    with pytest.raises(ValueError, match=message):
        backbone(name, kind)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "faster_rcnn.nets.timm_backbone", raising=False)
    with pytest.raises(ValueError, match=r"timm/x needs timm.*pip install .*\[timm\]"):
        backbone("x")
