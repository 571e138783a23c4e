import pytest
import torch
from faster_rcnn.layer_utils.structures import Images, tensors_of
from faster_rcnn.model.build import build_detector
from faster_rcnn.model.two_stage import TwoStage
from faster_rcnn.nets.backbone import Backbone
from faster_rcnn.nets.normalisation import NORMALISATIONS
from tiny_runs import random_images, tiny_config, tiny_detector
from torch import nn


@pytest.mark.parametrize(
    ("net", "options"),
    [
        ("vgg16", ("net.head_stride", 1, "pooling.size", 7)),
        ("mobile", ()),
        ("res50", ("net.style", "caffe", "net.normalisation", "caffe")),
    ],
)
@torch.no_grad()
def test_other_nets_run(net, options):
    # Random numbers of this many weights take longer than all else here.
    with pytest.MonkeyPatch.context() as patch:
        if net == "vgg16":
            patch.setattr(nn.init, "kaiming_normal_", lambda w, **_: w.fill_(1e-3))
            patch.setattr(nn.init, "kaiming_uniform_", lambda w, **_: w.fill_(1e-3))
        model = tiny_detector(
            tiny_config("net.name", net, "rpn.test_post_nms", 2, *options)
        )
    predictions = model.eval()(random_images((64, 64)))
    assert predictions.proposals.boxes.shape == (1, 2, 4)
    assert predictions.class_scores.shape == (1, 2, 3)
    for tensor in tensors_of(predictions):
        assert tensor.isfinite().all()


def test_regions_are_pooled_from_the_levels_that_there_are():
    words = ("net.name", "res18", "net.features", "fpn", "net.fpn_finest", 16)
    model = tiny_detector(tiny_config(*words, "head.fc_channels", 8))
    assert model.rpn.grid.base.shape[0] == 3
    assert model.box_head.regions.strides == (16, 32)


def test_build_detector_follows_the_weights():
    scratch = tiny_detector(tiny_config("net.name", "res18"))
    assert all(p.requires_grad for p in scratch.parameters())
    assert scratch.train().backbone.bn1.training
    pretrained = tiny_detector(
        tiny_config("net.name", "res18", "net.weights", "some.pth")
    )
    fixed = {n for n, p in pretrained.named_parameters() if not p.requires_grad}
    assert "backbone.conv1.weight" in fixed
    assert "backbone.layer1.0.conv1.weight" in fixed
    assert "backbone.layer2.0.conv1.weight" not in fixed
    assert "backbone.layer4.1.bn2.weight" in fixed  # frozen in every stage
    assert not pretrained.train().backbone.layer4[1].bn2.training
    own = ("net.norm", "batch", "net.fixed_blocks", 0)
    free = tiny_detector(
        tiny_config("net.name", "res18", "net.weights", "some.pth", *own)
    )
    assert all(p.requires_grad for p in free.parameters())


def test_build_detector_refuses_what_a_net_cannot_do():
    config = tiny_config("net.name", "vgg16", "net.head_stride", 2)
    with pytest.raises(ValueError, match="head_stride"):
        build_detector(config, 3)


class Mirror(Backbone):
    """Gives back its input, to see what reaches the network."""

    channels, head_channels = (3,), 3

    def stages(self, images, sizes):
        yield images, sizes

    def head(self, pooled):
        return pooled.mean((2, 3))

    def blocks(self):
        return []


@pytest.mark.parametrize("family", ["torchvision", "caffe"])
def test_normalisation_by_hand(family):
    config = tiny_config()
    model = tiny_detector(config)
    seer = TwoStage(
        Mirror("c4"),
        None,
        model.rpn,
        {"box_head": model.box_head},
        normalisation=NORMALISATIONS[family],
    )
    pixels = torch.zeros(2, 3, 2, 3, dtype=torch.uint8)
    pixels[:] = torch.tensor([200, 100, 50])[:, None, None]
    pixels[1, :, :, 2] = 0
    images = Images(pixels, torch.tensor([[2, 3], [2, 2]]), padded=True)
    (features,), (sizes,) = seer.features(images)
    expected = {
        "torchvision": [
            (200 - 123.675) / 58.395,
            (100 - 116.28) / 57.12,
            -53.53 / 57.375,
        ],
        "caffe": [200 - 122.7717, 100 - 115.9465, 50 - 102.9801],
    }[family]
    torch.testing.assert_close(features[0, :, 1, 1], torch.tensor(expected))
    torch.testing.assert_close(features[1, :, 0, 1], torch.tensor(expected))
    assert not features[1, :, :, 2].any()  # padding is zero after the mean, too
    assert sizes is images.sizes
    assert seer.features(images._replace(padded=False)).sizes is None
