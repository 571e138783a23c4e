import backbone_checks as checks
import pytest
import torch
from faster_rcnn.nets.region_head import RegionHead
from torch import nn
from torchvision.models.detection import faster_rcnn as peers


@torch.no_grad()
def test_two_layers_equal_torchvisions():
    peer = peers.TwoMLPHead(5 * 3 * 3, 16)
    ours = RegionHead(5, 3, fc_channels=16)
    ours.fcs[0].load_state_dict(peer.fc6.state_dict())
    ours.fcs[1].load_state_dict(peer.fc7.state_dict())
    pooled = checks.images(4, 5, 3, 3)
    last = pooled.contiguous(memory_format=torch.channels_last)
    assert ours.out_channels == 16
    torch.testing.assert_close(ours(last), peer(pooled))


@torch.no_grad()
def test_four_convolutions_equal_torchvisions():
    peer = peers.FastRCNNConvFCHead(
        (5, 3, 3), [8] * 4, [16], norm_layer=nn.BatchNorm2d
    ).eval()
    checks.randomise(peer)
    ours = RegionHead(
        5, 3, convs=4, conv_channels=8, fcs=1, fc_channels=16, norm="batch"
    ).eval()
    for i in range(4):
        ours.convs[i].load_state_dict(peer[i].state_dict())
    ours.fcs[0].load_state_dict(peer[5].state_dict())
    pooled = checks.images(4, 5, 3, 3)
    torch.testing.assert_close(ours(pooled), peer(pooled), rtol=1e-4, atol=1e-5)


def test_group_norm_is_of_each_region():
    ours = RegionHead(32, 3, convs=1, conv_channels=64, fcs=0, norm="group")
    assert ours.out_channels == 64 * 9
    assert isinstance(ours.convs[0][1], torch.nn.GroupNorm)
    pooled = checks.images(3, 32, 3, 3)
    together = ours(pooled)
    torch.testing.assert_close(ours(pooled[1:2]), together[1:2])
    together.sum().backward()
    assert all(p.grad.any() for p in ours.convs[0][1].parameters())


def test_bad_numbers():
    with pytest.raises(ValueError, match="neither convolutions nor fully"):
        RegionHead(5, 3, fcs=0)
    with pytest.raises(ValueError, match="none, batch, group; found 'sync'"):
        RegionHead(5, 3, norm="sync")
