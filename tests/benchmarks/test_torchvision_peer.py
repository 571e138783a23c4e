"""torchvision's detector as a recipe shapes it."""

import pytest
import torch
from faster_rcnn.nets import build_backbone
from tiny_runs import RETINANET, tiny_config
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision_peer import build_peer, load_classification_weights


def pyramid(name="mobile_v2", *overrides):
    settings = ("net.features", "fpn", "net.fpn_channels", 32, "anchors.scales", "[8]")
    return tiny_config("net.name", name, *settings, "pooling.size", 7, *overrides)


def classifier(name):
    """The state dict of a network with random statistics."""
    options = {"style": "pytorch", "fixed_blocks": 0, "head_stride": 1, "dropout": 0.5}
    return build_backbone(name, norm="frozen", **options).state_dict()


@pytest.mark.parametrize("name", ["mobile_v2", "res18", "res50"])
def test_pyramid_is_torchvisions(name):
    peer = build_peer(pyramid(name), 5).eval()
    assert isinstance(peer.backbone.fpn.extra_blocks, LastLevelMaxPool)
    with torch.no_grad():
        maps = peer.backbone(torch.zeros(1, 3, 64, 128))
    shapes = [tuple(x.shape) for x in maps.values()]
    want = [(1, 32, 64 // stride, 128 // stride) for stride in (4, 8, 16, 32, 64)]
    assert shapes == want
    assert peer.rpn.anchor_generator.sizes == ((32,), (64,), (128,), (256,), (512,))
    assert peer.roi_heads.box_roi_pool.featmap_names == ["0", "1", "2", "3"]
    assert peer.roi_heads.box_head.fc6.weight.shape == (1024, 32 * 7 * 7)


@pytest.mark.parametrize("name", ["mobile_v2", "res18"])
def test_classification_weights_fill_the_body(name):
    peer, state = build_peer(pyramid(name), 5), classifier(name)
    load_classification_weights(peer, state)
    body = peer.backbone.body.state_dict()
    prefix = "features." if name == "mobile_v2" else ""
    assert set(state) >= {prefix + key for key in body} and len(body) >= 100
    assert all(torch.equal(value, state[prefix + key]) for key, value in body.items())
    state.pop(prefix + next(reversed(body)))
    with pytest.raises(KeyError):
        load_classification_weights(peer, state)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("vgg16", (), "found 'vgg16'"),
        ("mobile_v2", ("head.fcs", 1), r"leave out head\.convs"),
        ("mobile_v2", ("head.cascade", "[0.6]"), r"head\.cascade"),
        ("mobile_v2", ("net.fpn_norm", "batch"), r"net\.fpn_norm"),
        ("mobile_v2", ("net.fpn_coarser", 2), r"fpn_coarser: .* found 2"),
        ("mobile_v2", (*RETINANET, "dense.convs", 2), r"leave out dense\.convs"),
        ("res50", ("net.features", "dc5"), "found 'res50_dc5'"),
    ],
)
def test_parts_that_torchvision_lacks(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        build_peer(pyramid(name, *overrides), 5)
