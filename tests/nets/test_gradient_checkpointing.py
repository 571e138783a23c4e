"""Backbones that compute their blocks again in the backward pass: the same, smaller."""

import copy
from functools import partial

import pytest
import torch
from backbone_checks import images, randomise
from equality import assert_equal
from faster_rcnn.engine.costs import estimate_memory
from faster_rcnn.nets import build_backbone
from faster_rcnn.nets.mobilenet_v1 import MobileNetV1
from faster_rcnn.nets.mobilenet_v2 import MobileNetV2
from faster_rcnn.nets.resnet import ResNet
from faster_rcnn.nets.vgg import VGG16
from tiny_runs import tiny_config, tiny_detector


def _timm():
    pytest.importorskip("timm")
    return build_backbone(
        "timm/test_efficientnet",
        features="fpn",
        style="pytorch",
        norm="batch",
        fixed_blocks=0,
        head_stride=1,
        dropout=0.0,
    )


NETS = {
    "res18_fpn": partial(ResNet, 18, kind="fpn", norm="batch"),
    "mobile": partial(MobileNetV1, norm="batch"),
    "mobile_v2_fpn": partial(MobileNetV2, kind="fpn"),
    "vgg16_fpn": partial(VGG16, kind="fpn"),
    "timm": _timm,
}


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_equal_gradients_and_statistics_from_fewer_tensors(net):
    plain = NETS[net]().train()
    randomise(plain)
    frugal = copy.deepcopy(plain)
    frugal.checkpointing = True
    pixels, sizes = images(2, 3, 64, 96), torch.tensor([[64, 96], [50, 70]])
    kept = []
    for each in (plain, frugal):
        saved = {}

        def pack(x, saved=saved):
            saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            maps = each.feature_maps(pixels, sizes).maps
        kept.append(sum(saved.values()))
        sum(x.square().mean() for x in maps).backward()
    assert_equal(frugal.state_dict(), plain.state_dict())
    expected = dict(plain.named_parameters())
    for name, parameter in frugal.named_parameters():
        assert_equal(parameter.grad, expected[name].grad)
    assert kept[1] < 0.7 * kept[0]


@pytest.mark.slow
def test_estimated_memory_is_less():
    words = ("net.name", "res18", "net.features", "fpn", "anchors.scales", "[2]")
    images = []
    for wanted in (False, True):
        config = tiny_config(*words, "train.gradient_checkpointing", wanted)
        model = tiny_detector(config)
        memory = estimate_memory(model, config.train, (256, 256), dtype=torch.float32)
        images.append(memory.image)
    assert images[1] < 0.8 * images[0]


def test_not_with_the_compiler():
    with pytest.raises(ValueError, match=r"needs train\.compile none"):
        tiny_config("train.gradient_checkpointing", True, "train.compile", "default")
